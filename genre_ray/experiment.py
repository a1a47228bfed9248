"""One experiment: a recipe fitted on the training part of a split under one seed, scored once on the test part.

Knows nothing about Ray, or how many experiments there are.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from genre_ray import checkpoint
from genre_ray.calibration import fit_temperature
from genre_ray.clips import Clips
from genre_ray.config import InputConfig, RunConfig, parse
from genre_ray.data.leaks import Split
from genre_ray.errors import RunError
from genre_ray.fitted import Fitted
from genre_ray.inference import Predictor
from genre_ray.metrics import score
from genre_ray.report import RunResult
from genre_ray.training import fit

Parts = Literal["train", "train + validation"]
"""What the final fit sees. The validation part decides epochs and temperature in both cases, the test part nothing."""

Calibration = Literal["validation", "recipe", "none"]
"""Where the temperature comes from: fitted on the validation part by a fit of its own, the recipe's own, or 1."""

_SCORES_NOTHING = {"cli", "cluster", "report", "serve", "tune"}

_SEED_STEP = 7919  # members of one ensemble must not share a seed, nor meet the seed of the next run


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is fitted: one configuration, or the members of an ensemble with their weights in the mean.

    `temperature` is the one that the search which found the recipe learnt, 1 where there was none.
    """

    members: tuple[RunConfig, ...]
    weights: tuple[float, ...]
    temperature: float = 1.0

    @classmethod
    def of(cls, config: RunConfig) -> Self:
        """A single model."""
        return cls(members=(config,), weights=(1.0,))

    @classmethod
    def of_checkpoint(cls, path: str | Path) -> Self:
        """The recipe that a checkpoint's manifest records. Errors as `open_checkpoint`."""
        opened = checkpoint.open_checkpoint(path)
        members = tuple(member.config for member in opened.members)
        return cls(members=members, weights=opened.weights, temperature=opened.temperature)

    @property
    def inputs(self) -> InputConfig:
        """What must be prepared to serve all members."""
        every = [member.inputs for member in self.members]
        return InputConfig(
            clip=every[0].clip,
            spectrogram=next((inputs.spectrogram for inputs in every if inputs.spectrogram is not None), None),
            features=next((inputs.features for inputs in every if inputs.features is not None), None),
        )

    def seeded(self, seed: int) -> "Recipe":
        """The recipe under a training seed: the first member gets `seed` itself, each further one another."""
        members = (_changed(member, seed=(seed + i * _SEED_STEP) % 2**32) for i, member in enumerate(self.members))
        return replace(self, members=tuple(members))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        members = [member.model_dump(mode="json") for member in self.members]
        return {"weights": list(self.weights), "temperature": self.temperature, "members": members}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, origin: str) -> Self:
        """The inverse of `to_json`; ConfigError names `origin`."""
        members = tuple(parse(RunConfig, member, origin=origin) for member in data["members"])
        return cls(members=members, weights=tuple(data["weights"]), temperature=data["temperature"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """All that decides one score, given the prepared clips: `recipe` is seeded, `labels` fix the order of columns,
    `streamed` tells whether clips come as a stream.
    """

    recipe: Recipe
    split: Split
    seed: int
    labels: tuple[str, ...]
    fitted_on: Parts
    calibration: Calibration
    fingerprint: str
    streamed: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.split.name} seed {self.seed}"

    def digest(self) -> str:
        """Equal for experiments that must give the same result: recipe, seed, tracks of the parts and their leaks,
        content, and the code that fits and scores.
        """
        parts = [self.split.train, self.split.validation, self.split.test, self.labels, self.split.leaks.to_json()]
        decisive = [self.recipe.to_json(), parts, self.seed, self.fitted_on, self.calibration, self.fingerprint]
        decisive += [code_digest()]
        decisive += ["streamed"] * self.streamed  # clips are met in another order
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]


@cache
def code_digest(package: Path = Path(__file__).parent) -> str:
    """SHA-256 of the modules that a score comes from: a result of other code is not taken for one of this code."""
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if place.parts[0] not in _SCORES_NOTHING:
            total.update(f"{place.as_posix()}\n".encode() + path.read_bytes())
    return total.hexdigest()


def run_experiment(
    experiment: Experiment, table: Clips, *, threads: int | None = None, device: str = "auto"
) -> RunResult:
    """Fit, then score the test part once. Errors as `fit`.

    Where something must be read off the validation part (epochs under early stopping, the temperature) and that part is
    to be fitted as well, a first fit on the training part alone gives it; a second one with the epochs fixed is scored.
    """
    started = time.perf_counter()
    split, recipe, labels = experiment.split, experiment.recipe, experiment.labels
    train, validation, test = (table.part(part) for part in (split.train, split.validation, split.test))
    both = experiment.fitted_on == "train + validation"
    measured = experiment.calibration == "validation"
    temperature = recipe.temperature if experiment.calibration == "recipe" else 1.0
    if not both or measured or any(_stops_by_validation(member) for member in recipe.members):
        first = [fit(m, train, validation, labels=labels, threads=threads, device=device) for m in recipe.members]
        temperature = _temperature(recipe, first, validation, labels, device) if measured else temperature
        history, members, seen = first[0].history, first, train
    else:
        history, members = [], []
    if both:
        configs = [_fixed(f) for f in members] or list(recipe.members)
        seen = table.part(split.train + split.validation)
        members = [fit(config, seen, labels=labels, threads=threads, device=device) for config in configs]
        history = history or members[0].history
    tracks, probabilities = _predict(recipe, members, test, temperature, device)
    _require_finite(tracks, probabilities)
    targets = _targets(test, tracks, labels)
    return RunResult(
        name=experiment.name,
        split=split.name,
        seed=experiment.seed,
        scores=score(probabilities, targets, labels),
        leaks=split.leaks.describe(),
        history=tuple(asdict(epoch) for epoch in history),
        tracks=tracks,
        probabilities=probabilities,
        targets=targets,
        fitted_on=experiment.fitted_on,
        n_train=len(seen.labels),
        seconds=time.perf_counter() - started,
    )


def _stops_by_validation(config: RunConfig) -> bool:
    return config.training.early_stopping or config.training.keep == "best"


def _changed(config: RunConfig, **changes: Any) -> RunConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def _fixed(fitted: Fitted) -> RunConfig:
    """The configuration with the epochs that the fit kept, for a fit without a validation part."""
    kept = fitted.history[-1]
    if fitted.config.training.keep == "best":
        kept = min(fitted.history, key=lambda result: (result.validation_loss, result.epoch))
    epochs = kept.epoch if _stops_by_validation(fitted.config) else fitted.config.training.epochs
    return _changed(fitted.config, epochs=epochs, keep="last", early_stopping=False)


def _temperature(
    recipe: Recipe, members: Sequence[Fitted], validation: Clips, labels: Sequence[str], device: str
) -> float:
    tracks, probabilities = _predict(recipe, members, validation, 1.0, device)
    return fit_temperature(probabilities, _targets(validation, tracks, labels)) if tracks else 1.0


def _predict(
    recipe: Recipe, members: Sequence[Fitted], table: Clips, temperature: float, device: str
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Track ids and probabilities, by way of a checkpoint: what is scored is what a user would open."""
    with tempfile.TemporaryDirectory(prefix="genre-ray-") as folder:
        place = Path(folder) / "checkpoint"
        checkpoint.save(place, members, weights=recipe.weights, temperature=temperature, metrics={}, data={})
        return Predictor.open(place, device=device).predict_table(table)


def _require_finite(tracks: Sequence[str], probabilities: NDArray[np.float32]) -> None:
    broken = [track for track, row in zip(tracks, probabilities, strict=True) if not np.isfinite(row).all()]
    if broken:
        raise RunError(
            f"the predictions of {len(broken)} of {len(tracks)} test tracks are not finite",
            found=", ".join(broken[:5]),
            remedy="look at the feature rows of these tracks; inputs.features.scaling: quantile bears outliers",
        )


def _targets(table: Clips, tracks: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    place = {label: i for i, label in enumerate(labels)}
    label_of = table.labels
    return np.array([place[label_of[track]] for track in tracks], dtype=np.int64)
