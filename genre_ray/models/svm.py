"""A support vector machine fitted by scikit-learn and answered by torch. Knows nothing about spectrograms.

Shapes: B batch, F features, S support vectors, L labels, P = L * (L - 1) / 2 pairs of labels.

    x_BF -> kernel to support_SF -> decision_BP of each pair -> probability of each pair -> probabilities_BL -> log
"""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.config import SvmConfig
from genre_ray.models.estimator import Estimator

_FOLDS = 5
_SMALLEST = 1e-7  # as libsvm bounds the probability of a pair
_NEWTON_STEPS = 100


class Svm(Estimator):
    """One machine a pair of labels, with probabilities coupled from those of the pairs.

    Buffers: `support` (S, F), `coefficients` (S, P), `intercept` (P,), `slope` and `offset` (P,) of the sigmoids,
    `width` () of the kernel.
    """

    support: Tensor
    coefficients: Tensor
    intercept: Tensor
    slope: Tensor
    offset: Tensor
    width: Tensor

    def __init__(self, config: SvmConfig, *, n_features: int, n_labels: int) -> None:
        names = ("support", "coefficients", "intercept", "slope", "offset", "width")
        super().__init__(n_features=n_features, n_labels=n_labels, buffers=names)
        self.config = config
        self.pairs = tuple(combinations(range(n_labels), 2))

    def fit_vectors(
        self,
        features: NDArray[np.float32],
        targets: NDArray[np.int64],
        *,
        seed: int,
        groups: NDArray[np.int64] | None = None,
        own: int | None = None,
    ) -> None:
        """See Estimator: fit on all, the sigmoids on held-out folds (Platt 2000). RunError: a label has no samples."""
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        self._require_every_label(targets)
        held_out = np.zeros((len(features), len(self.pairs)))
        groups = np.arange(len(features)) if groups is None else groups
        firsts = np.unique(groups, return_index=True)[1]
        grouped = len(firsts) < len(groups)
        folds = min(_FOLDS, int(np.bincount(targets[firsts]).min()))
        if folds >= 2:
            kind = StratifiedGroupKFold if grouped else StratifiedKFold
            splitter = kind(folds, shuffle=True, random_state=seed % 2**32)
            for train, rest in splitter.split(features, targets, groups if grouped else None):
                self._fit_machines(features[train], targets[train])
                held_out[rest] = self._decide(torch.from_numpy(features[rest])).numpy()
        self._fit_machines(features, targets)
        if folds < 2:
            held_out = self._decide(torch.from_numpy(features)).numpy().astype(np.float64)
        sigmoids = np.array([self._sigmoid(held_out[:, p], targets, pair) for p, pair in enumerate(self.pairs)])
        self._keep("slope", sigmoids[:, 0].astype(np.float32))
        self._keep("offset", sigmoids[:, 1].astype(np.float32))

    def _fit_machines(self, features: NDArray[np.float32], targets: NDArray[np.int64]) -> None:
        from sklearn.svm import SVC

        width = self.config.gamma / (features.shape[1] * float(features.var()))
        machine = SVC(C=self.config.c, gamma=width, decision_function_shape="ovo").fit(features, targets)
        self._keep("support", machine.support_vectors_.astype(np.float32))
        self._keep("coefficients", _dense(machine.dual_coef_, machine.n_support_).astype(np.float32))
        # scikit-learn turns the sign around when there are only two labels.
        intercept = machine.intercept_ if self.n_labels > 2 else -machine.intercept_
        if self.n_labels == 2:
            self._keep("coefficients", -machine.dual_coef_.T.astype(np.float32))
        self._keep("intercept", intercept.astype(np.float32))
        self._keep("width", np.array(width, np.float32))

    def _decide(self, x_BF: Tensor) -> Tensor:
        """Decision (B, P) of each pair: positive for its first label."""
        squares_BS = torch.cdist(x_BF, self.support, compute_mode="use_mm_for_euclid_dist").square()
        decision_BP: Tensor = torch.exp(-self.width * squares_BS) @ self.coefficients + self.intercept
        return decision_BP

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logarithms of the probabilities (B, L)."""
        assert features is not None
        decision_BP = self._decide(features)
        pair_BP = torch.sigmoid(self.slope * decision_BP + self.offset).clamp(_SMALLEST, 1 - _SMALLEST)
        return _couple(pair_BP, self.pairs, self.n_labels).clamp_min(_SMALLEST).log()

    @staticmethod
    def _sigmoid(
        decision: NDArray[np.float64], targets: NDArray[np.int64], pair: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Slope and offset of P(first label | decision) by maximum likelihood with Platt's softened targets."""
        chosen = np.isin(targets, pair)
        score, first = decision[chosen], targets[chosen] == pair[0]
        wanted = np.where(first, (first.sum() + 1) / (first.sum() + 2), 1 / ((~first).sum() + 2))
        rows = np.stack([score, np.ones_like(score)], axis=1)
        fit = np.array([1.0, 0.0])
        for _ in range(_NEWTON_STEPS):
            found = 1 / (1 + np.exp(-np.clip(rows @ fit, -30, 30)))
            gradient = rows.T @ (found - wanted)
            curvature = (rows * (found * (1 - found))[:, None]).T @ rows + 1e-9 * np.eye(2)
            step = np.linalg.solve(curvature, gradient)
            fit = fit - np.clip(step, -2, 2)
            if np.abs(step).max() < 1e-6:
                break
        return fit


def by_arrays(machine: Svm) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """`machine` on the CPU, from features (B, F) to logarithms (B, L) by NumPy: for one sample a fifth of torch's time.

    What does not depend on the question is computed here, once.
    """
    names = ("support", "coefficients", "intercept", "slope", "offset")
    support, coefficients, intercept, slope, offset = (machine.get_buffer(name).numpy().copy() for name in names)
    width, n_labels = -float(machine.width), machine.n_labels
    across = np.ascontiguousarray(-2 * support.T)
    squares = np.square(support, dtype=np.float64).sum(axis=1).astype(np.float32)
    first, second = (np.array(side) for side in zip(*machine.pairs, strict=True))
    edge = np.eye(n_labels + 1)[-1:]

    def answer(features: NDArray[np.float32]) -> NDArray[np.float32]:
        squares_BS = features @ across + squares + np.square(features).sum(axis=1)[:, None]
        decision_BP = np.exp(width * np.maximum(squares_BS, 0)) @ coefficients + intercept
        pair_BP = np.clip(1 / (1 + np.exp(-(slope * decision_BP + offset))), _SMALLEST, 1 - _SMALLEST)
        r_BLL = np.zeros((len(features), n_labels, n_labels))  # as `_couple`
        r_BLL[:, first, second] = pair_BP
        r_BLL[:, second, first] = 1 - pair_BP.astype(np.float64)
        system = np.ones((len(features), n_labels + 1, n_labels + 1))
        system[:, :-1, :-1] = -r_BLL.transpose(0, 2, 1) * r_BLL
        diagonal = np.arange(n_labels)
        system[:, diagonal, diagonal] = np.square(r_BLL).sum(axis=1)
        system[:, -1, -1] = 0
        solved_BL = np.maximum(np.linalg.solve(system, edge.T)[:, :-1, 0], 0)
        coupled_BL = (solved_BL / solved_BL.sum(axis=1, keepdims=True)).astype(np.float32)
        logarithms_BL: NDArray[np.float32] = np.log(np.maximum(coupled_BL, np.float32(_SMALLEST)))
        return logarithms_BL

    return answer


def _dense(dual: NDArray[np.float64], n_support: NDArray[np.int32]) -> NDArray[np.float64]:
    """The coefficients of libsvm (L - 1, S), which leave out a vector's own label, as (S, P), one column a pair."""
    n_labels = len(n_support)
    edges = np.concatenate([[0], np.cumsum(n_support)])
    columns = []
    for i, j in combinations(range(n_labels), 2):
        column = np.zeros(dual.shape[1])
        column[edges[i] : edges[i + 1]] = dual[j - 1, edges[i] : edges[i + 1]]
        column[edges[j] : edges[j + 1]] = dual[i, edges[j] : edges[j + 1]]
        columns.append(column)
    return np.stack(columns, axis=1)


def _couple(pair_BP: Tensor, pairs: tuple[tuple[int, int], ...], n_labels: int) -> Tensor:
    """Probabilities (B, L) that agree best with those of the pairs (Wu, Lin and Weng 2004, their second method).

    Minimises the sum over pairs of (r_ji p_i - r_ij p_j)^2 under sum p = 1: one linear system a sample.
    """
    first = torch.tensor([i for i, _ in pairs], device=pair_BP.device)
    second = torch.tensor([j for _, j in pairs], device=pair_BP.device)
    # Double precision: the system is near singular where the pairs are sure.
    r_BLL = pair_BP.new_zeros((len(pair_BP), n_labels, n_labels), dtype=torch.float64)
    r_BLL[:, first, second] = pair_BP.double()
    r_BLL[:, second, first] = 1 - pair_BP.double()
    system = pair_BP.new_zeros((len(pair_BP), n_labels + 1, n_labels + 1), dtype=torch.float64)
    system[:, :n_labels, :n_labels] = -r_BLL.transpose(1, 2) * r_BLL
    diagonal = torch.arange(n_labels, device=pair_BP.device)
    system[:, diagonal, diagonal] = r_BLL.square().sum(dim=1)
    system[:, :n_labels, n_labels] = system[:, n_labels, :n_labels] = 1
    wanted = system.new_zeros((len(pair_BP), n_labels + 1, 1))
    wanted[:, n_labels] = 1
    solved_BL = torch.linalg.solve(system, wanted)[:, :n_labels, 0].clamp_min(0)
    coupled_BL: Tensor = (solved_BL / solved_BL.sum(dim=1, keepdim=True)).float()
    return coupled_BL
