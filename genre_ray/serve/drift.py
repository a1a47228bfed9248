"""Drift: how far what is asked and answered now lies from the training part. Knows nothing about requests or Ray.

The population stability index (Siddiqi 2006) over bins: sum of (p - q) * ln(p / q). Below 0.1 nothing has
changed, above 0.25 the populations differ.
"""

from collections import deque
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from genre_ray.schema import FEATURE_COLUMNS
from genre_ray.serve.engine import Answered, Engine

_BINS = 10
_WINDOW = 1000
_FEWEST = 256
"""By chance alone the index is about bins / answers, and of the worst of 57 columns five times that."""

_FLOOR = 1e-3


def population_stability(expected: NDArray[np.float64], observed: NDArray[np.float64]) -> float:
    """The index between two distributions over the same bins; empty bins count as a thousandth."""
    p = np.maximum(expected / expected.sum(), _FLOOR)
    q = np.maximum(observed / observed.sum(), _FLOOR)
    return float(np.sum((q - p) * np.log(q / p)))


class Drift:
    """The last answers against the training part, as far as the checkpoint tells of it.

    Of the features it tells enough: their mean and deviation, or their quantiles, give ten bins of equal weight. Of the
    labels it tells the shares where `data.label_counts` is written; without, the shares count as equal.
    """

    def __init__(
        self,
        version: str,
        label_shares: NDArray[np.float64],
        edges: NDArray[np.float64] | None,
        labels: tuple[str, ...],
    ) -> None:
        self.version = version
        self.seen = 0
        self._shares = label_shares
        self._edges = edges
        self._labels = {label: i for i, label in enumerate(labels)}
        self._answers: deque[int] = deque(maxlen=_WINDOW)
        self._bins: deque[NDArray[np.int8]] = deque(maxlen=_WINDOW)

    @classmethod
    def of(cls, engine: Engine) -> Self:
        """Against the training part of the engine's model."""
        predictor = engine.predictor
        counts = predictor.manifest.get("data", {}).get("label_counts") or {}
        shares = np.array([float(counts.get(label, 0.0)) for label in predictor.labels])
        if shares.sum() == 0:
            shares = np.ones(len(predictor.labels))
        state = predictor.members[0].preprocessor.feature_state_
        return cls(predictor.version, shares / shares.sum(), _edges(state), predictor.labels)

    def add(self, answered: Answered) -> None:
        """Take an answer in."""
        self.seen += 1
        self._answers.append(self._labels[answered.prediction.label])
        row = answered.clips[0].features if answered.clips else None
        if self._edges is not None and row is not None:
            self._bins.append((row[:, None] > self._edges).sum(axis=1).astype(np.int8))

    def indices(self) -> dict[str, float]:
        """`predictions`, `features` (the median over the columns) and the three columns that moved most."""
        if len(self._answers) < _FEWEST:
            return {}
        observed = np.bincount(self._answers, minlength=len(self._shares)).astype(np.float64)
        found = {"predictions": population_stability(self._shares, observed)}
        if len(self._bins) >= _FEWEST:
            bins = np.stack(self._bins)
            even = np.full(_BINS, 1.0 / _BINS)
            columns = np.array(
                [
                    population_stability(even, np.bincount(bins[:, i], minlength=_BINS).astype(np.float64))
                    for i in range(bins.shape[1])
                ]
            )
            found["features"] = float(np.median(columns))
            found |= {f"feature:{FEATURE_COLUMNS[i]}": float(columns[i]) for i in np.argsort(-columns)[:3]}
        return found


def _edges(state: dict[str, NDArray[np.float64]] | None) -> NDArray[np.float64] | None:
    """Nine edges a column (57, 9) between ten bins that held a tenth of the training part each."""
    inner = np.linspace(0.0, 1.0, _BINS + 1)[1:-1]
    if not state:
        return None
    if "quantiles" in state:
        knots = state["quantiles"]
        grid = np.linspace(0.0, 1.0, knots.shape[1])
        return np.stack([np.interp(inner, grid, column) for column in knots])
    return state["mean"][:, None] + state["deviation"][:, None] * ndtri(inner)[None, :]
