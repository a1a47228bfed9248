"""What a large collection costs on a cluster, from what one track costs here. Knows no cluster.

    python benchmarks/scale_arithmetic.py                          composes a few tracks and measures on them
    python benchmarks/scale_arithmetic.py --data DIR --tracks 1e6 --nodes 100

Measured: CPU time of a track from file to clip, bytes of the file and of the prepared clip. Given: the machines and
prices of cluster/aws.yaml, and S3's published rate for one prefix. All else is arithmetic, printed as a table for
docs/scale.md.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from genre_ray.clips import ClipTable
from genre_ray.config import InputConfig
from genre_ray.data.catalog import open_catalog
from genre_ray.data.synthesis import compose
from genre_ray.preprocessing import extract
from genre_ray.schema import Track

GETS_PER_S = 5500
"""S3's published rate of GET requests for one prefix."""

GETS_PER_DOLLAR = 2.5e6
GB_MONTH = 0.023


@dataclass(frozen=True)
class Measured:
    """Of one track, on this machine."""

    cpu_s: float
    file_bytes: float
    clip_bytes: float
    stored_bytes: float
    tracks: int


@dataclass(frozen=True)
class Cluster:
    """Machines that prepare: how many, cores of each, network of each in GB/s, dollars an hour of each."""

    nodes: int
    cores: int
    network: float
    price: float


def measure(tracks: list[Track], inputs: InputConfig) -> Measured:
    """CPU seconds and bytes of a track; the first is not counted, since it pays for imports and compiled loops."""
    list(extract(tracks[0], inputs))
    began = time.process_time()
    clips = [clip for track in tracks[1:] for clip in extract(track, inputs)]
    cpu_s = (time.process_time() - began) / (len(tracks) - 1)
    table = ClipTable.from_clips(clips)
    in_memory = sum(part.nbytes for part in (table.spectrogram, table.features) if part is not None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clips.parquet"
        pq.write_table(table.to_arrow(), path, compression="lz4")
        stored = path.stat().st_size
    count = len(tracks) - 1
    sizes = [Path(str(track.audio or track.figure)).stat().st_size for track in tracks]
    return Measured(cpu_s, sum(sizes) / len(sizes), in_memory / count, stored / count, count)


def rows(measured: Measured, cluster: Cluster, tracks: float) -> list[tuple[str, str]]:
    """The table: what it is, and how much."""
    cores = cluster.nodes * cluster.cores
    decode_s = tracks * measured.cpu_s / cores
    network_s = tracks * measured.file_bytes / (cluster.nodes * cluster.network * 1e9)
    requests_s = tracks / GETS_PER_S
    limits = {"CPU": decode_s, "network": network_s, "requests to one prefix": requests_s}
    longest = max(limits, key=lambda name: limits[name])
    hours = limits[longest] / 3600
    return [
        ("source", f"{tracks * measured.file_bytes / 1e9:,.0f} GB ({measured.file_bytes / 1e6:.2f} MB a track)"),
        ("prepared, in memory", f"{tracks * measured.clip_bytes / 1e9:,.1f} GB ({measured.clip_bytes / 1e3:.1f} kB)"),
        (
            "prepared, as Parquet",
            f"{tracks * measured.stored_bytes / 1e9:,.1f} GB ({measured.stored_bytes / 1e3:.1f} kB)",
        ),
        ("work", f"{tracks * measured.cpu_s / 3600:,.0f} core hours ({measured.cpu_s * 1e3:.0f} ms a track)"),
        *((f"time by {name}", f"{seconds / 60:,.1f} min") for name, seconds in limits.items()),
        ("what limits", longest),
        (
            "network while it lasts",
            f"{tracks * measured.file_bytes / limits[longest] / cluster.nodes / 1e6:,.0f} MB/s a node",
        ),
        ("machines", f"{hours * cluster.nodes * cluster.price:,.2f} dollars"),
        ("requests", f"{tracks / GETS_PER_DOLLAR:,.2f} dollars"),
        ("prepared, kept a month", f"{tracks * measured.stored_bytes / 1e9 * GB_MONTH:,.2f} dollars"),
    ]


def main() -> None:
    """Measure, and print a table for each size of cluster."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", help="a collection to measure on; without it tracks of 30 s are composed")
    options.add_argument("--sample", type=int, default=40, help="tracks to measure on")
    options.add_argument("--tracks", type=float, default=1e6)
    options.add_argument("--nodes", type=int, nargs="+", default=[16, 100])
    options.add_argument("--cores", type=int, default=16, help="of a node (c7i.4xlarge)")
    options.add_argument(
        "--network", type=float, default=0.78, help="GB/s of a node, sustained (c7i.4xlarge: 6.25 Gbit/s)"
    )
    options.add_argument("--price", type=float, default=0.40, help="dollars an hour of a node (spot, high)")
    given = options.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        root = given.data or compose(
            Path(folder) / "corpus", tracks_per_genre=max(2, given.sample // 10), duration_s=30.0
        )
        tracks = [track for track in open_catalog(root).tracks if track.audio or track.figure][: given.sample]
        measured = measure(tracks, InputConfig())
    print(f"measured on {measured.tracks} tracks")
    for nodes in given.nodes:
        cluster = Cluster(nodes, given.cores, given.network, given.price)
        print(f"\n| {given.tracks:,.0f} tracks on {nodes} nodes of {given.cores} cores | |\n|---|---|")
        for what, value in rows(measured, cluster, given.tracks):
            print(f"| {what} | {value} |")


if __name__ == "__main__":
    main()
