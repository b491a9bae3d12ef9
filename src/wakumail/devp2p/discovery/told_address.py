"""Our own address, as the nodes that we ping tell it."""

from collections import Counter, OrderedDict
from typing import NamedTuple

from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.udp_endpoint import may_tell, subnet_of

MIN_TELLERS = 3
"""Tellers that have to agree."""

MAX_TELLERS = 128
"""Tellers of the internet, and of our own networks, whose last word is remembered."""

STATEMENT_TIME = 1800.0
"""Seconds that a word counts."""


class Statement(NamedTuple):
    """Our address as a teller has seen it, and the time."""

    ip: str
    time: float


class ToldAddress:
    """Finds the address that most tellers tell.

    A teller is a network of the internet, or a host of our own networks: node ids cost nothing.
    """

    def __init__(self) -> None:
        self._of_internet: OrderedDict[str, Statement] = OrderedDict()
        self._of_own_networks: OrderedDict[str, Statement] = OrderedDict()

    def note(self, teller: Contact, ip: str, now: float) -> None:
        """Note what a node says, unless nobody can have that address or the node cannot know it."""
        host = teller.endpoint.ip
        if not may_tell(host, ip):
            return
        network = subnet_of(host)
        statements = self._of_internet if network else self._of_own_networks
        statements[network or host] = Statement(ip, now)
        statements.move_to_end(network or host)
        if len(statements) > MAX_TELLERS:
            statements.popitem(last=False)

    def agreed(self, now: float) -> str:
        """The address that MIN_TELLERS and more than half of all tell; "" without one.

        Hosts of our own networks are heard while the internet says nothing.
        """
        for statements in (self._of_internet, self._of_own_networks):
            recent = [s.ip for s in statements.values() if now - s.time < STATEMENT_TIME]
            if recent:
                ip, tellers = Counter(recent).most_common(1)[0]
                return ip if tellers >= MIN_TELLERS and 2 * tellers > len(recent) else ""
        return ""
