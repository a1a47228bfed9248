"""Temperature scaling against its definition."""

import numpy as np
import pytest

from genre_ray.calibration import fit_temperature, temper


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def test_tempering_a_softmax_divides_its_logits():
    logits = np.random.default_rng(0).normal(size=(20, 5))
    np.testing.assert_allclose(temper(softmax(logits), 2.5), softmax(logits / 2.5), atol=1e-6)


def test_temperature_one_changes_nothing():
    probabilities = softmax(np.random.default_rng(0).normal(size=(20, 5)))
    assert temper(probabilities, 1.0) is probabilities


def test_certainty_stays_finite():
    assert np.isfinite(temper(np.array([[1.0, 0.0]], np.float32), 3.0)).all()


def test_the_temperature_that_was_hidden_is_found():
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2.0, size=(20_000, 4))
    targets = (softmax(logits).cumsum(axis=1) < generator.random((20_000, 1))).sum(axis=1).clip(0, 3)
    assert fit_temperature(softmax(logits * 3.0), targets) == pytest.approx(3.0, rel=0.05)


def test_no_tracks_are_refused():
    with pytest.raises(ValueError, match="no tracks"):
        fit_temperature(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
