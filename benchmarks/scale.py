"""What preparation takes as collections grow: time, memory of each process, object store and disk.

    python benchmarks/scale.py --tracks 1000 10000 100000

Prepared, taken from the cache again, and streamed as an epoch of training is, by either reader (buffer of 64 MB).

The tracks are generated spectrograms, written as figures in Kaggle's layout; a pool of some hundreds is taken again
under other ids, since what a picture shows changes nothing here. Memory is what a process has for itself alone (USS),
sampled while it works; the object store is what Ray says lies in it.
"""

import argparse
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import ray

from genre_ray.config import InputConfig
from genre_ray.connection import connect
from genre_ray.data.catalog import Catalog
from genre_ray.data.pipeline import prepare
from genre_ray.data.streaming import StreamingConfig
from genre_ray.schema import GENRES, Track
from genre_ray.spectrogram import figure_from_levels

MB = 1024**2


def pool_of(folder: Path, count: int) -> list[Path]:
    """Figures of noise under slow waves, about as large as GTZAN's."""
    generator = np.random.default_rng(0)
    paths = []
    for i in range(count):
        wave = 90 + 60 * np.sin(np.arange(334) / generator.uniform(3, 30)) * np.linspace(1, 0.2, 128)[:, None]
        levels = np.clip(wave + generator.normal(0, 25, (128, 334)), 0, 255).astype(np.uint8)
        paths.append(folder / f"{i:04d}.png")
        figure_from_levels(levels[np.newaxis]).save(paths[-1])
    return paths


def catalog_of(pool: list[Path], count: int) -> Catalog:
    """So many tracks, each with an id, a feature row and a digest of its own."""
    generator = np.random.default_rng(1)
    tracks = tuple(
        Track(
            id=f"{i:07d}",
            label=GENRES[i % len(GENRES)],
            figure=pool[i % len(pool)],
            features=generator.standard_normal(57),
        )
        for i in range(count)
    )
    digests = {track.id: hashlib.sha256(track.id.encode()).hexdigest() for track in tracks}
    return Catalog(tracks=tracks, labels=GENRES, faults=(), root="generated", kind="folders", digests=digests)


class Peak:
    """The most memory that the driver, and any one worker, had for itself; and the most in the object store."""

    def __init__(self) -> None:
        self.driver = self.worker = self.store = 0.0
        self._stopped = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look four times a second while the block runs."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stopped.wait(0.25):
            self.driver = max(self.driver, me.memory_full_info().uss / MB)
            for child in me.children(recursive=True):
                try:
                    if child.name().startswith("ray::"):
                        self.worker = max(self.worker, child.memory_full_info().uss / MB)
                except psutil.Error:
                    continue
            self.store = max(self.store, _in_store() / MB)


def _in_store() -> float:
    """Bytes that lie in Ray's object store."""
    if not ray.is_initialized():
        return 0.0
    name = "object_store_memory"
    return float(ray.cluster_resources().get(name, 0) - ray.available_resources().get(name, 0))


def measure(pool: list[Path], count: int, folder: Path) -> dict[str, float]:
    catalog, preparing = catalog_of(pool, count), Peak()
    with preparing.watched():
        started = time.perf_counter()
        prepared = prepare(catalog, InputConfig(), cache=folder, progress=False)
        first_s = time.perf_counter() - started
    assert prepared.clips == count
    started = time.perf_counter()
    assert prepare(catalog, InputConfig(), cache=folder, progress=False).from_cache
    again_s = time.perf_counter() - started
    facts = {
        "tracks": count,
        "first_s": first_s,
        "again_s": again_s,
        "driver_mb": preparing.driver,
        "worker_mb": preparing.worker,
        "store_mb": preparing.store,
        "disk_mb": sum(path.stat().st_size for path in Path(prepared.path).rglob("*")) / MB,
    }
    for reader in ("arrow", "ray"):
        stream, streaming = prepared.stream(StreamingConfig(reader=reader, buffer_mb=64)), Peak()
        with streaming.watched():
            next(iter(stream.shuffled((0, 0))))  # what is started once is started
            started = time.perf_counter()
            assert sum(len(piece) for piece in stream.shuffled((0, 1))) == count
            facts |= {f"{reader}_s": time.perf_counter() - started}
        facts |= {f"{reader}_driver_mb": streaming.driver, f"{reader}_store_mb": streaming.store}
    return facts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tracks", type=int, nargs="+", default=(1_000, 10_000))
    options.add_argument("--cpus", type=int, default=2)
    options.add_argument("--json", type=Path, metavar="FILE")
    arguments = options.parse_args()
    found = []
    columns = (
        "tracks",
        "prepared, s",
        "tracks/s",
        "from cache, s",
        "driver, MB",
        "worker, MB",
        "store, MB",
        "disk, MB",
    )
    columns += ("streamed by a thread, s", "driver, MB", "by Ray Data, s", "driver, MB", "store, MB")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    with tempfile.TemporaryDirectory() as name, connect(num_cpus=arguments.cpus):
        pool = pool_of(Path(name), 500)
        prepare(catalog_of(pool, 32), InputConfig(), cache=Path(name) / "warm", progress=False)
        for count in arguments.tracks:
            facts = measure(pool, count, Path(name) / str(count))
            found.append(facts)
            shown = [
                f"{count}",
                f"{facts['first_s']:.1f}",
                f"{count / facts['first_s']:.0f}",
                f"{facts['again_s']:.2f}",
            ]
            shown += [f"{facts[f'{what}_mb']:.0f}" for what in ("driver", "worker", "store", "disk")]
            shown += [f"{facts['arrow_s']:.1f}", f"{facts['arrow_driver_mb']:.0f}", f"{facts['ray_s']:.1f}"]
            shown += [f"{facts['ray_driver_mb']:.0f}", f"{facts['ray_store_mb']:.0f}"]
            print(f"| {' | '.join(shown)} |", flush=True)
            shutil.rmtree(Path(name) / str(count))
    print(f"\nRay on {arguments.cpus} cores, load {os.getloadavg()[0]:.1f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
