"""The part of a merged history that each mailserver lacks."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from wakumail.base.text import counted, utc
from wakumail.cli.history_listing import HistoryListing
from wakumail.devp2p.enode import Enode
from wakumail.mail.mailservers import Failures, failure
from wakumail.mail.merged_history import MergedPage

HOUR = 3600
"""Seconds."""


class MergeReport:
    """The part of a merged history that each mailserver lacks, by the hour."""

    def __init__(self, listing: HistoryListing, enodes: Sequence[Enode]) -> None:
        self.failures: Failures = {}
        self.listing = listing
        self._lacking: dict[Enode, Counter[int]] = {enode: Counter() for enode in enodes}

    def add(self, page: MergedPage) -> None:
        """Count the lacking envelopes of a page."""
        for envelope, enodes in zip(page.envelopes, page.lacking, strict=True):
            for enode in enodes:
                self._lacking[enode][envelope.created // HOUR * HOUR] += 1

    def result(self) -> dict[str, Any]:
        """The mailservers for a program; hours begin at a multiple of 3600 Unix seconds."""
        return {
            "mailservers": [
                {
                    "mailserver": str(enode),
                    "lacking": hours.total(),
                    "lacking_by_hour": {str(hour): hours[hour] for hour in sorted(hours)},
                    "error": failure(self.failures[enode]) if enode in self.failures else None,
                }
                for enode, hours in self._lacking.items()
            ]
        }

    def summary(self) -> str:
        """The totals for a person, then a line for each mailserver and for each of its hours."""
        mailservers = counted(len(self._lacking), "mailserver")
        lines = [self.listing.summary(f" from {mailservers}")]
        for enode, hours in self._lacking.items():
            facts = []
            if hours or enode not in self.failures:
                facts.append(f"lacks {hours.total() or 'none'}")
            if enode in self.failures:
                facts.append(f"failed: {failure(self.failures[enode])}")
            lines.append(f"{enode.address} {', '.join(facts)}")
            lines += [f"  {hours[hour]} from {utc(hour)} on" for hour in sorted(hours)]
        return "\n".join(lines)
