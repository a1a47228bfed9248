"""Typed configuration of what goes in, the model and its training; frozen, unknown keys refused.

Knows nothing about Ray, torch, or search spaces (those are in `genre_ray.tune.config`).
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from genre_ray.model_config import BoostingConfig as BoostingConfig
from genre_ray.model_config import CnnConfig as CnnConfig
from genre_ray.model_config import HybridConfig as HybridConfig
from genre_ray.model_config import KernelRidgeConfig as KernelRidgeConfig
from genre_ray.model_config import MlpConfig as MlpConfig
from genre_ray.model_config import ModelConfig as ModelConfig
from genre_ray.model_config import SvmConfig as SvmConfig
from genre_ray.parsing import Config as Config
from genre_ray.parsing import load_yaml as load_yaml
from genre_ray.parsing import load_yaml_documents as load_yaml_documents
from genre_ray.parsing import parse as parse
from genre_ray.schema import FIGURE_COLUMNS, N_MELS, SAMPLE_RATE, Tail

_HOP_LENGTH = 512  # of `fourier`, which takes a compiler along


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

    @model_validator(mode="after")
    def _shortest_fits(self) -> Self:
        if self.min_duration_s > self.duration_s:
            raise ValueError(
                f"min_duration_s {self.min_duration_s:g} exceeds duration_s {self.duration_s:g}: a track as long as a"
                " clip would be too short; lower min_duration_s"
            )
        return self


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
    """1811 summaries of the spectrogram (`genre_ray.descriptors`) stand beside the features, or alone without them."""

    @model_validator(mode="after")
    def _something_goes_in(self) -> Self:
        if self.spectrogram is None and self.features is None:
            raise ValueError("spectrogram and features are both null: nothing would go in")
        if self.descriptors and (self.spectrogram is None or self.spectrogram.form == "figure"):
            raise ValueError("descriptors need spectrogram.form plot or frames")
        return self

    @property
    def picture_shape(self) -> tuple[int, int, int] | None:
        """Channels, rows and columns of a clip's picture; None without one."""
        if self.spectrogram is None:
            return None
        if self.spectrogram.form == "figure":
            return 3, self.spectrogram.size, self.spectrogram.size
        frames = 1 + int(self.clip.duration_s * SAMPLE_RATE) // _HOP_LENGTH
        return 1, N_MELS, FIGURE_COLUMNS if self.spectrogram.form == "plot" else frames


class VariantConfig(Config):
    """Variants of each training clip that descriptors are computed of, besides its own. What streams has none."""

    count: int = Field(4, ge=1, le=32)
    """Variants a clip. Estimators are fitted on all of them; a network is given one or the clip's own at random."""

    columns: int | None = Field(222, ge=48)
    """A variant is a random window of so many columns; None: the whole clip."""

    equaliser_db: float = Field(3.0, ge=0.0, le=20.0)
    """As `equaliser_db` of the augmentation."""

    shift_bins: int = Field(2, ge=0, le=32)
    """As `shift_bins` of the augmentation."""


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

    equaliser_db: float = Field(0.0, ge=0.0, le=20.0)
    """Standard deviation in dB of a random smooth curve over frequency that is added to the spectrogram: the same music
    through another mastering, so that a record's sound is not taken for its genre."""

    shift_bins: int = Field(0, ge=0, le=32)
    """Largest random shift along the mel axis, in bins up or down: a transposition."""

    stretch: float = Field(0.0, ge=0.0, le=0.5)
    """Largest random change of tempo, as a share: 0.1 is from 0.9 to 1.1 times as fast."""

    feature_noise: float = Field(0.0, ge=0.0, le=1.0)
    """Standard deviation of noise added to the scaled features."""

    variants: VariantConfig | None = None
    """Augmentation of the descriptors; None: each clip's own alone."""


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
        augment = self.training.augment
        if augment.variants is not None and not self.inputs.descriptors:
            raise ValueError("training.augment.variants are of descriptors: they need inputs.descriptors: true")
        if self.inputs.spectrogram is not None and self.inputs.spectrogram.form == "figure":
            for name in ("equaliser_db", "shift_bins", "stretch"):
                if getattr(augment, name):
                    raise ValueError(f"training.augment.{name} has no meaning for inputs.spectrogram.form figure")
        return self

    @model_validator(mode="after")
    def _the_picture_suffices(self) -> Self:
        shape, crop = self.inputs.picture_shape, self.training.augment.crop_columns
        if shape is None:
            return self
        _, rows, columns = shape
        if crop is not None:
            if shape[0] == 3:
                raise ValueError("training.augment.crop_columns has no meaning for inputs.spectrogram.form figure")
            if crop > columns:
                raise ValueError(f"training.augment.crop_columns {crop} exceeds the {columns} columns of the picture")
        cnn = self.model.cnn if isinstance(self.model, HybridConfig) else self.model
        if isinstance(cnn, CnnConfig):
            most = cnn.most_stages(rows, crop or columns)
            if cnn.stages > most:
                place = "model.cnn.stages" if isinstance(self.model, HybridConfig) else "model.stages"
                raise ValueError(
                    f"{place}: {cnn.stages} stages halve a picture of {rows} x {crop or columns} to nothing;"
                    f" take at most {most}, or a larger picture or crop"
                )
        return self
