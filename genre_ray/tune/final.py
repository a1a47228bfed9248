"""After the trials: fit the winner on train + validation, score it once on the test part, write checkpoint and reports.

Knows nothing about how trials are scheduled.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import optuna
import ray

from genre_ray import checkpoint
from genre_ray.clips import ClipTable
from genre_ray.config import RunConfig
from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import Split
from genre_ray.errors import GenreRayError, RunError
from genre_ray.fitted import Fitted
from genre_ray.inference import Predictor, fit_temperature
from genre_ray.metrics import score
from genre_ray.report import RunResult, write_report, write_search_report
from genre_ray.training import Trainer, fit
from genre_ray.tune import study as records
from genre_ray.tune.config import VARIANT, TuneConfig

BEST = "best"
TRIALS = "trials"
_REFIT = "refit"


@dataclass(frozen=True, slots=True)
class Entry:
    """A configuration that was fitted again and scored: each seed alone, and all seeds as one checkpoint."""

    name: str
    run: RunConfig
    trial: int
    singles: tuple[RunResult, ...]
    combined: RunResult
    path: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a finished search lies and how it scored on the test part; the first entry is the winner."""

    folder: Path
    entries: tuple[Entry, ...]

    @property
    def best(self) -> Path:
        """The winner's checkpoint."""
        return self.folder / BEST

    def text(self) -> str:
        """The closing lines for a terminal."""
        lines = [f"test part, scored once ({self.entries[0].combined.leaks}):"]
        for entry in self.entries:
            for result in (*entry.singles, entry.combined) if len(entry.singles) > 1 else (entry.combined,):
                low, high = result.scores.accuracy_interval
                lines.append(
                    f"  {result.name:<28} accuracy {result.scores.accuracy:.3f} [{low:.3f}, {high:.3f}]"
                    f"  macro F1 {result.scores.macro_f1:.3f}  ECE {result.scores.ece:.3f}"
                )
        lines += [
            f"checkpoint  {self.best}",
            f"report      {self.folder / 'report.html'}",
            f"trials      {self.folder / 'search.html'}",
            "serve it    serve run serve_configs/hybrid.yaml",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Winner:
    """A trial to fit again: its configuration with the epochs fixed, and the temperature that its validation asks for."""

    name: str
    trial: optuna.trial.FrozenTrial
    run: RunConfig
    temperature: float
    history: tuple[dict[str, Any], ...]


def finish(
    config: TuneConfig, catalog: Catalog, table: ClipTable, split: Split, folder: Path, stream: TextIO = sys.stderr
) -> Outcome:
    """Fit, score and write everything that a finished search leaves; what is already there is not fitted again.

    RunError when no trial came to its end.
    """
    study = records.open_study(folder, config)
    trials = records.table(study)
    trials.to_csv(folder / "trials.csv", index=False)
    winners = [_winner(config, catalog, table, split, folder, trial) for trial in _chosen(config, study)]
    if not winners:
        raise RunError(
            "no trial came to its end",
            found=", ".join(f"{n} {state}" for state, n in trials["state"].value_counts().items()) or "no trial",
            remedy=f"look into {folder / TRIALS}/*/error.txt, then go on with --resume and a larger --trials",
        )
    tracks = split.train + split.validation
    fitted = _refit(config, winners, table.part(tracks), catalog.labels, folder, stream)
    test = table.part(split.test)
    entries = [
        _entry(config, catalog, split, folder, winner, fitted[winner.name], test, best=winner is winners[0])
        for winner in winners
    ]
    _write_reports(config, catalog, folder, study, entries)
    return Outcome(folder, tuple(entries))


def save_best_so_far(
    config: TuneConfig, catalog: Catalog, table: ClipTable, split: Split, study: optuna.Study, folder: Path
) -> Path | None:
    """The best trial's own weights as `best/`, for a search that was stopped; None when no trial has saved any."""
    direction = -1 if config.search.metric == "loss" else 1
    scored = [t for t in study.trials if t.intermediate_values and not t.user_attrs.get(records.DIVERGED)]
    scored.sort(key=lambda t: -direction * t.intermediate_values[max(t.intermediate_values)])
    for trial in records.ranking(study)[:1] + scored:
        fitted = _trial_model(config, table, split, catalog, folder, trial)
        if fitted is not None:
            notes = {"from": "interrupted search", "trial": trial.number, "fitted_on": "train"}
            return checkpoint.save(
                folder / BEST, [fitted], metrics={}, data=_data_record(catalog, split, split.train), notes=notes
            )
    return None


def _chosen(config: TuneConfig, study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    ranked = records.ranking(study)
    if not config.refit.per_variant:
        return ranked[:1]
    first: dict[str, optuna.trial.FrozenTrial] = {}
    for trial in ranked:
        first.setdefault(str(trial.params.get(VARIANT, "best")), trial)
    return list(first.values())


def _winner(
    config: TuneConfig,
    catalog: Catalog,
    table: ClipTable,
    split: Split,
    folder: Path,
    trial: optuna.trial.FrozenTrial,
) -> Winner:
    run = config.resolve(trial.params)
    fitted = _trial_model(config, table, split, catalog, folder, trial)
    history = tuple(dataclasses.asdict(epoch) for epoch in fitted.history) if fitted else ()
    temperature = 1.0
    if fitted is not None:
        validation = table.part(split.validation)
        predictor = Predictor([fitted])
        tracks, probabilities = predictor.predict_table(validation)
        temperature = fit_temperature(probabilities, _targets(catalog, tracks))
    fixed = int(trial.user_attrs[records.METRICS]["kept_epoch"])
    training = run.training.model_copy(update={"epochs": fixed, "keep": "last", "early_stopping": False})
    name = str(trial.params.get(VARIANT, "best"))
    return Winner(name, trial, run.model_copy(update={"training": training}), temperature, history)


def _trial_model(
    config: TuneConfig,
    table: ClipTable,
    split: Split,
    catalog: Catalog,
    folder: Path,
    trial: optuna.trial.FrozenTrial,
) -> Fitted | None:
    """The model of a trial's first fold from its saved state; None when it has none that can be read."""
    if config.search.folds > 1:
        return None  # its parts are not the split's
    run = config.resolve(trial.params)
    trainer = Trainer(run, table.part(split.train), table.part(split.validation), labels=catalog.labels)
    place = folder / TRIALS / str(trial.user_attrs.get(records.FOLDER))
    for saved in sorted(place.glob("checkpoint_*"), reverse=True):
        try:
            trainer.load(saved / "fold-0")
        except (GenreRayError, OSError, ValueError, KeyError):
            continue  # cut short when the driver died; an earlier state serves
        return trainer.fitted()
    return None


def _refit(
    config: TuneConfig,
    winners: Sequence[Winner],
    table: ClipTable,
    labels: Sequence[str],
    folder: Path,
    stream: TextIO,
) -> dict[str, list[Fitted]]:
    """Every winner under every seed, side by side on the cluster; finished fits are read back from the folder."""
    from genre_ray.tune.run import resources

    wanted = [(winner, seed) for winner in winners for seed in config.refit.seeds]
    done: dict[tuple[str, int], Fitted] = {}
    for winner, seed in wanted:
        stored = _stored_fit(folder, winner, seed)
        if stored is not None:
            done[winner.name, seed] = stored
    missing = [(winner, seed) for winner, seed in wanted if (winner.name, seed) not in done]
    if missing:
        print(f"fitting on train + validation: {len(missing)} fits", file=stream, flush=True)
    share = resources(config)
    task = ray.remote(num_cpus=share["cpu"], num_gpus=share["gpu"], max_retries=3)(_fit_one)
    shared = ray.put(table)
    pending = {
        task.remote(_seeded(winner.run, seed), shared, tuple(labels), max(1, int(share["cpu"]))): (winner, seed)
        for winner, seed in missing
    }
    for winner, seed, fitted in _as_completed(pending):
        checkpoint.save(_fit_place(folder, winner, seed), [fitted], metrics={}, data={"parts": "train + validation"})
        done[winner.name, seed] = fitted
        last = fitted.history[-1]
        print(
            f"  {winner.name} seed {seed}: {last.epoch} epochs, training accuracy {last.train_accuracy:.3f}"
            f" ({len(done)}/{len(wanted)})",
            file=stream,
            flush=True,
        )
    return {winner.name: [done[winner.name, seed] for seed in config.refit.seeds] for winner in winners}


def _as_completed(pending: dict[Any, tuple[Winner, int]]) -> Iterator[tuple[Winner, int, Fitted]]:
    while pending:
        ready, _ = ray.wait(list(pending))
        winner, seed = pending.pop(ready[0])
        yield winner, seed, ray.get(ready[0])


def _fit_one(run: RunConfig, table: ClipTable, labels: Sequence[str], threads: int) -> Fitted:
    return fit(run, table, labels=labels, threads=threads)


def _seeded(run: RunConfig, seed: int) -> RunConfig:
    return run.model_copy(update={"training": run.training.model_copy(update={"seed": seed})})


def _fit_place(folder: Path, winner: Winner, seed: int) -> Path:
    return folder / _REFIT / f"{winner.name}-trial-{winner.trial.number}-seed-{seed}"


def _stored_fit(folder: Path, winner: Winner, seed: int) -> Fitted | None:
    place = _fit_place(folder, winner, seed)
    if not place.exists():
        return None
    try:
        stored = checkpoint.open_checkpoint(place).members[0]
    except GenreRayError:
        return None  # damaged by a crash: fitted again
    return stored if stored.config == _seeded(winner.run, seed) else None


def _entry(
    config: TuneConfig,
    catalog: Catalog,
    split: Split,
    folder: Path,
    winner: Winner,
    members: Sequence[Fitted],
    test: ClipTable,
    *,
    best: bool,
) -> Entry:
    started = time.perf_counter()
    singles = tuple(
        _score(f"{winner.name} seed {member.config.training.seed}", Predictor([member]), test, catalog, split, member)
        for member in members
    )
    together = Predictor(list(members), temperature=winner.temperature)
    name = f"{winner.name}, {len(members)} seeds averaged" if len(members) > 1 else winner.name
    combined = _score(name, together, test, catalog, split, None)
    combined = dataclasses.replace(combined, history=winner.history, seconds=time.perf_counter() - started)
    path = folder / BEST if best else folder / "variants" / winner.name
    notes = {"search": config.name, "trial": winner.trial.number, "fitted_on": "train + validation"}
    checkpoint.save(
        path,
        list(members),
        temperature=winner.temperature,
        metrics={"test": combined.scores.to_json(), "validation": winner.trial.user_attrs[records.METRICS]},
        data=_data_record(catalog, split, split.train + split.validation),
        notes=notes,
    )
    return Entry(winner.name, winner.run, winner.trial.number, singles, combined, path)


def _score(
    name: str, predictor: Predictor, test: ClipTable, catalog: Catalog, split: Split, member: Fitted | None
) -> RunResult:
    tracks, probabilities = predictor.predict_table(test)
    targets = _targets(catalog, tracks)
    return RunResult(
        name=name,
        scores=score(probabilities, targets, catalog.labels),
        leaks=split.leaks.describe(),
        tracks=tracks,
        probabilities=probabilities,
        targets=targets,
        history=tuple(dataclasses.asdict(epoch) for epoch in member.history) if member else (),
        split=split.name,
        seed=member.config.training.seed if member else None,
        fitted_on="train + validation",
        n_train=len(split.train) + len(split.validation),
    )


def _targets(catalog: Catalog, tracks: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
    place = {label: i for i, label in enumerate(catalog.labels)}
    return np.array([place[str(catalog.by_id[track].label)] for track in tracks], dtype=np.int64)


def _data_record(catalog: Catalog, split: Split, fitted_on: Sequence[str]) -> dict[str, Any]:
    return {
        "root": Path(catalog.root).name,
        "kind": catalog.kind,
        "fingerprint": catalog.fingerprint(),
        "protocol": split.name,
        "leaks": split.leaks.describe(),
        "tracks": list(fitted_on),
    }


def _write_reports(
    config: TuneConfig, catalog: Catalog, folder: Path, study: optuna.Study, entries: Sequence[Entry]
) -> None:
    plain = config.model_dump(mode="json", by_alias=True)
    winner = entries[0]
    for entry in entries:
        path = folder / "report.html" if entry is winner else folder / "variants" / entry.name / "report.html"
        write_report(
            path,
            title=f"{config.name}: {entry.name}",
            runs=[entry.combined],
            faults=catalog.faults,
            config={"run": entry.run.model_dump(mode="json"), "search": plain},
        )
    write_search_report(
        folder / "search.html",
        name=config.name,
        trials=records.table(study),
        metric=config.search.metric,
        mode="min" if config.search.metric == "loss" else "max",
        summary={
            "winner": f"trial {winner.trial}",
            "test accuracy": round(winner.combined.scores.accuracy, 4),
            "test macro F1": round(winner.combined.scores.macro_f1, 4),
            "protocol": winner.combined.leaks,
        },
    )
