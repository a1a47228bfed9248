"""The threshold below which a classifier calls itself unsure."""

import numpy as np
import pytest

from genre_ray.abstention import is_unsure, least_sure


def told(tops, right):
    """Two labels: the first has the top probability and is the true one where `right`."""
    tops = np.array(tops, np.float32)
    return np.stack([tops, 1 - tops], axis=1), np.where(right, 0, 1).astype(np.int64)


def test_it_is_the_lowest_probability_above_which_few_enough_are_wrong():
    tops = np.linspace(0.99, 0.6, 40)
    right = np.ones(40, bool)
    right[[18, 25, 26, 27, 28, 29]] = False  # 1 of 20, then 2 of 26, 3 of 27, ...
    assert least_sure(*told(tops, right), most_wrong=0.1) == pytest.approx(tops[25])
    assert least_sure(*told(tops, right), most_wrong=0.05) == pytest.approx(tops[24])


def test_a_larger_share_of_wrong_answers_never_raises_it():
    rng = np.random.default_rng(3)
    tops = rng.uniform(0.5, 1.0, 500)
    scored = told(tops, rng.random(500) < tops)
    found = [least_sure(*scored, most_wrong=share) for share in (0.05, 0.1, 0.2, 0.3)]
    assert found == sorted(found, reverse=True)
    answered = scored[0].max(axis=1) >= found[1]
    assert np.mean(scored[1][answered] == 1) <= 0.1
    assert 0.05 < answered.mean() < 1.0


def test_a_classifier_that_is_right_often_enough_may_always_answer():
    assert least_sure(*told(np.linspace(0.9, 0.6, 30), np.ones(30, bool)), most_wrong=0.1) == 0.0


def test_tracks_of_equal_probability_are_answered_together():
    tops = [0.9] * 20 + [0.7] * 20
    right = [True] * 38 + [False] * 2
    assert least_sure(*told(tops, right), most_wrong=0.01) == pytest.approx(0.9)


@pytest.mark.parametrize("count", [0, 5])
def test_too_few_tracks_say_nothing(count):
    assert least_sure(*told(np.linspace(0.9, 0.6, count), np.ones(count, bool)), most_wrong=0.1) is None


def test_where_no_threshold_does_it_no_answer_is_sure():
    rng = np.random.default_rng(0)
    guessed = rng.dirichlet(np.ones(10), 200).astype(np.float32)
    threshold = least_sure(guessed, rng.integers(0, 10, 200), most_wrong=0.1)
    assert threshold == 1.0
    assert all(is_unsure(p, threshold) for p in (*guessed.max(axis=1), 1.0))
