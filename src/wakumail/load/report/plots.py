"""Plots as inline SVG. Their colours come from the style sheet of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

from wakumail.load.measures import Metric, Spread

WIDTH = 640
ROW_HEIGHT = 42
LABEL_BASE = 16
"""Units from the top of a row to the base line of its label."""
BAR_HEIGHT = 12
VALUE_WIDTH = 96
"""Units to the right of the longest bar, for its value."""

DECADES = 2
"""Powers of ten on either side of the goal. Larger distances stand at the edge."""
AXIS_HEIGHT = 26
MARGIN = 14


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its spread. series: the number of the server, 0 or 1."""

    label: str
    spread: Spread
    series: int = 0


def bar_plot(metric: Metric, rows: Sequence[Bar]) -> str:
    """A bar for each median, from 0, with a whisker from the least value to the greatest."""
    largest = max(row.spread.high for row in rows) or 1.0
    scale = (WIDTH - VALUE_WIDTH) / largest
    parts = []
    for number, row in enumerate(rows):
        top = number * ROW_HEIGHT
        y = top + LABEL_BASE + 8
        low, middle, high = (
            value * scale for value in (row.spread.low, row.spread.median, row.spread.high)
        )
        parts += [
            svg_text(0, top + LABEL_BASE, row.label),
            f'<rect class="s{row.series}" x="0" y="{y}" width="{max(middle, 1):.1f}" '
            f'height="{BAR_HEIGHT}" rx="2"/>',
            svg_line(low, y + BAR_HEIGHT / 2, high, y + BAR_HEIGHT / 2, "whisker"),
            svg_text(high + 8, y + BAR_HEIGHT - 2, metric.text(row.spread.median), "value"),
        ]
    return svg_figure(len(rows) * ROW_HEIGHT, metric.heading, parts, "bars")


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance from a goal: 2 is twice as good, 0.5 half as good."""

    label: str
    ours: float
    incumbent: float


def distance_plot(rows: Sequence[Distance]) -> str:
    """A dot for us and one for the incumbent in each row. Better is to the right."""
    height = len(rows) * ROW_HEIGHT + AXIS_HEIGHT
    parts = []
    for power in range(-DECADES, DECADES + 1):
        x, kind = axis_position(10.0**power), "goal" if power == 0 else "grid"
        parts.append(svg_line(x, 0, x, height - AXIS_HEIGHT, kind))
        name = "goal" if power == 0 else f"{10.0**power:g} x"
        parts.append(svg_text(x, height - 8, name, "tick"))
    for number, row in enumerate(rows):
        top = number * ROW_HEIGHT
        y = top + LABEL_BASE + 12
        parts += [
            svg_text(0, top + LABEL_BASE, row.label),
            svg_line(axis_position(row.incumbent), y, axis_position(row.ours), y, "span"),
            f'<circle class="s1" cx="{axis_position(row.incumbent):.1f}" cy="{y}" r="5"/>',
            f'<circle class="s0" cx="{axis_position(row.ours):.1f}" cy="{y}" r="6"/>',
        ]
    return svg_figure(height, "Distance from the goal, better to the right", parts, "distances")


def axis_position(value: float) -> float:
    """The x coordinate of a ratio."""
    power = max(-DECADES, min(DECADES, log10(value) if value > 0 else -DECADES))
    return MARGIN + (power + DECADES) / (2 * DECADES) * (WIDTH - 2 * MARGIN)


def svg_figure(height: int, caption: str, parts: Sequence[str], kind: str) -> str:
    """The plot with its caption."""
    return (
        f'<figure class="{kind}"><figcaption>{escape(caption)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(caption)}">'
        f"{''.join(parts)}</svg></figure>"
    )


def svg_text(x: float, y: float, words: str, kind: str = "label") -> str:
    """Words at a point."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def svg_line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
