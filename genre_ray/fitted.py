"""What a fit gives: the figures of its epochs, and the fitted network with all that is needed to use it.

Knows nothing about how it was fitted.
"""

from dataclasses import dataclass, field

from genre_ray.config import RunConfig
from genre_ray.models import Network
from genre_ray.preprocessing import Preprocessor


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one pass over the training part gave; losses in nats.

    Validation figures are per track, None without that part. Training figures are of the augmented batches, with
    dropout, as they went by.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    validation_macro_f1: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted network and all that is needed to use it.

    `picture_shape` (C, H, W) is what the network sees, after cropping; None when it does not look at the spectrogram.
    `model` is on the CPU, in evaluation mode, with the weights that the fit kept.
    """

    config: RunConfig
    labels: tuple[str, ...]
    preprocessor: Preprocessor
    model: Network
    history: list[EpochResult] = field(default_factory=list)
    picture_shape: tuple[int, int, int] | None = None
    n_features: int | None = None
