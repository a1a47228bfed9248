"""A table with the rows of every track, made in parallel and in parts, so that an interrupted run goes on.

The parts lie beside the table in `<out>.parts` until all are there; then they are put together in the order of the
tracks. Of a table that is there already, the rows that still hold become parts, too. Knows nothing about what the rows
say, but that those of a failed track name a kind of error.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genre_ray.connection import connect
from genre_ray.data import execution
from genre_ray.data.cache import Place, places
from genre_ray.data.execution import Actors
from genre_ray.data.identity import identities, key_of
from genre_ray.data.shards import NOT_KEPT, Work, cut, shard_size
from genre_ray.data.store import Entry, Store
from genre_ray.data.telemetry import WorkTelemetry
from genre_ray.errors import ConfigError
from genre_ray.progress import Progress, duration
from genre_ray.schema import Track

MADE_FROM = "made_from"
"""Column of every table: the key of the facts, the track and its files that a row was made from."""

ERROR_KIND = "error_kind"
"""Column of a work's rows that has the kind of error of a track that failed, null in the others."""

_RUN, _FAILED, _ROWS = "genre_ray.run", "genre_ray.failed", "genre_ray.rows"
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
    other facts, or for a file that has changed since, is done again, and so is what failed in a way that may be gone
    now. All other rows of an interrupted run or a finished table are taken. Without `resume` nothing from before is.
    `actors` gets the most that there is work for, once Ray is up; None is tasks. ConfigError for an `out` that is no
    Parquet file, RunError when it cannot be written.
    """
    started = time.perf_counter()
    target, name = _target(out)
    pairs = [
        (track, key_of(*facts.values(), track.id, identity))
        for track, identity in zip(tracks, identities(tracks), strict=True)
    ]
    run = hashlib.sha256("\n".join(f"{track.id}\t{key}" for track, key in pairs).encode()).hexdigest()
    parts = target.below(f"{name}.parts")
    if not resume:
        parts.remove_all()
    metadata = target.metadata(name) if resume and target.has(name) else {}
    failed, reused = _counts(metadata.get(_FAILED, "")), len(pairs)
    if metadata.get(_RUN) != run or NOT_KEPT & failed.keys():
        if _ROWS in metadata:
            _take_over(target, name, int(metadata[_ROWS]), parts, pairs, work)
        ordered, reused = _complete(pairs, work, parts, verb, actors, progress, stream)
        failed = Counter(place.entry.kind for place in ordered if place.entry.kind is not None)
        with target.writing(name) as writer:
            for table in _rows(parts, ordered):
                writer.add(table)
            counts = {_FAILED: ",".join(f"{k}={n}" for k, n in failed.items()), _ROWS: str(writer.rows)}
            writer.finish([], {**facts, _RUN: run, **counts})
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
            workers = actors(len(missing)).count if actors is not None else execution.cpus()
            shards = cut(missing, size=shard_size(len(missing), workers))
            chosen = actors(len(shards)) if actors is not None else None
            for done in execution.run(shards, work, parts, actors=chosen):
                held |= {(entry.track, entry.key): Place(done.name, entry) for entry in done.entries}
                shown.advance(len(done.entries), failed=sum(entry.kind is not None for entry in done.entries))
    return [held[track.id, key] for track, key in pairs], reused


def _take_over(old: Store, name: str, rows: int, parts: Store, pairs: Sequence[tuple[Track, str]], work: Work) -> None:
    """Make parts of those of the old table's rows that would come out the same, as if a run had been interrupted."""
    held = places(parts)
    wanted = {key: track.id for track, key in pairs if (track.id, key) not in held}
    if not wanted or not _is_whole(old, name, rows, work.failed(pairs[0][0], "", "")):
        return
    for table in _uncut(old.groups(name)):
        keys = table[MADE_FROM].to_pylist()
        kinds = table[ERROR_KIND].to_pylist() if ERROR_KIND in table.column_names else [None] * len(table)
        entries: list[Entry] = []
        chosen: list[int] = []
        for key, together in groupby(range(len(keys)), key=keys.__getitem__):
            span = list(together)
            kind = kinds[span[0]]
            if key in wanted and kind not in NOT_KEPT:
                entries.append(Entry(wanted.pop(key), key, len(chosen), len(span), kind))
                chosen += span
        if entries:
            content = "\n".join(entry.key for entry in entries)
            with parts.writing(f"kept-{hashlib.sha256(content.encode()).hexdigest()[:20]}.parquet") as writer:
                writer.add(table.take(chosen).drop_columns([MADE_FROM]).replace_schema_metadata(None))
                writer.finish(entries)


def _is_whole(old: Store, name: str, rows: int, stand_in: pa.Table | None) -> bool:
    """Whether a table has the rows that it was written with, and the columns that would be written today."""
    schema = old.schema(name)
    if MADE_FROM not in schema.names:
        return False
    if stand_in is not None and schema != stand_in.schema.append(pa.field(MADE_FROM, pa.string())):
        return False
    return rows == sum(len(group) for group in old.groups(name, [MADE_FROM]))


def _uncut(groups: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, parted only where another track begins."""
    rest: pa.Table | None = None
    for group in groups:
        table = group if rest is None else pa.concat_tables([rest, group])
        if len(table):
            begin = pc.index(table[MADE_FROM], table[MADE_FROM][-1]).as_py()
            yield table.slice(0, begin)
            rest = table.slice(begin)
    if rest is not None:
        yield rest


def _rows(parts: Store, ordered: Sequence[Place]) -> Iterator[pa.Table]:
    """The rows of all places in their order, each part read once as long as its tracks stand together."""

    @lru_cache(_OPEN_PARTS)
    def part(shard: str) -> pa.Table:
        return pa.concat_tables(parts.groups(shard))

    for shard, grouped in groupby(ordered, key=lambda place: place.shard):
        together = [place.entry for place in grouped]
        spans = [np.arange(entry.first, entry.first + entry.rows) for entry in together]
        keys = [entry.key for entry in together for _ in range(entry.rows)]
        yield part(shard).take(np.concatenate(spans)).append_column(MADE_FROM, pa.array(keys, pa.string()))
