"""The dense network over the feature row. Knows nothing about spectrograms or training.

Shapes: B batch, F features, D width of the last hidden layer, L labels.

    x_BF -> [dense -> (batch norm) -> ReLU -> dropout] x (layers - 1) -> dense L      widths: width, width / 2, ...
"""

from torch import Tensor, nn

from genre_ray.config import MlpConfig
from genre_ray.models.network import Network


class Mlp(Network):
    """Dense layers that halve in width; what enters the output layer is the embedding."""

    def __init__(self, config: MlpConfig, *, n_features: int, n_labels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = n_features
        for layer in range(config.layers - 1):
            previous, width = width, max(config.width >> layer, 4)
            layers.append(nn.Linear(previous, width, bias=not config.batch_norm))
            layers += [nn.BatchNorm1d(width)] if config.batch_norm else []
            layers += [nn.ReLU(), nn.Dropout(config.dropout)]
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(width, n_labels)
        self.embedding_width = width
        self.n_features = n_features

    def embed(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """(B, D) from (B, F)."""
        assert features is not None
        embedding_BD: Tensor = self.layers(features)
        return embedding_BD

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, L)."""
        logits_BL: Tensor = self.output(self.embed(spectrogram, features))
        return logits_BL
