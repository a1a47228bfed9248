"""The page around a report: shell, sections, tables, tiles, and writing it whole. Knows nothing about scores.

Every text that comes from data goes through `text()`; style and script are inlined, nothing is fetched.
"""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from string import Template
from typing import Any

import yaml

from genre_ray.intervals import Interval, Summary

_PACKAGES = ("genre_ray", "ray", "torch", "optuna", "numpy", "scipy", "scikit-learn", "librosa", "pillow", "pyarrow")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its anchor, heading, a line under it, and its HTML."""

    anchor: str
    heading: str
    lead: str
    body: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell that is more than its text: HTML, the value it sorts by, and a CSS class."""

    html: str
    order: float | str = ""
    kind: str = ""


def text(value: object) -> str:
    """Any value as escaped text."""
    return escape(str(value), quote=True)


def decimal(value: float, digits: int = 3) -> str:
    """0.831; a dash for what is not a number."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def interval_text(interval: Interval | None) -> str:
    """[0.802, 0.860]; a dash where there is none."""
    return "–" if interval is None else f"[{decimal(interval[0])}, {decimal(interval[1])}]"


def tile(label: str, summary: Summary, *, interval: bool = True) -> str:
    """A headline number with its interval and what that rests on."""
    shown = f"95 % {interval_text(summary.interval)}" if interval and summary.interval else ""
    spread = f"deviation {decimal(summary.std)} over {summary.n}" if summary.n > 1 else ""
    lines = "".join(f"<small>{text(line)}</small>" for line in (shown, summary.basis if shown else "", spread) if line)
    return f'<div class="tile"><span>{text(label)}</span><strong>{decimal(summary.mean)}</strong>{lines}</div>'


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell | str | float]], *, sortable: bool = False
) -> str:
    """A table that scrolls sideways on its own where the screen is narrow. The first column heads its row."""
    numeric = [isinstance(cell, int | float) or "number" in getattr(cell, "kind", "") for cell in (rows or [()])[0]]
    top = "".join(_head_cell(name, sortable, right) for name, right in zip_longest(head, numeric))
    body = "".join(f"<tr>{''.join(_cell(cell, first=i == 0) for i, cell in enumerate(row))}</tr>" for row in rows)
    marker = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" role="region" aria-label="{text(caption)}" tabindex="0"><table{marker}>'
        f"<caption>{text(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(heading: str, svg: str, note: str = "", keys: Sequence[tuple[str, str]] = ()) -> str:
    """A chart with its heading, the key to its colours (CSS class and name) and a note."""
    legend = "".join(f'<li class="{kind}">{text(name)}</li>' for kind, name in keys)
    legend = f'<ul class="keys">{legend}</ul>' if legend else ""
    note = f"<p>{note}</p>" if note else ""
    return f"<figure><figcaption><h3>{text(heading)}</h3>{legend}</figcaption>{svg}{note}</figure>"


def facts(values: Mapping[str, object]) -> str:
    """Names and values side by side."""
    return "<dl>" + "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in values.items()) + "</dl>"


def folded(heading: str, value: object) -> str:
    """A mapping as YAML, folded away."""
    shown = yaml.safe_dump(
        json.loads(json.dumps(_finite(value), default=_plain)), sort_keys=False, allow_unicode=True, width=100
    )
    return f"<details><summary>{text(heading)}</summary><pre>{text(shown)}</pre></details>"


def render(title: str, lead: str, top: str, sections: Sequence[Section]) -> str:
    """The whole page. `lead` and `top` are HTML."""
    return Template(_asset("page.html")).substitute(
        title=text(title),
        style=_asset("page.css"),
        lead=lead,
        top=top,
        links="".join(f'<a href="#{section.anchor}">{text(section.heading)}</a>' for section in sections),
        sections="\n".join(_section(section) for section in sections),
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        version=text(versions()["genre_ray"]),
        script=_asset("page.js"),
    )


def versions() -> dict[str, str]:
    """Python, platform and the packages that decide a result."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_pair(path: Path, html: str, data: Mapping[str, Any]) -> Path:
    """Write the page at `path`, or as `report.html` in it, and `data` as JSON beside it; returns the page's path."""
    page = path if path.suffix == ".html" else path / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    machine = json.dumps(_finite(data), indent=1, ensure_ascii=False, default=_plain)
    write_whole(page.with_suffix(".json"), machine + "\n")
    write_whole(page, html)
    return page


def write_whole(path: Path, content: str) -> None:
    """Write to a temporary name, then rename: a final name means a finished file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def _section(section: Section) -> str:
    lead = f'<p class="lead">{section.lead}</p>' if section.lead else ""
    return f'<section id="{section.anchor}"><h2>{text(section.heading)}</h2>{lead}{section.body}</section>'


def _head_cell(name: str, sortable: bool, right: bool | None) -> str:
    inner = f'<button type="button">{text(name)}</button>' if sortable else text(name)
    return f'<th scope="col"{" class=number" if right else ""}>{inner}</th>'


def _cell(cell: Cell | str | float, *, first: bool) -> str:
    if not isinstance(cell, Cell):
        number = isinstance(cell, int | float)
        shown = (decimal(cell) if isinstance(cell, float) else str(cell)) if number else text(cell)
        cell = Cell(shown, cell, "number" if number else "")
    kind = f' class="{cell.kind}"' if cell.kind else ""
    order = f' data-order="{text(cell.order)}"' if cell.order != "" else ""
    return f'<th scope="row"{kind}{order}>{cell.html}</th>' if first else f"<td{kind}{order}>{cell.html}</td>"


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as numbers and lists; anything else that JSON does not know as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity; they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _asset(name: str) -> str:
    return resources.files("genre_ray.report").joinpath(name).read_text(encoding="utf-8")
