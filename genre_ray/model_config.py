"""Typed configuration of the models; frozen, unknown keys refused. Knows nothing about inputs or training."""

from typing import Annotated, Literal

from pydantic import Field

from genre_ray.parsing import Config


class CnnConfig(Config):
    """A convolutional network over the spectrogram."""

    kind: Literal["cnn"] = "cnn"
    """Discriminator."""

    width: int = Field(32, ge=4, le=256)
    """Channels of the first stage; they double with each stage."""

    max_width: int = Field(256, ge=4, le=1024)
    """Channels stop doubling here."""

    stages: int = Field(4, ge=1, le=6)
    """Each stage halves the picture by max pooling."""

    convs_per_stage: int = Field(1, ge=1, le=3)
    """3 × 3 convolutions, each with ReLU, before the pooling."""

    stride: int = Field(1, ge=1, le=2)
    """Step of the first convolution in both directions; 2 leaves a quarter of the work."""

    batch_norm: bool = True
    """Batch normalisation after each convolution."""

    residual: bool = False
    """Add the input of a stage to its output."""

    pooling: Literal["flatten", "mean", "mean_max", "time"] = "mean_max"
    """How the last feature map becomes a vector: all of it; its mean; mean and maximum over time and frequency; or
    (`time`) mean and maximum over time for each row of frequency apart, so that bass and treble stay apart."""

    hidden: int = Field(128, ge=8, le=1024)
    """Width of the dense layer (the embedding)."""

    dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """Before the dense layers."""

    def most_stages(self, rows: int, columns: int) -> int:
        """How often a picture can be halved before nothing is left."""
        return (-(-min(rows, columns) // self.stride)).bit_length() - 1


class MlpConfig(Config):
    """Three dense layers over the features."""

    kind: Literal["mlp"] = "mlp"
    """Discriminator."""

    width: int = Field(256, ge=8, le=2048)
    """Width of the first dense layer; each next one has half."""

    layers: int = Field(3, ge=1, le=6)
    """Dense layers, the output layer counted."""

    batch_norm: bool = False
    """Batch normalisation after each hidden layer."""

    dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """After each hidden layer."""


class SvmConfig(Config):
    """A support vector machine with a radial kernel over the features."""

    kind: Literal["svm"] = "svm"
    """Discriminator."""

    c: float = Field(5.0, gt=0.0, le=1.0e4)
    """Price of a training sample on the wrong side of its margin."""

    gamma: float = Field(0.5, gt=0.0, le=100.0)
    """Width of the kernel: 1 is scikit-learn's `scale`, one over the total variance of the features."""


class KernelRidgeConfig(Config):
    """Kernel ridge regression to the labels, with a radial kernel over the features."""

    kind: Literal["kernel_ridge"] = "kernel_ridge"
    """Discriminator."""

    ridge: float = Field(0.05, gt=0.0, le=100.0)
    """Added to the diagonal of the kernel matrix: the larger, the smoother."""

    centres: int = Field(2000, ge=2, le=20_000)
    """Most clips that the kernel is centred on, drawn at random where there are more; all are learnt from."""

    gamma: float = Field(0.5, gt=0.0, le=100.0)
    """Width of the kernel: 1 is scikit-learn's `scale`, one over the total variance of the features."""


class BoostingConfig(Config):
    """Gradient-boosted trees over the features."""

    kind: Literal["boosting"] = "boosting"
    """Discriminator."""

    rounds: int = Field(120, ge=1, le=2000)
    """Boosting rounds, each one tree a genre."""

    learning_rate: float = Field(0.08, gt=0.0, le=1.0)
    """Weight of a round."""

    leaves: int = Field(8, ge=2, le=256)
    """Most leaves of a tree."""

    min_leaf: int = Field(10, ge=1, le=1000)
    """Fewest samples of a leaf."""

    l2: float = Field(1.0, ge=0.0)
    """Shrinks the value of a leaf."""

    columns: float = Field(0.2, gt=0.0, le=1.0)
    """Share of the features that a split may look at."""


class HybridConfig(Config):
    """CNN and MLP joined by dense, dropout, dense."""

    kind: Literal["hybrid"] = "hybrid"
    """Discriminator."""

    cnn: CnnConfig = CnnConfig()
    """The branch that sees the spectrogram."""

    mlp: MlpConfig = MlpConfig()
    """The branch that sees the features."""

    hidden: int = Field(128, ge=8, le=1024)
    """Width of the dense layer that joins them."""

    dropout: float = Field(0.4, ge=0.0, lt=1.0)
    """Between the two last dense layers."""

    branch_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    """How often a training sample comes without one of its two branches (each half the time), so that neither learns to
    lean on the other (ModDrop, Neverova et al. 2016)."""


ModelConfig = Annotated[
    CnnConfig | MlpConfig | HybridConfig | SvmConfig | KernelRidgeConfig | BoostingConfig, Field(discriminator="kind")
]
