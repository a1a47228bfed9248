"""Batch prediction: tracks a second with one actor and with two, start-up apart.

    python benchmarks/predict.py                              the composed corpus, a small fitted hybrid
    python benchmarks/predict.py --data DIR --checkpoint DIR  tracks of a folder, a checkpoint

Actors take seconds to start and to load torch, which a long run never notices and a short one is made of. So the rate
is that of the last three quarters of the tracks, when all actors are at work. Tracks are taken again under other ids
where there are too few.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from genre_ray import checkpoint as checkpoints
from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig, parse
from genre_ray.connection import connect
from genre_ray.data import execution
from genre_ray.data.catalog import open_catalog
from genre_ray.data.inbox import tracks_of
from genre_ray.data.synthesis import compose
from genre_ray.predict import predict_catalog
from genre_ray.preprocessing import extract
from genre_ray.schema import Track
from genre_ray.training import fit


def fitted(root: Path, folder: Path) -> Path:
    """The default hybrid after one epoch: how long it takes is what matters here, not what it answers."""
    catalog = open_catalog(root, need=["spectrogram", "features"])
    config = parse(RunConfig, {"training": {"epochs": 1}}, origin="benchmark")
    few = catalog.tracks[:: max(1, len(catalog) // 60)]
    table = ClipTable.from_clips(clip for track in few for clip in extract(track, config.inputs))
    labels = tuple(label for label in catalog.labels if label in set(table.label))
    model = fit(config, table, labels=labels, device="cpu", threads=2)
    checkpoints.save(folder, [model], metrics={}, data={"name": "benchmark"})
    return folder


def many(tracks: list[Track], count: int) -> list[Track]:
    return [replace(tracks[i % len(tracks)], id=f"{i:06d}") for i in range(count)]


def rate(tracks: list[Track], checkpoint: Path, actors: int, folder: Path) -> float:
    """Tracks a second over the last three quarters."""
    finished: list[tuple[float, int]] = []
    run = execution.run

    def watched(*arguments: Any, **options: Any) -> Iterator[execution.Done]:
        for done in run(*arguments, **options):
            finished.append((time.perf_counter(), len(done.entries)))
            yield done

    out = folder / f"{actors}-{time.monotonic_ns()}.parquet"
    execution.run = watched
    try:
        done = predict_catalog(tracks, checkpoint, out, concurrency=actors, device="cpu", progress=False)
    finally:
        execution.run = run
    assert done.tracks == sum(count for _, count in finished) == len(tracks)
    assert not done.failed, done.describe()
    first = len(finished) // 4
    return sum(count for _, count in finished[first:]) / (finished[-1][0] - finished[first - 1][0])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="folder or table (default: a composed corpus)")
    options.add_argument("--checkpoint", type=Path, help="default: a hybrid fitted for an epoch")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--tracks", type=int, default=1000, metavar="N")
    options.add_argument("--json", type=Path, metavar="FILE")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = arguments.data or compose(folder / "corpus", tracks_per_genre=10, duration_s=10.0, seed=0)
        checkpoint = arguments.checkpoint or fitted(root, folder / "checkpoint")
        tracks = [t for t in tracks_of(root) if t.audio is not None or not (t.figure is None or t.features is None)]
        tracks = many(tracks, arguments.tracks)
        found: dict[int, list[float]] = {1: [], 2: []}
        with connect(num_cpus=2):
            for _ in range(arguments.rounds):
                for actors, rates in found.items():
                    rates.append(rate(tracks, checkpoint, actors, folder))
    one, two = (statistics.median(found[actors]) for actors in (1, 2))
    scaling = statistics.median(b / a for a, b in zip(found[1], found[2], strict=True))
    print(f"batch prediction of {len(tracks)} tracks, {arguments.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"  one actor   {one:7.1f} tracks/s")
    print(f"  two actors  {two:7.1f} tracks/s, {scaling:.2f} times")
    for cores in (2, 16, 100):
        print(f"  a million tracks on {cores:3d} cores at two cores' rate: {1e6 / (two / 2 * cores) / 3600:.1f} h")
    if arguments.json is not None:
        facts = {"one_actor": one, "two_actors": two, "scaling": scaling, "rounds": found}
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
