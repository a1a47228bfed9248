"""After the trials: fit the winner on train + validation, score it once on the test part, write checkpoint and reports.

Knows nothing about how trials are scheduled.
"""

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import optuna

from genre_ray import checkpoint
from genre_ray.config import RunConfig
from genre_ray.errors import GenreRayError, RunError
from genre_ray.fitted import Fitted
from genre_ray.inference import Predictor
from genre_ray.metrics import score
from genre_ray.report import RunResult, write_report, write_search_report
from genre_ray.tune import study as records
from genre_ray.tune.config import TuneConfig
from genre_ray.tune.corpus import Corpus
from genre_ray.tune.fits import fit_all
from genre_ray.tune.mirror import TRIALS
from genre_ray.tune.outcome import BEST, Entry, Outcome
from genre_ray.tune.winners import Blend, Winner, blends, data_record, save_best_so_far, targets_of

if TYPE_CHECKING:
    import pandas as pd

_REFIT = "refit"
_CUT_OFF = {"running": "cut off"}


def finish(config: TuneConfig, corpus: Corpus, folder: Path, stream: TextIO = sys.stderr) -> Outcome:
    """Fit, score and write everything that a finished search leaves; what is already there is not fitted again.

    RunError when no trial came to its end; the weights of the best so far are in `best/` then, where any are saved.
    """
    study = records.open_study(folder, config)
    trials = records.table(study)
    trials.to_csv(folder / "trials.csv", index=False)
    found = blends(config, corpus, study, folder)
    if not found:
        raise _nothing_ended(config, corpus, folder, study, trials)
    _refit(config, found, corpus, folder, stream)
    entries = [_entry(config, corpus, folder, blend, best=blend is found[0]) for blend in found]
    _write_reports(config, corpus, folder, study, entries)
    return Outcome(folder, tuple(entries))


def _nothing_ended(
    config: TuneConfig, corpus: Corpus, folder: Path, study: optuna.Study, trials: "pd.DataFrame"
) -> RunError:
    best = save_best_so_far(config, corpus, study, folder)
    states = Counter(str(state) for state in trials.get("state", ()))
    longer = f"go on with --resume and a longer --time-budget than {config.search.time_budget}"
    failed = f"look into {folder / TRIALS}/*/error.txt, then go on with --resume and a larger --trials"
    return RunError(
        "no trial came to its end",
        found=(", ".join(f"{n} {_CUT_OFF.get(state, state)}" for state, n in states.items()) or "no trial")
        + (f"; the weights of the best so far are in {best}" if best else ""),
        remedy=failed if "failed" in states or config.search.time_budget is None else longer,
    )


def _refit(config: TuneConfig, found: Sequence[Blend], corpus: Corpus, folder: Path, stream: TextIO) -> None:
    """Every winner under every seed, side by side on the cluster; a fit that is already in the folder is kept."""
    winners = {winner.trial.number: winner for blend in found for winner, _ in blend.parts}
    missing = {
        (f"{winner.name} (trial {winner.trial.number})", seed): winner
        for winner in winners.values()
        for seed in _seeds(config, winner)
        if not _is_stored(_fit_place(folder, winner, seed), _seeded(winner.run, seed))
    }
    if missing:
        print(f"fitting on train + validation: {len(missing)} fits", file=stream, flush=True)
    runs = {key: _seeded(winner.run, key[1]) for key, winner in missing.items()}
    seen = corpus.table.part(corpus.split.train + corpus.split.validation)
    for number, (key, fitted) in enumerate(fit_all(config, runs, seen, corpus.catalog.labels), start=1):
        place = _fit_place(folder, missing[key], key[1])
        checkpoint.save(place, [fitted], metrics={}, data={"parts": "train + validation"})
        last = fitted.history[-1]
        print(
            f"  {key[0]} seed {key[1]}: {last.epoch} epochs, training accuracy {last.train_accuracy:.3f}"
            f" ({number}/{len(missing)})",
            file=stream,
            flush=True,
        )


def _seeds(config: TuneConfig, winner: Winner) -> tuple[int, ...]:
    """The seeds to fit a winner under: one where chance has next to no part in the fit."""
    return config.refit.seeds[:1] if winner.run.model.kind in ("svm", "kernel_ridge") else config.refit.seeds


def _seeded(run: RunConfig, seed: int) -> RunConfig:
    return run.model_copy(update={"training": run.training.model_copy(update={"seed": seed})})


def _fit_place(folder: Path, winner: Winner, seed: int) -> Path:
    return folder / _REFIT / f"{winner.name}-trial-{winner.trial.number}-seed-{seed}"


def _is_stored(place: Path, run: RunConfig) -> bool:
    """Whether `place` holds this very fit, whole; what a crash damaged is fitted again."""
    try:
        return checkpoint.open_checkpoint(place).members[0].config == run
    except GenreRayError:
        return False


def _entry(config: TuneConfig, corpus: Corpus, folder: Path, blend: Blend, *, best: bool) -> Entry:
    started = time.perf_counter()
    placed = [
        (f"{winner.name} seed {seed}", _fit_place(folder, winner, seed), share / len(_seeds(config, winner)))
        for winner, share in blend.parts
        for seed in _seeds(config, winner)
    ]
    members = [checkpoint.open_checkpoint(place).members[0] for _, place, _ in placed]
    singles = tuple(
        _score(name, place, corpus, member) for (name, place, _), member in zip(placed, members, strict=True)
    )
    leader = blend.leader
    validation = leader.trial.user_attrs[records.METRICS]
    record: dict[str, Any] = {
        "weights": [share for _, _, share in placed],
        "temperature": blend.temperature,
        "unsure_below": blend.unsure_below,
        "half": config.refit.half_precision,
        "data": data_record(corpus, corpus.split.train + corpus.split.validation),
        "notes": {
            "search": config.name,
            "trials": {str(winner.trial.number): share for winner, share in blend.parts},
            "fitted_on": "train + validation",
            "most_wrong": config.refit.most_wrong,
        },
    }
    unscored = checkpoint.save(
        folder / _REFIT / f"{blend.name}-together", members, metrics={"validation": validation}, **record
    )
    combined = dataclasses.replace(
        _score(_name(blend, len(placed)), unscored, corpus, None),
        history=_longest(blend),
        seconds=time.perf_counter() - started,
    )
    path = folder / BEST if best else folder / "variants" / blend.name
    checkpoint.save(path, members, metrics={"test": combined.scores.to_json(), "validation": validation}, **record)
    return Entry(
        blend.name, leader.run, leader.trial.number, len(blend.parts), singles, combined, path, blend.unsure_below
    )


def _name(blend: Blend, fits: int) -> str:
    if len(blend.parts) > 1:
        return f"{blend.name} of {len(blend.parts)} trials, {fits} fits"
    return f"{blend.name}, {fits} seeds averaged" if fits > 1 else blend.name


def _score(name: str, place: str | Path, corpus: Corpus, member: Fitted | None) -> RunResult:
    split = corpus.split
    tracks, probabilities = Predictor.open(place).predict_table(corpus.table.part(split.test))
    targets = targets_of(corpus.catalog, tracks)
    return RunResult(
        name=name,
        scores=score(probabilities, targets, corpus.catalog.labels),
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


def _shown(entry: Entry) -> list[RunResult]:
    """Every seed by itself, with the one pair of curves that has a validation part: the winning trial's."""
    if len(entry.singles) == 1 or entry.trials > 1:
        return [entry.combined]
    first, *rest = (dataclasses.replace(single, history=()) for single in entry.singles)
    return [dataclasses.replace(first, history=entry.combined.history), *rest]


def _longest(blend: Blend) -> tuple[dict[str, Any], ...]:
    """The course of the member that was trained longest: others may be fitted in one go."""
    return max((winner.history for winner, _ in blend.parts), key=len)


def _notes(entry: Entry) -> list[str]:
    whose = "winning trial" if entry.trials == 1 else "member that was trained longest"
    curves = f"The curves are those of the {whose}, trained on the training part and watched on the validation part."
    curves = curves if len(entry.combined.history) > 1 else "The winner is fitted in one go: there are no curves."
    sure = f"{entry.answered_text()} The threshold was learnt on held-out tracks."
    if len(entry.singles) == 1:
        return [curves, sure]
    together = entry.combined.scores
    return [
        curves,
        f"The checkpoint averages the probabilities of all {len(entry.singles)} fits: accuracy {together.accuracy:.3f},"
        f" macro F1 {together.macro_f1:.3f}, ECE {together.ece:.3f} (temperature fitted on held-out tracks).",
        sure,
    ]


def _write_reports(
    config: TuneConfig, corpus: Corpus, folder: Path, study: optuna.Study, entries: Sequence[Entry]
) -> None:
    plain, catalog = config.model_dump(mode="json", by_alias=True), corpus.catalog
    winner = entries[0]
    for entry in entries:
        path = folder / "report.html" if entry is winner else folder / "variants" / entry.name / "report.html"
        write_report(
            path,
            title=f"{config.name}: {entry.name}",
            runs=_shown(entry),
            data={"corpus": Path(catalog.root).name, "kind": catalog.kind, "tracks": len(catalog.tracks)},
            faults=catalog.with_faults(corpus.split.faults(catalog)).faults,
            notes=_notes(entry),
            config={"run": entry.run.model_dump(mode="json"), "search": plain},
        )
    write_search_report(
        folder / "search.html",
        name=config.name,
        trials=records.table(study),
        metric=config.search.metric,
        mode="min" if config.search.metric == "loss" else "max",
        summary={
            "winner": f"trial {winner.trial}" if winner.trials == 1 else f"{winner.name} of {winner.trials} trials",
            "test accuracy": round(winner.combined.scores.accuracy, 4),
            "test macro F1": round(winner.combined.scores.macro_f1, 4),
            "protocol": winner.combined.leaks,
        },
    )
