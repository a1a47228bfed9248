"""Temperature: how sure a classifier's probabilities are made to be. Knows nothing about where they come from."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_SMALLEST = 1e-12
_RANGE = (0.05, 20.0)


def temper(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """`probabilities` (N, L) raised to 1 / temperature and normalised: softmax(log p / temperature).

    For one network with one clip that is softmax(logits / temperature) (Guo et al. 2017). For a mean over members and
    windows it is applied to the mean: pool first, then calibrate (Rahaman and Thiery 2021).
    """
    if temperature == 1.0:
        return probabilities
    logs = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)) / temperature
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    tempered: NDArray[np.float32] = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return tempered


def fit_temperature(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The temperature that minimises the log loss of (N, L) `probabilities` against `targets` (N,).

    Fit it on tracks that neither training nor the test has seen. ValueError when there are none.
    """
    if len(targets) == 0:
        raise ValueError("no tracks to fit a temperature on")
    logs = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[rows, targets]))

    found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded")
    return float(np.exp(found.x))
