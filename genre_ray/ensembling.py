"""Which of many fitted models to mix, and how much of each, learnt from predictions of tracks new to them.

Knows nothing about how the predictions were made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genre_ray.calibration import fit_temperature

_SMALLEST = 1e-9
_EM_STEPS = 200


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
    """At most `most` members by greedy selection with replacement, then their shares by maximum likelihood.

    `predictions` are probabilities (N, L) of the same N tracks, each by a model that was not fitted on that track:
    out-of-fold, or on a validation part. Selection starts from the best model and adds the one that lowers the log loss
    of the mean most, as long as one does (Caruana et al. 2004). `caution` in 0..1 pulls the shares towards equal ones,
    since few tracks say little about small differences. ValueError when there are no predictions or no tracks.
    """
    if not predictions or len(targets) == 0:
        raise ValueError("no predictions to learn a mixture from")
    names = list(predictions)
    hits = np.stack([_hits(predictions[name], targets) for name in names])
    picks = _greedy(hits, most=most)
    chosen = [i for i in range(len(names)) if i in picks]
    chosen.sort(key=lambda i: -picks.count(i))
    shares = (1 - caution) * mixture_weights(hits[chosen]) + caution / len(chosen)
    mixed = mix([predictions[names[i]] for i in chosen], shares)
    temperature = fit_temperature(mixed, targets)
    return Mixture(
        members=tuple(names[i] for i in chosen),
        weights=tuple(float(share) for share in shares),
        temperature=temperature,
        loss=float(-np.log(_hits(mixed, targets)).mean()),
    )


def mix(
    predictions: Sequence[NDArray[np.float32]], weights: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float32]:
    """The weighted mean (N, L), as a checkpoint of several members computes it."""
    mixed = np.tensordot(np.asarray(weights, np.float64), np.stack(predictions), axes=1)
    rounded: NDArray[np.float32] = mixed.astype(np.float32)
    return rounded


def mixture_weights(hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (M,) that maximise the likelihood of the mixture, from the probability (M, N) each model gave the truth.

    Expectation maximisation; the likelihood is concave in the shares, so this is the one maximum.
    """
    shares = np.full(len(hits), 1.0 / len(hits))
    for _ in range(_EM_STEPS):
        owned = shares[:, None] * hits
        shares = (owned / owned.sum(axis=0)).mean(axis=1)
    return shares


def _greedy(hits: NDArray[np.float64], *, most: int) -> list[int]:
    """Indices in the order of picking, with repetitions; at most `most` different ones."""
    picks: list[int] = []
    total = np.zeros(hits.shape[1])
    best = np.inf
    while len(picks) < 4 * most:
        losses = -np.log((total + hits) / (len(picks) + 1)).mean(axis=1)
        if len(set(picks)) == most:
            losses = np.where(np.isin(np.arange(len(hits)), picks), losses, np.inf)
        pick = int(losses.argmin())
        if losses[pick] >= best - 1e-6:
            break
        best = float(losses[pick])
        picks.append(pick)
        total += hits[pick]
    return picks


def _hits(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return np.maximum(found, _SMALLEST)
