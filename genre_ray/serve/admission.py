"""Who is let in, and in what order: places, turns, rates. Knows nothing about HTTP, Ray, or what a request asks."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

_PASSES = 3
"""Of the event loop before each call: a request is accepted in one, read in the next, refused in the third."""


class Admission:
    """The places of one replica. A place is taken before a body is read, so that a refusal costs nothing.

    `in_progress` counts requests that wait for their turn or have it, and bodies that come at an ordinary pace;
    `readers` counts all bodies that are being read; `held` is the bytes of all requests that are not answered yet.
    `mean_s` is a running mean of the time one answer takes.
    """

    def __init__(self, *, places: int, readers: int, max_held: int = 2**62) -> None:
        self.places = places
        self.max_readers = readers
        self.max_held = max_held
        self.in_progress = 0
        self.readers = 0
        self.held = 0
        self.mean_s = 0.05

    def enter(self) -> "Ticket | None":
        """A place, or None when there is none."""
        if self.in_progress >= self.places or self.readers >= self.max_readers:
            return None
        self.in_progress += 1
        self.readers += 1
        return Ticket(self)

    def took(self, seconds: float) -> None:
        """Note how long an answer took, for `retry_after_s`."""
        self.mean_s += 0.1 * (seconds - self.mean_s)

    @property
    def retry_after_s(self) -> int:
        """Whole seconds after which a place should be free."""
        return max(1, round(self.in_progress * self.mean_s))


class Ticket:
    """One place; given back when the `with` block ends."""

    __slots__ = ("_admission", "_counted", "_held", "_reading")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0
        self._counted = True
        self._reading = True

    def suspend(self) -> None:
        """The body is slow: others may have the place meanwhile."""
        if self._counted and self._reading:
            self._counted = False
            self._admission.in_progress -= 1

    def hold(self, size: int) -> bool:
        """So many bytes more have come; False when all bodies together are more than the replica may hold."""
        self._held += size
        self._admission.held += size
        return self._admission.held <= self._admission.max_held

    def body_read(self) -> bool:
        """The body is complete; False when the place was given up and none is free now."""
        if self._reading:
            self._reading = False
            self._admission.readers -= 1
        if not self._counted:
            if self._admission.in_progress >= self._admission.places:
                return False
            self._counted = True
            self._admission.in_progress += 1
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.held -= self._held
        self._held = 0
        if self._reading:
            self._reading = False
            self._admission.readers -= 1
        if self._counted:
            self._counted = False
            self._admission.in_progress -= 1


class Turns:
    """First come, first served: one piece of work for each pass of the event loop.

    Work runs in the loop itself (a thread hop costs more than it gives with one core a replica). One piece a pass keeps
    refusals, health checks and the bodies of others moving between two pieces.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        # Without this pass of the loop every task that is ready would find the lock free, one after the other.
        await asyncio.sleep(0)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


class Together(Generic[Q, A]):
    """First come, first served, and those who wait anyway are served several at once; nobody waits for others to come.

    `work` answers a list of questions in the event loop itself, an Exception for one that fails. It is called with as
    many as take about `longest_s` by what they took of late, and at most `most`. Before each call the loop goes round a
    few times, some 20 us each, for everything else: others join whose bodies are all but there, and refusals get out.
    """

    def __init__(self, work: Callable[[list[Q]], Sequence[A | Exception]], *, most: int, longest_s: float) -> None:
        self._work = work
        self._most = most
        self._longest_s = longest_s
        self._each_s = longest_s
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()

    async def __call__(self, question: Q) -> A:
        """The answer; raises what `work` gives as this question's error."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if len(self._waiting) == 1:
            self._after(_PASSES)
        return await future

    def _turn(self) -> None:
        size = max(1, min(self._most, int(self._longest_s / self._each_s)))
        chosen = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
        if self._waiting:
            self._after(_PASSES)
        wanted = [pair for pair in chosen if not pair[1].done()]  # whoever gave up meanwhile is left out
        if wanted:
            self._answer(wanted)

    def _after(self, passes: int) -> None:
        """Take the next turn when the loop has gone round so often."""
        if passes:
            asyncio.get_running_loop().call_soon(self._after, passes - 1)
        else:
            self._turn()

    def _answer(self, wanted: list[tuple[Q, "asyncio.Future[A]"]]) -> None:
        start = time.perf_counter()
        found: Sequence[A | Exception]
        try:
            found = self._work([question for question, _ in wanted])
        except Exception as error:
            found = [error] * len(wanted)
        self._each_s += 0.2 * ((time.perf_counter() - start) / len(wanted) - self._each_s)
        for (_, future), answer in zip(wanted, found, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class Rates:
    """A token bucket for each key; the keys used last are remembered, up to `keys` of them."""

    def __init__(self, *, per_s: float, burst: int, keys: int = 10_000) -> None:
        self._per_s = per_s
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, key: str, now: float | None = None) -> float:
        """0 when the key may ask now (and has then asked), else the seconds until it may."""
        now = time.monotonic() if now is None else now
        tokens, then = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._per_s)
        allowed = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self._per_s
