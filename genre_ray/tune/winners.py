"""From finished trials to what is fitted again: the best trial, or the best of each variant, and its calibration.

Knows nothing about the test part.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from genre_ray import checkpoint
from genre_ray.calibration import fit_temperature
from genre_ray.config import RunConfig
from genre_ray.data.catalog import Catalog
from genre_ray.errors import GenreRayError
from genre_ray.fitted import Fitted
from genre_ray.inference import Predictor
from genre_ray.training import Trainer
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.corpus import Corpus
from genre_ray.tune.names import VARIANT
from genre_ray.tune.outcome import BEST

TRIALS = "trials"
"""Folder of the trials' states and logs."""


@dataclass(frozen=True, slots=True)
class Winner:
    """A trial to fit again: its configuration with the epochs fixed, the temperature its validation asks for."""

    name: str
    trial: optuna.trial.FrozenTrial
    run: RunConfig
    temperature: float
    history: tuple[dict[str, Any], ...]


def save_best_so_far(config: TuneConfig, corpus: Corpus, study: optuna.Study, folder: Path) -> Path | None:
    """The best trial's own weights as `best/`, for a search that was stopped; None when no trial has saved any."""
    direction = -1 if config.search.metric == "loss" else 1
    scored = [t for t in study.trials if t.intermediate_values and not t.user_attrs.get(records.DIVERGED)]
    scored.sort(key=lambda t: -direction * t.intermediate_values[max(t.intermediate_values)])
    for trial in records.ranking(study)[:1] + scored:
        fitted = _trial_model(config, corpus, folder, trial)
        if fitted is not None:
            notes = {"from": "interrupted search", "trial": trial.number, "fitted_on": "train"}
            checkpoint.save(
                folder / BEST, [fitted], metrics={}, data=data_record(corpus, corpus.split.train), notes=notes
            )
            return folder / BEST
    return None


def chosen(config: TuneConfig, study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials to fit again, the best first; empty when none came to its end."""
    ranked = records.ranking(study)
    if not config.refit.per_variant:
        return ranked[:1]
    first: dict[str, optuna.trial.FrozenTrial] = {}
    for trial in ranked:
        first.setdefault(str(trial.params.get(VARIANT, "best")), trial)
    return list(first.values())


def winner_of(
    config: TuneConfig,
    corpus: Corpus,
    folder: Path,
    trial: optuna.trial.FrozenTrial,
) -> Winner:
    """Fix the epochs of a trial, and read its temperature off the validation part with the model that it trained."""
    run = config.resolve(trial.params)
    fitted = _trial_model(config, corpus, folder, trial)
    history = tuple(dataclasses.asdict(epoch) for epoch in fitted.history) if fitted else ()
    temperature = 1.0
    if fitted is not None:
        own = checkpoint.save(
            folder / "candidates" / str(trial.user_attrs[records.FOLDER]),
            [fitted],
            metrics={"validation": trial.user_attrs[records.METRICS]},
            data=data_record(corpus, corpus.split.train),
        )
        tracks, probabilities = Predictor.open(own).predict_table(corpus.table.part(corpus.split.validation))
        temperature = fit_temperature(probabilities, targets_of(corpus.catalog, tracks))
    fixed = int(trial.user_attrs[records.METRICS]["kept_epoch"])
    training = run.training.model_copy(update={"epochs": fixed, "keep": "last", "early_stopping": False})
    name = str(trial.params.get(VARIANT, "best"))
    return Winner(name, trial, run.model_copy(update={"training": training}), temperature, history)


def _trial_model(
    config: TuneConfig,
    corpus: Corpus,
    folder: Path,
    trial: optuna.trial.FrozenTrial,
) -> Fitted | None:
    """The model of a trial's first fold from its saved state; None when it has none that can be read."""
    if config.search.folds > 1:
        return None  # its parts are not the split's
    run = config.resolve(trial.params)
    trainer = Trainer(
        run,
        corpus.table.part(corpus.split.train),
        corpus.table.part(corpus.split.validation),
        labels=corpus.catalog.labels,
    )
    place = folder / TRIALS / str(trial.user_attrs.get(records.FOLDER))
    for saved in sorted(place.glob("checkpoint_*"), reverse=True):
        try:
            trainer.load(saved / "fold-0")
        except (GenreRayError, OSError, ValueError, KeyError):
            continue  # cut short when the driver died; an earlier state serves
        return trainer.fitted()
    return None


def targets_of(catalog: Catalog, tracks: Sequence[str]) -> NDArray[np.int64]:
    """Label indices (N,) of tracks."""
    place = {label: i for i, label in enumerate(catalog.labels)}
    return np.array([place[str(catalog.by_id[track].label)] for track in tracks], dtype=np.int64)


def data_record(corpus: Corpus, fitted_on: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint remembers of its data: enough to tell later whether a track was trained on."""
    catalog, split = corpus.catalog, corpus.split
    return {
        "root": Path(catalog.root).name,
        "kind": catalog.kind,
        "fingerprint": catalog.fingerprint(),
        "protocol": split.name,
        "leaks": split.leaks.describe(),
        "tracks": list(fitted_on),
    }
