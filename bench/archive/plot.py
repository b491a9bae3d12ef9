"""A log-log plot as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 78, 220, 46, 58
FONT = 'font-family="sans-serif"'


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its points (x, y), both above zero."""

    name: str
    color: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def plot(lines: Sequence[Line], title: str, x_label: str, y_label: str) -> str:
    """Draw the lines over decades of both axes, each with its name at its end."""
    points = [point for line in lines for point in line.points]
    x_axis = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(middle, 24, title, size=15),
        text(middle, HEIGHT - 14, x_label),
        f'<g transform="translate(20 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">'
        f"{text(0, 0, y_label)}</g>",
    ]
    for value in x_axis.decades:
        at = x_axis.place(value)
        parts.append(rule(at, TOP, at, HEIGHT - BOTTOM))
        parts.append(text(at, HEIGHT - BOTTOM + 20, tick(value)))
    for value in y_axis.decades:
        at = y_axis.place(value)
        parts.append(rule(LEFT, at, WIDTH - RIGHT, at))
        parts.append(text(LEFT - 8, at + 4, tick(value), anchor="end"))
    for line in lines:
        parts += draw(line, x_axis, y_axis)
    return "\n".join([*parts, "</svg>", ""])


class Axis:
    """An axis of whole decades that hold all values, from one coordinate to another."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self._begin, self._end = begin, end
        first = round(log10(min(values)) - 0.5 + 1e-9)
        last = max(first + 1, round(log10(max(values)) + 0.5 - 1e-9))
        self._first, self._last = first, last
        self.decades = [10.0**power for power in range(first, last + 1)]

    def place(self, value: float) -> float:
        """The coordinate of a value on the sheet."""
        part = (log10(value) - self._first) / (self._last - self._first)
        return self._begin + part * (self._end - self._begin)


def draw(line: Line, x_axis: Axis, y_axis: Axis) -> list[str]:
    """Draw the line, its points, and its name behind the last."""
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
    last_x, last_y = places[-1]
    return [
        f'<polyline points="{path}" fill="none" stroke="{line.color}" stroke-width="2"{dashes}/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{line.color}"/>' for x, y in places),
        text(last_x + 10, last_y + 4, line.name, anchor="start", color=line.color),
    ]


def rule(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line of the grid."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def text(
    x: float, y: float, words: str, *, anchor: str = "middle", size: int = 12, color: str = "#222"
) -> str:
    """Words at a place."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{color}">{words}</text>'
    )


def tick(value: float) -> str:
    """A power of ten as people write it."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
