"""Scales, ticks and the frame of a chart in hand-written SVG. Knows nothing about what is drawn inside.

Colours are CSS classes, so that a chart follows the page into dark mode.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400.0, 250.0
"""The drawing's own units; the page scales it to its column."""

LEFT, RIGHT, TOP, BOTTOM = 54.0, 10.0, 10.0, 40.0
"""Margins around the plot area."""

_MANTISSAS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` laid from `start` to `end` of the drawing, evenly or by their logarithm.

    `names` replaces the numbers at the ticks 0, 1, 2, ... of an axis of categories.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    names: tuple[str, ...] = ()

    def at(self, value: float) -> float:
        """Where `value` lies in the drawing."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Values with their text."""
        if self.names:
            return [(float(i), name) for i, name in enumerate(self.names)]
        values = log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)
        return [(value, tick_text(value)) for value in values]


def x_axis(low: float, high: float, *, log: bool = False, names: Sequence[str] = ()) -> Axis:
    """An axis along the bottom of the plot area."""
    return Axis(low, high, LEFT, WIDTH - RIGHT, log, tuple(names))


def y_axis(low: float, high: float) -> Axis:
    """An axis along the left side, upwards."""
    return Axis(low, high, HEIGHT - BOTTOM, TOP)


def padded(
    values: Iterable[float], *, share: float = 0.06, floor: float = -math.inf, ceiling: float = math.inf
) -> tuple[float, float]:
    """The range of `values` with some air, within floor and ceiling; a range of one value is widened."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = (high - low) * share or abs(high) * 0.1 or 0.05
    return max(floor, low - air), min(ceiling, high + air)


def linear_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """About `target` round values (1, 2, 2.5 or 5 times a power of ten apart) within the range."""
    if not high > low:
        return [low]
    rough = (high - low) / target
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in _MANTISSAS if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within the range, with 2 and 5 times them where there would be fewer than three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = [10.0**p for p in powers if low * 0.999 <= 10.0**p <= high * 1.001]
    if len(inside) >= 3:
        return inside[:: -(-len(inside) // 6)]
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low * 0.999 <= m * 10.0**p <= high * 1.001]


def tick_text(value: float) -> str:
    """A short text: 0.25, 40, 20k, 7.5e-4."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        mantissa, power = f"{value:e}".split("e")
        return f"{float(mantissa):.3g}e{int(power)}"
    return f"{value / 1000:.6g}k" if abs(value) >= 10_000 else f"{value:.6g}"


def frame(x: Axis, y: Axis, *, x_label: str, y_label: str, y_ticks: bool = True) -> str:
    """Grid lines, tick texts and the two axis names."""
    parts = []
    for value, text in y.ticks() if y_ticks else ():
        place = y.at(value)
        parts.append(f'<line class="grid" x1="{x.start:g}" x2="{x.end:g}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text class="tick" x="{x.start - 6:g}" y="{place + 3.5:.1f}" text-anchor="end">{text}</text>')
    for value, text in x.ticks():
        place = x.at(value)
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{y.start:g}" y2="{y.start + 4:g}"/>')
        parts.append(_x_text(place, y.start + 16, text, crowded=len(x.names) > 4))
    parts.append(f'<line class="axis" x1="{x.start:g}" x2="{x.end:g}" y1="{y.start:g}" y2="{y.start:g}"/>')
    middle = (x.start + x.end) / 2
    parts.append(f'<text class="name" x="{middle:g}" y="{HEIGHT - 6:g}" text-anchor="middle">{escape(x_label)}</text>')
    across = (y.start + y.end) / 2
    parts.append(
        f'<text class="name" transform="translate(11 {across:g}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _x_text(place: float, height: float, text: str, *, crowded: bool) -> str:
    shown = escape(text if len(text) <= 12 else text[:11] + "…")
    turned = (
        f' transform="rotate(-28 {place:.1f} {height:g})" text-anchor="end"' if crowded else ' text-anchor="middle"'
    )
    return f'<text class="tick" x="{place:.1f}" y="{height:g}"{turned}>{shown}</text>'


def drawing(title: str, body: str, *, height: float = HEIGHT, width: float = WIDTH) -> str:
    """The svg element around `body`; `title` is what a screen reader says."""
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title, quote=True)}">'
        f"{body}</svg>"
    )
