"""The content and the faults of a DNS list, read as a client reads it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wakumail.base.text import counted
from wakumail.devp2p.dns_list import DnsLinkSkipped
from wakumail.devp2p.dns_tree import ROOT_PREFIX, ListUrl
from wakumail.devp2p.enr import Enr
from wakumail.errors import WakumailError
from wakumail.node.dns_lists import Ask, DnsLists
from wakumail.node.dns_resolver import DnsNameMissing, DnsTexts, DnsTimedOut

AT_ONCE = 16
"""Names that are asked for at once."""


class FilesForDns:
    """The texts of files in place of the DNS."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts` is the text of each TXT record by its name."""
        # The DNS compares names without case.
        self._texts = {name.lower(): text for name, text in texts.items()}
        self._domains = [name for name, text in self._texts.items() if text.startswith(ROOT_PREFIX)]

    async def ask(self, name: str) -> DnsTexts:
        """The text at a name; DnsNameMissing."""
        if (text := self._texts.get(name.lower())) is None:
            raise DnsNameMissing("the files have no such name")
        return DnsTexts([text], 0.0)

    def has_list_of(self, name: str) -> bool:
        """True for a name in a list of the files."""
        return any(f".{name}".endswith(f".{domain}") for domain in self._domains)


@dataclass(slots=True)
class ListCheck:
    """The content of a list, and its faults."""

    url: ListUrl
    seq: int | None = None
    """None if the root is missing or wrong."""
    records: list[Enr] = field(default_factory=list)
    """The nodes, also of lists that are linked to."""
    links: list[ListUrl] = field(default_factory=list)
    """Lists that are linked to, also over others, and can be read."""
    faults: list[tuple[str, WakumailError]] = field(default_factory=list)
    """By the name in the DNS."""
    remarks: list[tuple[str, WakumailError]] = field(default_factory=list)
    """Links that are not followed, which is no fault."""

    @property
    def is_good(self) -> bool:
        """True if nothing is wrong."""
        return self.seq is not None and not self.faults

    @property
    def mailservers(self) -> int:
        """The number of nodes that are mailservers."""
        return sum(record.is_mailserver for record in self.records)

    async def read(self, ask: Ask, time: float, files: FilesForDns | None = None) -> None:
        """Read all of the list, within `time` seconds.

        Links that lead out of `files`, if there are some, are not followed.
        """

        def note(name: str, error: WakumailError) -> None:
            leads_out = (
                files is not None and not files.has_list_of(name) and name != self.url.domain
            )
            is_remark = isinstance(error, DnsLinkSkipped) or leads_out
            (self.remarks if is_remark else self.faults).append((name, error))

        lists = DnsLists([self.url], ask, note)
        try:
            async with asyncio.timeout(time):
                async for record in lists.round(AT_ONCE):
                    self.records.append(record)
        except TimeoutError:
            note(self.url.domain, DnsTimedOut(f"it is not read to its end within {time:g} s"))
        seqs = lists.seqs
        self.seq = seqs.pop(self.url, None)
        self.links = list(seqs)

    def result(self) -> dict[str, Any]:
        """For a program."""
        return {
            "url": str(self.url),
            "seq": self.seq,
            "nodes": sorted(map(str, self.records)),
            "mailservers": self.mailservers,
            "links": list(map(str, self.links)),
            "faults": [
                {"name": name, "error": error.counter, "text": str(error)}
                for name, error in self.faults
            ],
        }

    def summary(self) -> str:
        """For a person."""
        if self.seq is None:
            return f"{self.url}: it cannot be read"
        parts = [
            f"seq {self.seq}",
            counted(len(self.records), "node"),
            counted(self.mailservers, "mailserver"),
            counted(len(self.links), "linked list"),
            counted(len(self.faults), "fault"),
        ]
        return f"{self.url}: {', '.join(parts)}"
