"""From finished trials to what is fitted again: the best trial, the best of each variant, or a mixture.

Knows nothing about the test part.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from genre_ray import checkpoint
from genre_ray.abstention import least_sure
from genre_ray.calibration import fit_temperature, temper
from genre_ray.config import RunConfig
from genre_ray.data.catalog import Catalog
from genre_ray.ensembling import learn_mixture, mix
from genre_ray.errors import GenreRayError
from genre_ray.fitted import Fitted
from genre_ray.inference import Predictor
from genre_ray.training import Trainer
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.corpus import Corpus
from genre_ray.tune.folds import Part
from genre_ray.tune.mirror import TRIALS
from genre_ray.tune.names import VARIANT
from genre_ray.tune.outcome import BEST

_CANDIDATES_OF_A_VARIANT = 4
"""Trials of one variant that a mixture may choose from: enough for it to differ, few enough to stay quick."""


@dataclass(frozen=True, slots=True)
class Winner:
    """A trial to fit again: its configuration with the epochs fixed, and its predictions of tracks new to it.

    `tracks` and `probabilities` (N, L) are of the validation part, or of every fold's; empty when its state is lost.
    """

    name: str
    trial: optuna.trial.FrozenTrial
    run: RunConfig
    tracks: tuple[str, ...]
    probabilities: NDArray[np.float32]
    history: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Blend:
    """What becomes one checkpoint: winners and their shares, and what held-out tracks ask for: the temperature, and the
    probability below which an answer is unsure (None: none was learnt).
    """

    name: str
    parts: tuple[tuple[Winner, float], ...]
    temperature: float
    unsure_below: float | None

    @property
    def leader(self) -> Winner:
        """The winner with the largest share."""
        return max(self.parts, key=lambda part: part[1])[0]


def save_best_so_far(config: TuneConfig, corpus: Corpus, study: optuna.Study, folder: Path) -> Path | None:
    """The best trial's own weights as `best/`, for a search that was stopped; None when no trial has saved any.

    The `best/` of a search that was finished before it went on stays: it learnt from more tracks, and has its scores.
    """
    if _is_final(folder / BEST):
        return folder / BEST
    direction = -1 if config.search.metric == "loss" else 1
    scored = [t for t in study.trials if t.intermediate_values and not t.user_attrs.get(records.DIVERGED)]
    scored.sort(key=lambda t: -direction * t.intermediate_values[max(t.intermediate_values)])
    part = corpus.parts[0]
    for trial in records.ranking(study)[:1] + scored:
        fitted = _trial_model(config.resolve(trial.params), corpus, folder, trial, 0, part)
        if fitted is not None:
            notes = {"from": "stopped search", "trial": trial.number, "fitted_on": "train"}
            checkpoint.save(folder / BEST, [fitted], metrics={}, data=data_record(corpus, part[0]), notes=notes)
            return folder / BEST
    return None


def _is_final(place: Path) -> bool:
    try:
        notes = checkpoint.open_checkpoint(place).manifest.get("notes", {})
    except GenreRayError:
        return False
    return bool(notes.get("fitted_on") == "train + validation")


def blends(config: TuneConfig, corpus: Corpus, study: optuna.Study, folder: Path) -> list[Blend]:
    """What to fit again, the best first: a mixture where one is asked for, the winner, the best of each variant.

    Empty when no trial came to its end.
    """
    ranked = records.ranking(study)
    if not ranked:
        return []
    first: dict[str, optuna.trial.FrozenTrial] = {}
    for trial in ranked:
        first.setdefault(_variant(trial), trial)
    alone = list(first.values()) if config.refit.per_variant else ranked[:1]
    winners = {trial.number: winner_of(config, corpus, folder, trial) for trial in alone}
    found = [_alone(config, winners[trial.number], corpus) for trial in alone]
    if config.refit.mixture == 1:
        return found
    for trial in _candidates(ranked):
        if trial.number not in winners:
            winners[trial.number] = winner_of(config, corpus, folder, trial)
    mixed = _mixture(config, winners, corpus)
    return found if mixed is None else [mixed, *found]


def _variant(trial: optuna.trial.FrozenTrial) -> str:
    return str(trial.params.get(VARIANT, "best"))


def _candidates(ranked: Sequence[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
    """The best few of every variant: a mixture lives on members that err differently."""
    taken: Counter[str] = Counter()
    found = []
    for trial in ranked:
        if taken[_variant(trial)] < _CANDIDATES_OF_A_VARIANT:
            taken[_variant(trial)] += 1
            found.append(trial)
    return found


def _alone(config: TuneConfig, winner: Winner, corpus: Corpus) -> Blend:
    if not winner.tracks:
        return Blend(winner.name, ((winner, 1.0),), 1.0, None)
    targets = targets_of(corpus.catalog, winner.tracks)
    temperature = fit_temperature(winner.probabilities, targets)
    threshold = _threshold(config, temper(winner.probabilities, temperature), targets)
    return Blend(winner.name, ((winner, 1.0),), temperature, threshold)


def _threshold(config: TuneConfig, probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float | None:
    most_wrong = config.refit.most_wrong
    return None if most_wrong is None else least_sure(probabilities, targets, most_wrong=most_wrong)


def _mixture(config: TuneConfig, winners: Mapping[int, Winner], corpus: Corpus) -> Blend | None:
    """Shares learnt from what each candidate said of tracks that it was not trained on; None for fewer than two."""
    known = {str(number): winner for number, winner in winners.items() if winner.tracks}
    if len(known) < 2:
        return None
    tracks = next(iter(known.values())).tracks
    ordered = {name: _in_order(winner, tracks) for name, winner in known.items()}
    targets = targets_of(corpus.catalog, tracks)
    learnt = learn_mixture(ordered, targets, most=config.refit.mixture)
    parts = tuple((known[name], share) for name, share in zip(learnt.members, learnt.weights, strict=True))
    if len(parts) < 2:
        return None
    together = mix([ordered[name] for name in learnt.members], learnt.weights)
    threshold = _threshold(config, temper(together, learnt.temperature), targets)
    return Blend("mixture", parts, learnt.temperature, threshold)


def _in_order(winner: Winner, tracks: Sequence[str]) -> NDArray[np.float32]:
    place = {track: row for row, track in enumerate(winner.tracks)}
    return winner.probabilities[[place[track] for track in tracks]]


def winner_of(config: TuneConfig, corpus: Corpus, folder: Path, trial: optuna.trial.FrozenTrial) -> Winner:
    """A trial with its epochs fixed, and what its own models say of the tracks that were held out from them."""
    run = config.resolve(trial.params)
    history: tuple[dict[str, Any], ...] = ()
    tracks: list[str] = []
    rows: list[NDArray[np.float32]] = []
    for fold, part in enumerate(corpus.parts):
        fitted = _trial_model(run, corpus, folder, trial, fold, part)
        if fitted is None:
            tracks, rows = [], []
            break
        history = history or tuple(dataclasses.asdict(epoch) for epoch in fitted.history)
        own = checkpoint.save(
            folder / "candidates" / str(trial.user_attrs[records.FOLDER]) / f"fold-{fold}",
            [fitted],
            metrics={"validation": trial.user_attrs[records.METRICS]},
            data=data_record(corpus, part[0]),
        )
        names, probabilities = Predictor.open(own).predict_table(corpus.table.part(part[1]))
        tracks += names
        rows.append(probabilities)
    fixed = int(trial.user_attrs[records.METRICS]["kept_epoch"])
    training = run.training.model_copy(update={"epochs": fixed, "keep": "last", "early_stopping": False})
    return Winner(
        name=_variant(trial),
        trial=trial,
        run=run.model_copy(update={"training": training}),
        tracks=tuple(tracks),
        probabilities=np.concatenate(rows) if rows else np.zeros((0, len(corpus.catalog.labels)), np.float32),
        history=history,
    )


def _trial_model(
    run: RunConfig, corpus: Corpus, folder: Path, trial: optuna.trial.FrozenTrial, fold: int, part: Part
) -> Fitted | None:
    """The model of one of a trial's folds from its saved state; None when it has none that can be read."""
    train, validation = corpus.table.part(part[0]), corpus.table.part(part[1])
    trainer = Trainer(run, train, validation, labels=corpus.catalog.labels)
    place = folder / TRIALS / str(trial.user_attrs.get(records.FOLDER))
    for saved in sorted(place.glob("checkpoint_*"), reverse=True):
        try:
            trainer.load(saved / f"fold-{fold}")
        except (GenreRayError, OSError, ValueError, KeyError):
            continue  # cut short when the driver died; an earlier state serves
        return trainer.fitted()
    return None


def targets_of(catalog: Catalog, tracks: Sequence[str]) -> NDArray[np.int64]:
    """Label indices (N,) of tracks."""
    place = {label: i for i, label in enumerate(catalog.labels)}
    return np.array([place[str(catalog.by_id[track].label)] for track in tracks], dtype=np.int64)


def data_record(corpus: Corpus, fitted_on: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint remembers of its data: enough to tell later whether a track was trained on, whatever its name.

    `contents` has the first 16 hex digits of the SHA-256 of each of `tracks`, "" where none was taken.
    """
    catalog, split = corpus.catalog, corpus.split
    return {
        "root": Path(catalog.root).name,
        "kind": catalog.kind,
        "fingerprint": catalog.fingerprint(),
        "protocol": split.name,
        "leaks": split.leaks.describe(),
        "tracks": list(fitted_on),
        "contents": [catalog.digests.get(track, "")[:16] for track in fitted_on],
        "label_counts": dict(Counter(str(catalog.by_id[track].label) for track in fitted_on)),
    }
