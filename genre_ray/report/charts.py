"""The charts of the reports as SVG: curves, reliability, coverage, scatter, intervals, time line.

Knows nothing about where the numbers come from. Series are told apart by CSS classes (`page.css`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from genre_ray.intervals import Interval
from genre_ray.metrics import CoveragePoint, ReliabilityBin
from genre_ray.report.axes import Axis, drawing, frame, padded, x_axis, y_axis

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points; `kind` is its CSS class, `faint` puts it in the background."""

    name: str
    kind: str
    points: Sequence[Point]
    faint: bool = False
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A mark of a scatter plot; `text` is shown when pointed at."""

    x: float
    y: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a time line: from `start` to `end` in `lane`."""

    start: float
    end: float
    lane: int
    kind: str
    text: str


def line_chart(
    title: str,
    curves: Sequence[Curve],
    *,
    x_label: str,
    y_label: str,
    dots: Sequence[Dot] = (),
    y_range: Interval | None = None,
) -> str:
    """Curves, the faint ones below, and marks on top."""
    xs = [x for curve in curves for x, _ in curve.points] + [dot.x for dot in dots]
    ys = [y for curve in curves for _, y in curve.points] + [dot.y for dot in dots]
    x = x_axis(*(padded(xs, share=0.01) if max(xs, default=0) > min(xs, default=0) else padded(xs)))
    y = y_axis(*(y_range or padded(ys, floor=0.0 if min(ys, default=0.0) >= 0 else -math.inf)))
    body = [frame(x, y, x_label=x_label, y_label=y_label)]
    body += [_curve(curve, x, y) for curve in sorted(curves, key=lambda curve: not curve.faint)]
    body += [_dot(dot, x, y) for dot in dots]
    return drawing(title, "".join(body))


def scatter(
    title: str, dots: Sequence[Dot], *, x_label: str, y_label: str, log: bool = False, names: Sequence[str] = ()
) -> str:
    """Marks over a number, its logarithm, or categories (`names`, with x their index)."""
    if names:
        x = x_axis(-0.6, len(names) - 0.4, names=names)
    elif log:
        low, high = padded([math.log10(dot.x) for dot in dots])
        x = x_axis(10**low, 10**high, log=True)
    else:
        x = x_axis(*padded(dot.x for dot in dots))
    y = y_axis(*padded(dot.y for dot in dots))
    return drawing(title, frame(x, y, x_label=x_label, y_label=y_label) + "".join(_dot(dot, x, y) for dot in dots))


def reliability_chart(title: str, bins: Sequence[ReliabilityBin]) -> str:
    """Share of right answers per bin of confidence as bars, the gap to what was said on them, width by count."""
    x, y = x_axis(0, 1), y_axis(0, 1)
    body = [frame(x, y, x_label="probability of the top genre", y_label="share right")]
    most = max((bin_.count for bin_ in bins), default=1) or 1
    for bin_ in bins:
        if not bin_.count:
            continue
        left, right = x.at(bin_.low), x.at(bin_.high)
        half = (right - left - 2) / 2 * (0.35 + 0.65 * math.sqrt(bin_.count / most))
        top, expected = y.at(bin_.accuracy), y.at(bin_.confidence)
        share = f"said {bin_.confidence:.2f}, right {bin_.accuracy:.2f}"
        column = f'x="{(left + right) / 2 - half:.1f}" width="{2 * half:.1f}"'
        gap_top, gap = min(top, expected), abs(top - expected)
        body.append(
            f"<g><title>{bin_.low:.2f} to {bin_.high:.2f}: {bin_.count} tracks, {share}</title>"
            f'<rect class="bar" {column} y="{top:.1f}" height="{y.start - top:.1f}"/>'
            f'<rect class="gap" {column} y="{gap_top:.1f}" height="{gap:.1f}"/></g>'
        )
    body.append(_line([(0, 0), (1, 1)], x, y, "diagonal"))
    return drawing(title, "".join(body))


def coverage_chart(title: str, points: Sequence[CoveragePoint]) -> str:
    """Accuracy over the share of tracks answered, when the least certain are left out."""
    curve = Curve("accuracy", "valid", [(point.coverage, point.accuracy) for point in points])
    dots = [
        Dot(
            p.coverage,
            p.accuracy,
            "valid",
            f"{p.coverage:.0%} answered from {p.threshold:.2f} on: {p.accuracy:.3f} right",
        )
        for p in points
    ]
    low = min((point.accuracy for point in points), default=0.0)
    bounds = (max(0.0, math.floor(low * 10 - 0.5) / 10), 1.0)
    return line_chart(
        title, [curve], dots=dots, x_label="share of tracks answered", y_label="share of these right", y_range=bounds
    )


def interval_chart(text: str, value: float, interval: Interval | None, *, low: float, high: float) -> str:
    """One row of a forest plot: the value with its interval on a scale from `low` to `high`."""
    axis = Axis(low, high, 4, 156)
    parts = ['<line class="grid" x1="4" x2="156" y1="9" y2="9"/>']
    if interval is not None:
        left, right = (axis.at(min(max(end, low), high)) for end in interval)
        parts.append(f'<line class="whisker" x1="{left:.1f}" x2="{right:.1f}" y1="9" y2="9"/>')
    parts.append(f'<circle class="dot valid" cx="{axis.at(value):.1f}" cy="9" r="4"/>')
    return (
        f'<svg class="row-chart" viewBox="0 0 160 18" role="img" aria-label="{escape(text, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )


def timeline(title: str, spans: Sequence[Span], *, x_label: str) -> str:
    """Who ran when: one lane for each of those that ran side by side."""
    lanes = 1 + max((span.lane for span in spans), default=0)
    x = x_axis(0, max((span.end for span in spans), default=1.0) or 1.0)
    y = y_axis(0, lanes)
    thick = max(1.5, min(22.0, (y.start - y.end) / lanes - 2))
    body = [frame(x, y, x_label=x_label, y_label="trials side by side", y_ticks=False)]
    for span in spans:
        left, right, middle = x.at(span.start), x.at(span.end), y.at(span.lane + 0.5)
        body.append(
            f'<rect class="span {span.kind}" rx="2" x="{left:.1f}" y="{middle - thick / 2:.1f}" '
            f'width="{max(1.0, right - left - 0.6):.1f}" height="{thick:.1f}"><title>{escape(span.text)}</title></rect>'
        )
    return drawing(title, "".join(body))


def _curve(curve: Curve, x: Axis, y: Axis) -> str:
    points = [(px, py) for px, py in curve.points if math.isfinite(px) and math.isfinite(py)]
    if curve.stepped:
        points = [corner for (x0, y0), (x1, y1) in pairwise(points) for corner in ((x0, y0), (x1, y0))] + points[-1:]
    if len(points) == 1:
        return _dot(Dot(*points[0], curve.kind, curve.name), x, y)
    line = _line(points, x, y, f"curve {curve.kind}" + " faint" * curve.faint)
    return f"<g><title>{escape(curve.name)}</title>{line}</g>"


def _line(points: Sequence[Point], x: Axis, y: Axis, kind: str) -> str:
    places = " ".join(f"{x.at(px):.1f},{y.at(py):.1f}" for px, py in points)
    return f'<polyline class="{kind}" points="{places}"/>'


def _dot(dot: Dot, x: Axis, y: Axis) -> str:
    return (
        f'<circle class="dot {dot.kind}" cx="{x.at(dot.x):.1f}" cy="{y.at(dot.y):.1f}" r="3.2">'
        f"<title>{escape(dot.text)}</title></circle>"
    )
