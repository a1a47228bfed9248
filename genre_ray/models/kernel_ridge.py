"""Kernel ridge regression to the labels, fitted by one factorisation. Knows nothing about spectrograms.

Shapes: B batch, F features, S centres, N samples of the training part, L labels.

    x_BF -> kernel to centres_SF -> scores_BL -> times sharpness -> logits_BL

A Gaussian process that regresses one-hot labels (Rasmussen and Williams 2006, section 6.5) on a subset of regressors
(section 8.3.1): all samples are learnt from, those that stand for themselves are the centres. How sharp the
probabilities are is learnt from what each group of samples would have been told had it been left out, which the
factorisation gives for little more than nothing (Cawley and Talbot 2003, for groups).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from torch import Tensor

from genre_ray.config import KernelRidgeConfig
from genre_ray.models.estimator import Estimator

_TOGETHER = 512  # samples whose groups are left out in one solution
_BLOCK = 4096  # samples at a time: no matrix over all samples and all centres is ever whole
_JITTER = 1e-8
_SHARPEST = 100.0

Matrix = NDArray[np.float64]


class KernelRidge(Estimator):
    """Scores are weighted sums over centres.

    Buffers: `centres` (S, F), `coefficients` (S, L), `width` () of the kernel, `sharpness` ().
    """

    exact = frozenset({"coefficients"})

    centres: Tensor
    coefficients: Tensor
    width: Tensor
    sharpness: Tensor

    def __init__(self, config: KernelRidgeConfig, *, n_features: int, n_labels: int) -> None:
        names = ("centres", "coefficients", "width", "sharpness")
        super().__init__(n_features=n_features, n_labels=n_labels, buffers=names)
        self.config = config

    def fit_vectors(
        self,
        features: NDArray[np.float32],
        targets: NDArray[np.int64],
        *,
        seed: int,
        groups: NDArray[np.int64] | None = None,
        own: int | None = None,
    ) -> None:
        """See Estimator. Clips as they are may be centres, variants not. RunError: a label has no samples."""
        self._require_every_label(targets)
        groups = np.arange(len(features)) if groups is None else groups
        own = len(features) if own is None else own
        chosen = np.arange(own)
        if own > self.config.centres:
            chosen = np.sort(np.random.default_rng(seed).choice(own, self.config.centres, replace=False))
        # Rounded as a checkpoint keeps them, so that the coefficients belong to what is served.
        centres = features[chosen].astype(np.float16).astype(np.float32)
        self._keep("centres", centres)
        width = self.config.gamma / (features.shape[1] * float(features[:own].var()))
        self._keep("width", np.array(width, np.float32))
        wanted = np.eye(self.n_labels)[targets] - 1 / self.n_labels
        factor, coefficients = self._solve(features, wanted, weight=len(features) / own)
        self._keep("coefficients", coefficients.astype(np.float32))
        left_out = self._left_out(features, wanted, groups, factor, coefficients)
        self._keep("sharpness", np.array(_sharpness(left_out, targets), np.float32))

    def _solve(
        self, features: NDArray[np.float32], wanted: Matrix, *, weight: float
    ) -> tuple[tuple[Matrix, bool], Matrix]:
        """The factor of the normal equations, and the coefficients; `weight` samples, a clip's, share one ridge."""
        centres = self.centres.cpu().numpy()
        normal = self.config.ridge * weight * _kernel(centres, centres, float(self.width))
        right = np.zeros((len(centres), self.n_labels))
        for rows in _blocks(len(features)):
            block = _kernel(features[rows], centres, float(self.width))
            normal += block.T @ block
            right += block.T @ wanted[rows]
        normal[np.diag_indices_from(normal)] += _JITTER * np.trace(normal) / len(normal)
        factor = cho_factor(normal, lower=True, overwrite_a=True)
        return factor, cho_solve(factor, right)

    def _left_out(
        self,
        features: NDArray[np.float32],
        wanted: Matrix,
        groups: NDArray[np.int64],
        factor: tuple[Matrix, bool],
        coefficients: Matrix,
    ) -> Matrix:
        """Scores (N, L) that each sample would get from a fit without its group: residuals over what is left of one."""
        centres, scores = self.centres.cpu().numpy(), np.empty_like(wanted)
        order = np.argsort(groups, kind="stable")
        edges = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
        for together in _several(np.split(order, edges[1:]), _TOGETHER):
            rows = np.concatenate(together)
            block = _kernel(features[rows], centres, float(self.width))
            solved = cho_solve(factor, block.T)  # of many groups at once: thirty times as fast as one by one
            residual = wanted[rows] - block @ coefficients
            start = 0
            for group in together:
                own = slice(start, start := start + len(group))
                share = block[own] @ solved[:, own]
                scores[group] = wanted[group] - np.linalg.solve(np.eye(len(group)) - share, residual[own])
        return scores

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, L)."""
        assert features is not None
        squares_BS = torch.cdist(features, self.centres, compute_mode="use_mm_for_euclid_dist").square()
        logits_BL: Tensor = self.sharpness * (torch.exp(-self.width * squares_BS) @ self.coefficients)
        return logits_BL


def by_arrays(machine: KernelRidge) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """`machine` on the CPU, from features (B, F) to logits (B, L) by NumPy, which starts faster than torch."""
    centres, coefficients = machine.centres.numpy().copy(), machine.coefficients.numpy().copy()
    width, sharpness = -float(machine.width), float(machine.sharpness)
    across = np.ascontiguousarray(-2 * centres.T)
    squares = np.square(centres, dtype=np.float64).sum(axis=1).astype(np.float32)

    def answer(features: NDArray[np.float32]) -> NDArray[np.float32]:
        squares_BS = features @ across + squares + np.square(features).sum(axis=1)[:, None]
        logits_BL: NDArray[np.float32] = np.float32(sharpness) * (
            np.exp(width * np.maximum(squares_BS, 0)) @ coefficients
        )
        return logits_BL.astype(np.float32)

    return answer


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


def _several(groups: Sequence[NDArray[np.int64]], most: int) -> Iterator[list[NDArray[np.int64]]]:
    """Groups together, `most` samples or one group at a time."""
    taken: list[NDArray[np.int64]] = []
    for group in groups:
        if taken and sum(map(len, taken)) + len(group) > most:
            yield taken
            taken = []
        taken.append(group)
    if taken:
        yield taken


def _kernel(rows: NDArray[np.float32], centres: NDArray[np.float32], width: float) -> Matrix:
    """exp(-width * squared distance), (N, S)."""
    squares = np.square(rows, dtype=np.float64).sum(axis=1)[:, None] + np.square(centres, dtype=np.float64).sum(axis=1)
    kernel: Matrix = np.exp(-width * np.maximum(squares - 2.0 * (rows @ centres.T), 0))
    return kernel


def _sharpness(scores: Matrix, targets: NDArray[np.int64]) -> float:
    """The factor of least log loss of softmax(factor * scores)."""
    rows = np.arange(len(targets))

    def loss(log_factor: float) -> float:
        scaled = scores * np.exp(log_factor)
        top = scaled.max(axis=1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[rows, targets]))

    found = minimize_scalar(loss, bounds=(-2.0, float(np.log(_SHARPEST))), method="bounded")
    return float(np.exp(found.x))
