"""From which probability on a classifier should answer at all. Knows nothing about where its predictions come from."""

import numpy as np
from numpy.typing import NDArray

UNSURE_BELOW = 0.4
"""Threshold of a checkpoint for which none was learnt."""

_FEWEST = 10
"""Held-out tracks that must lie above a threshold before their share of wrong answers says anything."""


def is_unsure(probability: float, below: float) -> bool:
    """Whether an answer of this top probability is too improbable to go by; a threshold of 1 leaves none to go by."""
    return probability < below or below >= 1.0


def least_sure(probabilities: NDArray[np.float32], targets: NDArray[np.int64], *, most_wrong: float) -> float | None:
    """The lowest top probability from which on at most the share `most_wrong` of the answers is wrong.

    That is the threshold of largest coverage at a given risk (Geifman and El-Yaniv 2017, without their bound: the share
    on other tracks will lie around `most_wrong`, not below it). `probabilities` (N, L) are of tracks that neither
    training nor the test has seen. 0.0: every answer may stand; 1.0: no threshold does it, none may; None: too few
    tracks to tell.
    """
    surest = np.max(probabilities, axis=1)
    order = np.argsort(-surest, kind="stable")
    wrong = np.cumsum(np.argmax(probabilities, axis=1)[order] != targets[order])
    answered = np.arange(1, len(order) + 1)
    ordered = surest[order]
    ends = np.append(ordered[:-1] > ordered[1:], True)  # tracks of equal probability are answered all or none
    able = np.flatnonzero(ends & (wrong <= most_wrong * answered) & (answered >= _FEWEST))
    if len(able) == 0:
        return None if len(order) < _FEWEST else 1.0
    last = int(able[-1])
    return 0.0 if last == len(order) - 1 else float(ordered[last])
