"""Chosen rows of shards in a chosen order, read ahead by a thread of this process.

Knows nothing about Ray, about why these rows, or what is done with them.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from genre_ray.clips import ClipTable
from genre_ray.data.store import Store

T = TypeVar("T")

Rows = dict[str, NDArray[Any]]
"""Columns of as many rows each: `number` (which track), `index`, `start_s`, and `spectrogram`, `features` if asked."""

_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Span:
    """What is wanted of a shard: of track `number`, rows `first` to `first + rows`; int64 (T,), `first` ascending."""

    shard: str
    first: NDArray[np.int64]
    rows: NDArray[np.int64]
    number: NDArray[np.int64]


class Reader(Protocol):
    """Reads spans one after the other, in pieces of bounded size."""

    def read(self, store: Store, spans: Sequence[Span], columns: tuple[str, ...]) -> Iterator[Rows]:
        """The rows of all spans in their order. RunError when a shard is damaged."""
        ...


@dataclass(frozen=True, slots=True)
class ThreadReader:
    """Reads in a thread, since decompression lets other threads run: no process, no CPU of the cluster, no copy."""

    def read(self, store: Store, spans: Sequence[Span], columns: tuple[str, ...]) -> Iterator[Rows]:
        """See Reader."""
        return ahead(lambda: (rows for span in spans for rows in rows_of(store, span, columns)), _AHEAD)


def rows_of(store: Store, span: Span, columns: tuple[str, ...]) -> Iterator[Rows]:
    """The rows of one span, a row group at a time; nothing is copied where a group is wanted whole."""
    ends = np.cumsum(span.rows)
    within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - span.rows, span.rows)
    wanted = np.repeat(span.first, span.rows) + within
    number = np.repeat(span.number, span.rows)
    offset = 0
    for group in store.groups(span.shard, ["track", "label", "index", "start_s", *columns]):
        low, high = np.searchsorted(wanted, (offset, offset + group.num_rows))
        if low < high:
            part = ClipTable.from_arrow(group)
            here = wanted[low:high] - offset
            if len(here) < len(part):
                part = part.take(here)
            found: Rows = {"number": number[low:high], "index": part.index, "start_s": part.start_s}
            yield found | {name: getattr(part, name) for name in columns}
        offset += group.num_rows


def ahead(make: Callable[[], Iterator[T]], depth: int) -> Iterator[T]:
    """What `make()` yields, made by a thread that is up to `depth` items ahead; its errors are raised here.

    The thread ends when the iterator does, or is closed.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: tuple[T | None, BaseException | None, bool]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in make():
                if not put((item, None, False)):
                    return
            put((None, None, True))
        except BaseException as error:
            put((None, error, True))

    thread = threading.Thread(target=work, name="genre_ray-reading", daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = waiting.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]  # T itself may be None
    finally:
        stopped.set()
        thread.join()
