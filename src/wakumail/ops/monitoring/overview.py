"""The page for a browser: what /metrics and /health tell, as a document.

It is complete as it leaves here. The script adds plots, and asks for it again while somebody looks.
A number's element names its metric in `data-metric` and has the exact value in `data-value`. What
changes lies in elements with `data-part`, which the script replaces as a whole.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

from wakumail.archive.gaps import Gap
from wakumail.archive.outlook import Look
from wakumail.archive.results import Day
from wakumail.archive.retention import DAY
from wakumail.base.text import counted, in_bytes, in_time, utc
from wakumail.ops.markup import Content, Markup, element, join
from wakumail.ops.monitoring.cards import (
    ARCHIVE_ROWS,
    CARDS,
    QUANTILES,
    SYNC_COLUMNS,
    Card,
    Row,
    number,
)
from wakumail.ops.monitoring.numbers import Numbers
from wakumail.ops.monitoring.report import Problem
from wakumail.version import VERSION

MIN_DAYS_SHOWN = 14
"""Days of the histogram of a young archive."""

MAX_DAYS_SHOWN = 60
"""Days of the histogram: the latest."""

MAX_GAPS_SHOWN = 10
"""Gaps in the list of reasons: the latest."""

BAR_HEIGHT = 14
"""Pixels."""


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
    numbers = overview.numbers
    return template().substitute(
        title=join(f"{word} · wakumail"),
        state=state,
        shape=shape,
        word=word,
        facts=facts(overview),
        reasons=join(*reasons(overview)),
        cards=join(*(card_of(each, numbers) for each in CARDS)),
        archive=archive(overview),
        days=days(overview),
        peers=peers(numbers),
        sync=sync(numbers),
        address=join(*addresses(overview)),
    )


def verdict(overview: Overview) -> tuple[str, str, str]:
    """The state of the server: its class, its shape, its word."""
    if overview.problems:
        return "bad", "■", "Failing"
    if overview.warnings:
        return "warn", "▲", "Needs attention"
    return "good", "●", "Healthy"


def facts(overview: Overview) -> Markup:
    """The line below the state."""
    metric = "process_start_time_seconds"
    started = overview.numbers.value(metric)
    up: Content = None
    if started is not None:
        age = in_time(max(0.0, overview.now - started))
        up = ["up for ", reading("span", metric, started, age), ", "]
    return join(f"version {VERSION}, ", up, f"seen at {utc(int(overview.now))}")


def reasons(overview: Overview) -> Iterator[Markup]:
    """An item for each thing that is wrong, will be, or was."""
    for check, reason, seconds in overview.problems:
        yield item("bad", "■ fails", check, f"{reason}, for {in_time(seconds)}")
    for check, reason, _ in overview.warnings:
        yield item("warn", "▲ soon", check, reason)
    for lower, upper, reason in overview.gaps[-MAX_GAPS_SHOWN:]:
        yield item("past", "○ lacks", f"{utc(lower)} to {utc(upper)}", reason)
    if more := len(overview.gaps[:-MAX_GAPS_SHOWN]):
        yield item("past", "○ lacks", f"{more} ranges more", "see /health")


def item(state: str, kind: str, name: str, reason: str) -> Markup:
    """An item of the list of reasons."""
    parts = element("b", kind), " ", element("strong", name), " ", element("span", reason)
    return element("li", *parts, class_=state)


def card_of(card: Card, numbers: Numbers) -> Markup | None:
    """A card; None if the server has none of its metrics."""
    lines = [*rows(card.rows, numbers), *quantiles(card, numbers)]
    if not lines:
        return None
    name = card.title.lower().replace(" ", "-")
    return element(
        "section",
        element("h2", card.title, card.note and [" ", element("small", card.note)]),
        place_of_plot(card),
        element("table", lines, id=f"{name}-numbers", data_part=True),
        class_="card",
        id=name,
    )


def place_of_plot(card: Card) -> Markup:
    """The place where the script draws the plot of a card."""
    kind, unit, series = card.plot
    return element(
        "figure",
        class_="plot",
        aria_label=card.title,
        data_kind=kind,
        data_unit=unit,
        data_series=json.dumps(series),
        data_of=card.histogram,
    )


def rows(rows: Iterable[Row], numbers: Numbers) -> Iterator[Markup]:
    """A line for each metric that the server has."""
    for label, metric, form in rows:
        if (value := numbers.value(metric)) is not None:
            told = reading("td", metric, value, form(value))
            yield element("tr", element("th", label), told)


def reading(tag: str, metric: str, value: float, text: str) -> Markup:
    """A number as an element, for people and for the script."""
    return element(tag, text, data_metric=metric, data_value=repr(value))


def quantiles(card: Card, numbers: Numbers) -> Iterator[Markup]:
    """Quantiles since the start, and all buckets for those of the script."""
    histogram = card.histogram
    buckets = numbers.buckets(histogram)
    if not buckets:
        return
    counts = json.dumps([[str(bound), count] for bound, count in buckets.items()])
    for name, part in QUANTILES:
        value = numbers.quantile(histogram, float(part))
        yield element(
            "tr",
            element("th", f"{card.measured}{name} since the start"),
            element(
                "td",
                "none yet" if value is None else in_time(value),
                data_histogram=histogram,
                data_quantile=part,
                data_value="" if value is None else repr(value),
            ),
            data_buckets=counts if (name, part) == QUANTILES[0] else None,
        )


def archive(overview: Overview) -> Markup:
    """The archive against its limits; empty without one."""
    numbers, look = overview.numbers, overview.look
    lines = list(rows(ARCHIVE_ROWS, numbers))
    if not lines:
        return join()
    full = "not known: the archive cannot be read" if look is None else look.when_full(overview.now)
    lines.append(line("Disk is full", [full]))
    return join(element("h2", "Content and room"), bar(numbers), element("table", lines))


def bar(numbers: Numbers) -> Markup | None:
    """The parts of the room of an archive, in proportion."""
    used = numbers.value("wakumail_archive_file_bytes") or 0.0
    free = numbers.value("wakumail_archive_free_bytes") or 0.0
    disk = numbers.value("wakumail_archive_disk_free_bytes") or 0.0
    bound = numbers.value("wakumail_archive_max_bytes") or 0.0
    total = used + free + disk
    if not total:
        return None
    legend, start, shapes = [], 0.0, []
    for name, text, size in (
        ("used", "in use", used),
        ("free", "free pages", free),
        ("disk", "free on the disk", disk),
    ):
        width = 100 * size / total
        shapes.append(box(f"{start:.2f}%", f"{width:.2f}%", name))
        legend.append(element("li", f"{in_bytes(size)} {text}", class_=name))
        start += width
    if bound:
        at = min(100.0, 100 * bound / total)
        shapes.append(box(f"{at:.2f}%", "2", "bound"))
        text = f"{in_bytes(bound)} allowed by --max-size"
        legend.append(element("li", text, class_="bound"))
    return join(
        element("svg", shapes, class_="bar", height=BAR_HEIGHT, aria_hidden="true"),
        element("ul", legend, class_="legend"),
    )


def box(x: str, width: str, name: str) -> Markup:
    """A part of the bar."""
    return element("rect", class_=name, x=x, width=width, height=BAR_HEIGHT)


def days(overview: Overview) -> Markup:
    """The histogram of the days, and their table; empty without any."""
    if overview.look is None or not overview.look.days:
        return join()
    latest = whole_range(overview.look.days, overview.now)
    most = max(day.envelopes for day in latest)
    step = 100 / len(latest)
    bars, lines = [], []
    for index, day in enumerate(latest):
        name = utc(day.start)[:10]
        height = 100 * day.envelopes / most if most else 0.0
        bars.append(
            element(
                "rect",
                element("title", f"{name}: {counted(day.envelopes, 'envelope')}"),
                x=f"{index * step:.2f}%",
                y=f"{100 - height:.2f}%",
                width=f"{step * 0.8:.2f}%",
                height=f"{height:.2f}%",
            )
        )
        lines.append(line(name, [f"{day.envelopes:,}", in_bytes(day.bytes), f"{day.topics:,}"]))
    ends = (element("span", utc(day.start)[:10]) for day in (latest[0], latest[-1]))
    note = f"of creation (UTC), up to {counted(most, 'envelope')} a day"
    head = line("Day", ["Envelopes", "Bytes", "Topics"])
    return join(
        element("h2", "Days ", element("small", note)),
        element("svg", bars, class_="days", aria_hidden="true"),
        element("p", *ends, class_="ends"),
        element(
            "details",
            element("summary", "As a table"),
            element("table", head, lines[::-1]),
        ),
    )


def whole_range(days: Sequence[Day], now: float) -> list[Day]:
    """The days until now, or until the last one; also those that have no envelopes."""
    known = {day.start: day for day in days}
    last = max(days[-1].start, int(now) // DAY * DAY)
    first = min(days[0].start, last - (MIN_DAYS_SHOWN - 1) * DAY)
    first = max(first, last - (MAX_DAYS_SHOWN - 1) * DAY)
    empty = (Day(start, 0, 0, 0, 0) for start in range(first, last + 1, DAY))
    return [known.get(day.start, day) for day in empty]


def peers(numbers: Numbers) -> Markup:
    """The peers by kind."""
    title = element("h2", "Peers by kind")
    kinds = sorted(numbers.rows("p2p_peers_count").items(), key=lambda row: (-row[1], row[0]))
    if not kinds:
        return join(title, element("p", "No peer is connected."))
    lines = [
        element("tr", [element("th", label) for label in labels], element("td", number(count)))
        for labels, count in kinds
    ]
    names = [element("th", name) for name in ("Client", "Version", "Platform")]
    head = element("tr", names, element("td", "Peers"), class_="head")
    return join(title, wide_table(head, lines))


def sync(numbers: Numbers) -> Markup:
    """The peers that we sync with; empty if there are none."""
    partners = sorted({labels[0] for labels in numbers.rows("wakumail_sync_connected")})
    if not partners:
        return join()
    lines = []
    for partner in partners:
        values = (numbers.rows(column.metric).get((partner,)) for column in SYNC_COLUMNS)
        lines.append(
            line(
                element("code", partner),
                [
                    "-" if value is None else column.form(value)
                    for column, value in zip(SYNC_COLUMNS, values, strict=True)
                ],
            )
        )
    head = line("Peer", [column.label for column in SYNC_COLUMNS], class_="head")
    return join(element("h2", "Sync by peer"), wide_table(head, lines))


def line(name: Content, values: Iterable[str], class_: str | None = None) -> Markup:
    """A line of a table."""
    cells = [element("td", value) for value in values]
    return element("tr", element("th", name), cells, class_=class_)


def wide_table(head: Markup, lines: Sequence[Markup]) -> Markup:
    """A table that scrolls where it is wider than the page."""
    return element("div", element("table", head, lines), class_="scroll")


def addresses(overview: Overview) -> Iterator[Markup]:
    """The enode and the record, to copy."""
    for name, text in (("enode", overview.enode), ("ENR", overview.record)):
        if text:
            yield element("h3", name)
            yield element("p", element("code", text, data_copy=True), class_="address")
