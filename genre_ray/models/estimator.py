"""Networks that are fitted in one go instead of step by step; their state is buffers whose shapes the fit decides.

Knows nothing about which there are.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genre_ray.errors import RunError
from genre_ray.models.network import Network


class Estimator(Network):
    """A classifier of feature vectors with `fit_vectors` in place of gradient steps.

    What it learns is kept in buffers, so it is saved, moved and served like any other network. Its embedding is its
    logits.
    """

    def __init__(self, *, n_features: int, n_labels: int, buffers: tuple[str, ...]) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_labels = n_labels
        self.embedding_width = n_labels
        for name in buffers:
            self.register_buffer(name, torch.zeros(0))

    def fit_vectors(
        self,
        features: NDArray[np.float32],
        targets: NDArray[np.int64],
        *,
        seed: int,
        groups: NDArray[np.int64] | None = None,
        own: int | None = None,
    ) -> None:
        """Learn from features (N, F) and label indices (N,).

        Samples of one of the `groups` (N,) are of one track: held out, they are held out together; None: each is one.
        The first `own` samples are clips as they are, the others variants of them; None: all are clips.
        """
        raise NotImplementedError

    def embed(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, L)."""
        logits: Tensor = self(spectrogram, features)
        return logits

    def _require_every_label(self, targets: NDArray[np.int64]) -> None:
        missing = sorted(set(range(self.n_labels)) - set(targets.tolist()))
        if missing:
            raise RunError(
                f"{type(self).__name__} cannot be fitted: {len(missing)} labels have no samples",
                found=f"none of label {missing[0]}",
                expected="samples of every label in the training part",
                remedy="take more tracks, or a protocol whose parts hold every label",
            )

    def _keep(self, name: str, value: NDArray[Any]) -> None:
        """Set a buffer to what was learnt, on the device where it was."""
        device = self.get_buffer(name).device
        setattr(self, name, torch.from_numpy(np.ascontiguousarray(value)).to(device))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The shapes and types are those of the stored fit, which an unfitted estimator cannot know.
        for name, buffer in list(self.named_buffers(recurse=False)):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, torch.empty_like(stored, device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
