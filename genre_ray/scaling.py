"""Statistics of a training part, and the scaling of pictures, features and descriptors by them.

Knows nothing about tracks, files or batches.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled
from genre_ray.config import FeatureConfig
from genre_ray.descriptors import group_widths
from genre_ray.schema import FEATURE_COLUMNS

_QUANTILES = 201
_DESCRIPTOR_RANGE = 3.0  # deviations; beyond, one odd clip would outweigh all other columns
_NORMAL_RANGE = 5.2  # the normal deviate at which scikit-learn's QuantileTransformer clips as well


def count_levels(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How often each of the 256 levels occurs in each row of the pictures: (C, H, 256)."""
    channels, height = pictures.shape[1:3]
    counts = np.zeros((channels, height, 256))
    for channel in range(channels):
        for row in range(height):
            counts[channel, row] = np.bincount(pictures[:, channel, row].ravel(), minlength=256)
    return counts


def picture_statistics(
    counts: NDArray[np.float64], normalisation: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and 1 / deviation, float32 (C, H, 1), from the exact counts of levels: no float copy of the corpus."""
    channels, height = counts.shape[:2]
    if normalisation == "none":
        return np.zeros((channels, height, 1), np.float32), np.full((channels, height, 1), 1 / 255, np.float32)
    if normalisation == "global":
        counts = np.broadcast_to(counts.sum(axis=(0, 1), keepdims=True), counts.shape)
    levels = np.arange(256.0)
    total = counts.sum(axis=-1)
    mean = counts @ levels / total
    variance = np.maximum((counts @ levels**2) / total - mean**2, 0.0)
    deviation = np.maximum(np.sqrt(variance), 1.0)  # a row that is one level throughout must not explode
    return mean[..., None].astype(np.float32), (1 / deviation)[..., None].astype(np.float32)


def feature_statistics(rows: NDArray[np.float64], config: FeatureConfig) -> dict[str, NDArray[np.float64]]:
    """What `scale_rows` needs, from the rows (N, F) of the training part."""
    if config.scaling == "quantile":
        grid = np.linspace(0.0, 1.0, min(_QUANTILES, max(2, len(rows))))
        return {"quantiles": np.quantile(rows, grid, axis=0).T.copy()}
    if config.scaling == "none":
        return {}
    deviation = rows.std(axis=0)
    return {"mean": rows.mean(axis=0), "deviation": np.where(deviation > 0, deviation, 1.0)}


def scale_rows(
    rows: NDArray[np.float64], state: dict[str, NDArray[np.float64]], config: FeatureConfig
) -> NDArray[np.float32]:
    """Rows (B, F) by the statistics of the training part."""
    if config.scaling == "none":
        return rows.astype(np.float32)
    if config.scaling == "standard":
        return ((rows - state["mean"]) / state["deviation"]).astype(np.float32)
    return _to_normal(rows, state["quantiles"])


def scale_descriptors(rows: NDArray[np.float32], state: dict[str, NDArray[np.float64]]) -> NDArray[np.float32]:
    """Standardised, cut at 3 deviations, and each group weighed as if it had as many columns as there are features."""
    deviations = (rows - state["mean"]) / state["deviation"]
    weight = np.sqrt(len(FEATURE_COLUMNS) / group_widths())
    return (np.clip(deviations, -_DESCRIPTOR_RANGE, _DESCRIPTOR_RANGE) * weight).astype(np.float32)


def state_lists(state: dict[str, NDArray[np.float64]] | None) -> dict[str, Any] | None:
    """Statistics as plain JSON values."""
    return None if state is None else {name: value.tolist() for name, value in state.items()}


def state_arrays(state: dict[str, Any] | None) -> dict[str, NDArray[np.float64]] | None:
    """The inverse of `state_lists`."""
    return None if state is None else {name: np.array(value, dtype=np.float64) for name, value in state.items()}


def _to_normal(rows: NDArray[np.float64], quantiles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each column through its training quantiles to a standard normal.

    Interpolating from both sides and averaging treats runs of equal quantiles evenly (as scikit-learn's
    QuantileTransformer does).
    """
    from scipy.special import ndtri

    share = np.empty(rows.shape)
    _interpolate(rows, quantiles, np.linspace(0.0, 1.0, quantiles.shape[1]), share)
    return np.clip(ndtri(share), -_NORMAL_RANGE, _NORMAL_RANGE).astype(np.float32)


@compiled()
def _interpolate(
    rows: NDArray[np.float64], knots: NDArray[np.float64], grid: NDArray[np.float64], shares: NDArray[np.float64]
) -> None:
    """To `shares` (B, F): `grid` (K,) at each of the `rows` (B, F) over its column's `knots` (F, K), from both sides.

    The arithmetic of `np.interp` to the bit, which takes ten times as long for one row, column by column.
    """
    last = len(grid) - 1
    for b in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            x, own = rows[b, column], knots[column]
            if x != x:
                shares[b, column] = x
                continue
            right = np.searchsorted(own, x, side="right")  # of the runs of equal knots: behind the run
            left = np.searchsorted(own, x, side="left")  # the first of the run
            upward = downward = 0.0
            if right == last + 1:
                upward = grid[last]
            elif right == 0:
                upward = grid[0]
            else:
                j = right - 1
                slope = (grid[j + 1] - grid[j]) / (own[j + 1] - own[j])
                upward = grid[j] if own[j] == x else slope * (x - own[j]) + grid[j]
            if left == 0:
                downward = grid[last]
            elif left == last + 1:
                downward = grid[0]
            else:
                j = last - left
                slope = (grid[j + 1] - grid[j]) / (own[left] - own[left - 1])
                downward = grid[j] if own[left] == x else slope * (own[left] - x) + grid[j]
            shares[b, column] = (upward + (1.0 - downward)) / 2
