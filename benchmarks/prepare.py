"""Preparation of tracks: against a serial Pillow loop, from the cache, and on two cores against one.

    python benchmarks/prepare.py                          composes a corpus, draws its figures, measures on both
    python benchmarks/prepare.py --data DIR               on the figures (and the audio) of a folder
    python benchmarks/prepare.py --data DIR --json FILE   writes what it prints

Ray is up and its workers have prepared a few tracks before anything is timed. Each round times everything once, in
turn, so that a busy machine is busy for all; the figure of a measurement is its median over the rounds, and a ratio is
the median of the rounds' ratios. The serial loops run in this process, while Ray idles.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genre_ray.config import InputConfig
from genre_ray.connection import connect
from genre_ray.data.catalog import Catalog, open_catalog
from genre_ray.data.export import export_features
from genre_ray.data.pipeline import prepare
from genre_ray.data.synthesis import compose
from genre_ray.magma import magma_colours
from genre_ray.preprocessing import extract

ROWS, COLUMNS = slice(36, 252), slice(55, 389)


def pillow_loop(paths: list[Path]) -> NDArray[np.uint8]:
    """What one writes without this package: decode, cut out the plot, look the colours up, keep a row a mel bin."""
    table = magma_colours().astype(np.int64)
    level = np.zeros(1 << 24, dtype=np.uint8)
    level[(table[:, 0] << 16) + (table[:, 1] << 8) + table[:, 2]] = np.arange(256)
    y = np.arange(252 - ROWS.start)
    bins = np.minimum((252 - (y + ROWS.start) - 1 / 512) * 128 / 217.44, 127).astype(np.int64)
    rows = np.zeros(128, dtype=np.int64)
    rows[bins] = y
    pictures = []
    for path in paths:
        rgb = np.asarray(Image.open(path).convert("RGB"))[ROWS, COLUMNS][rows].astype(np.int32)
        pictures.append(level[(rgb[..., 0] << 16) + (rgb[..., 1] << 8) + rgb[..., 2]])
    return np.stack(pictures)[:, np.newaxis]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def figures_of(catalog: Catalog) -> Catalog:
    """The tracks with a figure, and nothing but it."""
    tracks = tuple(replace(t, audio=None, features=None) for t in catalog.tracks if t.figure is not None)
    return replace(catalog, tracks=tracks)


def with_drawn_figures(root: Path) -> Path:
    """A composed corpus with figures in Kaggle's layout beside its audio."""
    compose(root, tracks_per_genre=40, duration_s=10.0, seed=0)
    export_features(root, root.parent / "features.parquet", figures=root, progress=False)
    return root


def one_round(catalog: Catalog, cache: Path) -> dict[str, float]:
    """Everything once: seconds."""
    inputs = InputConfig(features=None)
    figures = [Path(str(track.figure)) for track in catalog.tracks]
    seconds = {
        "pillow": timed(lambda: pillow_loop(figures)),
        "extract": timed(lambda: [list(extract(track, inputs)) for track in catalog.tracks]),
        "first": timed(lambda: prepare(catalog, inputs, cache=cache, progress=False)),
        "again": min(timed(lambda: prepare(catalog, inputs, cache=cache, progress=False)) for _ in range(3)),
        "again_loaded": min(
            timed(lambda: prepare(catalog, inputs, cache=cache, progress=False).load()) for _ in range(3)
        ),
    }
    prepared = prepare(catalog, inputs, cache=cache, progress=False)
    assert prepared.from_cache
    order = np.argsort([track.id for track in catalog.tracks])
    np.testing.assert_array_equal(prepared.load().spectrogram, pillow_loop(figures)[order])
    return seconds


_TURNS = 4


def on_cores(catalog: Catalog, cores: int, rounds: int, folder: Path) -> float:
    """Tracks a second from audio, with Ray on so many cores: the median of the rounds."""
    inputs = InputConfig()
    rates = []
    tracks = [replace(track, id=f"{track.id}.{turn}") for turn in range(_TURNS) for track in catalog.tracks]
    catalog = replace(catalog, tracks=tuple(tracks), digests={})  # long enough that starting is not what is measured
    with connect(num_cpus=cores):
        few = replace(catalog, tracks=catalog.tracks[: 16 * cores])  # several shards, so that each worker is warm
        prepare(few, inputs, cache=folder / f"warm-{cores}", progress=False)
        for i in range(rounds):
            cache = folder / f"audio-{cores}-{i}"
            rates.append(
                len(catalog) / timed(lambda cache=cache: prepare(catalog, inputs, cache=cache, progress=False))
            )
    return statistics.median(rates)


def measure_figures(catalog: Catalog, rounds: int, folder: Path) -> dict[str, float]:
    with connect(num_cpus=2):
        prepare(replace(catalog, tracks=catalog.tracks[:32]), InputConfig(features=None), cache=folder / "warm")
        found = [one_round(catalog, folder / str(i)) for i in range(rounds)]
    facts = {name: statistics.median(each[name] for each in found) for name in found[0]}
    facts["against_pillow"] = statistics.median(each["pillow"] / each["first"] for each in found)
    facts["against_extract"] = statistics.median(each["extract"] / each["first"] for each in found)
    facts["cache"] = statistics.median(each["first"] / each["again"] for each in found)
    facts["cache_loaded"] = statistics.median(each["first"] / each["again_loaded"] for each in found)
    count = len(catalog)
    print(f"figures: {count}, Ray on 2 cores, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, said in (
        ("pillow", "serial Pillow loop"),
        ("extract", "serial loop over extract"),
        ("first", "prepare, first run"),
        ("again", "prepare, from cache"),
        ("again_loaded", "prepare, from cache, and load"),
    ):
        print(f"  {said:32s}{facts[name]:8.3f} s  {count / facts[name]:8.0f} tracks/s")
    for name, said in (
        ("against_pillow", "first run against Pillow"),
        ("against_extract", "first run against extract"),
        ("cache", "cache against first run"),
        ("cache_loaded", "the same with loading"),
    ):
        print(f"  {said:32s}{facts[name]:8.2f} times as fast")
    return facts


def measure_audio(catalog: Catalog, rounds: int, folder: Path) -> dict[str, float]:
    one, two = (on_cores(catalog, cores, rounds, folder) for cores in (1, 2))
    print(f"audio: {_TURNS} x {len(catalog)} tracks, spectrogram and features through Ray Data")
    print(f"  one core {one:.1f} tracks/s, two cores {two:.1f} tracks/s: {two / one:.2f} times")
    for cores in (2, 16, 100):
        print(f"  a million tracks on {cores:3d} cores at two cores' rate: {1e6 / (two / 2 * cores) / 3600:.1f} h")
    return {"one_core": one, "two_cores": two, "scaling": two / one}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="folder in GTZAN's layout (default: a composed corpus)")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--only", choices=("figures", "audio"), help="leave the other part out")
    options.add_argument("--json", type=Path, metavar="FILE")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = open_catalog(arguments.data or with_drawn_figures(folder / "corpus"))
        facts = {}
        if arguments.only != "audio":
            facts["figures"] = measure_figures(figures_of(catalog), arguments.rounds, folder / "figures")
        sounds = replace(
            catalog,
            tracks=tuple(replace(t, figure=None, features=None) for t in catalog.tracks if t.audio is not None),
        )
        if sounds.tracks and arguments.only != "figures":
            facts["audio"] = measure_audio(sounds, arguments.rounds, folder / "audio")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
