"""The report as aligned Markdown tables, and as JSON."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from wakumail.load.case_results import CaseResult, compare
from wakumail.load.measures import METRICS, Spread
from wakumail.load.report.machine import Machine
from wakumail.load.scenarios.goals import Goal

Lines = tuple[Sequence[str], list[Sequence[str]]]
"""The header of a table, and its lines."""

DURABILITY = "A confirmed envelope is on disk: tests/system/test_durability.py shows it."


def markdown_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned."""
    rows = [header, *lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    aligned = [
        [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        for row in (header, rule, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in aligned)


def spread_text(key: str, spread: Spread | None) -> str:
    """The median; the least and the greatest value too, if they differ."""
    if spread is None:
        return ""
    text = METRICS[key].text
    low, middle, high = text(spread.low), text(spread.median), text(spread.high)
    return middle if low == high else f"{middle} ({low}-{high})"


def scenarios(results: Sequence[CaseResult]) -> Iterator[tuple[str, list[CaseResult]]]:
    """Each scenario with its results, in order."""
    for scenario, group in groupby(results, lambda result: result.planned.case.scenario):
        yield scenario, list(group)


def columns(results: Sequence[CaseResult]) -> list[str]:
    """The metrics that at least one result has."""
    return [key for key in METRICS if any(key in result.keys for result in results)]


def text_report(machine: Machine, results: Sequence[CaseResult], servers: int) -> str:
    """The whole report as text."""
    parts = ["\n".join(machine.lines())]
    for scenario, group in scenarios(results):
        parts.append(f"## {scenario}")
        parts.append(markdown_table(*scenario_lines(group, servers)))
    if any(result.planned.goals for result in results):
        parts += ["## Goals", markdown_table(*goal_lines(results)), DURABILITY]
    if notes := list(notes_of(results)):
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def scenario_lines(results: Sequence[CaseResult], servers: int) -> Lines:
    """A line for each case and server; below two servers, the ratio of their medians."""
    keys = columns(results)
    server = ("server",) if servers > 1 else ()
    header = ("", *server, *(METRICS[key].heading for key in keys))
    lines: list[Sequence[str]] = []
    for start in range(0, len(results), servers):
        these = results[start : start + servers]
        for result in these:
            name = (result.server,) if servers > 1 else ()
            cells = (spread_text(key, result.spread(key)) for key in keys)
            lines.append((result.planned.case.title, *name, *cells))
        if servers == 2:
            ratios = compare(*these)
            cells = (f"{ratios[key]:.2f} x" if key in ratios else "" for key in keys)
            lines.append(("", "second to first", *cells))
    return header, lines


def goals(results: Sequence[CaseResult]) -> Iterator[tuple[CaseResult, Goal, Spread | None, bool]]:
    """Each goal with its measured spread, and True if it is reached.

    The spread is None if the case failed in its first run. Goals of metrics that are not known
    of a server that runs already are left out.
    """
    for result in results:
        for goal in result.planned.goals:
            spread = result.spread(goal.metric)
            if spread is not None:
                better = METRICS[goal.metric].higher_is_better
                reached = spread.median >= goal.goal if better else spread.median <= goal.goal
                yield result, goal, spread, reached
            elif result.failure:
                yield result, goal, None, False


def goal_lines(results: Sequence[CaseResult]) -> Lines:
    """The measured numbers, beside status-go's numbers and the goals."""
    lines: list[Sequence[str]] = []
    for result, goal, spread, reached in goals(results):
        metric = METRICS[goal.metric]
        at_least = "at least" if metric.higher_is_better else "at most"
        lines.append(
            (
                f"{result.planned.case.scenario}: {result.planned.case.title}",
                metric.heading,
                spread_text(goal.metric, spread),
                "" if goal.incumbent is None else metric.text(goal.incumbent),
                f"{at_least} {metric.text(goal.goal)}",
                "yes" if reached else "NO",
            )
        )
    return ("work", "", "measured", "status-go", "goal", "reached"), lines


def notes_of(results: Sequence[CaseResult]) -> Iterator[str]:
    """The notes of all results, each with its case."""
    for result in results:
        for note in result.notes():
            yield f"{result.planned.case.scenario}, {result.planned.case.title}: {note}"


def json_report(machine: Machine, results: Sequence[CaseResult]) -> dict[str, Any]:
    """The whole report as JSON."""
    return {
        "machine": dataclasses.asdict(machine),
        "results": [
            {
                "scenario": result.planned.case.scenario,
                "title": result.planned.case.title,
                "server": result.server,
                "runs": result.runs,
                "median": {key: result.median(key) for key in result.keys},
                "goals": [dataclasses.asdict(goal) for goal in result.planned.goals],
                "notes": list(result.notes()),
            }
            for result in results
        ],
    }
