"""Intervals of shares and of means over runs, at 95 %. Knows nothing about labels, predictions or files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Level of every interval."""

_Z = 1.959963984540054  # the normal deviate of a two-sided 95 % interval

Interval = tuple[float, float]
"""Lower and upper end."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A score over runs: `n` values, their mean, sample deviation and interval, and what the interval rests on.

    `interval` is None where nothing is known about the spread.
    """

    n: int
    mean: float
    std: float
    interval: Interval | None
    basis: str


def wilson_interval(successes: float, n: int) -> Interval:
    """Score interval of a share (Wilson 1927, JASA 22); stays within 0..1 and works near the ends."""
    share = successes / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(values: Sequence[float], *, test_to_train: float = 0.0) -> Interval | None:
    """Student's t interval of the mean; None for a single value, which says nothing about spread.

    Folds share most of their training tracks, so their scores are not independent. `test_to_train`, the ratio of the
    test to the training part, widens the interval by the corrected variance (1/k + n_test/n_train) s² of Nadeau and
    Bengio (2003, "Inference for the Generalization Error"); 0 is the plain interval, for training seeds of one split.
    """
    from scipy.special import stdtrit

    k = len(values)
    if k < 2:
        return None
    mean = float(np.mean(values))
    quantile = float(stdtrit(k - 1, 0.5 + CONFIDENCE / 2))
    half = quantile * float(np.std(values, ddof=1)) * math.sqrt(1 / k + test_to_train)
    return mean - half, mean + half


def summarise_values(
    values: Sequence[float],
    splits: Sequence[str],
    *,
    test_to_train: float = 0.0,
    own: Interval | None = None,
    bounds: Interval = (-math.inf, math.inf),
) -> Summary:
    """One score over runs; `splits` names each run's split, `own` is the interval of a run that stands alone.

    `bounds` are the least and the largest value the score can have; the interval is cut there.

    Runs of one split (training seeds) are averaged before the interval is taken over the splits. With one split only,
    the interval is over its seeds and says nothing about other tracks.
    """
    by_split: dict[str, list[float]] = {}
    for name, value in zip(splits, values, strict=True):
        by_split.setdefault(name, []).append(value)
    if len(by_split) > 1:
        kept = [float(np.mean(group)) for group in by_split.values()]
        corrected = ", corrected for shared training tracks" if test_to_train else ""
        basis = f"t over {len(kept)} splits{corrected}"
        interval = mean_interval(kept, test_to_train=test_to_train)
    elif len(values) > 1:
        kept, basis = list(values), f"t over {len(values)} training seeds of one split"
        interval = mean_interval(kept)
    else:
        kept, basis, interval = list(values), "one run" if own is None else "test tracks of one run", own
    if interval is not None:
        interval = max(bounds[0], interval[0]), min(bounds[1], interval[1])
    std = float(np.std(kept, ddof=1)) if len(kept) > 1 else 0.0
    return Summary(len(kept), float(np.mean(kept)), std, interval, basis)
