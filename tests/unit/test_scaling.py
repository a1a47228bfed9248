"""Scaling by the statistics of a training part, against NumPy and scikit-learn."""

import numpy as np
import pytest

from genre_ray.config import FeatureConfig
from genre_ray.scaling import feature_statistics, scale_rows

QUANTILE = FeatureConfig(scaling="quantile")


def corpus(seed: int = 0) -> np.ndarray:
    """Columns of all kinds: smooth, with runs of equal values, constant, huge, tiny."""
    rows = np.random.default_rng(seed).normal(size=(400, 57))
    rows[:, 1] = np.round(rows[:, 1])
    rows[:, 2] = 7.0
    rows[:, 3] *= 1e9
    rows[:, 4] *= 1e-9
    return rows


def by_numpy(rows: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    grid = np.linspace(0.0, 1.0, quantiles.shape[1])
    scaled = np.empty(rows.shape, np.float32)
    for column, knots in enumerate(quantiles):
        upward = np.interp(rows[:, column], knots, grid)
        downward = 1.0 - np.interp(-rows[:, column], -knots[::-1], grid)
        scaled[:, column] = np.clip(ndtri((upward + downward) / 2), -5.2, 5.2)
    return scaled


@pytest.mark.parametrize("n", [1, 300])
def test_quantile_scaling_is_that_of_np_interp_to_the_bit(n: int) -> None:
    train = corpus()
    state = feature_statistics(train, QUANTILE)
    knots = state["quantiles"].T[:57]
    for rows in (corpus(1)[:n] * 2, train[:n], knots[:n], np.full((n, 57), 1e300), np.full((n, 57), -1e300)):
        np.testing.assert_array_equal(scale_rows(rows, state, QUANTILE), by_numpy(rows, state["quantiles"]))


def test_quantile_scaling_is_scikit_learns() -> None:
    from sklearn.preprocessing import QuantileTransformer

    train, rows = corpus()[:, 5:], corpus(1)[:50, 5:]
    reference = QuantileTransformer(n_quantiles=201, output_distribution="normal", subsample=None).fit(train)
    found = scale_rows(rows, feature_statistics(train, QUANTILE), QUANTILE)
    np.testing.assert_allclose(found, reference.transform(rows), atol=1e-3)


def test_what_is_no_number_stays_none() -> None:
    rows = corpus()[:2]
    rows[1, 9] = np.nan
    scaled = scale_rows(rows, feature_statistics(corpus(), QUANTILE), QUANTILE)
    assert np.isnan(scaled[1, 9])
    assert np.isfinite(np.delete(scaled, 9, axis=1)).all()
