"""One shard of a long run: some tracks, what is done to each, and how a bad one is set aside. Knows nothing about Ray.

Whatever a track does, the shard is finished: an error becomes an entry, and a track that brings the worker's process
down twice is passed over the third time.
"""

import errno
import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from genre_ray.data.store import Entry, ShardWriter, Store
from genre_ray.errors import RunError, TrackError
from genre_ray.schema import Track

logger = logging.getLogger(__name__)

UNEXPECTED = "unexpected"
"""Kind of an exception that is no TrackError: a bug of ours or of a library."""

CRASHED = "crashed"
"""Kind of a track that brought its worker down."""

NOT_KEPT = frozenset({UNEXPECTED, CRASHED, "not_found", "unreachable"})
"""Kinds that may be gone on another try; the others follow from a track's content and stay as they are."""

_DEATHS = 2
_SHARDS_PER_CPU = 8
_SMALLEST, _LARGEST = 8, 256
_PAUSES_S = (1.0, 5.0, 20.0)
_LASTING = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG)
)

Process = Callable[[Track], Iterator[pa.Table]]
"""From a track to its rows, in one table or several. Raises TrackError when it has none."""


class Work(Protocol):
    """What is done to tracks: small enough to send to the workers, opened there once."""

    def open(self) -> Process:
        """Load what is needed (a model, say) and return the function that is called with each track."""
        ...

    def failed(self, track: Track, kind: str, message: str) -> pa.Table | None:
        """The rows that stand for a track without any of its own; None for no rows."""
        ...


@dataclass(frozen=True, slots=True)
class Shard:
    """Tracks that are worked on together and end up in one file, each with the key of what it is made from."""

    name: str
    tracks: tuple[Track, ...]
    keys: tuple[str, ...]


def shard_size(tracks: int, cpus: int) -> int:
    """Tracks a shard: several shards a core, so that none waits long for the last; not too small, since each costs
    some 10 ms; not too large, since a lost machine costs the shards in hand.
    """
    return min(max(-(-tracks // (cpus * _SHARDS_PER_CPU)), _SMALLEST), _LARGEST)


def cut(pairs: Sequence[tuple[Track, str]], *, size: int) -> list[Shard]:
    """Shards of about `size` tracks, as even as can be, named by what is in them: the same again for the same pairs."""
    if not pairs:
        return []
    count = -(-len(pairs) // size)
    bounds = [round(i * len(pairs) / count) for i in range(count + 1)]
    return [_shard(pairs[a:b]) for a, b in pairwise(bounds)]


def _shard(pairs: Sequence[tuple[Track, str]]) -> Shard:
    content = "\n".join(f"{track.id}\t{key}" for track, key in pairs)
    name = hashlib.sha256(content.encode()).hexdigest()[:20] + ".parquet"
    return Shard(name, tuple(track for track, _ in pairs), tuple(key for _, key in pairs))


def complete(shard: Shard, process: Process, work: Work, store: Store, *, run: str) -> tuple[Entry, ...]:
    """Work on every track of `shard`, write the file, and say what is in it.

    A shard that is there already is not made again, unless it has errors that may be gone: a worker may have died
    between writing it and saying so. Storage that is away is waited for. RunError when the file cannot be written.
    """
    known = store.entries(shard.name) if store.has(shard.name) else None
    if known is not None and not any(entry.kind in NOT_KEPT for entry in known):
        return known
    for pause in (*_PAUSES_S, None):
        try:
            with Trail(run, shard.name) as trail, store.writing(shard.name) as writer:
                entries = [
                    _one(track, key, process, work, writer, trail)
                    for track, key in zip(shard.tracks, shard.keys, strict=True)
                ]
                writer.finish(entries)
            return tuple(entries)
        except OSError as error:
            if pause is None or error.errno in _LASTING:
                raise _cannot_write(store, error) from error
            logger.warning("shard %s: %s; again in %.0f s", shard.name, error, pause)
            time.sleep(pause)
    raise AssertionError("unreachable")


def _cannot_write(store: Store, error: OSError) -> RunError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return RunError(
        f"{store.location} cannot be written",
        found=str(error),
        remedy=("make room" if full else "check the permissions and the connection")
        + ", then start again: what is finished is kept",
    )


def _one(track: Track, key: str, process: Process, work: Work, writer: ShardWriter, trail: "Trail") -> Entry:
    first = writer.rows
    if trail.is_deadly(track.id):
        message = "its worker process ended twice while on this track (out of memory, or a crash of a decoder)"
        return _failed(track, key, CRASHED, message, work, writer)
    trail.enter(track.id)
    tables = _tables(process, track)
    while True:
        # Only what the track does is caught; what the writer does concerns the whole shard.
        try:
            table = next(tables, None)
        except TrackError as error:
            return _failed(track, key, error.kind, str(error), work, writer)
        except Exception as error:
            logger.exception("%s: unexpected error", track.id)
            message = f"{type(error).__name__}: {error}".rstrip(": ")
            return _failed(track, key, UNEXPECTED, message, work, writer)
        if table is None:
            return Entry(track.id, key, first, writer.rows - first)
        writer.add(table)


def _tables(process: Process, track: Track) -> Iterator[pa.Table]:
    """`process(track)`, called only when the first table is asked for, wherever it raises."""
    yield from process(track)


def _failed(track: Track, key: str, kind: str, message: str, work: Work, writer: ShardWriter) -> Entry:
    """What a track wrote before it failed stays in the file, but belongs to nobody."""
    first = writer.rows
    stand_in = work.failed(track, kind, message)
    if stand_in is not None:
        writer.add(stand_in)
    return Entry(track.id, key, first, writer.rows - first, kind, message)


class Trail:
    """Remembers on the local disk at which track a shard is, so that a second try knows where the first one died.

    It is kept for one run only: a run that is stopped from outside says nothing against its tracks. Where the disk
    takes no trail, the run goes on without.
    """

    def __init__(self, run: str, shard: str) -> None:
        self._path = trail_folder(run) / f"{shard}.json"
        self._deaths: dict[str, int] = {}
        self._file: FileIO | None = None
        self._length = 0

    def __enter__(self) -> "Trail":
        try:
            left = json.loads(self._path.read_bytes())
            self._deaths = left["deaths"]
            self._deaths[left["at"]] = self._deaths.get(left["at"], 0) + 1
        except (OSError, ValueError, KeyError):
            self._deaths = {}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(self._path, "w")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def enter(self, track: str) -> None:
        """Note that `track` is being worked on."""
        note = json.dumps({"deaths": self._deaths, "at": track}).encode()
        with suppress(OSError):
            if self._file is not None:
                self._file.seek(0)
                self._file.write(note.ljust(self._length))  # blanks over what a longer name left
                self._length = len(note)

    def is_deadly(self, track: str) -> bool:
        """Whether this track has brought a worker down too often."""
        return self._deaths.get(track, 0) >= _DEATHS


def trail_folder(run: str) -> Path:
    """Where the trails of a run lie on each node."""
    return Path(tempfile.gettempdir()) / f"genre_ray-{run}"


def forget(run: str) -> None:
    """Remove the trails of a run that has ended, on this node."""
    shutil.rmtree(trail_folder(run), ignore_errors=True)
