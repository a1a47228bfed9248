"""Gradient-boosted trees fitted by scikit-learn and answered by torch. Knows nothing about spectrograms.

Shapes: B batch, F features, T trees (rounds x labels), N nodes of the largest tree, L labels.

    x_BF -> walk down all trees at once, a level a step -> leaf_BT -> sum over the rounds -> logits_BL
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.config import BoostingConfig
from genre_ray.models.estimator import Estimator


class Boosting(Estimator):
    """One tree a round and label.

    Buffers over (T, N): `column`, `threshold`, `left`, `right`, `value`; a leaf leads to itself. `start` (L,) is what
    is known before the first round, `depth` () the longest way down.
    """

    exact = frozenset({"threshold"})

    column: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    start: Tensor
    depth: Tensor

    def __init__(self, config: BoostingConfig, *, n_features: int, n_labels: int) -> None:
        names = ("column", "threshold", "left", "right", "value", "start", "depth")
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
        """See Estimator: fit all rounds. RunError: a label has no samples."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        self._require_every_label(targets)
        booster = HistGradientBoostingClassifier(
            max_iter=self.config.rounds,
            learning_rate=self.config.learning_rate,
            max_leaf_nodes=self.config.leaves,
            min_samples_leaf=self.config.min_leaf,
            l2_regularization=self.config.l2,
            max_features=self.config.columns,
            early_stopping=False,
            random_state=seed % 2**32,
        ).fit(features, targets)
        # No public view of these trees exists; a test compares our answers with scikit-learn's.
        trees = [tree.nodes for one_round in booster._predictors for tree in one_round]
        self._keep_trees(trees)
        start = np.zeros(self.n_labels)
        # With two labels there is one tree a round, for the second label.
        start[-len(booster._predictors[0]) :] = booster._baseline_prediction.ravel()
        self._keep("start", start.astype(np.float32))

    def _keep_trees(self, trees: list[NDArray[np.void]]) -> None:
        shape = (len(trees), max(len(nodes) for nodes in trees))
        column, left, right = (np.zeros(shape, np.int16) for _ in range(3))
        threshold, value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for t, nodes in enumerate(trees):
            here, n = np.arange(len(nodes)), len(nodes)
            leaf = nodes["is_leaf"].astype(bool)
            column[t, :n] = np.where(leaf, 0, nodes["feature_idx"])
            # Features are float32: the largest float32 at or below the threshold divides them just the same.
            threshold[t, :n] = _at_or_below(nodes["num_threshold"])
            left[t, :n] = np.where(leaf, here, nodes["left"])
            right[t, :n] = np.where(leaf, here, nodes["right"])
            value[t, :n] = np.where(leaf, nodes["value"], 0.0)
        for name, array in (("column", column), ("threshold", threshold), ("left", left), ("right", right)):
            self._keep(name, array)
        self._keep("value", value)
        self._keep("depth", np.array(max(int(nodes["depth"].max()) for nodes in trees), np.int16))

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, L)."""
        assert features is not None
        trees = torch.arange(len(self.column), device=features.device)
        place_BT = torch.zeros((len(features), len(trees)), dtype=torch.long, device=features.device)
        for _ in range(int(self.depth)):
            seen_BT = features.gather(1, self.column[trees, place_BT].long())
            goes_left_BT = seen_BT <= self.threshold[trees, place_BT]
            place_BT = torch.where(goes_left_BT, self.left[trees, place_BT], self.right[trees, place_BT]).long()
        leaf_BT = self.value[trees, place_BT]
        a_round = self.n_labels if self.n_labels > 2 else 1
        summed = leaf_BT.view(len(features), -1, a_round).sum(dim=1)
        logits_BL: Tensor = self.start + torch.nn.functional.pad(summed, (self.n_labels - a_round, 0))
        return logits_BL


def _at_or_below(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    return np.where(above, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)
