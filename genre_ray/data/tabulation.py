"""A table with the rows of every track, made in parallel and in parts, so that an interrupted run goes on.

The parts lie beside the table in `<out>.parts` until all are there; then they are put together in the order of the
tracks. Knows nothing about what the rows say.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa

from genre_ray.connection import connect
from genre_ray.data import execution
from genre_ray.data.cache import Place, places
from genre_ray.data.execution import Actors
from genre_ray.data.identity import identities, key_of
from genre_ray.data.shards import Work, cut, shard_size
from genre_ray.data.store import Store
from genre_ray.data.telemetry import WorkTelemetry
from genre_ray.errors import ConfigError
from genre_ray.progress import Progress, duration
from genre_ray.schema import Track

_RUN, _FAILED = "genre_ray.run", "genre_ray.failed"
_OPEN_PARTS = 8


@dataclass(frozen=True, kw_only=True)
class Tabulated:
    """A finished table: where, for how many tracks, how many failed by kind, and how many had been done before."""

    path: str
    tracks: int
    failed: Mapping[str, int]
    reused: int
    seconds: float

    def describe(self) -> str:
        """A line for people."""
        text = f"{self.path}: {self.tracks} tracks in {duration(self.seconds)}"
        text += f", {self.reused} of them from before" if self.reused else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.failed.items()))
        return text + (f"; failed: {kinds}" if kinds else "")


def tabulate(
    tracks: Sequence[Track],
    work: Work,
    out: str | Path,
    *,
    facts: Mapping[str, str],
    verb: str,
    actors: Callable[[int], Actors] | None = None,
    resume: bool = True,
    progress: bool = True,
    stream: TextIO | None = None,
) -> Tabulated:
    """The rows that `work` gives for each track, as the Parquet file `out`, a path or URI.

    `facts` is all that decides the rows besides the tracks: it goes into the file's metadata, and what was done under
    other facts, or for a file that has changed since, is done again. Without `resume` nothing from before is used.
    `actors` gets the number of shards, once Ray is up; None is tasks. ConfigError for an `out` that is no Parquet file,
    RunError when it cannot be written.
    """
    started = time.perf_counter()
    target, name = _target(out)
    pairs = [
        (track, key_of(*facts.values(), identity)) for track, identity in zip(tracks, identities(tracks), strict=True)
    ]
    run = hashlib.sha256("\n".join(f"{track.id}\t{key}" for track, key in pairs).encode()).hexdigest()
    parts = target.below(f"{name}.parts")
    if not resume:
        parts.remove_all()
    metadata = target.metadata(name) if resume and target.has(name) else {}
    if metadata.get(_RUN) == run:
        failed, reused = _counts(metadata[_FAILED]), len(pairs)
    else:
        ordered, reused = _complete(pairs, work, parts, verb, actors, progress, stream)
        failed = Counter(place.entry.kind for place in ordered if place.entry.kind is not None)
        with target.writing(name) as writer:
            for table in _rows(parts, ordered):
                writer.add(table)
            writer.finish([], {**facts, _RUN: run, _FAILED: ",".join(f"{k}={n}" for k, n in failed.items())})
        parts.remove_all()
    seconds = time.perf_counter() - started
    return Tabulated(path=str(out), tracks=len(pairs), failed=failed, reused=reused, seconds=seconds)


def _target(out: str | Path) -> tuple[Store, str]:
    text, mark, options = str(out).partition("?") if "://" in str(out) else (str(Path(out).absolute()), "", "")
    folder, _, name = text.rpartition("/")
    if not name.endswith(".parquet"):
        raise ConfigError(f"{out} cannot be the table", expected="a path or URI that ends in .parquet")
    return Store((folder or "/") + mark + options), name


def _counts(text: str) -> Counter[str]:
    return Counter({kind: int(count) for kind, _, count in (item.partition("=") for item in text.split(",") if item)})


def _complete(
    pairs: Sequence[tuple[Track, str]],
    work: Work,
    parts: Store,
    verb: str,
    actors: Callable[[int], Actors] | None,
    progress: bool,
    stream: TextIO | None,
) -> tuple[list[Place], int]:
    """Where each track's rows are, in the order of `pairs`, and how many of them were there before."""
    held = places(parts)
    missing = [(track, key) for track, key in pairs if (track.id, key) not in held]
    reused = len(pairs) - len(missing)
    if missing:
        with connect(), Progress(verb, total=len(pairs), done=reused, shown=progress, stream=stream) as shown:
            WorkTelemetry(type(work).__name__).cached(reused)
            shards = cut(missing, size=shard_size(len(missing), execution.cpus()))
            chosen = actors(len(shards)) if actors is not None else None
            for done in execution.run(shards, work, parts, actors=chosen):
                held |= {(entry.track, entry.key): Place(done.name, entry) for entry in done.entries}
                shown.advance(len(done.entries), failed=sum(entry.kind is not None for entry in done.entries))
    return [held[track.id, key] for track, key in pairs], reused


def _rows(parts: Store, ordered: Sequence[Place]) -> Iterator[pa.Table]:
    """The rows of all places in their order, each part read once as long as its tracks stand together."""

    @lru_cache(_OPEN_PARTS)
    def part(shard: str) -> pa.Table:
        return pa.concat_tables(parts.groups(shard))

    for shard, together in groupby(ordered, key=lambda place: place.shard):
        spans = [np.arange(place.entry.first, place.entry.first + place.entry.rows) for place in together]
        yield part(shard).take(np.concatenate(spans))
