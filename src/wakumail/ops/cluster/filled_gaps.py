"""The gaps of our archive that the log has filled, for another host ran meanwhile."""

from collections.abc import Iterable
from itertools import chain
from typing import Any

from wakumail.archive.gaps import Gaps

SETTLING = 60
"""Seconds after which an envelope that a host was sent is in the log, if the log takes any."""


def told_gaps(gaps: Gaps | None) -> dict[str, Any]:
    """The times of which a host has everything, for the other hosts: since when, and but for which.

    Unix seconds; each range has both its ends. Empty if they are not known.
    """
    if gaps is None:
        return {}
    return {"since": gaps.since, "lacking": [[gap.lower, gap.upper] for gap in gaps.known]}


def fill_gaps(gaps: Gaps, answers: Iterable[dict[str, Any]], place: int, now: int) -> None:
    """Fill the gaps for the times of which another host has everything.

    `answers`: of all hosts, ours too; `place`: we have all messages of the log up to it. A host
    with a problem does not count, nor one that is further in the log than we are.
    """
    for answer in answers:
        theirs = answer.get("place")
        if answer.get("problem") or not isinstance(theirs, int) or theirs > place:
            continue
        for lower, upper in _had(answer, now - SETTLING):
            gaps.fill(lower, upper)


def _had(answer: dict[str, Any], last: int) -> list[tuple[int, int]]:
    """The ranges up to `last` of which a host has everything; none if it does not tell them."""
    had = []
    try:
        lower = int(answer["since"])
        lacking = sorted((int(first), int(end)) for first, end in answer["lacking"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return []
    for first, end in chain(lacking, [(last + 1, last + 1)]):
        if lower < first:
            had.append((lower, min(first - 1, last)))
        lower = max(lower, end + 1)
    return had
