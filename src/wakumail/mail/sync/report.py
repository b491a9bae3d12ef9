"""The report of a round, and of the tally of a peer, as JSON."""

from typing import Any

from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.tally import Tally


def tally_as_json(tally: Tally, now: float) -> dict[str, Any]:
    """The numbers of a peer; `now`: time.monotonic()."""
    return {
        "rounds": tally.rounds,
        "roundsFailed": tally.rounds_failed,
        "bytesReceived": tally.bytes_received,
        "bytesSent": tally.bytes_sent,
        "had": tally.had,
        "needed": tally.needed,
        "stored": tally.stored,
        "sent": tally.sent,
        "refused": {code.name.lower(): count for code, count in sorted(tally.refused.items())},
        "secondsSinceEqual": None if tally.agreed is None else round(now - tally.agreed, 3),
        "problem": tally.problem or None,
    }


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """A round, or several one after another."""
    return {
        "from": outcome.window.first,
        "to": outcome.window.end - 1,
        "trips": outcome.trips,
        "had": outcome.had,
        "needed": outcome.needed,
        "stored": outcome.stored,
        "given": outcome.given,
        "gone": outcome.gone,
        "refused": {code.name.lower(): count for code, count in sorted(outcome.refused.items())},
        "equal": outcome.agreed,
        "complete": not outcome.full,
        "hours": [
            {"hour": hour, "had": had, "needed": needed}
            for hour, (had, needed) in sorted(outcome.hours.items())
        ],
    }
