"""Writes `genre_ray/median31.py`: the sorting network for running medians of 31 as straight-line code.

    python benchmarks/median_network.py > genre_ray/median31.py

Eight neighbouring windows are solved at once: what they share is sorted once, then each half gets the elements that its
windows share, and so on down to single windows (after A. Adams, "Fast median filters using separable sorting networks",
2021), and what can no longer be a median is dropped on the way. That leaves 25 comparisons an output.
"""

WIDTH, TILE, LANES = 31, 8, 104

Step = tuple[int, int, int, int]

_HEAD = f'''"""Medians of {WIDTH} by a sorting network, {TILE} windows at a time. Knows nothing about sound.

Written by `benchmarks/median_network.py`, which says how; a test compares. It is written out because LLVM then keeps
the values in vector registers: ten times as fast as the same network as a loop over its steps.
"""

import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled

WIDTH, TILE, LANES = {WIDTH}, {TILE}, {LANES}


@compiled(fastmath=frozenset({{"nnan", "nsz"}}))
def median31(values: NDArray[np.float32], result: NDArray[np.float32]) -> None:
    """Medians of rows r .. r + {WIDTH - 1} of `values` into row r of `result`, both flat, of rows of {LANES} lanes.

    `result` has a multiple of {TILE} rows and `values` {WIDTH - 1} more; no value is NaN or negative zero.
    """
    for start in range(0, result.shape[0], {TILE} * LANES):
        source, target = values[start : start + {TILE + WIDTH - 1} * LANES], result[start : start + {TILE} * LANES]
        for i in range(LANES):'''


class Sorter:
    """Collects comparisons between wires, each written once."""

    def __init__(self, wires: int) -> None:
        self.wires = wires
        self.steps: list[Step] = []

    def compare(self, a: int, b: int) -> list[int]:
        """The wires of the smaller and the larger."""
        low, high = self.wires, self.wires + 1
        self.wires += 2
        self.steps.append((a, b, low, high))
        return [low, high]

    def sort(self, wires: range | list[int]) -> list[int]:
        """Wires of the same values in rising order."""
        if len(wires) <= 1:
            return list(wires)
        half = len(wires) // 2
        return self.merge(self.sort(wires[:half]), self.sort(wires[half:]))

    def merge(self, x: list[int], y: list[int]) -> list[int]:
        """Batcher's odd-even merge (1968) of two sorted lists of any length."""
        if not x or not y:
            return x + y
        if len(x) == len(y) == 1:
            return self.compare(x[0], y[0])
        even, odd = self.merge(x[0::2], y[0::2]), self.merge(x[1::2], y[1::2])
        pairs = list(zip(even[1:], odd, strict=False))
        merged = even[:1]
        for a, b in pairs:
            merged += self.compare(a, b)
        return merged + even[1 + len(pairs) :] + odd[len(pairs) :]


def centre(wires: list[int], count: int) -> list[int]:
    """The middle `count` of sorted wires: no other can be a median once `count` - 1 more elements have come."""
    spare = max(len(wires) - count, 0) // 2
    return wires[spare : len(wires) - spare]


def solve(sorter: Sorter, outputs: list[int], *, first: int, count: int, core: list[int]) -> None:
    """Medians of the windows `first` .. `first + count - 1`, given the sorted candidates out of what they share."""
    if count == 1:
        outputs[first] = core[0]
        return
    half = count // 2
    left, right = range(first + half - 1, first + count - 1), range(first + WIDTH, first + WIDTH + half)
    for start, extra in ((first, left), (first + half, right)):
        candidates = centre(sorter.merge(core, sorter.sort(extra)), half)
        solve(sorter, outputs, first=start, count=half, core=candidates)


def network() -> tuple[list[Step], list[int]]:
    """Comparisons (a, b, wire of the minimum, of the maximum; -1 where nothing reads it) and the medians' wires."""
    sorter, outputs = Sorter(WIDTH + TILE - 1), [0] * TILE
    solve(sorter, outputs, first=0, count=TILE, core=centre(sorter.sort(range(TILE - 1, WIDTH)), TILE))
    live, kept = set(outputs), []
    for a, b, low, high in reversed(sorter.steps):
        if low in live or high in live:
            live |= {a, b}
            kept.append((a, b, low if low in live else -1, high if high in live else -1))
    return kept[::-1], outputs


def module() -> str:
    """The text of `genre_ray/median31.py`."""
    steps, outputs = network()
    lines = [f"v{k} = source[i + {k} * LANES]" for k in range(WIDTH + TILE - 1)]
    for a, b, low, high in steps:
        if high < 0:
            lines.append(f"v{low} = min(v{a}, v{b})")
        elif low < 0:
            lines.append(f"v{high} = max(v{a}, v{b})")
        else:
            lines.append(f"v{low}, v{high} = min(v{a}, v{b}), max(v{a}, v{b})")
    lines += [f"target[i + {k} * LANES] = v{wire}" for k, wire in enumerate(outputs)]
    text = "\n".join([_HEAD, *(f"            {line}" for line in lines)]) + "\n"
    return text.replace("source[i + 0 * LANES]", "source[i]").replace("target[i + 0 * LANES]", "target[i]")


if __name__ == "__main__":
    print(module(), end="")
