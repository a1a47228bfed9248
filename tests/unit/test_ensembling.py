"""Mixtures: weights at the maximum of the likelihood, members that help, and none that do not."""

import numpy as np
import pytest

from genre_ray.calibration import fit_temperature, temper
from genre_ray.ensembling import learn_mixture, mix, mixture_weights
from genre_ray.metrics import log_loss

TARGETS = np.random.default_rng(0).integers(0, 4, 600)


def expert(quality, seed, only=None):
    """Probabilities that know the truth up to noise; outside the labels `only`, they know nothing."""
    logits = np.random.default_rng(seed).normal(size=(600, 4))
    logits[np.arange(600), TARGETS] += quality if only is None else quality * np.isin(TARGETS, only)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def test_weights_are_where_the_loss_after_the_best_temperature_is_least():
    a, b = expert(2.0, 1), temper(expert(1.5, 2), 3.0)  # the second is far too unsure
    found = mixture_weights(np.stack([a, b]).astype(float), TARGETS)
    grid = np.linspace(0, 1, 101)

    def loss(share):
        mixed = mix([a, b], [share, 1 - share])
        return log_loss(temper(mixed, fit_temperature(mixed, TARGETS)), TARGETS)

    assert found.sum() == pytest.approx(1.0)
    assert found[0] == pytest.approx(grid[np.argmin([loss(share) for share in grid])], abs=0.02)


def test_a_good_model_that_is_too_unsure_is_not_left_out():
    predictions = {"first": expert(2.0, 1), "unsure": temper(expert(2.0, 2), 4.0)}
    mixture = learn_mixture(predictions, TARGETS)
    assert sorted(mixture.members) == ["first", "unsure"]
    assert mixture.loss < 0.9 * learn_mixture({"first": expert(2.0, 1)}, TARGETS).loss


def test_a_model_that_says_the_same_again_is_not_worth_its_place():
    good = expert(2.0, 1)
    again = mix([good, expert(2.0, 1)], [0.5, 0.5])
    assert len(learn_mixture({"good": good, "again": again}, TARGETS).members) == 1


def test_a_model_that_knows_nothing_is_left_out():
    mixture = learn_mixture({"good": expert(3.0, 1), "noise": expert(0.0, 2)}, TARGETS)
    assert mixture.members == ("good",)
    assert mixture.weights == (1.0,)


def test_models_that_know_different_things_are_mixed_and_beat_each_alone():
    predictions = {"low": expert(3.0, 1, only=(0, 1)), "high": expert(3.0, 2, only=(2, 3)), "noise": expert(0.0, 3)}
    mixture = learn_mixture(predictions, TARGETS)
    assert sorted(mixture.members) == ["high", "low"]
    assert mixture.loss < min(log_loss(found, TARGETS) for found in predictions.values())


def test_no_more_members_than_asked_for():
    predictions = {str(seed): expert(1.5, seed) for seed in range(10)}
    assert len(learn_mixture(predictions, TARGETS, most=3).members) == 3
    assert len(learn_mixture(predictions, TARGETS, most=8).members) > 3


def test_full_caution_gives_equal_shares():
    predictions = {"a": expert(2.0, 1), "b": expert(1.8, 2)}
    assert learn_mixture(predictions, TARGETS, caution=1.0).weights == (0.5, 0.5)


def test_the_temperature_is_that_of_the_mixture():
    sharp = temper(expert(2.0, 1), 0.4)
    assert learn_mixture({"a": sharp}, TARGETS).temperature == pytest.approx(
        0.4**-1 * learn_mixture({"a": expert(2.0, 1)}, TARGETS).temperature, rel=0.02
    )


def test_mixing_is_the_weighted_mean():
    a, b = expert(1.0, 1), expert(1.0, 2)
    np.testing.assert_allclose(mix([a, b], [0.25, 0.75]), 0.25 * a + 0.75 * b, atol=1e-6)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="no predictions"):
        learn_mixture({}, TARGETS)
