"""The registry of networks: from a ModelConfig to a module. Knows nothing about training, data or Ray.

Every network has `forward(spectrogram, features) -> logits (B, n_labels)` and `embed(spectrogram, features)`, the last
hidden layer; it takes both inputs and looks at those that its kind needs.
"""

from typing import TypeVar

from genre_ray.config import (
    BoostingConfig,
    CnnConfig,
    HybridConfig,
    KernelRidgeConfig,
    MlpConfig,
    ModelConfig,
    SvmConfig,
)
from genre_ray.errors import ConfigError
from genre_ray.models.boosting import Boosting
from genre_ray.models.cnn import Cnn
from genre_ray.models.describe import describe
from genre_ray.models.estimator import Estimator
from genre_ray.models.folding import fold_batch_norm
from genre_ray.models.hybrid import Hybrid
from genre_ray.models.kernel_ridge import KernelRidge
from genre_ray.models.mlp import Mlp
from genre_ray.models.network import Network
from genre_ray.models.svm import Svm

T = TypeVar("T")

__all__ = [
    "Boosting",
    "Cnn",
    "Estimator",
    "Hybrid",
    "KernelRidge",
    "Mlp",
    "Network",
    "Svm",
    "build",
    "describe",
    "fold_batch_norm",
    "is_fitted_in_one_go",
    "looks_at_pictures",
]


def build(
    config: ModelConfig, *, picture_shape: tuple[int, int, int] | None, n_features: int | None, n_labels: int
) -> Network:
    """The untrained network of `config`, its weights drawn from torch's global generator.

    `picture_shape` is (channels, rows, columns) as the network sees it, after cropping; `n_features` the width of a
    feature row. ConfigError when the network needs an input that is None or the picture is too small for its stages.
    """
    match config:
        case CnnConfig():
            return Cnn(config, picture_shape=_need(picture_shape, config.kind, "spectrogram"), n_labels=n_labels)
        case MlpConfig():
            return Mlp(config, n_features=_need(n_features, config.kind, "features"), n_labels=n_labels)
        case SvmConfig():
            return Svm(config, n_features=_need(n_features, config.kind, "features"), n_labels=n_labels)
        case KernelRidgeConfig():
            return KernelRidge(config, n_features=_need(n_features, config.kind, "features"), n_labels=n_labels)
        case BoostingConfig():
            return Boosting(config, n_features=_need(n_features, config.kind, "features"), n_labels=n_labels)
        case HybridConfig():
            return Hybrid(
                config,
                picture_shape=_need(picture_shape, config.kind, "spectrogram"),
                n_features=_need(n_features, config.kind, "features"),
                n_labels=n_labels,
            )


def looks_at_pictures(config: ModelConfig) -> bool:
    """Whether a network of this kind looks at the spectrogram itself, and not at features and descriptors alone."""
    return isinstance(config, CnnConfig | HybridConfig)


def is_fitted_in_one_go(config: ModelConfig) -> bool:
    """Whether a network of this kind is an Estimator."""
    return isinstance(config, SvmConfig | KernelRidgeConfig | BoostingConfig)


def _need(value: T | None, kind: str, name: str) -> T:
    if value is None:
        raise ConfigError(f"model.kind {kind} needs inputs.{name}", found="null", remedy=f"set inputs.{name}")
    return value
