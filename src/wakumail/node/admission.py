"""The admission of peers: which sockets may shake hands, and which peers may stay."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from wakumail.counters import Counters
from wakumail.devp2p.keys import node_id
from wakumail.errors import DisconnectReason, ProtocolError
from wakumail.node.link import Link
from wakumail.node.roster import Entry, OwnRoster

if TYPE_CHECKING:
    from wakumail.node.node import NodeConfig

MAX_HANDSHAKES_OF_HOST = 128
"""Callers of one host whose handshakes may be in progress. Further ones wait, unread."""

HOSTS_INTERVAL = 1.0
"""Seconds between two counts of the guests of each host, unless one was sent away. A count takes
milliseconds, while a caller who makes it necessary sends no more than a packet."""


class CrowdedOut(ProtocolError):
    """Handshake slots, memory for frames or room for peers ran short: this peer held the most."""

    counter = "connections_crowded_out"
    reason = DisconnectReason.TOO_MANY_PEERS


class Restricted(ProtocolError):
    """The peer is not in one of the networks that the operator allows."""

    counter = "connections_refused_restricted"
    reason = DisconnectReason.USELESS_PEER


class Admission:
    """Admits sockets to the handshake, and peers that have shown who they are.

    A guest is a peer that called us and is not trusted. Only the number of guests is limited.
    """

    def __init__(self, config: "NodeConfig", counters: Counters) -> None:
        self.links: dict[bytes, Link] = {}
        """The links of admitted peers, by node id (64 bytes)."""
        self.own_id = node_id(config.connection.node_key.public_key)
        """Our own node id. Only this tells us from others: two nodes may have one address."""
        self.trusted: set[bytes] = set()
        """Node ids of peers that are admitted even above `maxpeers`, and may send p2p messages."""
        self.syncing: set[bytes] = set()
        """Node ids of the peers that are offered to sync, once they connect anew."""
        self.on_handshake_slot: Callable[[], None] = lambda: None
        """Called when a handshake has ended."""
        self.config = config
        self._counters = counters
        self._roster = config.roster or OwnRoster()
        self._handshaking: dict[str, dict[Link, None]] = {}
        """Links whose handshake is not done, by host, in the order in which they came."""
        self._handshakes = 0
        self._hosts: Counter[str] = Counter()
        """Guests of each host, here and at other workers, as last counted."""
        self._crowded = ""
        """The host with the most guests, of those with a guest here."""
        self._count_hosts_at = 0.0

    def admit_socket(self, link: Link) -> None:
        """Let a new socket shake hands, if its address may connect.

        If there are max_handshakes, the oldest of the host with the most is dropped for it.
        """
        if self._handshakes >= self.config.max_handshakes:
            crowded = max(self._handshaking.values(), key=len)
            next(iter(crowded)).drop(CrowdedOut("too many handshakes in progress"))
        self._handshaking.setdefault(link.host, {})[link] = None
        self._handshakes += 1
        if self.config.netrestrict and link.address != link.local[0]:
            address = ipaddress.ip_address(link.address)
            if not any(address in network for network in self.config.netrestrict):
                link.drop(Restricted(f"{address} is in no network that may connect"))

    def admit_peer(self, link: Link) -> None:
        """Accept a peer that has proved its node id, or disconnect it with the reason."""
        self.end_handshake(link)
        connection = link.peer.connection
        if link.node_id == self.own_id:
            self._counters.add("connections_refused_self")
            connection.disconnect(DisconnectReason.SELF_CONNECTION)
            return
        match self._enter(link):
            case Entry.DUPLICATE:
                self._counters.add("connections_refused_duplicate")
                connection.disconnect(DisconnectReason.ALREADY_CONNECTED)
            case Entry.FULL:
                self._counters.add("connections_refused_full")
                connection.disconnect(DisconnectReason.TOO_MANY_PEERS)
            case Entry.DONE:
                self.links[link.node_id] = link
                link.peer.trusted = link.node_id in self.trusted
                connection.accept()

    def end_handshake(self, link: Link) -> None:
        """Free the handshake slot of a link, if it has one."""
        others = self._handshaking.get(link.host, {})
        if link in others:
            del others[link]
            self._handshakes -= 1
            if not others:
                del self._handshaking[link.host]
            self.on_handshake_slot()

    def has_handshake_slot(self, host: str) -> bool:
        """True if one more caller of a host may begin a handshake."""
        return len(self._handshaking.get(host, ())) < MAX_HANDSHAKES_OF_HOST

    def leave(self, link: Link) -> None:
        """Take a link off the table, if it is there."""
        if self.links.get(link.node_id) is link:
            del self.links[link.node_id]
            self._roster.leave(link.node_id)

    def trust(self, identity: bytes) -> None:
        """Admit this peer (64 bytes of node id) even above maxpeers, and take its p2p messages.

        ValueError for our own id.
        """
        if identity == self.own_id:
            raise ValueError("it is the id of this node itself")
        self.trusted.add(identity)
        if (link := self.links.get(identity)) is not None:
            link.peer.trusted = True
            self._roster.set_guest(identity, None)

    def distrust(self, identity: bytes) -> None:
        """Take the trust back. A connection stays, but answers to open requests are not taken."""
        self.trusted.discard(identity)
        if (link := self.links.get(identity)) is not None:
            link.peer.trusted = link.peer.expects_history = False
            self._roster.set_guest(identity, link.host if link.inbound else None)

    def _enter(self, link: Link) -> Entry:
        """Enter a peer in the roster, if it is not connected yet and there is room."""
        if link.node_id in self.links:
            # A phone that lost its network comes back before its old connection timed out.
            self.links[link.node_id].probe()
            return Entry.DUPLICATE
        limit = self.config.maxpeers if self._is_guest(link) else None
        entry = self._roster.enter(link.node_id, link.host, limit)
        if entry is Entry.FULL and limit is not None and (other := self._one_too_many(link.host)):
            self.leave(other)
            other.fail(CrowdedOut("no more room for peers, and its host has the most"))
            entry = self._roster.enter(link.node_id, link.host, limit)
        return entry

    def _is_guest(self, link: Link) -> bool:
        return link.inbound and link.node_id not in self.trusted

    def _one_too_many(self, host: str) -> Link | None:
        """The last guest of the host with the most, if that has more than `host` with one more.

        Only hosts with a guest here count; the others are left to the other workers.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._count_hosts_at:
            self._hosts = self._roster.hosts()
            ours = {link.host for link in self.links.values() if self._is_guest(link)}
            self._crowded = max(ours, key=self._hosts.__getitem__, default="")
            self._count_hosts_at = now + HOSTS_INTERVAL
        if self._hosts[self._crowded] <= self._hosts[host] + 1:
            return None
        self._count_hosts_at = now
        guests = filter(self._is_guest, reversed(self.links.values()))
        return next((link for link in guests if link.host == self._crowded), None)
