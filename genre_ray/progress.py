"""How far a long run is: one line that renews itself in a terminal, a line now and then in a log. Knows no Ray."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from genre_ray.events import say

_REDRAW_S = 0.1
_FIRST_LINE_S = 5.0
_LINE_EVERY_S = 15.0


class Progress:
    """Writes `verb done/total noun, rate, time left, failures` to a stream; a context manager that ends its line.

    `total` counts all, `done` those that need no work any more; the rate is over the work of this run alone. The time
    left goes by what came after the first report, which waits for whatever is started or compiled once.
    """

    def __init__(
        self,
        verb: str,
        *,
        total: int,
        done: int = 0,
        noun: str = "tracks",
        shown: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._verb = verb
        self._noun = noun
        self._total = total
        self._before = done
        self._done = done
        self._failed = 0
        self._shown = shown
        self._stream = stream if stream is not None else sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._started = clock()
        self._first: tuple[float, int] | None = None
        self._next = self._started + (0.0 if self._terminal else _FIRST_LINE_S)
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and (self._width or kind is None):
            self._write(final=True)

    def advance(self, count: int, *, failed: int = 0) -> None:
        """`count` more are finished, `failed` of them without success."""
        self._done += count
        self._failed += failed
        self._first = self._first or (self._clock(), self._done)
        if self._shown and self._clock() >= self._next:
            self._write()
            self._next = self._clock() + (_REDRAW_S if self._terminal else _LINE_EVERY_S)

    def line(self) -> str:
        """What is to be said now."""
        elapsed = self._clock() - self._started
        worked = self._done - self._before
        rate = worked / elapsed if elapsed > 0 and worked else 0.0
        parts = [f"{self._verb} {self._done}/{self._total} {self._noun}"]
        if rate:
            parts.append(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
        left = self._left_s()
        if left is not None:
            parts.append(f"{duration(left)} left")
        else:
            parts.append(duration(elapsed))
        if self._failed:
            parts.append(f"{self._failed} failed")
        return ", ".join(parts)

    def _left_s(self) -> float | None:
        """Seconds to the end at the pace since the first report; None while nothing can be said, and at the end."""
        if self._first is None or self._done >= self._total:
            return None
        at, done = self._first
        since = self._done - done
        return (self._total - self._done) * (self._clock() - at) / since if since else None

    def _write(self, *, final: bool = False) -> None:
        text = self.line()
        if self._terminal:
            # Blanks cover what a longer line before left behind.
            text = "\r" + text.ljust(self._width) + ("\n" if final else "")
            self._width = len(text.strip())
            self._stream.write(text)
            self._stream.flush()
        else:
            say(self._stream, text, event=self._verb, done=self._done, total=self._total, failed=self._failed)


def duration(seconds: float) -> str:
    """A length of time as people say it: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
