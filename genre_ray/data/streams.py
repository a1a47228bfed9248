"""ClipStream: the clips of many tracks as a stream out of the prepared shards, in order or shuffled.

It looks like a ClipTable to those who fit and predict, and holds a few numbers a track, never a clip. Knows nothing
about Ray (the reader may), nor about batches.
"""

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from genre_ray.clips import ClipTable
from genre_ray.data.reading import Reader, Rows, Span
from genre_ray.data.store import Store
from genre_ray.data.streaming import StreamingConfig

_PIECE = 512  # clips that change places at a time: what is copied for it stays small, whatever the reader gives


@dataclass(frozen=True, kw_only=True)
class ClipStream:
    """Clips of T tracks: where each one's rows are, as arrays (T,) sorted by shard and first row.

    `shard` counts in `shards`. `picture_shape` (C, H, W) and `n_columns` (raw features) tell what each clip has.
    """

    store: Store
    reader: Reader
    settings: StreamingConfig
    shards: tuple[str, ...]
    shard: NDArray[np.int32]
    first: NDArray[np.int64]
    rows: NDArray[np.int64]
    track: NDArray[np.str_]
    label: NDArray[np.str_]
    picture_shape: tuple[int, int, int] | None
    n_columns: int | None

    def __len__(self) -> int:
        """Number of clips."""
        return int(self.rows.sum())

    @property
    def nbytes(self) -> int:
        """What all clips would take in memory."""
        return len(self) * (math.prod(self.picture_shape or (0,)) + 8 * (self.n_columns or 0))

    @cached_property
    def key(self) -> str:
        """Equal for streams of the same clips."""
        digest = hashlib.sha256("\n".join((self.store.location, *self.shards)).encode())
        for array in (self.shard, self.first, self.rows, self.label):
            digest.update(array.tobytes())
        return digest.hexdigest()

    @property
    def labels(self) -> Mapping[str, str]:
        """The label of each track."""
        return dict(zip(self.track.tolist(), self.label.tolist(), strict=True))

    def part(self, tracks: Collection[str]) -> "ClipStream":
        """The clips of `tracks`, as a stream of their own. Tracks that are not there are passed over."""
        kept = np.isin(self.track, list(tracks))
        names = ("shard", "first", "rows", "track", "label")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def pieces(self, *, pictures: bool = True) -> Iterator[ClipTable]:
        """All clips in the order of `tracks_of_clips`, some hundreds at a time; without pictures where not asked."""
        order = np.arange(len(self.shards))
        yield from map(self._table, self._read(self._spans(order, 0, len(self)), pictures))

    def shuffled(
        self, seed: Sequence[int], *, share: tuple[int, int] = (0, 1), pictures: bool = True
    ) -> Iterator[ClipTable]:
        """The clips of one epoch in random order, some hundreds at a time: shards are taken in random order, and clips
        change places in a buffer on their way.

        Of several workers, `share` = (rank, size), each gets its own clips, as many as the others or one less; together
        they get every clip once. Equal seeds give equal orders.
        """
        order = np.random.default_rng([*seed]).permutation(len(self.shards))
        rank, size = share
        low, high = len(self) * rank // size, len(self) * (rank + 1) // size
        generator = np.random.default_rng([*seed, rank])
        read = self._read(self._spans(order, low, high), pictures)
        yield from map(self._table, exchanged(read, high - low, self.settings.buffer_mb * 1024**2, generator))

    def tracks_of_clips(self) -> NDArray[np.str_]:
        """The track of each clip, in the order of `pieces`."""
        return np.repeat(self.track, self.rows)

    def labels_of_clips(self) -> NDArray[np.str_]:
        """The label of each clip, in the order of `pieces`."""
        return np.repeat(self.label, self.rows)

    def _read(self, spans: Sequence[Span], pictures: bool) -> Iterator[Rows]:
        columns = ("spectrogram",) * (pictures and self.picture_shape is not None)
        return self.reader.read(self.store, spans, columns + ("features",) * (self.n_columns is not None))

    def _table(self, rows: Rows) -> ClipTable:
        number = rows["number"]
        return ClipTable(
            track=self.track[number],
            label=self.label[number],
            index=rows["index"],
            start_s=rows["start_s"],
            spectrogram=rows.get("spectrogram"),
            features=rows.get("features"),
        )

    def _spans(self, order: NDArray[np.int64], low: int, high: int) -> list[Span]:
        """Clips `low` to `high` of all, counted when the shards stand in `order`."""
        place = np.empty(len(self.shards), np.int64)
        place[order] = np.arange(len(order))
        number = np.argsort(place[self.shard], kind="stable")
        rows = self.rows[number]
        ends = np.cumsum(rows)
        begun = np.maximum(low - (ends - rows), 0)  # rows of a track that belong to the share before
        rows = np.minimum(ends, high) - (ends - rows) - begun
        kept = rows > 0
        number, first, rows = number[kept], (self.first[number] + begun)[kept], rows[kept]
        edges = np.flatnonzero(np.diff(self.shard[number], prepend=-1)).tolist()
        return [
            Span(self.shards[self.shard[number[a]]], first[a:b], rows[a:b], number[a:b])
            for a, b in zip(edges, [*edges[1:], len(number)], strict=True)
        ]


def exchanged(read: Iterator[Rows], total: int, most_bytes: int, generator: np.random.Generator) -> Iterator[Rows]:
    """The rows of `read`, `total` in all, in random order: each takes the place of another in a full buffer, which
    goes on; what is left at the end comes in random order.

    A buffer that holds all gives a perfect shuffle. How the rows are cut into pieces does not change the order.
    """
    held: Rows = {}
    capacity = filled = 0
    for rows in _sliced(read):
        count = len(rows["number"])
        if not held:
            each = sum(column[:1].nbytes for column in rows.values())
            capacity = max(1, min(total, most_bytes // each))
            held = {name: np.empty((capacity, *column.shape[1:]), column.dtype) for name, column in rows.items()}
        taken = min(count, capacity - filled)
        for name, column in rows.items():
            held[name][filled : filled + taken] = column[:taken]
        filled += taken
        if taken < count:
            yield _exchange(held, {name: column[taken:] for name, column in rows.items()}, generator)
    order = generator.permutation(filled)
    for start in range(0, filled, _PIECE):
        yield {name: column[order[start : start + _PIECE]] for name, column in held.items()}


def _sliced(read: Iterator[Rows]) -> Iterator[Rows]:
    for rows in read:
        for start in range(0, len(rows["number"]), _PIECE):
            yield {name: column[start : start + _PIECE] for name, column in rows.items()}


def _exchange(held: Rows, rows: Rows, generator: np.random.Generator) -> Rows:
    """Each of `rows`, one after the other, changes places with a random one that is held; those that go on."""
    some = next(iter(rows.values()))
    places = generator.integers(0, len(next(iter(held.values()))), len(some))
    order = np.argsort(places, kind="stable")
    again = places[order[1:]] == places[order[:-1]]
    later, earlier = order[1:][again], order[:-1][again]  # places that are drawn twice: the earlier row goes on
    last = np.setdiff1d(order, earlier)
    out = {}
    for name, column in rows.items():
        out[name] = held[name][places]
        out[name][later] = column[earlier]
        held[name][places[last]] = column[last]
    return out
