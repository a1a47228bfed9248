"""The report of scored runs: headline numbers, tables, curves, calibration, mistakes, data faults, configuration.

Knows nothing about Ray, torch, or how predictions came about.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from genre_ray.intervals import Summary
from genre_ray.metrics import Scores
from genre_ray.report.charts import Curve, coverage_chart, interval_chart, line_chart, reliability_chart
from genre_ray.report.page import (
    Cell,
    Section,
    decimal,
    facts,
    figure,
    folded,
    interval_text,
    render,
    table,
    text,
    tile,
    versions,
    write_pair,
)
from genre_ray.report.runs import FaultLike, Pooled, RunResult, WrongTrack, pool, summary_of, worst_tracks

_KEYS = (("train", "training"), ("valid", "validation"), ("third", ""))


def write_report(
    path: Path,
    *,
    title: str,
    runs: Sequence[RunResult],
    config: Mapping[str, Any],
    data: Mapping[str, Any] | None = None,
    faults: Sequence[FaultLike] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of `runs`, several folds or training seeds of one configuration, and return the page's path.

    `path` is the page (`*.html`) or a folder for `report.html`; the JSON lies beside it. `data` are facts about the
    corpus (name, fingerprint, ...), `faults` its fault report (`Catalog.faults`), `config` the resolved configuration,
    `notes` sentences that a reader of the scores must know. ValueError when there are no runs or their labels differ.
    """
    if not runs or any(run.scores.labels != runs[0].scores.labels for run in runs):
        raise ValueError("a report needs at least one run, and all of them over the same labels")
    summary, pooled, wrong = summary_of(runs), pool(runs), worst_tracks(runs)
    sections = [
        _runs_section(runs, summary),
        _genres_section(pooled, len(runs)),
        _curves_section(runs),
        _calibration_section(pooled),
        _mistakes_section(pooled.scores, wrong),
        _data_section(data or {}, faults),
        _config_section(config),
    ]
    html = render(title, _lede(runs, summary, pooled, notes), _tiles(summary) + _leaks(runs), sections)
    facts_for_machines = {
        "title": title,
        "summary": summary_to_json(summary),
        "notes": list(notes),
        "runs": [
            {k: v for k, v in run.to_json().items() if k not in ("tracks", "targets", "probabilities")} for run in runs
        ],
        "pooled": pooled.scores.to_json()
        | {"tracks": pooled.tracks, "times_tested": pooled.times_tested, "ece_of_perfect": pooled.ece_of_perfect},
        "per_genre": [{name: getattr(row, name) for name in row.__slots__} for row in pooled.per_genre],
        "worst_tracks": [{name: getattr(track, name) for name in track.__slots__} for track in wrong],
        "data": dict(data or {}),
        "faults": [{"kind": f.kind, "tracks": list(f.tracks), "detail": f.detail, "action": f.action} for f in faults],
        "config": dict(config),
        "versions": versions(),
    }
    return write_pair(path, html, facts_for_machines)


def summary_to_json(summary: Mapping[str, Summary]) -> dict[str, Any]:
    """Summaries as plain JSON values."""
    return {
        name: {"n": s.n, "mean": s.mean, "std": s.std, "interval": s.interval and list(s.interval), "basis": s.basis}
        for name, s in summary.items()
    }


def _lede(runs: Sequence[RunResult], summary: Mapping[str, Summary], pooled: Pooled, notes: Sequence[str]) -> str:
    splits = list(dict.fromkeys(run.split or run.name for run in runs))
    seeds = {run.seed for run in runs if run.seed is not None}
    over = f"{len(splits)} splits" if len(splits) > 1 else text(splits[0])
    over += f", {len(seeds)} training seeds" if len(seeds) > 1 else ""
    fitted = text(" or ".join(dict.fromkeys(run.fitted_on for run in runs)))
    sentence = (
        f"<b>{summary['accuracy'].mean:.1%}</b> of the test tracks are called right, over <b>{over}</b> "
        f"({pooled.tracks} tracks, {len(pooled.scores.labels)} genres; fitted on {fitted}). "
        f"Guessing alone gives {1 / len(pooled.scores.labels):.1%}."
    )
    return " ".join([sentence, *(text(note) for note in notes)])


def _tiles(summary: Mapping[str, Summary]) -> str:
    return (
        f'<div class="tiles">{tile("Accuracy", summary["accuracy"])}{tile("Macro F1", summary["macro_f1"])}'
        f"{tile('Calibration error (ECE)', summary['ece'])}{tile('Log loss', summary['log_loss'])}</div>"
    )


def _leaks(runs: Sequence[RunResult]) -> str:
    """Beside the scores: protocol and leaks of each split, the same line once."""
    lines = dict.fromkeys((run.split or run.name, run.leaks) for run in runs)
    shown = "".join(f"<li><b>{text(name)}</b>: {text(line)}</li>" for name, line in list(lines)[:10])
    more = f"<li>… and {len(lines) - 10} more splits in the table of runs</li>" if len(lines) > 10 else ""
    return f'<ul class="leaks" aria-label="Protocol and leaks">{shown}{more}</ul>'


def _runs_section(runs: Sequence[RunResult], summary: Mapping[str, Summary]) -> Section:
    ends = [end for run in runs for end in run.scores.accuracy_interval]
    low, high = math.floor(min(ends) * 20) / 20, math.ceil(max(ends) * 20) / 20
    shared, alike = (len({getattr(run, name) for run in runs}) == 1 for name in ("leaks", "fitted_on"))
    rows: list[list[Cell | str | float]] = []
    for run in runs:
        s, interval = run.scores, interval_text(run.scores.accuracy_interval)
        name = Cell(text(run.name) if shared else f"{text(run.name)}<small>{text(run.leaks)}</small>", run.name)
        told = f"accuracy {decimal(s.accuracy)} {interval}"
        chart = Cell(interval_chart(told, s.accuracy, s.accuracy_interval, low=low, high=high), s.accuracy)
        fitted = [] if alike else [run.fitted_on]
        rows.append([name, s.accuracy, chart, interval, s.macro_f1, s.ece, s.log_loss, s.n, *fitted])
    head = ["run", "accuracy", f"{low:.2f} to {high:.2f}", "95 % (Wilson)", "macro F1", "ECE", "log loss", "tracks"]
    caption = "Each run, scored once on its test part, per track"
    lead = f"Mean accuracy {decimal(summary['accuracy'].mean)}, 95 % {interval_text(summary['accuracy'].interval)}: "
    body = table(caption, head if alike else [*head, "fitted on"], rows, sortable=len(rows) > 1)
    lead += summary["accuracy"].basis + "." + (f" Leaks of each: {runs[0].leaks}." if shared else "")
    return Section("runs", "Runs", text(lead), body)


def _genres_section(pooled: Pooled, n_runs: int) -> Section:
    rows: list[list[Cell | str | float]] = [
        [row.genre, row.precision, row.recall, _meter(row.f1), row.support] for row in pooled.per_genre
    ]
    mean = [fmean(getattr(row, name) for row in pooled.per_genre) for name in ("precision", "recall", "f1")]
    rows.append(["mean", mean[0], mean[1], _meter(mean[2]), pooled.tracks])
    head = ["genre", "precision", "recall", "F1", "support"]
    scores = table("Precision, recall, F1 and support of each genre", head, rows)
    lead = ""
    if n_runs > 1:
        lead = f"All {n_runs} runs together."
    if pooled.times_tested > 1:
        lead += (
            f" Each track was tested {pooled.times_tested:.3g} times: the support counts it once, the matrix each time."
        )
    return Section("genres", "Genres", lead, f'<div class="grid2">{scores}{_confusion(pooled.scores)}</div>')


def _meter(value: float) -> Cell:
    return Cell(f'<span class="meter"><i style="--v:{value:.3f}"></i>{decimal(value)}</span>', value, "number")


def _confusion(scores: Scores) -> str:
    labels = scores.labels
    head = "".join(f'<th scope="col"><span>{text(label)}</span></th>' for label in labels)
    body = []
    for i, row in enumerate(scores.confusion):
        total = sum(row) or 1
        cells = "".join(_confusion_cell(n, n / total, labels[i], labels[j], i == j) for j, n in enumerate(row))
        body.append(f'<tr><th scope="row">{text(labels[i])}</th>{cells}</tr>')
    return (
        '<div class="scroll confusion" role="region" aria-label="Confusion matrix" tabindex="0"><table>'
        "<caption>Rows: the true genre. Columns: what it was called. Shade: share of the row.</caption>"
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _confusion_cell(count: int, share: float, true: str, predicted: str, hit: bool) -> str:
    kinds = " ".join(name for name, on in (("hit", hit), ("strong", share > 0.45), ("none", not count)) if on)
    told = text(f"{true} called {predicted}: {count} ({share:.0%})")
    # The root keeps a single mistake visible beside a row of hits.
    return f'<td class="{kinds}" style="--v:{math.sqrt(share) if not hit else share:.3f}" title="{told}">{count}</td>'


def _curves_section(runs: Sequence[RunResult]) -> Section:
    if not any(len(run.history) > 1 for run in runs):  # what is fitted in one go has no course
        return Section("training", "Training", "No epochs were recorded for these runs.", "")
    charts = [
        _curve_chart(runs, "Loss", "loss", ("train_loss", "validation_loss")),
        _curve_chart(runs, "Accuracy", "share right", ("train_accuracy", "validation_accuracy")),
        _curve_chart(runs, "Macro F1", "macro F1", ("", "validation_macro_f1")),
        _curve_chart(runs, "Learning rate", "", ("", "", "learning_rate")),
    ]
    lead = "Training values are those of the augmented, regularised batches; validation is per track."
    if not any(epoch.get("validation_loss") is not None for run in runs for epoch in run.history):
        lead = "Fitted on training and validation part together, so that there is no validation curve."
    many = " Faint: single runs; bold: their mean." if len(runs) > 1 else ""
    return Section("training", "Training", lead + many, f'<div class="grid2">{"".join(charts)}</div>')


def _curve_chart(runs: Sequence[RunResult], heading: str, y_label: str, fields: Sequence[str]) -> str:
    """`fields` of the history for training, validation and neither; "" draws nothing."""
    curves: list[Curve] = []
    for (kind, name), field in zip(_KEYS, fields, strict=False):
        lines = [_points(run, field) for run in runs]
        lines = [line for line in lines if line]
        if len(lines) > 1:
            curves += [Curve(run.name, kind, _points(run, field), faint=True) for run in runs if _points(run, field)]
        if lines:
            curves.append(
                Curve(f"{name or heading}, mean" if len(lines) > 1 else name or heading, kind, _mean_line(lines))
            )
    if not curves:
        return ""
    keys = [key for key in _KEYS if any(curve.kind == key[0] for curve in curves)]
    return figure(
        heading,
        line_chart(f"{heading} by epoch", curves, x_label="epoch", y_label=y_label),
        keys=[key for key in keys if key[1]],
    )


def _points(run: RunResult, field: str) -> list[tuple[float, float]]:
    return [(float(e["epoch"]), float(e[field])) for e in run.history if field and e.get(field) is not None]


def _mean_line(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    by_epoch: dict[float, list[float]] = {}
    for line in lines:
        for epoch, value in line:
            by_epoch.setdefault(epoch, []).append(value)
    # Where early stopping has ended most runs, the mean of the rest would jump.
    return [(epoch, fmean(values)) for epoch, values in sorted(by_epoch.items()) if 2 * len(values) >= len(lines)]


def _calibration_section(pooled: Pooled) -> Section:
    scores = pooled.scores
    lead = f"Expected calibration error {decimal(scores.ece)} ({len(scores.reliability)} bins), all runs together. "
    lead += f"If the probabilities were true, it would be {decimal(pooled.ece_of_perfect)} on as many tracks."
    keys = (("bar", "share right"), ("gap", "gap to what was said"))
    left = figure(
        "Reliability",
        reliability_chart("Share right by probability of the top genre", scores.reliability),
        "On the diagonal, a genre given 80 % is right in 80 % of the cases. Wider bars hold more tracks.",
        keys,
    )
    right = figure(
        "If unsure, say nothing",
        coverage_chart("Accuracy by share of tracks answered", scores.risk_coverage),
        "Answering only where the top probability is high enough; each point tells its threshold.",
    )
    return Section("calibration", "Calibration", text(lead), f'<div class="grid2">{left}{right}</div>')


def _mistakes_section(scores: Scores, wrong: Sequence[WrongTrack]) -> Section:
    if not wrong:
        return Section("mistakes", "Mistakes", "No track was called wrong.", "")
    pairs = table(
        "Most confused pairs",
        ["true → called", "tracks", "share of the genre"],
        [[f"{pair.true} → {pair.predicted}", pair.count, pair.share] for pair in scores.most_confused],
    )
    tracks = table(
        "Worst tracks: wrong, and sure of it (mean over the runs)",
        ["track", "true → called", "probability", "of the true", "wrong in"],
        [
            [
                w.track,
                Cell(text(f"{w.true} → {w.predicted}"), kind="pair"),
                w.probability,
                w.probability_of_true,
                f"{w.wrong_runs} of {w.runs}",
            ]
            for w in wrong
        ],
        sortable=True,
    )
    return Section("mistakes", "Mistakes", "", f'<div class="grid2 uneven">{pairs}{tracks}</div>')


def _data_section(data: Mapping[str, Any], faults: Sequence[FaultLike]) -> Section:
    items = []
    for fault in faults:
        shown = ", ".join(fault.tracks[:5]) + (f" and {len(fault.tracks) - 5} more" if len(fault.tracks) > 5 else "")
        items.append(
            f"<li><b>{fault.count} × {text(fault.kind)}</b>: {text(fault.detail)}; {text(fault.action)}"
            f"<small>{text(shown)}</small></li>"
        )
    listed = f'<ul class="faults">{"".join(items)}</ul>' if items else "<p class=lead>No faults were found.</p>"
    return Section("data", "Data", "What was read, and what was wrong with it.", facts(data) + listed)


def _config_section(config: Mapping[str, Any]) -> Section:
    return Section("config", "Configuration", "", folded("Resolved configuration", config) + facts(versions()))
