"""Running medians equal scipy's to the bit, at any size."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from genre_ray.medians import LANES, Turned, median_over_rows


def matrix(rows: int, columns: int) -> np.ndarray:
    """Non-negative, with ties and zeros, as magnitudes have them."""
    values = np.random.default_rng(rows * columns).exponential(size=(rows, columns)).astype(np.float32)
    values[values < 0.1] = 0.0
    return np.round(values, 1) if rows % 2 else values


@pytest.mark.parametrize("rows", [1, 5, 14, 15, 16, 31, 44, 130])
@pytest.mark.parametrize("columns", [1, LANES - 1, LANES, 2 * LANES + 7])
def test_medians_over_rows_are_scipys(rows: int, columns: int) -> None:
    values = matrix(rows, columns)
    result = np.empty_like(values)
    median_over_rows(values, result)
    np.testing.assert_array_equal(result, median_filter(values, size=(31, 1), mode="reflect"))


@pytest.mark.parametrize("rows", [1, 7, 8, 9, LANES])
@pytest.mark.parametrize("columns", [1, 15, 40, 1025])
def test_medians_of_a_turned_block_are_scipys(rows: int, columns: int) -> None:
    turned = Turned(columns)
    for values in (matrix(LANES, columns), matrix(rows, columns)):  # the second leaves lanes of the first behind
        result = np.empty_like(values)
        turned.turn(values)
        np.testing.assert_array_equal(turned.inside[:, : len(values)], values.T)
        turned.medians(result)
        np.testing.assert_array_equal(result, median_filter(values, size=(1, 31), mode="reflect"))


def test_the_network_is_what_its_generator_writes() -> None:
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("median_network", root / "benchmarks" / "median_network.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert generator.module() == (root / "genre_ray" / "median31.py").read_text()
