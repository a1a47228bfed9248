"""Which of many fitted models to mix, and how much of each, learnt from predictions of tracks new to them.

Knows nothing about how the predictions were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from genre_ray.calibration import fit_temperature, temper

_SMALLEST = 1e-9
_WORTH_A_MEMBER = 2e-3
"""Log loss, in nats a track, that a further model must take away: each one costs time and space for ever after."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Names of the members, their shares (sum 1), the temperature of the mixture, its log loss where it was learnt."""

    members: tuple[str, ...]
    weights: tuple[float, ...]
    temperature: float
    loss: float


def learn_mixture(
    predictions: Mapping[str, NDArray[np.float32]], targets: NDArray[np.int64], *, most: int = 8, caution: float = 0.1
) -> Mixture:
    """At most `most` members by forward selection, with the shares and the temperature of least log loss.

    `predictions` are probabilities (N, L) of the same N tracks, each by a model that was not fitted on that track:
    out-of-fold, or on a validation part. Selection starts from the best model and adds the one that lowers the log loss
    of the mixture most, as long as one is worth it (after Caruana et al. 2004). All losses are after the temperature
    that suits best: a mean of models that are each rightly sure is not sure enough, and judged by its raw loss a good
    mixture looks bad.
    `caution` in 0..1 pulls the shares towards equal ones, since few tracks say little about small differences.
    ValueError when there are no predictions or no tracks.
    """
    if not predictions or len(targets) == 0:
        raise ValueError("no predictions to learn a mixture from")
    names = list(predictions)
    found = np.stack([np.maximum(predictions[name].astype(np.float64), _SMALLEST) for name in names])
    chosen = _forward(found, targets, most=most)
    shares = (1 - caution) * mixture_weights(found[chosen], targets) + caution / len(chosen)
    mixed = mix([predictions[names[i]] for i in chosen], shares)
    temperature = fit_temperature(mixed, targets)
    return Mixture(
        members=tuple(names[i] for i in chosen),
        weights=tuple(float(share) for share in shares),
        temperature=temperature,
        loss=_loss(temper(mixed, temperature), targets),
    )


def mix(
    predictions: Sequence[NDArray[np.float32]], weights: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float32]:
    """The weighted mean (N, L), as a checkpoint of several members computes it."""
    mixed = np.tensordot(np.asarray(weights, np.float64), np.stack(predictions), axes=1)
    rounded: NDArray[np.float32] = mixed.astype(np.float32)
    return rounded


def mixture_weights(predictions: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares (M,) of predictions (M, N, L) with the least log loss of the mixture after its best temperature.

    Shares are the softmax of free numbers, found together with the temperature by L-BFGS from equal shares.
    """
    count, rows = len(predictions), np.arange(len(targets))

    def loss(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shares, temperature = _softmax(free[:-1]), np.exp(free[-1])
        mixed = np.tensordot(shares, predictions, axes=1)
        logs = np.log(mixed) / temperature
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        answers = powers / powers.sum(axis=1, keepdims=True)
        slope = answers.copy()
        slope[rows, targets] -= 1.0  # of the loss by the tempered logits, N times
        by_share = np.tensordot(predictions, slope / (mixed * temperature), axes=2) / len(targets)
        gradient = np.empty(count + 1)
        gradient[:-1] = shares * (by_share - shares @ by_share)
        gradient[-1] = -(slope * logs).sum() / len(targets)
        return float(-np.log(np.maximum(answers[rows, targets], _SMALLEST)).mean()), gradient

    found: NDArray[np.float64] = minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B").x
    return _softmax(found[:-1])


def _forward(predictions: NDArray[np.float64], targets: NDArray[np.int64], *, most: int) -> list[int]:
    """Indices in the order of picking: each time the model that helps most, at the shares that suit the mixture."""
    picks: list[int] = []
    best = np.inf
    while len(picks) < min(most, len(predictions)):
        rest = [i for i in range(len(predictions)) if i not in picks]
        losses = [_mixture_loss(predictions[[*picks, i]], targets) for i in rest]
        least = int(np.argmin(losses))
        if losses[least] >= best - _WORTH_A_MEMBER:
            break
        best = losses[least]
        picks.append(rest[least])
    return picks


def _mixture_loss(predictions: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    return _tempered_loss(np.tensordot(mixture_weights(predictions, targets), predictions, axes=1), targets)


def _tempered_loss(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    single = probabilities.astype(np.float32)
    return _loss(temper(single, fit_temperature(single, targets)), targets)


def _loss(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    hits = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.maximum(hits, _SMALLEST)).mean())


def _softmax(free: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(free - free.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares
