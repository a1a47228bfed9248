"""The hybrid network: both embeddings joined by dense, dropout, dense. Knows nothing about training.

Shapes: B batch, C channels, H rows, W columns, F features, D hidden width, L labels.

    x_BCHW -> Cnn.embed --+
                          +-- concatenate -> dense D -> ReLU -> dropout -> dense L
    x_BF   -> Mlp.embed --+
"""

import torch
from torch import Tensor, nn

from genre_ray.config import HybridConfig
from genre_ray.models.cnn import Cnn
from genre_ray.models.mlp import Mlp
from genre_ray.models.network import Network


class Hybrid(Network):
    """A CNN and an MLP without their output layers, joined."""

    def __init__(
        self, config: HybridConfig, *, picture_shape: tuple[int, int, int], n_features: int, n_labels: int
    ) -> None:
        super().__init__()
        self.cnn = Cnn(config.cnn, picture_shape=picture_shape, n_labels=n_labels)
        self.mlp = Mlp(config.mlp, n_features=n_features, n_labels=n_labels)
        # The branches end in their embeddings: an output layer that nothing reads would stall data-parallel training.
        self.cnn.output = nn.Identity()  # type: ignore[assignment]
        self.mlp.output = nn.Identity()  # type: ignore[assignment]
        self.branch_dropout = config.branch_dropout
        self.hidden = nn.Linear(self.cnn.embedding_width + self.mlp.embedding_width, config.hidden)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, n_labels)
        self.embedding_width = config.hidden
        self.picture_shape = picture_shape
        self.n_features = n_features

    def embed(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """(B, D): the joining dense layer. Each branch applies its own dropout to its embedding first."""
        sight_BE, row_BE = self.cnn(spectrogram, None), self.mlp(None, features)
        if self.training and self.branch_dropout > 0:
            chance_B1 = torch.rand(len(row_BE), 1, device=row_BE.device)
            sight_BE = sight_BE * (chance_B1 >= self.branch_dropout / 2)
            row_BE = row_BE * (chance_B1 <= 1 - self.branch_dropout / 2)
        joined_BE = torch.cat([sight_BE, row_BE], dim=1)
        embedding_BD: Tensor = self.activation(self.hidden(joined_BE))
        return embedding_BD

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, L)."""
        logits_BL: Tensor = self.output(self.dropout(self.embed(spectrogram, features)))
        return logits_BL
