"""Inline SVG, drawn from numbers: histograms of lengths and curves over training steps.

Colours and fonts are classes that the page's style defines, so that both follow light and dark. A chart
is 460 units wide and meant to be shown at 320 to 560 pixels, where its text stays readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from raysft.report.figures import compact

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 26, 42
BINS_PER_DECADE = 6  # the most for which every bin from 1 up holds a whole number
MAX_POINTS = 400
NOTE_WIDTH = 150


@dataclass(frozen=True)
class Mark:
    """A labelled point on a curve's chart, in the curve's units."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Axis:
    """A linear map from [low, high] to pixels, with round ticks inside it."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return round_ticks(self.low, self.high)


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], around `about` of them."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def padded(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """Bounds of an axis that shows all values with some air, never of zero length."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    return (0.0 if from_zero else low - 0.08 * span), high + 0.12 * span


def thin(points: Sequence[tuple[float, float]], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most `most` points: means over equal runs of neighbours."""
    if len(points) <= most:
        return list(points)
    cuts = [round(i * len(points) / most) for i in range(most + 1)]
    runs = [points[a:b] for a, b in pairwise(cuts)]
    return [(sum(x for x, _ in r) / len(r), sum(y for _, y in r) / len(r)) for r in runs]


def curve(
    points: Sequence[tuple[float, float]],
    title: str,
    x_label: str,
    y_label: str,
    *,
    beside: Sequence[tuple[float, float]] = (),
    marks: Sequence[Mark] = (),
    from_zero: bool = False,
) -> Markup:
    """A line through `points` and a dashed one through those `beside` them, with axes and units.

    Their x rise; points that are not finite are left out.
    """
    finite = _finite(points)
    dashed = _finite(beside)
    marks = [m for m in marks if math.isfinite(m.x) and math.isfinite(m.y)]
    xs = [x for x, _ in (*finite, *dashed)] + [m.x for m in marks]
    ys = [y for _, y in (*finite, *dashed)] + [m.y for m in marks]
    if not xs:
        return Markup("")
    x_low, x_high = min(0.0, *xs), max(xs)
    x = Axis(x_low, x_high if x_high > x_low else x_low + 1, LEFT + 6, WIDTH - RIGHT - 6)
    y = Axis(*padded(ys, from_zero), HEIGHT - BOTTOM, TOP)
    path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in thin(finite))
    body = Markup('<polyline class="line" points="{}"/>').format(path)
    if len(finite) == 1:
        body += Markup('<circle class="spot" cx="{}" cy="{}" r="3"/>').format(*path.split(","))
    if dashed:
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in thin(dashed))
        body += Markup('<polyline class="line beside" points="{}"/>').format(path)
    for mark in marks:
        body += _mark(x.at(mark.x), y.at(mark.y), mark.label)
    ticks = [(x.at(t), compact(t)) for t in x.ticks()]
    return _frame(title, body, ticks, y, x_label, y_label)


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in points if all(map(math.isfinite, point))]


def _mark(x: float, y: float, label: str) -> Markup:
    is_at_end = x > WIDTH - RIGHT - NOTE_WIDTH / 2
    on_right = x > WIDTH / 2
    place = (x - 8, y - 10) if is_at_end else (x, y - 14) if on_right else (x + 11, y + 4)
    anchor = "end" if is_at_end else "middle" if on_right else "start"
    return Markup(
        '<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4.5"/>'
        '<text class="note" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    ).format(x, y, *place, anchor, label)


def log_edges(longest: int) -> list[float]:
    """Edges of bins of equal ratio from 1 to the first edge above `longest`."""
    edges, i = [1.0], 0
    while edges[-1] <= longest:
        i += 1
        edges.append(10 ** (i / BINS_PER_DECADE))
    return edges


def bin_counts(values: Sequence[int], edges: Sequence[float]) -> list[int]:
    """How many values lie in each [edge, next edge); what is below the first edge counts as the first."""
    counts = [0] * (len(edges) - 1)
    for value in values:
        i = int(BINS_PER_DECADE * math.log10(max(value, 1)) + 1e-9)
        counts[min(i, len(counts) - 1)] += 1
    return counts


def histogram(values: Sequence[int], longest: int, title: str, x_label: str, y_label: str) -> Markup:
    """Counts of whole numbers in bins of equal ratio; `longest` sets the x axis, to compare charts."""
    edges = log_edges(max(longest, 9))
    counts = bin_counts(values, edges)
    x = Axis(0.0, math.log10(edges[-1]), LEFT, WIDTH - RIGHT)
    # At least 5 rows high, so that no tick is half a row.
    y = Axis(0.0, max(*counts, 5) * 1.08, HEIGHT - BOTTOM, TOP)
    body = Markup("")
    for count, (low, high) in zip(counts, pairwise(edges), strict=True):
        if count:
            left, right, top = x.at(math.log10(low)), x.at(math.log10(high)), y.at(count)
            first, last = math.ceil(low - 1e-9), math.ceil(high - 1e-9) - 1
            body += Markup(
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                "<title>{}: {:,}</title></rect>"
            ).format(
                left + 0.75,
                top,
                right - left - 1.5,
                y.start - top,
                f"{first:,}–{last:,}" if last > first else f"{first:,}",
                count,
            )
    ticks = [(x.at(d), compact(10.0**d)) for d in range(math.floor(x.high + 1e-9) + 1)]
    return _frame(title, body, ticks, y, x_label, y_label)


def _frame(
    title: str, body: Markup, x_ticks: Sequence[tuple[float, str]], y: Axis, x_label: str, y_label: str
) -> Markup:
    """The SVG around a chart's body: grid, ticks, axis labels, and its title for those who hear it."""
    floor = HEIGHT - BOTTOM
    grid = Markup("")
    for tick in y.ticks():
        grid += Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
            '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
        ).format(LEFT, WIDTH - RIGHT, y.at(tick), y.at(tick), LEFT - 7, y.at(tick) + 4, compact(tick))
    for place, label in x_ticks:
        grid += Markup(
            '<line class="axis" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>'
            '<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
        ).format(place, place, floor, floor + 4, place, floor + 17, label)
    return Markup(
        '<svg viewBox="0 0 {w} {h}" role="img" aria-label="{title}">{grid}'
        '<line class="axis" x1="{left}" x2="{right}" y1="{floor}" y2="{floor}"/>{body}'
        '<text class="unit" x="{right}" y="{low}" text-anchor="end">{x_label}</text>'
        '<text class="unit" x="0" y="10">{y_label}</text></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        title=title,
        grid=grid,
        left=LEFT,
        right=WIDTH - RIGHT,
        floor=floor,
        body=body,
        low=HEIGHT - 6,
        x_label=x_label,
        y_label=y_label,
    )
