"""What all networks have in common: the two calls. Knows nothing about layers."""

from torch import Tensor, nn


class Network(nn.Module):
    """A classifier over a spectrogram, a feature row, or both.

    `spectrogram` is float32 (B, C, H, W), normalised; `features` float32 (B, F), scaled. The input that a network does
    not use may be None.
    """

    embedding_width: int
    """Width of what `embed` returns."""

    picture_shape: tuple[int, int, int] | None = None
    """(C, H, W) that the network was built for; None when it does not look at the spectrogram."""

    n_features: int | None = None
    """Width F of the feature row that the network was built for; None when it does not look at features."""

    exact: frozenset[str] = frozenset()
    """Names of the matrices in the state that must not be rounded to half precision."""

    def embed(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """(B, embedding_width): the last hidden layer."""
        raise NotImplementedError

    def forward(self, spectrogram: Tensor | None, features: Tensor | None) -> Tensor:
        """Logits (B, n_labels)."""
        raise NotImplementedError
