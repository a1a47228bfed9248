"""Typed configuration of what goes in, the model and its training; frozen, unknown keys refused.

Knows nothing about Ray, torch, or search spaces (those are in `genre_ray.tune.config`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genre_ray.errors import ConfigError


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
    """`plot`: 1 × 128 × 334, the plot area of a GTZAN figure or the same computed from audio. `frames`: 1 × 128 × T, every
    STFT frame, from audio only. `figure`: the whole figure as a 3 × `size` × `size` picture, the paper's own input."""

    size: int = Field(128, ge=16, le=512)
    """Edge of the picture in pixels; `figure` only."""

    normalisation: Literal["per_frequency", "global", "none"] = "per_frequency"
    """Zero mean and unit deviation per mel bin (per picture row for `figure`), over all, or plain scaling to 0..1."""


class FeatureConfig(Config):
    """How the 57 columns are scaled."""

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

    @model_validator(mode="after")
    def _something_goes_in(self) -> Self:
        if self.spectrogram is None and self.features is None:
            raise ValueError("spectrogram and features are both null: nothing would go in")
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


ModelConfig = Annotated[CnnConfig | MlpConfig | HybridConfig, Field(discriminator="kind")]


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
    """How the learning rate moves; `plateau` halves it after `patience` / 2 epochs without gain on the validation part."""

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
        if kind in ("mlp", "hybrid") and self.inputs.features is None:
            raise ValueError(f"model.kind {kind} needs inputs.features")
        crop = self.training.augment.crop_columns
        if crop is not None and self.inputs.spectrogram is not None:
            if self.inputs.spectrogram.form == "figure":
                raise ValueError("training.augment.crop_columns has no meaning for inputs.spectrogram.form figure")
            if self.inputs.spectrogram.form == "plot" and crop > 334:
                raise ValueError("training.augment.crop_columns exceeds the 334 columns of the plot")
        return self


C = TypeVar("C", bound=BaseModel)


def parse(kind: type[C], data: Any, *, origin: str) -> C:
    """`data` as a `kind`; ConfigError with `origin`, field, value and what is allowed otherwise."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, origin), remedy=_remedy(error, kind)) from error


def load_yaml(path: Path) -> Any:
    """The content of a YAML file; ConfigError names the file and line of a syntax error or a duplicate key."""
    documents = load_yaml_documents(path)
    if len(documents) > 1:
        raise ConfigError(f"{path}: holds {len(documents)} YAML documents", expected="one", remedy="split it at ---")
    return documents[0] if documents else None


def load_yaml_documents(path: Path) -> list[Any]:
    """The documents of a YAML file, which `---` separates; ConfigError as for `load_yaml`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read", found=str(error), remedy="give the path of a YAML file in UTF-8"
        ) from error
    try:
        # a SafeLoader that refuses duplicates
        return list(yaml.load_all(text, Loader=_UniqueKeyLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML", found=str(error).replace("\n", " ")) from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys in silence; this one says so."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _explain(error: ValidationError, origin: str) -> str:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"]) or "(top level)"
        value = item.get("input")
        shown = "" if isinstance(value, dict | list) else f" (value {value!r})"
        lines.append(f"{origin}: {place}: {item['msg'].removeprefix('Value error, ')}{shown}")
    return "\n".join(lines)


def _remedy(error: ValidationError, kind: type[BaseModel]) -> str | None:
    for item in error.errors():
        if item["type"] == "extra_forbidden":
            known = _fields_at(kind, item["loc"][:-1])
            if known:
                return f"known keys there: {', '.join(known)}"
        if item["type"] == "float_type" or (item["type"].startswith("float") and isinstance(item.get("input"), str)):
            return "PyYAML reads 1e-4 as text: write 1.0e-4"
    return None


def _fields_at(kind: Any, place: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that sits at `place`, found by following annotations; empty when it is not a model."""
    models = _models_in(kind)
    for part in place:
        inner = [_models_in(m.model_fields[part].annotation) for m in models if part in m.model_fields]
        tagged = [m for m in models if "kind" in m.model_fields and m.model_fields["kind"].default == part]
        models = [m for group in inner for m in group] or tagged or models
    return sorted({name for model in models for name in model.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
