"""The report as one HTML file, in light or dark. It has no scripts, and loads nothing."""

from collections.abc import Iterator, Sequence
from html import escape

from wakumail.load.case_results import CaseResult
from wakumail.load.measures import METRICS, ratio
from wakumail.load.report.machine import Machine
from wakumail.load.report.plots import Bar, Distance, bar_plot, distance_plot
from wakumail.load.report.tables import (
    DURABILITY,
    columns,
    goal_lines,
    goals,
    notes_of,
    scenario_lines,
    scenarios,
)
from wakumail.load.scenarios.goals import Goal

STYLE = """\
:root { color-scheme: light dark; --ink: #1c2127; --soft: #5d6873; --paper: #fff; --line: #dde2e7;
  --s0: #0a6ebd; --s1: #d08700; --good: #1a7f37; --bad: #c4262e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #97a3ae; --paper: #14181c;
  --line: #30373e; --s0: #58a9f0; --s1: #e3a93c; --good: #4cc76a; --bad: #ff7b72; } }
body { margin: 3rem auto; max-width: 72rem; padding: 0 1.5rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 3rem 0 1rem; }
header p { margin: 0; color: var(--soft); } code { font: .9em ui-monospace, monospace; }
.plots { display: grid; gap: 1rem 3rem;
  grid-template-columns: repeat(auto-fit, minmax(28rem, 1fr)); }
figure { margin: 0 0 1rem; max-width: 44rem; }
figcaption { font-weight: 600; margin-bottom: .4rem; }
svg { width: 100%; overflow: visible; font-size: 13px; } svg text { fill: var(--soft); }
svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg .value { fill: var(--ink); } svg .tick { text-anchor: middle; }
.s0 { fill: var(--s0); color: var(--s0); } .s1 { fill: var(--s1); color: var(--s1); }
.whisker { stroke: var(--ink); stroke-width: 1.5; } .grid { stroke: var(--line); }
.goal { stroke: var(--good); stroke-width: 1.5; stroke-dasharray: 4 3; }
.span { stroke: var(--line); stroke-width: 3; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .4rem; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
td { vertical-align: top; } :is(th, td):first-child { text-align: left; padding-left: 0; }
td span { display: block; white-space: nowrap; }
td span + span { color: var(--soft); font-size: .85em; }
.yes { color: var(--good); } .no { color: var(--bad); font-weight: 600; } li { color: var(--bad); }
@media (max-width: 48rem) {
  body { margin: 1.5rem auto; padding: 0 1rem; }
  .plots { grid-template-columns: 1fr; } svg { font-size: 18px; }
  table { font-size: 15px; } thead { display: none; } table, tbody, tr, td { display: block; }
  tr { padding: .6rem 0; border-bottom: 1px solid var(--line); }
  td { display: flex; flex-wrap: wrap; justify-content: flex-end; gap: 0 .5rem; padding: .1rem 0;
    border: 0; }
  td:first-child { justify-content: flex-start; font-weight: 600; }
  td:empty { display: none; } td span { display: inline; }
  td + td[data-head]::before { content: attr(data-head); margin-right: auto; color: var(--soft); }
  .distances { overflow-x: auto; } .distances svg { min-width: 36rem; font-size: 13px; }
}
"""


def html_report(machine: Machine, results: Sequence[CaseResult], servers: int) -> str:
    """The whole file."""
    title = "wakumail bench"
    body = "\n".join(sections(machine, results, servers))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}, {machine.date}</title>\n<style>\n{STYLE}</style></head>\n"
        f"<body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def sections(machine: Machine, results: Sequence[CaseResult], servers: int) -> Iterator[str]:
    """The parts of the body."""
    *lines, command = machine.lines()
    yield "<header>"
    yield from (f"<p>{escape(text)}</p>" for text in lines)
    yield f"<p><code>{escape(command)}</code></p></header>"
    if servers > 1:
        names = dict.fromkeys(result.server for result in results)
        keys = (f'<b class="s{n}">■</b> {escape(name)}' for n, name in enumerate(names))
        yield f"<p>{' &nbsp; '.join(keys)}</p>"
    if notes := list(notes_of(results)):
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
    if any(result.planned.goals for result in results):
        yield "<h2>Goals</h2>"
        yield '<p><b class="s0">●</b> measured &nbsp; <b class="s1">●</b> status-go</p>'
        measured = [
            distance(result, goal, incumbent)
            for result, goal, spread, _ in goals(results)
            if spread and (incumbent := goal.incumbent) is not None
        ]
        yield distance_plot(measured)
        yield html_table(*goal_lines(results))
        yield f"<p>{DURABILITY}</p>"
    for scenario, group in scenarios(results):
        yield f"<h2>{escape(scenario)}</h2>"
        yield f'<div class="plots">{"".join(plots(group, servers))}</div>'
        yield html_table(*scenario_lines(group, servers))


def distance(result: CaseResult, goal: Goal, incumbent: float) -> Distance:
    """The distance from a goal, for status-go and for us: 1 is reached, 2 is twice as good."""
    metric = METRICS[goal.metric]
    ours, theirs = ratio(result.median(goal.metric), goal.goal), ratio(incumbent, goal.goal)
    if not metric.higher_is_better:
        ours, theirs = ratio(1, ours), ratio(1, theirs)
    case = result.planned.case
    return Distance(f"{case.scenario}: {case.title} — {metric.heading}", ours, theirs)


def plots(results: Sequence[CaseResult], servers: int) -> Iterator[str]:
    """A plot for each metric. Every case has a bar for each server."""
    for key in columns(results):
        if METRICS[key].charted:
            rows = [
                Bar(result.planned.case.title, spread, number % servers)
                for number, result in enumerate(results)
                if (spread := result.spread(key)) is not None
            ]
            yield bar_plot(METRICS[key], rows)


def html_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table. On a narrow screen each line is a list of its cells, with their headings.

    Cells that say whether a goal is reached are coloured.
    """
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    rows = ("".join(map(html_cell, header, line)) for line in lines)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_cell(heading: str, words: str) -> str:
    """One cell. A line may break before the spread that follows a number in brackets."""
    kind = f' class="{words.lower()}"' if words in ("yes", "NO") else ""
    number, bracket, spread = words.partition(" (") if words[:1].isdigit() else (words, "", "")
    content = escape(words)
    if bracket:
        content = f"<span>{escape(number)}</span> <span>({escape(spread)}</span>"
    return f'<td data-head="{escape(heading)}"{kind}>{content}</td>'
