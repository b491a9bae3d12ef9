"""Node discovery v4 as a machine without sockets: datagrams and the time in, datagrams out.

Cheap checks come before dear ones: size, budget, hash, type, list, expiration, whether anybody has
asked for it, and last the signature (discv4).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from wakumail.devp2p.discovery.datagram_budget import DatagramBudget
from wakumail.devp2p.discovery.datagram_outbox import DatagramOutbox, Outgoing, UdpAddress
from wakumail.devp2p.discovery.discv4_packets import (
    MAX_NEIGHBORS,
    Datagram,
    DatagramError,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Ping,
    Pong,
    Told,
    is_answer,
)
from wakumail.devp2p.discovery.exploration import Exploration
from wakumail.devp2p.discovery.questions import Question, Questions
from wakumail.devp2p.discovery.table import Contact, Table, key_of
from wakumail.devp2p.discovery.timers import Timers
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint, may_tell
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import PrivateKey, Random

RECORD_DELAY = 1.0
"""Seconds from a node's first pong to our request for its record, at least; at most twice."""

RETRY_DELAY = 3.0
"""Seconds from a question that a node of the table has not answered to the next ping."""

MAX_SEEDS = 64
"""Nodes of the last run that are tried at the start."""


@dataclass(frozen=True, slots=True)
class Discv4Config:
    """The parts that a node lends to discovery."""

    key: PrivateKey
    random: Random
    unix: Callable[[], float]
    """The clock that expirations are compared with, Unix seconds."""
    count: Callable[[str], None]
    """Counts one of a name in counters.md."""
    allows: Callable[[str], bool] = lambda _ip: True
    """False for addresses that we have nothing to do with (`--netrestrict`)."""
    on_found: Callable[[Contact], None] = lambda _contact: None
    """Called with a contact that is new in the table, or has another address or record."""
    on_told: Callable[[Contact, str], None] = lambda _teller, _ip: None
    """Called with the IP address that a node says we have, in a pong that we asked for."""


class Discv4:
    """Finds nodes, and lets itself be found.

    `now` is seconds of a clock that only goes forward.
    """

    def __init__(self, config: Discv4Config, record: Enr, now: float) -> None:
        self.table = Table(record.node_id)
        self._config = config
        self._budget = DatagramBudget(now)
        self._timers = Timers(now)
        self._outbox = DatagramOutbox(config.key, record, config.unix, config.count)
        self._questions = Questions(
            self._outbox,
            self._timers,
            config.count,
            config.allows,
            self._note_silence,
        )
        self._exploration = Exploration(
            self.table, self._questions, self._timers, config.random, config.count
        )

    # -- for the shell -------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """The time at which `tick` has to be called."""
        return self._timers.due

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._timers.run(now)

    def take(self) -> Iterator[Outgoing]:
        """The datagrams to send, once."""
        return self._outbox.take()

    def start(self, seeds: Iterable[Contact], now: float) -> None:
        """Look for ourselves, and from then on keep the table filled and fresh.

        `seeds` are nodes of the last run, MAX_SEEDS of which are used.
        """
        self._timers.now = now
        self._exploration.start(list(seeds)[:MAX_SEEDS])

    def enter(self, bootnodes: Iterable[Contact], now: float) -> None:
        """Take nodes that lead into the network while the table is empty. Begin with `start`."""
        self._timers.now = now
        self._exploration.enter(bootnodes)

    def look_around(self, now: float) -> None:
        """Look for any nodes, unless a lookup is going on."""
        self._timers.now = now
        self._exploration.look_around()

    def announce(self, record: Enr, now: float) -> None:
        """Take a new record of our own, and let the nodes closest to us hear of it."""
        self._timers.now = now
        self._outbox.record = record
        for contact in self.table.closest(key_of(record.node_id)):
            self._questions.ping(contact)

    # -- datagrams in --------------------------------------------------------------------------

    def receive(self, raw: bytes, address: UdpAddress, now: float) -> None:
        """Take a datagram. Whatever others send, it does not raise."""
        self._timers.now = now
        count = self._config.count
        ip = address[0]
        if not self._config.allows(ip):
            return count("discovery_restricted")
        known = self._questions.proofs.knows(ip)
        unasked = not (is_answer(raw) and self._questions.expects(address))
        if unasked and (over := self._budget.may_read(ip, known=known, now=now)):
            return count(over)
        try:
            datagram = Datagram.read(raw)
            body = datagram.body
            count(body.received)
            question = self._questions.match(body, address)
            if self._outbox.has_expired(body.expiration):
                return count("discovery_expired")
            if isinstance(body, (Pong, Neighbors, EnrResponse)) and question is None:
                return count("discovery_unsolicited")
            if isinstance(body, (FindNode, EnrRequest)) and not known:
                return count("discovery_unproven")
            if question is None:
                self._budget.charge(known=known, now=now)
            elif not question.may_try():
                return count("discovery_unsolicited")
            sender = datagram.sender()
        except DatagramError as error:
            return count(error.counter)
        if sender == self.table.own_id:
            return count("discovery_self")
        if question is None:
            return self._answer(datagram, sender, address)
        if sender != question.contact.node_id:
            return count("discovery_unsolicited")
        return self._take_answer(datagram, question)

    def _answer(self, datagram: Datagram, sender: bytes, address: UdpAddress) -> None:
        """Answer a ping; a findnode or a request for our record only to whom proved its address."""
        body = datagram.body
        if isinstance(body, Ping):
            self._answer_ping(body, datagram.hash, sender, address)
        elif not self._questions.proofs.holds(sender, address[0], self._timers.now):
            self._config.count("discovery_unproven")
        elif isinstance(body, FindNode):
            self._answer_findnode(body, address)
        else:
            self._outbox.send(EnrResponse(datagram.hash, self._outbox.record.encoded), address)

    def _answer_ping(self, ping: Ping, digest: bytes, sender: bytes, address: UdpAddress) -> None:
        """Answer a ping, and ping back whoever has proven nothing yet or has moved."""
        seen = UdpEndpoint(*address, ping.sender.tcp)
        pong = Pong(seen, digest, self._outbox.expiration, self._outbox.record.seq)
        self._outbox.send(pong, address)
        contact = Contact(sender, seen, told_seq=ping.enr_seq or 0)
        known = self.table.get(sender)
        moved = known is not None and known.endpoint.address != address
        if moved or not self._questions.proofs.holds(sender, address[0], self._timers.now):
            self._questions.ping(contact)
        else:
            self._hear_from(contact)
        self._questions.greeted(sender, address[0])

    def _answer_findnode(self, request: FindNode, address: UdpAddress) -> None:
        told = [
            Told(contact.endpoint, contact.node_id)
            for contact in self.table.closest(key_of(request.target))
            if not contact.silences and may_tell(address[0], contact.endpoint.ip)
        ]
        for start in range(0, max(1, len(told)), MAX_NEIGHBORS):
            nodes = tuple(told[start : start + MAX_NEIGHBORS])
            self._outbox.send(Neighbors(nodes, self._outbox.expiration), address)

    def _take_answer(self, datagram: Datagram, question: Question) -> None:
        match datagram.body:
            case Pong() as pong:
                self._questions.take_pong(pong, question)
                self._hear_from(question.contact)
                self._config.on_told(question.contact, pong.recipient.ip)
                question.end(answered=True)
            case Neighbors() as neighbors:
                self._questions.take_neighbors(neighbors, question)
            case EnrResponse() as response:
                self._questions.take_record(response, question)

    def _hear_from(self, contact: Contact) -> None:
        """A node has proven its address: take it into the table, and ask for its record."""
        before = self.table.get(contact.node_id)
        endpoint = None if before is None else before.endpoint
        if before is not None and not contact.endpoint.tcp:
            contact.endpoint = contact.endpoint._replace(tcp=before.endpoint.tcp)
        if not self.table.hear_from(contact):
            return
        listed = self.table.get(contact.node_id)
        assert listed is not None, "the table has whom it has heard from"
        if endpoint != listed.endpoint:
            self._config.on_found(listed)
        if listed.wants_record and not listed.is_record_due:
            listed.is_record_due = True
            delay = RECORD_DELAY * (1 + self._config.random(1)[0] / 256)
            self._timers.later(delay, partial(self._ask_record, listed))

    def _note_silence(self, contact: Contact) -> None:
        """A node has not answered: ping it again soon, until the table gives it up."""
        self.table.silent(contact)
        listed = self.table.get(contact.node_id)
        if listed is not None and listed.silences:
            self._timers.later(RETRY_DELAY, partial(self._retry, listed))

    def _retry(self, contact: Contact) -> None:
        if contact.silences and self.table.get(contact.node_id) is contact:
            self._questions.ping(contact)

    def _ask_record(self, contact: Contact) -> None:
        contact.is_record_due = False
        if contact.wants_record and self.table.get(contact.node_id) is contact:
            self._questions.ask_record(contact, self._config.on_found)
