"""Lists in the DNS for tests: trees, and a client of them that needs no DNS."""

import random
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from wakumail.base.keccak import keccak256
from wakumail.devp2p.dns_list import DnsList, Question
from wakumail.devp2p.dns_tree import DnsTree, ListUrl
from wakumail.devp2p.enr import Enr, Value
from wakumail.devp2p.keys import PrivateKey, private_key
from wakumail.errors import WakumailError

Texts = Mapping[str, str]
"""The TXT record at each name."""


def key(name: object) -> PrivateKey:
    return private_key(keccak256(str(name).encode()))


@cache
def record(number: int, *, mailserver: bool = False, seq: int = 1) -> Enr:
    """The record of the node with a number, at 127.0.0.1."""
    values: dict[bytes, Value] = {b"ip": bytes([127, 0, 0, 1]), b"tcp": 1024 + number}
    if mailserver:
        values[b"waku"] = [1, 1]
    return Enr.make(key(f"node {number}"), seq, values)


def tree(
    domain: str,
    numbers: Iterable[int] = (),
    links: Iterable[ListUrl] = (),
    seq: int = 1,
    *,
    mailserver: bool = False,
) -> DnsTree:
    """The list of a domain, signed with a key of its own."""
    records = [record(number, mailserver=mailserver) for number in numbers]
    return DnsTree(key(domain), domain, seq, records, links)


@cache
def url(domain: str) -> ListUrl:
    """Of the list of a domain."""
    return ListUrl(key(domain).public_key.format(), domain)


class Reader:
    """Reads a list out of a mapping of names to texts, and notes what it asked and what was wrong.

    `texts` may change between the steps.
    """

    def __init__(
        self, of: ListUrl, texts: Texts, *, seqs: Mapping[ListUrl, int] | None = None, seed: int = 0
    ) -> None:
        self.texts = texts
        self.ttl = 60.0
        self.now = 0.0
        self.asked: list[str] = []
        self.faults: list[tuple[str, WakumailError]] = []
        self.list = DnsList(
            of, random.Random(seed).randrange, lambda *each: self.faults.append(each), seqs or {}
        )

    @property
    def kinds(self) -> list[type[WakumailError]]:
        """The kinds of the faults."""
        return [type(error) for _, error in self.faults]

    def round(self, *, each_step: Callable[[], None] = lambda: None) -> list[Enr]:
        """The records that a round gives."""
        self.list.start()
        records = []
        while (step := self.list.next(self.now)) is not None:
            found = self.ask(step) if isinstance(step, Question) else step
            if found is not None:
                records.append(found)
            each_step()
        return records

    def ask(self, question: Question) -> Enr | None:
        """Answer a question from the mapping; a name that is not there fails."""
        self.asked.append(question.name)
        if (text := self.texts.get(question.name)) is None:
            self.list.fail(question, self.now)
            return None
        return self.list.answer(question, [text], self.ttl, self.now)
