"""What a finished search says of its threshold."""

from pathlib import Path

import numpy as np
import pytest

from genre_ray.config import RunConfig
from genre_ray.metrics import score
from genre_ray.report import RunResult
from genre_ray.tune.outcome import Entry


def entry(unsure_below: float | None) -> Entry:
    """Four test tracks at 0.9, 0.8, 0.6 and 0.55, the last of them called wrong."""
    tops = np.array([0.9, 0.8, 0.6, 0.55], np.float32)
    probabilities = np.stack([tops, 1 - tops], axis=1)
    targets = np.array([0, 0, 0, 1])
    result = RunResult(
        name="best",
        scores=score(probabilities, targets, ("a", "b")),
        leaks="none",
        tracks=("1", "2", "3", "4"),
        probabilities=probabilities,
        targets=targets,
    )
    return Entry("best", RunConfig(), 3, 1, (result,), result, Path("best"), unsure_below)


@pytest.mark.parametrize(
    ("threshold", "told"),
    [
        (0.6, "Unsure below 0.600: 75% of the test tracks are answered, 1.000 right."),
        (0.95, "Unsure below 0.950: no test track is answered."),
        (0.0, "No answer is unsure: few enough held-out tracks are called wrong. Test part: 0.750 right."),
        (1.0, "Every answer is marked unsure: at no probability are few enough held-out tracks called wrong."),
        (None, "No threshold was learnt: none was asked for, or too few tracks were held out."),
    ],
)
def test_the_threshold_is_told_with_what_it_leaves_of_the_test_part(threshold: float | None, told: str) -> None:
    assert entry(threshold).answered_text() == told
