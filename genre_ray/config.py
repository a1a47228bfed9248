"""Typed configuration of what goes in, the model and its training; frozen, unknown keys refused.

Knows nothing about Ray, torch, or search spaces (those are in `genre_ray.tune.config`).
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from genre_ray.parsing import load_yaml as load_yaml
from genre_ray.parsing import load_yaml_documents as load_yaml_documents
from genre_ray.parsing import parse as parse
from genre_ray.schema import Tail


class Config(BaseModel):
    """A frozen model that refuses unknown keys and documents each field by the string under it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ClipConfig(Config):
    """How a track that comes in as audio is cut into clips."""

    duration_s: float = Field(30.0, ge=1.0, le=120.0)
    """Length of a clip in seconds. A track of up to 1.1 times this length is one clip, whole, as in GTZAN."""

    hop_s: float | None = Field(None, gt=0.1, le=120.0)
    """From the start of one clip to the start of the next; None means `duration_s` (no overlap)."""

    min_duration_s: float = Field(1.0, ge=0.1, le=120.0)
    """Shorter tracks are refused. Between this and 0.9 clips, the sound is repeated until the clip is full."""

    max_duration_s: float = Field(7200.0, ge=1.0)
    """Decoding stops with an error here, whatever the header says."""

    max_bytes: int = Field(2 * 1024**3, ge=1024)
    """Largest file that is opened."""


class SpectrogramConfig(Config):
    """Which picture of the spectrum the model sees."""

    form: Literal["plot", "frames", "figure"] = "plot"
    """`plot`: 1 × 128 × 334, the plot area of a GTZAN figure or the same computed from audio. `frames`: 1 × 128 × T,
    every STFT frame, from audio only. `figure`: the whole figure as a 3 × `size` × `size` picture, the paper's."""

    size: int = Field(128, ge=16, le=512)
    """Edge of the picture in pixels; `figure` only."""

    normalisation: Literal["per_frequency", "global", "none"] = "per_frequency"
    """Zero mean and unit deviation per mel bin (per picture row for `figure`), over all, or plain scaling to 0..1."""


class FeatureConfig(Config):
    """How the 57 columns are computed from audio, and scaled."""

    tail: Tail = "dropped"
    """The last n % 512 samples of the harmonic and percussive signals. `dropped`: zero, as in librosa 0.7, which made
    GTZAN's table. `kept`: as in librosa since 0.8. Their two means differ by up to 0.025 deviations, nothing else."""

    scaling: Literal["standard", "quantile", "none"] = "standard"
    """`standard`: zero mean, unit deviation. `quantile`: to a normal distribution through the training quantiles."""


class InputConfig(Config):
    """What a track is turned into before any model sees it."""

    clip: ClipConfig = ClipConfig()
    """Windows of audio."""

    spectrogram: SpectrogramConfig | None = SpectrogramConfig()
    """None: no spectrogram."""

    features: FeatureConfig | None = FeatureConfig()
    """None: no features."""

    descriptors: bool = False
    """839 summaries of the spectrogram (`genre_ray.descriptors`) stand beside the features, or alone without them."""

    @model_validator(mode="after")
    def _something_goes_in(self) -> Self:
        if self.spectrogram is None and self.features is None:
            raise ValueError("spectrogram and features are both null: nothing would go in")
        if self.descriptors and (self.spectrogram is None or self.spectrogram.form == "figure"):
            raise ValueError("descriptors need spectrogram.form plot or frames")
        return self


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

    pooling: Literal["flatten", "mean", "mean_max"] = "mean_max"
    """How the last feature map becomes a vector: all of it, its mean, or mean and maximum over time and frequency."""

    hidden: int = Field(128, ge=8, le=1024)
    """Width of the dense layer (the embedding)."""

    dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """Before the dense layers."""


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


ModelConfig = Annotated[CnnConfig | MlpConfig | HybridConfig | SvmConfig | BoostingConfig, Field(discriminator="kind")]


class AugmentConfig(Config):
    """What is done to training batches only."""

    crop_columns: int | None = Field(None, ge=16)
    """Random window in time, in columns; at test time the mean over `test_crops` even windows. None: the whole clip."""

    test_crops: int = Field(5, ge=1, le=32)
    """Windows at test time when `crop_columns` is set."""

    mixup: float = Field(0.0, ge=0.0, le=2.0)
    """Parameter of the Beta distribution (Zhang et al. 2018); 0 is off."""

    time_masks: int = Field(0, ge=0, le=8)
    """SpecAugment (Park et al. 2019): masks over time."""

    time_mask_columns: int = Field(24, ge=1, le=256)
    """Largest width of a time mask."""

    frequency_masks: int = Field(0, ge=0, le=8)
    """SpecAugment: masks over frequency."""

    frequency_mask_bins: int = Field(16, ge=1, le=64)
    """Largest height of a frequency mask."""

    feature_noise: float = Field(0.0, ge=0.0, le=1.0)
    """Standard deviation of noise added to the scaled features."""


class TrainingConfig(Config):
    """One fit."""

    epochs: int = Field(20, ge=1, le=1000)
    """Passes over the training part."""

    batch_size: int = Field(32, ge=2, le=4096)
    """Samples a step."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019)."""

    learning_rate: float = Field(1.0e-3, gt=0.0, le=1.0)
    """Peak learning rate."""

    weight_decay: float = Field(0.0, ge=0.0, le=1.0)
    """Decoupled for AdamW, L2 for Adam."""

    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "constant"
    """How the learning rate moves; `plateau` halves it after `patience` / 2 epochs without gain in validation loss."""

    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)
    """Cross-entropy against softened labels."""

    augment: AugmentConfig = AugmentConfig()
    """Training-time augmentation."""

    early_stopping: bool = False
    """Stop after `patience` epochs without gain in validation loss; needs a validation part."""

    patience: int = Field(10, ge=1, le=500)
    """Epochs."""

    keep: Literal["last", "best"] = "last"
    """Which epoch's weights are kept; `best` is by validation loss and needs a validation part."""

    average_decay: float | None = Field(None, gt=0.0, lt=1.0)
    """Exponential moving average of the weights per step (Polyak averaging); None is off."""

    gradient_clip: float | None = Field(None, gt=0.0)
    """Largest norm of the gradient."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is used under autocast on a GPU."""

    seed: int = Field(42, ge=0, le=2**32 - 1)
    """Seeds weights, shuffling, augmentation and dropout."""


class RunConfig(Config):
    """All that decides a fit, given the tracks of the parts: inputs, model, training."""

    inputs: InputConfig = InputConfig()
    """What goes in."""

    model: ModelConfig = HybridConfig()
    """The network."""

    training: TrainingConfig = TrainingConfig()
    """How it is fitted."""

    @model_validator(mode="after")
    def _inputs_serve_the_model(self) -> Self:
        kind = self.model.kind
        if kind in ("cnn", "hybrid") and self.inputs.spectrogram is None:
            raise ValueError(f"model.kind {kind} needs inputs.spectrogram")
        if kind != "cnn" and self.inputs.features is None and not self.inputs.descriptors:
            raise ValueError(f"model.kind {kind} needs inputs.features or inputs.descriptors")
        crop = self.training.augment.crop_columns
        if crop is not None and self.inputs.spectrogram is not None:
            if self.inputs.spectrogram.form == "figure":
                raise ValueError("training.augment.crop_columns has no meaning for inputs.spectrogram.form figure")
            if self.inputs.spectrogram.form == "plot" and crop > 334:
                raise ValueError("training.augment.crop_columns exceeds the 334 columns of the plot")
        return self
