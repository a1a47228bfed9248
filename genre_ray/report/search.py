"""The report of a search: best so far, trials as a table, parameters against the score, who ran when.

Knows nothing about Ray or Optuna: trials come as a DataFrame.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genre_ray.report.charts import Curve, Dot, Span, line_chart, scatter, timeline
from genre_ray.report.page import (
    Cell,
    Section,
    decimal,
    facts,
    figure,
    folded,
    render,
    table,
    text,
    versions,
    write_pair,
)

if TYPE_CHECKING:
    import pandas as pd

_PREFIX = "config."
_STATES = {
    "complete": ("valid", "finished"),
    "pruned": ("train quiet", "stopped early"),
    "diverged": ("bad", "diverged"),
    "failed": ("bad", "failed"),
}
_CUT_OFF = "cut off"
"""A trial that was running when the search's budget was spent, or when it was interrupted."""

_UNSCORED = ("diverged", "failed")  # their score is a penalty, not a measurement
_MAX_CATEGORIES = 12


def write_search_report(
    path: Path, *, name: str, trials: "pd.DataFrame", metric: str, mode: str, summary: Mapping[str, Any]
) -> Path:
    """Write the report of a search and return the page's path; `path` as in `write_report`.

    `trials` has one row a trial, in the order in which they began: `trial_id`, `state` (complete, pruned, diverged,
    failed, running), `score`, `epochs`, `seconds`, a `config.<parameter>` each, empty where it does not apply, and
    optionally `start_s` (seconds since the search began), which gives the time line, `metric.validation_loss`, by which
    equal scores are told apart, and `error`, why a trial failed. `mode` is "max" or "min". `summary` are facts to show;
    mappings in it are folded.
    """
    rows: list[dict[str, Any]] = [{str(k): _plain(v) for k, v in row.items()} for row in trials.to_dict("records")]
    for row in rows:
        row["state"] = _CUT_OFF if row["state"] == "running" else row["state"]
    parameters = [str(column) for column in trials.columns if str(column).startswith(_PREFIX)]
    best = _best(rows, mode)
    plots = [_parameter_chart(rows, column, metric) for column in parameters]
    sections = [
        _progress_section(rows, metric, mode),
        Section("parameters", "Parameters", _parameters_lead(metric), f'<div class="grid3">{"".join(plots)}</div>'),
        Section("trials", "Trials", "Click a heading to sort.", _trials_table(rows, parameters, metric, best)),
        Section("summary", "Summary", "", _summary_body(summary)),
    ]
    html = render(f"Search {name}", _lede(rows, metric, best), _tiles(rows, metric, best), sections)
    facts_for_machines = {
        "name": name,
        "metric": metric,
        "mode": mode,
        "best": best,
        "trials": rows,
        "summary": dict(summary),
        "versions": versions(),
    }
    return write_pair(path, html, facts_for_machines)


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; what is missing (NaN, NaT, None) as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if value is None or value != value else value


def _best(rows: Sequence[Mapping[str, Any]], mode: str) -> Mapping[str, Any] | None:
    """The first of the study's ranking: of complete trials, by score, then validation loss, then age."""
    sign = 1.0 if mode == "min" else -1.0
    return min(
        (row for row in rows if _is_complete(row)),
        key=lambda row: (sign * float(row["score"]), float(row.get("metric.validation_loss") or 0.0)),
        default=None,
    )


def _is_complete(row: Mapping[str, Any]) -> bool:
    """Whether the trial came to its end: what was stopped on its way cannot win, however well it stood."""
    return row["state"] == "complete" and row["score"] is not None


def _kind(row: Mapping[str, Any]) -> str:
    return _STATES.get(str(row["state"]), ("quiet", ""))[0]


def _told(row: Mapping[str, Any]) -> str:
    usable = row["score"] is not None and row["state"] not in _UNSCORED
    score = decimal(float(row["score"]), 4) if usable else "no score"
    return f"{row['trial_id']}: {score}, {row['state']}, {row['epochs']} epochs"


def _lede(rows: Sequence[Mapping[str, Any]], metric: str, best: Mapping[str, Any] | None) -> str:
    found = (
        f"The best, <b>{text(best['trial_id'])}</b>, reached <b>{decimal(float(best['score']), 4)}</b>"
        if best
        else "None was scored"
    )
    return (
        f"{_count(len(rows), 'trial')}. {found}: {text(metric)} on the validation part, which the search itself "
        "has looked at; the honest number is the one on the test part, in the report of the winner."
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _tiles(rows: Sequence[Mapping[str, Any]], metric: str, best: Mapping[str, Any] | None) -> str:
    states = [str(row["state"]) for row in rows]
    bad = states.count("failed") + states.count("diverged")
    spent = sum(float(row["seconds"] or 0) for row in rows)
    tiles = (
        (f"best {metric}", decimal(float(best["score"]), 4) if best else "–"),
        ("trials", f"{len(rows)}"),
        ("stopped early", f"{states.count('pruned')}"),
        ("diverged or failed", f"{bad}"),
        ("training time, all trials", duration(spent)),
    )
    inner = "".join(f'<div class="tile"><span>{text(k)}</span><strong>{text(v)}</strong></div>' for k, v in tiles)
    return f'<div class="tiles">{inner}</div>'


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _progress_section(rows: Sequence[Mapping[str, Any]], metric: str, mode: str) -> Section:
    better = max if mode == "max" else min
    scored = [(i, row) for i, row in enumerate(rows, start=1) if row["score"] is not None]
    shown = [(i, row) for i, row in scored if row["state"] not in _UNSCORED]
    steps: list[tuple[float, float]] = []
    for i, row in shown:
        if not _is_complete(row):
            continue
        steps.append((i, better(float(row["score"]), steps[-1][1] if steps else float(row["score"]))))
    if steps:
        steps.append((len(rows), steps[-1][1]))
    dots = [Dot(i, float(row["score"]), _kind(row), _told(row)) for i, row in shown]
    curve = [Curve("best so far", "third", steps, stepped=True)] if steps else []
    keys = [("third", "best so far"), ("valid", "finished"), ("train", "stopped early")]
    progress = figure(
        "Best so far",
        line_chart("Score of each trial and best so far", curve, dots=dots, x_label="trial", y_label=metric),
        keys=keys,
    )
    left_out = len(rows) - len(shown)
    lead = f"Not drawn, for want of a usable score: {_count(left_out, 'trial')}." if left_out else ""
    return Section("progress", "Progress", lead, f'<div class="grid2">{progress}{_time_figure(rows)}</div>')


def _time_figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lanes of trials that ran side by side; without start times, seconds per trial."""
    rows = [row for row in rows if row["state"] != _CUT_OFF]  # nobody noted when it ended
    if rows and all(row.get("start_s") is not None for row in rows):
        ends: list[float] = []
        spans = []
        for row in sorted(rows, key=lambda row: float(row["start_s"])):
            start, end = float(row["start_s"]), float(row["start_s"]) + float(row["seconds"] or 0)
            lane = next((i for i, free in enumerate(ends) if free <= start + 0.05), len(ends))
            ends[lane : lane + 1] = [end]
            spans.append(Span(start, end, lane, _kind(row), f"{_told(row)}, {duration(end - start)}"))
        drawn = timeline("When each trial ran", spans, x_label="seconds since the search began")
        return figure("Time line", drawn, keys=[("valid", "finished"), ("train", "stopped early"), ("bad", "failed")])
    dots = [Dot(i, float(row["seconds"] or 0), _kind(row), _told(row)) for i, row in enumerate(rows, start=1)]
    return figure("Seconds per trial", scatter("Seconds per trial", dots, x_label="trial", y_label="seconds"))


def _parameters_lead(metric: str) -> str:
    return f"Each point is a trial: {metric} over the value it drew. Trials without that parameter are absent."


def _parameter_chart(rows: Sequence[Mapping[str, Any]], column: str, metric: str) -> str:
    drawn = [
        row
        for row in rows
        if row.get(column) is not None and row["score"] is not None and row["state"] not in _UNSCORED
    ]
    values = [row[column] for row in drawn]
    heading = column.removeprefix(_PREFIX)
    if len(set(values)) < 2:
        return ""
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    title = f"{metric} by {heading}"
    if numeric:
        log = min(values) > 0 and max(values) / min(values) >= 30
        dots = [
            Dot(float(row[column]), float(row["score"]), _kind(row), f"{row[column]:.4g}, {_told(row)}")
            for row in drawn
        ]
        return figure(heading, scatter(title, dots, x_label=heading, y_label=metric, log=log))
    names = sorted({str(value) for value in values})[:_MAX_CATEGORIES]
    dots = [
        # A golden-ratio sequence spreads equal values sideways without chance.
        Dot(
            names.index(str(row[column])) + 0.5 * math.modf(i * 0.618034)[0] - 0.25,
            float(row["score"]),
            _kind(row),
            _told(row),
        )
        for i, row in enumerate(drawn)
        if str(row[column]) in names
    ]
    return figure(heading, scatter(title, dots, x_label=heading, y_label=metric, names=names))


def _trials_table(
    rows: Sequence[Mapping[str, Any]], parameters: Sequence[str], metric: str, best: Mapping[str, Any] | None
) -> str:
    body: list[list[Cell | str | float]] = []
    reasons = any(row.get("error") for row in rows)
    for row in rows:
        mark = " ★" if best is not None and row["trial_id"] == best["trial_id"] else ""
        kind, said = _STATES.get(str(row["state"]), ("", str(row["state"])))
        line: list[Cell | str | float] = [
            Cell(text(row["trial_id"]) + mark, str(row["trial_id"])),
            Cell(f'<span class="badge {kind}">{text(said)}</span>', said),
            _value_cell(row["score"] if row["state"] not in _UNSCORED else None, 4),
            _value_cell(row["epochs"]),
            Cell(
                text(duration(float(row["seconds"] or 0))) if row["seconds"] else "–", row["seconds"] or 0.0, "number"
            ),
        ]
        line += [_value_cell(row.get(column)) for column in parameters]
        body.append([*line, str(row.get("error") or "")] if reasons else line)
    head = ["trial", "state", metric, "epochs", "time", *(column.removeprefix(_PREFIX) for column in parameters)]
    head += ["why it failed"] if reasons else []
    return table(f"All trials; ★ has the best {metric}", head, body, sortable=True)


def _value_cell(value: Any, digits: int | None = None) -> Cell:
    if value is None:
        return Cell("–", kind="number")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(text(value), str(value))
    shown = decimal(float(value), digits) if digits else f"{value:.4g}"
    return Cell(shown, float(value), "number")


def _summary_body(summary: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in summary.items() if not isinstance(value, Mapping | list | tuple)}
    folds = [folded(str(key), value) for key, value in summary.items() if isinstance(value, Mapping | list | tuple)]
    return facts(plain) + "".join(folds) + facts(versions())
