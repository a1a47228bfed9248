"""What a search file may say: data, protocol, base configuration, variants, space, budget, resources.

Knows nothing about Ray or Optuna; refuses what they could not take before anything is started.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from genre_ray.config import Config, InputConfig, RunConfig, load_yaml, parse
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.data.streaming import StreamingConfig
from genre_ray.errors import ConfigError
from genre_ray.tune.checks import check_search
from genre_ray.tune.domains import Domain, Scalar
from genre_ray.tune.names import VARIANT

_UNITS = {"s": 1, "m": 60, "h": 3600}


class CorpusConfig(Config):
    """The embedded corpus, composed when no data is named."""

    tracks_per_genre: int = Field(20, ge=4, le=100_000)
    """Tracks of each of the ten genres."""

    duration_s: float = Field(10.0, ge=1.0, le=60.0)
    """Length of a track."""

    seed: int = Field(0, ge=0)
    """Same seed, same corpus."""


class SearchConfig(Config):
    """How long and for what is searched."""

    metric: Literal["accuracy", "macro_f1", "loss"] = "macro_f1"
    """Score of a trial, on the validation part, per track."""

    trials: int | None = Field(20, ge=1, le=100_000)
    """Number of trials; None: until the time budget is spent."""

    time_budget: str | None = None
    """Time for the trials (the final fit comes after it), such as 90s, 30m or 2h; None: no limit."""

    folds: int = Field(1, ge=1, le=10)
    """Trainings a trial, on folds of train + validation, scored by their mean; 1: scored on the validation part."""

    folds_by: Literal["artist", "protocol"] = "artist"
    """`artist`: an artist's tracks lie in one fold, so that what remembers artists is not picked. `protocol`: only
    where the protocol keeps artists apart, too; folds are then to the trials what the test part is to the winner."""

    concurrency: int | None = Field(None, ge=1)
    """Trials at a time; None: as many as the cluster has room for."""

    startup_trials: int = Field(10, ge=1)
    """Random trials before the sampler models what it has seen (given points count)."""

    seed: int = Field(42, ge=0, le=2**32 - 1)
    """Seeds the sampler."""

    retries: int = Field(2, ge=0, le=10)
    """How often a trial that raised, ran out of memory or lost its worker is started again from its last state."""

    save_every_s: float = Field(15.0, ge=0.0)
    """A running trial saves its state this often, so that a lost worker costs no more."""

    @field_validator("time_budget")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None and not (re.fullmatch(r"\d+(\.\d+)?[smh]", value) and float(value[:-1])):
            raise ValueError("write a number above 0 and s, m or h, such as 30m")
        return value

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.time_budget is None:
            raise ValueError("trials and time_budget are both null: the search would never end")
        return self

    @property
    def time_budget_s(self) -> float | None:
        """The time budget in seconds."""
        return None if self.time_budget is None else float(self.time_budget[:-1]) * _UNITS[self.time_budget[-1]]


class AshaConfig(Config):
    """Asynchronous successive halving (Li et al. 2020): weak trials are stopped early."""

    grace_epochs: int = Field(5, ge=1)
    """No trial is stopped before this epoch."""

    reduction_factor: int = Field(3, ge=2, le=10)
    """One in so many trials goes on at each rung."""


class ResourceConfig(Config):
    """What one trial takes."""

    cpus: float = Field(1.0, ge=0.01, le=1024)
    """CPU cores; torch uses as many threads."""

    gpus: float | Literal["auto"] = "auto"
    """GPUs, fractions of one allowed; `auto`: a quarter where the cluster has any, else none."""

    workers: int = Field(1, ge=1, le=64)
    """Data-parallel workers a trial (Ray Train), each with `cpus` and `gpus`."""

    @field_validator("gpus", mode="before")
    @classmethod
    def _a_share_or_whole_ones(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value != "auto" and not (number and (0 <= value <= 1 or (1 < value <= 64 and value == int(value)))):
            raise ValueError("write auto, a share of one GPU such as 0.25, or how many: 0, 1, 2, ... 64")
        return value


class RefitConfig(Config):
    """The final fit, on train + validation with the epochs fixed, scored once on the test part."""

    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = (42,)
    """One fit a seed; several become one checkpoint whose probabilities are averaged."""

    most_wrong: float | None = Field(0.1, gt=0.0, lt=1.0)
    """The checkpoint calls an answer unsure below the lowest probability from which on at most this share of the
    held-out tracks was called wrong; None: no threshold is learnt."""

    mixture: int = Field(1, ge=1, le=12)
    """The checkpoint mixes up to so many trials, by shares learnt on held-out tracks; 1: the winner alone."""

    per_variant: bool = False
    """Fit and score the best trial of every variant, not of the winner only."""

    half_precision: bool = False
    """The checkpoint stores matrices as float16: half the size, and scored as it is stored."""

    @field_validator("seeds")
    @classmethod
    def _different(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("name one seed at least")
        if len(set(value)) < len(value):
            raise ValueError("a seed is given twice: its two fits would be one and the same")
        return value


class TuneConfig(Config):
    """A search, as in `tune_configs/*.yaml`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """Folder under `--output`."""

    data: str | None = None
    """Folder, manifest or URI; None: the embedded corpus. `--data` wins."""

    corpus: CorpusConfig = CorpusConfig()
    """The embedded corpus."""

    protocol: ProtocolConfig
    """How tracks become train, validation and test part."""

    base: RunConfig = RunConfig()
    """Every setting that is not searched."""

    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Named partial settings laid over `base`; the search chooses among them by the parameter `variant`."""

    space: dict[str, Domain] = Field(default_factory=dict)
    """Dotted field of a run (`training.learning_rate`): what may be tried; `<variant>/<field>` for one variant only."""

    points: tuple[dict[str, Scalar], ...] = ()
    """Known good points, tried first; parameters they leave out are sampled."""

    search: SearchConfig = SearchConfig()
    """Budget, metric, concurrency."""

    asha: AshaConfig | None = AshaConfig()
    """Early stopping of weak trials; None: each trial runs to its end."""

    resources: ResourceConfig = ResourceConfig()
    """What one trial takes."""

    streaming: StreamingConfig = StreamingConfig()
    """When clips come as a stream instead of lying in memory."""

    refit: RefitConfig = RefitConfig()
    """The final fit."""

    @field_validator("data")
    @classmethod
    def _whole_scheme(cls, value: str | None) -> str | None:
        if value is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)", value):
            raise ValueError(f"a URI has two slashes: {value.replace(':/', '://', 1)}")
        return value

    @model_validator(mode="after")
    def _space_fits_the_fields(self) -> Self:
        for name in self.variants:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"variants: {name!r} should be letters, digits, - and _")
        check_search(self)
        return self

    def parameters(self, variant: str | None) -> dict[str, Domain]:
        """The domains that apply to a variant, by parameter name, the common ones first."""
        common = {name: domain for name, domain in self.space.items() if "/" not in name}
        own = {name: domain for name, domain in self.space.items() if name.startswith(f"{variant}/")}
        return common | own

    def runs(self) -> tuple[RunConfig, ...]:
        """`base` under each variant, or alone when there are none."""
        return tuple(self.resolve({VARIANT: variant}) for variant in self.variants) or (self.base,)

    def preparation(self) -> InputConfig:
        """What has to be extracted from the tracks so that every trial finds what it needs."""
        runs = self.runs()
        pictures = [run.inputs.spectrogram for run in runs if run.inputs.spectrogram is not None]
        features = [run.inputs.features for run in runs if run.inputs.features is not None]
        return InputConfig(
            clip=runs[0].inputs.clip,
            spectrogram=pictures[0] if pictures else None,
            features=features[0] if features else None,
        )

    def longest_training(self) -> int:
        """The most epochs that any trial may take."""
        searched = [
            int(value)  # type: ignore[arg-type]
            for name, domain in self.space.items()
            if name.rsplit("/", 1)[-1] == "training.epochs"
            for value in domain.corners()
        ]
        return max([run.training.epochs for run in self.runs()] + searched)

    def resolve(self, params: Mapping[str, Any]) -> RunConfig:
        """`base`, the chosen variant and `params` as one RunConfig. ConfigError when they do not fit together."""
        merged = self.base.model_dump(mode="json")
        variant = params.get(VARIANT)
        if variant is not None:
            merged = _merge(merged, self.variants[variant])
        for name, value in params.items():
            if name != VARIANT:
                _assign(merged, name.rsplit("/", 1)[-1], value)
        return parse(RunConfig, merged, origin="run")


def load(path: str | Path) -> TuneConfig:
    """The search file at `path`; ConfigError with file, field, value and remedy when anything in it is wrong."""
    path = Path(path)
    data = load_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: not a mapping", remedy="start from one of tune_configs/*.yaml")
    return parse(TuneConfig, data, origin=str(path))


def _merge(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`, mapping by mapping; a mapping with another `kind` replaces the one under it."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if (
            isinstance(value, Mapping)
            and isinstance(below, dict)
            and value.get("kind", below.get("kind")) == below.get("kind")
        ):
            merged[key] = _merge(below, value)
        else:
            merged[key] = dict(value) if isinstance(value, Mapping) else value
    return merged


def _assign(tree: dict[str, Any], field: str, value: Any) -> None:
    *path, last = field.split(".")
    for part in path:
        below = tree.get(part)
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    tree[last] = value
