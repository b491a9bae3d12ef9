"""A peer: the `waku` or `shh` capability over one RLPx connection, sans-IO (6/WAKU1, EIP-627).

A Peer turns packets into events. It waits for the status of the other side before anything else,
judges Messages packets in one pass, and takes p2p packets only if we asked for them or trust the
peer. The dialects hold the differences between the capabilities. Beside the one that is spoken, a
peer may share `wakusync`: its packets are handed on unopened.
"""

from collections.abc import Callable, Iterable, Mapping

from wakumail.devp2p.connection import MAX_UNEVENTFUL, PACKET_COST, Connection
from wakumail.devp2p.connection_events import (
    Authenticated,
    Closed,
    Established,
    OversizedPacket,
    Packet,
    Packets,
    Uneventful,
)
from wakumail.devp2p.handshake import HandshakeStep
from wakumail.devp2p.packets import SHH6, SYNC, Capability, Hello, Shared
from wakumail.errors import (
    DisconnectReason,
    PacketTooLarge,
    ProtocolError,
    RlpError,
    UselessPeer,
)
from wakumail.waku.allowance import Allowance
from wakumail.waku.completion import Completion, CompletionError
from wakumail.waku.confirmations import (
    MAX_RESPONSE_SIZE,
    ConfirmationError,
    decode_batch_ack,
    decode_message_response,
    encode_batch_ack,
    encode_message_response,
)
from wakumail.waku.envelope import judge_packets
from wakumail.waku.own_status import OwnStatus
from wakumail.waku.packets import (
    MAX_REFUSED_REQUEST,
    MAX_STATUS_SIZE,
    Code,
    PeerSettings,
    StatusError,
    StatusOptions,
    WakuDialect,
)
from wakumail.waku.peer_events import (
    Confirmed,
    EnvelopesReceived,
    HistoryCompleted,
    HistoryDelivered,
    HistoryRequested,
    OversizedRequest,
    PeerEvent,
    Ready,
    SettingsChanged,
    SyncReceived,
)
from wakumail.waku.rate_limits import NO_OUTGOING_LIMITS, OutgoingLimits
from wakumail.waku.status_news import StatusNews
from wakumail.waku.whisper import WhisperDialect

STATUS_TIMEOUT = 10.0
"""Seconds after the hello in which the status of a peer has to come."""

NO_ENVELOPES = StatusOptions(topic_interest=())
"""Our status for a shared capability that we do not speak with this peer: no envelopes, please."""


Dialect = WakuDialect | WhisperDialect

DIALECTS: Mapping[Capability, Dialect] = {
    Capability("waku", 1): WakuDialect(1),
    Capability("waku", 0): WakuDialect(0),
    SHH6: WhisperDialect(),
}
"""The capabilities that we speak; with each peer the first that it shares."""


class StatusMissing(ProtocolError):
    """A packet came before the status, or none in STATUS_TIMEOUT (6/WAKU1, "Status")."""

    counter = "packets_before_status"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class StatusUpdateFlood(ProtocolError):
    """More status updates than a peer may send."""

    counter = "status_update_flood"


class LightNodesMet(ProtocolError):
    """Both sides are light nodes and would relay nothing to each other (6/WAKU1, "Light node")."""

    counter = "light_nodes_parted"
    reason = DisconnectReason.USELESS_PEER


class HistoryMalformed(ProtocolError):
    """A P2P Messages packet of a mailserver that is no list of envelopes."""

    counter = "history_malformed"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class Peer:
    """One peer from its hello to its end.

    `own` is our status, which may change meanwhile. `count` is called with the name of a counter
    for every packet that is dropped without an end of the connection. `gate` is called with the
    peer's node id and the size of every packet before it is decoded, and may raise a ProtocolError.
    Without a gate, Messages packets that came together are judged together.
    The connection is public: the owner of the peer feeds it, writes its data and keeps its timers.
    """

    def __init__(
        self,
        connection: Connection,
        own: OwnStatus,
        count: Callable[[str], None],
        gate: Callable[[bytes, int], None] | None,
    ) -> None:
        self.connection = connection
        self.settings = PeerSettings()
        self.hello: Hello | None = None
        self.trusted = False
        """True if p2p messages are taken even when no request of ours is open."""
        self.expects_history = False
        """True if a request of ours is open."""
        self.history_room = connection.max_packet
        """Bytes of the next P2P Messages packet, once it is inflated."""
        self.limits = NO_OUTGOING_LIMITS
        """The rate at which the peer may be sent packets, by its status and its updates."""
        self._own = own
        self._count = count
        self._gate = gate
        self._shared: Shared | None = None
        self._sync: Shared | None = None
        self._dialect: Dialect
        self._status_deadline: float | None = None
        self._ready = False
        self._unconfirmed = {Code.BATCH_ACK: 0, Code.MESSAGE_RESPONSE: 0}
        """Number of each that may still come for the packets that we sent."""
        self._news: StatusNews | None = None
        """Made with our status; None again at the end."""
        self._statuses: list[int] = []
        """Bytes of each status that was sent before the peer told its rate limits."""
        self._allowance: Allowance

    @property
    def name(self) -> str:
        """The capability that is spoken, for example `waku/1`; empty before the hello."""
        return "" if self._shared is None else f"{self._shared.name}/{self._shared.version}"

    @property
    def syncs(self) -> bool:
        """True if both sides offered each other to sync."""
        return self._sync is not None

    # -- for the owner: events and timers -----------------------------------------------------

    def next_event(self, now: float, unix_time: int) -> PeerEvent | None:
        """The next event, or None until more bytes come.

        A call takes one packet, or one Packets, from the connection at a time, so an owner that
        stops calling stops the work. `now` is the time of the connection's clock; envelopes are
        judged at `unix_time`, in seconds.
        """
        taken = 0
        while (event := self.connection.next_event()) is not None:
            match event:
                case Packet(_, _, payload) | Packets(payload, _):
                    taken += PACKET_COST + len(payload)
                case OversizedPacket(size=size):
                    taken += PACKET_COST + size
            try:
                answer = self._on_event(event, now, unix_time)
            except ProtocolError as error:
                self.connection.fail(error)
                continue
            if answer is not None:
                return answer
            if taken >= MAX_UNEVENTFUL:
                return Uneventful()
        return None

    def next_timer(self) -> float | None:
        """The time to call `handle_timer`; None: never."""
        news_due = None if self._news is None else self._news.due
        timers = (self.connection.next_timer(), self._status_deadline, news_due)
        return min((t for t in timers if t is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do the work of timers that end at or before `now`."""
        if self._status_deadline is not None and now >= self._status_deadline:
            self._status_deadline = None
            self.connection.fail(StatusMissing("no status in time"))
        if self._news is not None and self._news.due is not None and now >= self._news.due:
            self.update_status(now)
        self.connection.handle_timer(now)

    # -- for the owner: packets to send -------------------------------------------------------

    def update_status(self, now: float) -> None:
        """Tell the peer the changes of our status that it was not told yet.

        They wait for its rate limits, and leave in one packet then: the last value of each option.
        Before the peer's status has come we send nothing but our own (6/WAKU1, "Status"): changes
        are told then. The connection ends if both sides are light nodes now.
        """
        if self._news is None or not self._ready:
            return
        while (packet := self._news.next_packet(self.limits, now)) is not None:
            self._send(*packet)
        if self._are_both_light():
            self.connection.fail(LightNodesMet("both are light nodes"))

    def send_messages(self, packet: bytes) -> None:
        """Send a Messages packet: an RLP list of envelopes."""
        for code in self._unconfirmed:
            self._unconfirmed[code] += 1
        self._send(Code.MESSAGES, packet)

    def confirm(self, confirmations: Iterable[tuple[bytes, bytes]]) -> None:
        """Confirm packets (Batch.confirmations): a Message Response, then a Batch Ack, each.

        status-go sends both, in this order.
        """
        for batch_hash, errors in confirmations:
            self.respond(encode_message_response(batch_hash, errors))
            self._send(Code.BATCH_ACK, encode_batch_ack(batch_hash))

    def respond(self, response: bytes) -> None:
        """Confirm a packet with a Message Response alone, of encode_message_response."""
        self._send(Code.MESSAGE_RESPONSE, response)

    def request_history(self, packet: bytes) -> None:
        """Send a P2P Request of request.build_request; from now on its answer is taken."""
        self.expects_history = True
        self._send(Code.P2P_REQUEST, packet)

    def deliver_history(self, packet: bytes) -> None:
        """Send a P2P Messages packet: an RLP list of envelopes."""
        self._send(Code.P2P_MESSAGE, packet)

    def deliver_each(self, packet: bytes) -> int:
        """Send each envelope of this packet in one of its own; returns the bytes of all of them.

        Only for a peer without rate limits: others are to be paced, packet for packet.
        """
        assert self._shared is not None
        assert not self.limits.is_limited
        return self.connection.send_each(self._shared, Code.P2P_MESSAGE, packet)

    def complete_history(self, payload: bytes) -> None:
        """Send a Request Complete packet: the bytes of Completion.encode."""
        self._send(Code.P2P_REQUEST_COMPLETE, payload)

    def send_sync(self, code: int, packet: bytes) -> None:
        """Send a packet of the capability `wakusync`. The peer's rate limits do not count it."""
        assert self._sync is not None
        self.connection.send(self._sync, code, packet)

    def _send(self, code: int, payload: bytes) -> None:
        assert self._shared is not None
        if self.limits.is_limited:
            self.limits.spend(len(payload))
        self.connection.send(self._shared, code, payload)

    # -- packets of the peer ------------------------------------------------------------------

    def _on_event(self, event: object, now: float, unix_time: int) -> PeerEvent | None:
        match event:
            case Packets(payloads, ends):
                return self._on_messages(payloads, ends, unix_time)
            case Packet(capability, code, payload) if capability is self._sync:
                if not self._ready:
                    raise StatusMissing("a packet to sync came before the status")
                return SyncReceived(code, payload)
            case Packet(capability, code, payload):
                if self._gate is not None:
                    assert self.hello is not None
                    self._gate(self.hello.node_id, len(payload))
                if capability is self._shared:
                    return self._on_packet(code, payload, now, unix_time)
                self._count("packets_unasked")
            case OversizedPacket():
                return self._on_oversized(event, now)
            case Established(hello, capabilities):
                self._on_established(hello, capabilities, now)
            case HandshakeStep() | Authenticated() | Uneventful():
                return event
            case Closed():
                self._status_deadline = self._news = None
                return event
        return None

    def _on_established(self, hello: Hello, capabilities: tuple[Shared, ...], now: float) -> None:
        shared = {Capability(each.name, each.version): each for each in capabilities}
        dialects = [capability for capability in DIALECTS if capability in shared]
        if not dialects:
            raise UselessPeer("no capability in common but to sync")
        spoken, *unspoken = dialects
        self.hello = hello
        self._shared = shared[spoken]
        self._sync = shared.get(SYNC)
        self._dialect = DIALECTS[spoken]
        self._allowance = Allowance(now)
        self._status_deadline = now + STATUS_TIMEOUT
        self.connection.limit_packets(self._limit_of)
        self._news = StatusNews(self._own, self._dialect.encode_update)
        statuses = [(self._shared, self._dialect.encode_status(self._own.options))]
        # A bridge waits for our status in each capability, and leaves if one does not come.
        statuses += [
            (shared[capability], DIALECTS[capability].encode_status(NO_ENVELOPES))
            for capability in unspoken
        ]
        for capability, status in statuses:
            self.connection.send(capability, Code.STATUS, status)
            self._statuses.append(len(status))

    def _on_packet(self, code: int, payload: bytes, now: float, unix_time: int) -> PeerEvent | None:
        if code == Code.STATUS:
            return self._on_status(payload, now)
        if not self._ready:
            raise StatusMissing(f"packet {code} came before the status")
        if code in self._dialect.update_codes:
            return self._on_status_update(code, payload, now)
        match code:
            case Code.MESSAGES:
                return self._on_messages(payload, [len(payload)], unix_time)
            case Code.P2P_REQUEST:
                return HistoryRequested(payload)
            case Code.P2P_MESSAGE | Code.P2P_REQUEST_COMPLETE:
                return self._on_history(code, payload, now)
            case Code.BATCH_ACK | Code.MESSAGE_RESPONSE:
                return self._on_confirmation(Code(code), payload)
            case _:
                self._count("packets_unknown")
        return None

    def _limit_of(self, capability: Shared, code: int) -> int:
        """Bytes that a packet may have once it is inflated.

        0 for packets that will be dropped: the connection returns them only if they are small.
        """
        if capability is self._sync:
            return self.connection.max_packet
        if capability is not self._shared or (code == Code.STATUS) == self._ready:
            return 0
        if code == Code.STATUS or code in self._dialect.update_codes:
            return MAX_STATUS_SIZE
        match code:
            case Code.MESSAGES:
                return self.connection.max_packet
            case Code.P2P_REQUEST:
                return MAX_REFUSED_REQUEST
            case Code.P2P_MESSAGE if self.expects_history or self.trusted:
                return min(self.history_room, self.connection.max_packet)
            case Code.MESSAGE_RESPONSE if self._awaits(code):
                return MAX_RESPONSE_SIZE
            case _:
                return 0

    def _on_oversized(self, packet: OversizedPacket, now: float) -> PeerEvent | None:
        """Handle a packet over the limit of `_limit_of`. None of it was inflated but its start."""
        capability, code, size, start = packet
        if capability is self._sync:
            raise PacketTooLarge(f"a packet of {size} bytes to sync")
        if self._gate is not None:
            assert self.hello is not None
            self._gate(self.hello.node_id, size)
        too_large = f"packet {code} has {size} bytes"
        if capability is not self._shared:
            self._count("packets_unasked")
        elif code == Code.STATUS:
            if not self._ready:
                raise StatusError(f"a status of more than {MAX_STATUS_SIZE} bytes")
            self._count("packets_status_repeated")
        elif not self._ready:
            raise StatusMissing(f"packet {code} came before the status")
        elif code in self._dialect.update_codes:
            self._take_update(size, now)
            self._count("packets_status_update_malformed")
        else:
            match code:
                case Code.P2P_REQUEST:
                    return OversizedRequest(start)
                case Code.MESSAGES:
                    raise PacketTooLarge(too_large)
                case Code.P2P_MESSAGE if self.expects_history or self.trusted:
                    limit = self._limit_of(capability, code)
                    raise PacketTooLarge(f"history of {size} bytes, where {limit} were left")
                case Code.P2P_REQUEST_COMPLETE if self.expects_history or self.trusted:
                    raise CompletionError(too_large)
                case Code.BATCH_ACK | Code.MESSAGE_RESPONSE if self._awaits(code):
                    raise ConfirmationError(too_large)
                case (
                    Code.P2P_MESSAGE
                    | Code.P2P_REQUEST_COMPLETE
                    | Code.BATCH_ACK
                    | Code.MESSAGE_RESPONSE
                ):
                    self._count("packets_unasked")
                case _:
                    self._count("packets_unknown")
        return None

    def _awaits(self, code: int) -> bool:
        """True if a confirmation with this code may come for a packet that we sent."""
        return bool(self._unconfirmed[Code(code)]) and self.settings.confirmations

    def _on_status(self, payload: bytes, now: float) -> PeerEvent | None:
        assert self.hello is not None
        if self._ready:
            self._count("packets_status_repeated")
            return None
        self.settings = self.settings.updated(self._dialect.decode_status(payload))
        self._status_deadline = None
        if self._are_both_light():
            raise LightNodesMet("both are light nodes")
        self._ready = True
        if self._gate is None:
            assert self._shared is not None
            self.connection.gather(self._shared, Code.MESSAGES)
        self.limits = OutgoingLimits(self.settings, now)
        for size in self._statuses:  # the first packets that the peer counts
            self.limits.spend(size)
        self._statuses.clear()
        self.update_status(now)
        return Ready(self.hello, self.name)

    def _on_status_update(self, code: int, payload: bytes, now: float) -> PeerEvent | None:
        self._take_update(len(payload), now)
        try:
            options = self._dialect.decode_update(code, payload)
        except StatusError:
            self._count("packets_status_update_malformed")
            return None
        before, self.settings = self.settings, self.settings.updated(options)
        if self._are_both_light():
            raise LightNodesMet("both are light nodes")
        if self.settings == before:
            return None
        if self.limits.differ(self.settings):
            self.limits = OutgoingLimits(self.settings, now, self.limits)
            self.update_status(now)
        return SettingsChanged()

    def _take_update(self, size: int, now: float) -> None:
        """Count a status update; StatusUpdateFlood if it is one too many."""
        if not self._allowance.take_update(size, now):
            raise StatusUpdateFlood("too many status updates")

    def _are_both_light(self) -> bool:
        return self.settings.light and bool(self._own.options.light)

    def _on_messages(self, payloads: bytes, ends: list[int], unix_time: int) -> PeerEvent | None:
        own = self._own
        confirming = bool(own.options.confirmations)
        batch = judge_packets(
            payloads, ends, own.rules, unix_time, own.known, confirming=confirming
        )
        for _ in range(batch.malformed):
            self._count("packets_messages_malformed")
        for _ in range(batch.unconfirmable):
            self._count("packets_messages_unconfirmable")
        return EnvelopesReceived(batch) if batch.packets else None

    def _on_confirmation(self, code: Code, payload: bytes) -> PeerEvent | None:
        if not self._awaits(code):
            self._count("packets_unasked")
            return None
        self._unconfirmed[code] -= 1
        if code == Code.BATCH_ACK:
            return Confirmed(decode_batch_ack(payload), ())
        return Confirmed(*decode_message_response(payload))

    def _on_history(self, code: int, payload: bytes, now: float) -> PeerEvent | None:
        if self.expects_history:
            return self._read_history(code, payload)
        if not self.trusted:
            self._count("packets_unasked")
            return None
        if self._allowance.take_bytes(len(payload), now):
            event = self._read_history(code, payload)
            weight = len(event.batch) if isinstance(event, HistoryDelivered) else 1
            if self._allowance.take_envelopes(weight, now):
                return event
        self._count("history_unasked_excess")
        return None

    def _read_history(self, code: int, payload: bytes) -> HistoryDelivered | HistoryCompleted:
        if code == Code.P2P_REQUEST_COMPLETE:
            return HistoryCompleted(Completion.decode(payload))
        try:
            limit = self._own.rules.max_envelope
            return HistoryDelivered(self._dialect.decode_history(payload, limit))
        except RlpError as error:
            raise HistoryMalformed(f"malformed p2p messages: {error}") from error
