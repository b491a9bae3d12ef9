"""The page for a browser: what /metrics and /health tell, as a document.

It is complete as it leaves here. The script adds plots, and asks for it again while somebody looks.
A number's element names its metric in `data-metric` and has the exact value in `data-value`. What
changes lies in elements with `data-part`, which the script replaces as a whole.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

from wakumail.archive.gaps import Gap
from wakumail.archive.outlook import Look
from wakumail.archive.results import Day
from wakumail.archive.retention import DAY
from wakumail.base.text import in_bytes, in_time, utc
from wakumail.ops.monitoring.cards import ARCHIVE_ROWS, CARDS, SYNC_COLUMNS, Card, Row, number
from wakumail.ops.monitoring.numbers import Numbers
from wakumail.ops.monitoring.report import Problem
from wakumail.version import VERSION

MIN_DAYS_SHOWN = 14
"""Days of the histogram of a young archive."""

MAX_DAYS_SHOWN = 60
"""Days of the histogram: the latest."""

MAX_GAPS_SHOWN = 10
"""Gaps in the list of reasons: the latest."""

PARTS = {"50": 0.5, "99": 0.99}


class Overview(NamedTuple):
    """The content of the page; `look` is None without an archive, or if it cannot be read."""

    now: float
    numbers: Numbers
    problems: Sequence[Problem]
    warnings: Sequence[Problem]
    gaps: Sequence[Gap]
    look: Look | None
    enode: str
    record: str


@cache
def static(name: str) -> bytes:
    """A file of the page."""
    return (Path(__file__).with_name("static") / name).read_bytes()


@cache
def template() -> Template:
    """The frame of the page."""
    return Template(static("page.html").decode())


def render(overview: Overview) -> str:
    """The page as HTML."""
    state, shape, word = verdict(overview)
    return template().substitute(
        title=escape(f"{word} · wakumail"),
        state=state,
        shape=shape,
        word=word,
        facts=facts(overview),
        reasons="".join(reasons(overview)),
        cards="".join(card(each, overview.numbers) for each in CARDS),
        archive=archive(overview),
        days=days(overview),
        peers=peers(overview.numbers),
        sync=sync(overview.numbers),
        address="".join(addresses(overview)),
    )


def verdict(overview: Overview) -> tuple[str, str, str]:
    """The state of the server: its class, its shape, its word."""
    if overview.problems:
        return "bad", "■", "Failing"
    if overview.warnings:
        return "warn", "▲", "Needs attention"
    return "good", "●", "Healthy"


def facts(overview: Overview) -> str:
    """The line below the state."""
    metric = "process_start_time_seconds"
    started = overview.numbers.value(metric)
    up = ""
    if started is not None:
        age = in_time(max(0.0, overview.now - started))
        up = f'up for <span data-metric="{metric}" data-value="{started!r}">{age}</span>, '
    return f"version {VERSION}, {up}seen at {utc(int(overview.now))}"


def reasons(overview: Overview) -> Iterator[str]:
    """An item for each thing that is wrong, will be, or was."""
    for check, reason, seconds in overview.problems:
        yield item("bad", "■ fails", check, f"{reason}, for {in_time(seconds)}")
    for check, reason, _ in overview.warnings:
        yield item("warn", "▲ soon", check, reason)
    for lower, upper, reason in overview.gaps[-MAX_GAPS_SHOWN:]:
        yield item("past", "○ lacks", f"{utc(lower)} to {utc(upper)}", reason)
    if more := len(overview.gaps[:-MAX_GAPS_SHOWN]):
        yield item("past", "○ lacks", f"{more} ranges more", "see /health")


def item(state: str, kind: str, name: str, reason: str) -> str:
    """An item of the list of reasons."""
    return (
        f'<li class="{state}"><b>{kind}</b> <strong>{escape(name)}</strong> '
        f"<span>{escape(reason)}</span></li>"
    )


def card(card: Card, numbers: Numbers) -> str:
    """A card; empty if the server has none of its metrics."""
    lines = [*rows(card.rows, numbers), *quantiles(card, numbers)]
    if not lines:
        return ""
    note = f" <small>{card.note}</small>" if card.note else ""
    name = card.title.lower().replace(" ", "-")
    table = f'<table id="{name}-numbers" data-part>{"".join(lines)}</table>'
    head = f"<h2>{card.title}{note}</h2>"
    return f'<section class="card" id="{name}">{head}{plot(card)}{table}</section>'


def plot(card: Card) -> str:
    """The place of the plot of a card."""
    kind, unit, series = card.plot
    return (
        f'<figure class="plot" aria-label="{card.title}" data-kind="{kind}" data-unit="{unit}"'
        f' data-series="{escape(json.dumps(series))}" data-of="{card.histogram}"></figure>'
    )


def rows(rows: Iterable[Row], numbers: Numbers) -> Iterator[str]:
    """A line for each metric that the server has."""
    for label, metric, form in rows:
        if (value := numbers.value(metric)) is not None:
            yield f"<tr><th>{label}</th>{cell(metric, value, form)}</tr>"


def cell(metric: str, value: float, form: Callable[[float], str]) -> str:
    """A number in a table."""
    return f'<td data-metric="{metric}" data-value="{value!r}">{form(value)}</td>'


def quantiles(card: Card, numbers: Numbers) -> Iterator[str]:
    """Quantiles since the start, and all buckets for those of the script."""
    histogram = card.histogram
    if not (buckets := numbers.buckets(histogram)):
        return
    counts = escape(json.dumps([[str(bound), count] for bound, count in buckets.items()]))
    for name, part in PARTS.items():
        value = numbers.quantile(histogram, part)
        shown = "none yet" if value is None else in_time(value)
        exact = "" if value is None else repr(value)
        held = f' data-buckets="{counts}"' if name == "50" else ""
        yield (
            f"<tr{held}><th>{card.measured}p{name} since the start</th>"
            f'<td data-histogram="{histogram}" data-quantile="{part}" data-value="{exact}">'
            f"{shown}</td></tr>"
        )


def archive(overview: Overview) -> str:
    """The archive against its limits."""
    numbers, look = overview.numbers, overview.look
    lines = list(rows(ARCHIVE_ROWS, numbers))
    if not lines:
        return ""
    full = "not known: the archive cannot be read" if look is None else look.when_full(overview.now)
    lines.append(f"<tr><th>Disk is full</th><td>{escape(full)}</td></tr>")
    return f"<h2>Content and room</h2>{bar(numbers)}<table>{''.join(lines)}</table>"


def bar(numbers: Numbers) -> str:
    """The parts of the room of an archive, in proportion."""
    used = numbers.value("wakumail_archive_file_bytes") or 0.0
    free = numbers.value("wakumail_archive_free_bytes") or 0.0
    disk = numbers.value("wakumail_archive_disk_free_bytes") or 0.0
    bound = numbers.value("wakumail_archive_max_bytes") or 0.0
    total = used + free + disk
    if not total:
        return ""
    legend, start, shapes = [], 0.0, []
    for name, text, size in (
        ("used", "in use", used),
        ("free", "free pages", free),
        ("disk", "free on the disk", disk),
    ):
        width = 100 * size / total
        shapes.append(f'<rect class="{name}" x="{start:.2f}%" width="{width:.2f}%" height="14"/>')
        legend.append(f'<li class="{name}">{in_bytes(size)} {text}</li>')
        start += width
    if bound:
        at = min(100.0, 100 * bound / total)
        shapes.append(f'<rect class="bound" x="{at:.2f}%" width="2" height="14"/>')
        legend.append(f'<li class="bound">{in_bytes(bound)} allowed by --max-size</li>')
    svg = f'<svg class="bar" height="14" aria-hidden="true">{"".join(shapes)}</svg>'
    return f'{svg}<ul class="legend">{"".join(legend)}</ul>'


def days(overview: Overview) -> str:
    """The histogram of the days, and their table."""
    if overview.look is None or not overview.look.days:
        return ""
    shown = whole_range(overview.look.days, overview.now)
    most = max(day.envelopes for day in shown)
    step = 100 / len(shown)
    bars, lines = [], []
    for index, day in enumerate(shown):
        name = utc(day.start)[:10]
        height = 100 * day.envelopes / most if most else 0.0
        bars.append(
            f'<rect x="{index * step:.2f}%" y="{100 - height:.2f}%" width="{step * 0.8:.2f}%"'
            f' height="{height:.2f}%"><title>{name}: {day.envelopes:,} envelopes</title></rect>'
        )
        lines.append(
            f"<tr><th>{name}</th><td>{day.envelopes:,}</td><td>{in_bytes(day.bytes)}</td>"
            f"<td>{day.topics:,}</td></tr>"
        )
    first, last = utc(shown[0].start)[:10], utc(shown[-1].start)[:10]
    return (
        f"<h2>Days <small>of creation (UTC), up to {most:,} envelopes a day</small></h2>"
        f'<svg class="days" aria-hidden="true">{"".join(bars)}</svg>'
        f'<p class="ends"><span>{first}</span><span>{last}</span></p>'
        "<details><summary>As a table</summary><table><tr><th>Day</th><td>Envelopes</td>"
        f"<td>Bytes</td><td>Topics</td></tr>{''.join(reversed(lines))}</table></details>"
    )


def whole_range(days: Sequence[Day], now: float) -> list[Day]:
    """The days until now, or until the last one; also those that have no envelopes."""
    known = {day.start: day for day in days}
    last = max(days[-1].start, int(now) // DAY * DAY)
    first = min(days[0].start, last - (MIN_DAYS_SHOWN - 1) * DAY)
    first = max(first, last - (MAX_DAYS_SHOWN - 1) * DAY)
    empty = (Day(start, 0, 0, 0) for start in range(first, last + 1, DAY))
    return [known.get(day.start, day) for day in empty]


def peers(numbers: Numbers) -> str:
    """The peers by kind."""
    kinds = sorted(numbers.rows("p2p_peers_count").items(), key=lambda row: (-row[1], row[0]))
    if not kinds:
        return "<h2>Peers by kind</h2><p>No peer is connected.</p>"
    lines = [
        "<tr>"
        + "".join(f"<th>{escape(label)}</th>" for label in labels)
        + f"<td>{number(count)}</td></tr>"
        for labels, count in kinds
    ]
    return (
        '<h2>Peers by kind</h2><div class="scroll"><table><tr class="head"><th>Client</th>'
        f"<th>Version</th><th>Platform</th><td>Peers</td></tr>{''.join(lines)}</table></div>"
    )


def sync(numbers: Numbers) -> str:
    """The peers that we sync with; empty if there are none."""
    partners = sorted({labels[0] for labels in numbers.rows("wakumail_sync_connected")})
    if not partners:
        return ""
    head = "".join(f"<td>{column.label}</td>" for column in SYNC_COLUMNS)
    lines = []
    for partner in partners:
        values = (numbers.rows(column.metric).get((partner,)) for column in SYNC_COLUMNS)
        cells = "".join(
            f"<td>{'-' if value is None else column.form(value)}</td>"
            for column, value in zip(SYNC_COLUMNS, values, strict=True)
        )
        lines.append(f"<tr><th><code>{escape(partner)}</code></th>{cells}</tr>")
    return (
        '<h2>Sync by peer</h2><div class="scroll"><table><tr class="head"><th>Peer</th>'
        f"{head}</tr>{''.join(lines)}</table></div>"
    )


def addresses(overview: Overview) -> Iterator[str]:
    """The enode and the record, to copy."""
    for name, text in (("enode", overview.enode), ("ENR", overview.record)):
        if text:
            yield f'<h3>{name}</h3><p class="address"><code data-copy>{escape(text)}</code></p>'
