"""Our own address, as the nodes that we ping tell it."""

from collections import Counter, OrderedDict
from typing import NamedTuple

from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.udp_endpoint import subnet_of

MIN_TELLERS = 3
"""Nodes that have to agree; those of one subnet are one."""

MAX_TELLERS = 128
"""Nodes whose last word is remembered."""

STATEMENT_TIME = 1800.0
"""Seconds that a node's word counts."""


class Statement(NamedTuple):
    """Our address as a node has seen it, and the time."""

    ip: str
    time: float


class ToldAddress:
    """Finds the address that most nodes tell."""

    def __init__(self) -> None:
        self._statements: OrderedDict[bytes | str, Statement] = OrderedDict()

    def note(self, teller: Contact, ip: str, now: float) -> None:
        """Note what a node says."""
        who = subnet_of(teller.endpoint.ip) or teller.node_id
        self._statements[who] = Statement(ip, now)
        self._statements.move_to_end(who)
        if len(self._statements) > MAX_TELLERS:
            self._statements.popitem(last=False)

    def agreed(self, now: float) -> str:
        """The address that MIN_TELLERS nodes and more than half of all tell; "" without one."""
        recent = [s.ip for s in self._statements.values() if now - s.time < STATEMENT_TIME]
        ip, tellers = next(iter(Counter(recent).most_common(1)), ("", 0))
        return ip if tellers >= MIN_TELLERS and 2 * tellers > len(recent) else ""
