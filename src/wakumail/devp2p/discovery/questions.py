"""Our questions to other nodes of discovery, and the answers that we wait for (discv4)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from wakumail.devp2p.discovery.datagram_outbox import DatagramOutbox, UdpAddress
from wakumail.devp2p.discovery.discv4_packets import (
    Body,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Pong,
)
from wakumail.devp2p.discovery.endpoint_proofs import EndpointProofs
from wakumail.devp2p.discovery.table import BUCKET_SIZE, Contact
from wakumail.devp2p.discovery.timers import Timers
from wakumail.devp2p.discovery.udp_endpoint import LOWEST_PORT, may_tell
from wakumail.devp2p.enr import EnrError

ANSWER_TIME = 1.0
"""Seconds that a node has to answer."""

MORE_TIME = 0.25
"""Seconds that a node has, after its first neighbors, to send the others."""

PING_BACK_TIME = 0.3
"""Seconds that a node has to ping us too, after its pong: it answers no findnode before."""

MAX_TRIES = 20
"""Signatures that are verified for one question: its answer has 16 datagrams at most."""

MAX_PENDING = 512
"""Pings, and requests for records, that wait for their answer."""

Then: TypeAlias = Callable[[bool], None]
"""Told once if the answer has come."""


@dataclass(slots=True, eq=False)
class Question:
    """A question to a contact, and what to do when the answer comes or does not."""

    contact: Contact
    then: Then
    has_answer: bool = False
    over: bool = False
    nodes: list[Contact] = field(default_factory=list)
    """The fit ones of the nodes in the neighbors so far."""
    told: int = 0
    """The number of nodes in the neighbors so far."""
    tries: int = 0
    """The number of signatures that were verified for it."""

    def may_try(self) -> bool:
        """True if one more signature may be verified; it counts as one."""
        self.tries += 1
        return self.tries <= MAX_TRIES

    def end(self, *, answered: bool) -> None:
        """Tell `then`, once."""
        if not self.over:
            self.over = True
            self.then(answered)


class Questions:
    """Asks, matches answers with questions, and gives up after a while.

    An answer counts only if it comes from the address that was asked, signed by the node that was
    asked.
    """

    def __init__(
        self,
        outbox: DatagramOutbox,
        timers: Timers,
        counted: Callable[[str], None],
        allows: Callable[[str], bool],
        on_silent: Callable[[Contact], None],
    ) -> None:
        self.proofs = EndpointProofs()
        """Nodes that have answered us."""
        self._greeted = EndpointProofs()
        """Nodes that we have answered: they take our questions."""
        self._outbox = outbox
        self._timers = timers
        self._count = counted
        self._allows = allows
        self._on_silent = on_silent
        self._pings: dict[bytes, Question] = {}
        self._pinged: dict[UdpAddress, bytes] = {}
        self._findnodes: dict[UdpAddress, Question] = {}
        self._record_requests: dict[tuple[bytes, UdpAddress], Question] = {}
        """By address too: two requests of one second have one hash."""
        self._greetings: dict[tuple[bytes, str], Question] = {}
        """Nodes whose ping we wait for."""

    # -- questions -----------------------------------------------------------------------------

    def ping(self, contact: Contact, then: Then | None = None) -> None:
        """Ping a node. One address is pinged once at a time."""
        address = contact.endpoint.address
        digest = self._pinged.get(address)
        if digest is not None and self._pings[digest].contact.node_id == contact.node_id:
            return self._join(self._pings[digest], contact, then)
        if digest is not None or len(self._pings) >= MAX_PENDING:
            self._count("discovery_pings_crowded_out")
            return None if then is None else self._timers.later(0.0, partial(then, False))
        digest = self._outbox.ping(contact.endpoint).hash
        self._pings[digest] = Question(contact, then or _nobody)
        self._pinged[address] = digest
        return self._timers.later(ANSWER_TIME, partial(self._give_up_ping, digest))

    @staticmethod
    def _join(question: Question, contact: Contact, then: Then | None) -> None:
        """Let one ping answer two questions; the newer one knows more of the node."""
        asked = question.contact
        asked.told_seq = max(asked.told_seq, contact.told_seq)
        if contact.endpoint.tcp:
            asked.endpoint = contact.endpoint
        if then is not None:
            question.then = partial(_both, question.then, then)

    def greet(self, contact: Contact, then: Then) -> None:
        """Make sure that a node and we have proven our addresses to each other."""
        who = contact.node_id, contact.endpoint.ip
        if not self._greeted.holds(*who, self._timers.now):
            self.ping(contact, partial(self._await_greeting, contact, then))
        elif self.proofs.holds(*who, self._timers.now):
            then(True)
        else:
            self.ping(contact, then)

    def _await_greeting(self, contact: Contact, then: Then, answered: bool) -> None:
        who = contact.node_id, contact.endpoint.ip
        if not answered or self._greeted.holds(*who, self._timers.now) or who in self._greetings:
            return then(answered)
        # A node that has a proof of us already does not ping: ask it then all the same.
        question = self._greetings[who] = Question(contact, then)
        return self._timers.later(PING_BACK_TIME, partial(self._end_greeting, who, question))

    def _end_greeting(self, who: tuple[bytes, str], question: Question) -> None:
        if self._greetings.get(who) is question:
            del self._greetings[who]
            question.end(answered=True)

    def find(self, contact: Contact, target: bytes, then: Callable[[bool, Question], None]) -> None:
        """Ask a node that was greeted for the nodes closest to a node id."""
        address = contact.endpoint.address
        question = Question(contact, _nobody)
        question.then = lambda answered: then(answered, question)
        if address in self._findnodes:  # another node that says it is there
            return self._timers.later(0.0, partial(question.end, answered=False))
        self._outbox.send(FindNode(target, self._outbox.expiration), address)
        self._findnodes[address] = question
        return self._timers.later(ANSWER_TIME, partial(self._end_find, address, question))

    def ask_record(self, contact: Contact, then: Callable[[Contact], None]) -> None:
        """Ask a node for its record; `then` gets the contact with a newer one."""
        self.greet(contact, partial(self._send_record_request, contact, then))

    def _send_record_request(
        self, contact: Contact, then: Callable[[Contact], None], greeted: bool
    ) -> None:
        if not greeted or len(self._record_requests) >= MAX_PENDING:
            return
        address = contact.endpoint.address
        digest = self._outbox.send(EnrRequest(self._outbox.expiration), address).hash
        question = Question(contact, lambda answered: then(contact) if answered else None)
        self._record_requests[digest, address] = question
        self._timers.later(ANSWER_TIME, partial(self._give_up_record, digest, address))

    # -- answers -------------------------------------------------------------------------------

    def expects(self, address: UdpAddress) -> bool:
        """True if an answer may come from this address."""
        return address in self._pinged or address in self._findnodes

    def match(self, body: Body, address: UdpAddress) -> Question | None:
        """The question that a datagram from this address can be the answer to.

        It costs no signature to see that.
        """
        match body:
            case Pong():
                question = self._pings.get(body.ping_hash)
            case Neighbors():
                question = self._findnodes.get(address)
            case EnrResponse():
                question = self._record_requests.get((body.request_hash, address))
            case _:
                return None
        fits = question is not None and question.contact.endpoint.address == address
        return question if fits else None

    def greeted(self, node_id: bytes, ip: str) -> None:
        """Note that we have answered the ping of a node."""
        self._greeted.add(node_id, ip, self._timers.now)
        if (question := self._greetings.pop((node_id, ip), None)) is not None:
            question.end(answered=True)

    def take_pong(self, pong: Pong, question: Question) -> None:
        """Take the answer to a ping."""
        contact = question.contact
        del self._pings[pong.ping_hash]
        self._pinged.pop(contact.endpoint.address, None)
        self.proofs.add(contact.node_id, contact.endpoint.ip, self._timers.now)
        contact.told_seq = max(contact.told_seq, pong.enr_seq or 0)
        contact.silences = 0

    def take_neighbors(self, neighbors: Neighbors, question: Question) -> None:
        """Take a part of the answer to a findnode: 16 nodes at most, and only fit ones."""
        address = question.contact.endpoint.address
        if not question.has_answer:
            question.has_answer = True
            self._timers.later(MORE_TIME, partial(self._end_find, address, question))
        for told in neighbors.nodes:
            question.told += 1
            if question.told > BUCKET_SIZE:
                self._count("discovery_neighbors_excess")
                break
            ip, udp, _ = told.endpoint
            if udp < LOWEST_PORT or not may_tell(address[0], ip) or not self._allows(ip):
                self._count("discovery_neighbors_unfit")
            else:
                question.nodes.append(Contact(told.node_id, told.endpoint))
        if question.told >= BUCKET_SIZE or not question.told:
            self._end_find(address, question)

    def take_record(self, response: EnrResponse, question: Question) -> None:
        """Take the answer to a request for a record."""
        contact = question.contact
        del self._record_requests[response.request_hash, contact.endpoint.address]
        try:
            record = response.verified(contact.node_id)
        except EnrError as error:
            self._count(error.counter)
            return question.end(answered=False)
        newer = contact.record is None or record.seq > contact.record.seq
        if newer:
            contact.record = record
            contact.told_seq = record.seq
            if str(record.ip) == contact.endpoint.ip:
                contact.endpoint = contact.endpoint._replace(tcp=record.tcp)
        return question.end(answered=newer)

    # -- no answers ----------------------------------------------------------------------------

    def _give_up_ping(self, digest: bytes) -> None:
        question = self._pings.pop(digest, None)
        if question is not None:
            self._pinged.pop(question.contact.endpoint.address, None)
            self._note_silence(question.contact)
            question.end(answered=False)

    def _end_find(self, address: UdpAddress, question: Question) -> None:
        if self._findnodes.get(address) is not question:
            return
        del self._findnodes[address]
        if not question.has_answer:
            self._note_silence(question.contact)
        question.end(answered=question.has_answer)

    def _give_up_record(self, digest: bytes, address: UdpAddress) -> None:
        question = self._record_requests.pop((digest, address), None)
        if question is not None:
            self._note_silence(question.contact)

    def _note_silence(self, contact: Contact) -> None:
        """A node that does not answer may have lost our pong, or forgotten us: greet it anew."""
        self._greeted.remove(contact.node_id, contact.endpoint.ip)
        self._on_silent(contact)


def _nobody(_answered: bool) -> None:
    """Nobody waits for the answer."""


def _both(first: Then, second: Then, answered: bool) -> None:
    first(answered)
    second(answered)
