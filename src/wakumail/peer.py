"""A Waku peer: the `waku` capability over one RLPx connection, sans-IO (6/WAKU1).

A Peer turns packets into events. It awaits the status of the other side before anything else,
judges Messages packets in one pass, and lets p2p packets through only where they were asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass

from wakumail import waku
from wakumail.completion import Completion
from wakumail.connection import Authenticated, Closed, Connection, Established, Packet
from wakumail.devp2p import Hello, Shared
from wakumail.envelope import Batch, Rules, judge, parse
from wakumail.errors import DisconnectReason, ProtocolError, RlpError
from wakumail.keccak import keccak256
from wakumail.waku import Code, PeerSettings, StatusOptions

STATUS_TIMEOUT = 10.0
"""Seconds that a peer has for its status after the hello."""


class StatusMissing(ProtocolError):
    """A packet, or the end of STATUS_TIMEOUT, came before the status (6/WAKU1, "Status")."""

    counter = "packets_before_status"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class HistoryMalformed(ProtocolError):
    """A P2P Messages packet of a mailserver that is no list of envelopes."""

    counter = "history_malformed"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


@dataclass(frozen=True, slots=True)
class Ready:
    """Both statuses are exchanged: the peer may send and receive Waku packets."""

    hello: Hello
    version: int


@dataclass(frozen=True, slots=True)
class EnvelopesReceived:
    """A Messages packet, judged; `batch_hash` is of its raw payload, empty if nobody confirms."""

    batch: Batch
    batch_hash: bytes


@dataclass(frozen=True, slots=True)
class HistoryRequested:
    """A P2P Request packet, still closed."""

    packet: bytes


@dataclass(frozen=True, slots=True)
class HistoryDelivered:
    """A P2P Messages packet of a peer that we trust."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class HistoryCompleted:
    """A Request Complete packet of a peer that we trust."""

    completion: Completion


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A Batch Ack or Message Response: the peer has the batch, but for `errors`."""

    batch_hash: bytes
    errors: tuple[waku.EnvelopeError, ...]


Event = (
    Authenticated
    | Ready
    | EnvelopesReceived
    | HistoryRequested
    | HistoryDelivered
    | HistoryCompleted
    | Confirmed
    | Closed
)


class Peer:
    """One peer from its hello to its end.

    `options` is our own status; `rules` judge what the peer sends in Messages packets. Drops that
    end nothing are counted through `count`. The connection below is public: its owner feeds it,
    writes what it has to send and keeps its timers.
    """

    def __init__(
        self,
        connection: Connection,
        options: StatusOptions,
        rules: Rules,
        count: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.settings = PeerSettings()
        self.expects_history = False
        """Whether a request of ours is open."""
        self.expects_confirmations = False
        """Whether we have sent envelopes and want to know what became of them."""
        self._options = options
        self._rules = rules
        self._count = count
        self._hello: Hello | None = None
        self._waku: Shared | None = None
        self._status_deadline: float | None = None
        self._ready = False

    # -- what the owner asks ------------------------------------------------------------------

    def next_event(self, now: float, unix_time: int) -> Event | None:
        """The next event, or None until more bytes come.

        One packet is taken from the connection at a time, so an owner that stops asking stops
        the work. `now` is the connection's clock, `unix_time` (seconds) judges envelopes.
        """
        while (event := self.connection.next_event()) is not None:
            try:
                answer = self._on_event(event, now, unix_time)
            except ProtocolError as error:
                self.connection.fail(error)
                continue
            if answer is not None:
                return answer
        return None

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called."""
        timers = (self.connection.next_timer(), self._status_deadline)
        return min((t for t in timers if t is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        if self._status_deadline is not None and now >= self._status_deadline:
            self._status_deadline = None
            self.connection.fail(StatusMissing("no status in time"))
        self.connection.handle_timer(now)

    # -- what the owner sends -----------------------------------------------------------------

    def send_messages(self, packet: bytes) -> None:
        """Send a Messages packet: an RLP list of envelopes."""
        self._send(Code.MESSAGES, packet)

    def confirm(self, batch_hash: bytes, errors: tuple[waku.EnvelopeError, ...]) -> None:
        """Confirm a batch: the Message Response first, as status-go does, then the Batch Ack."""
        self._send(Code.MESSAGE_RESPONSE, waku.encode_message_response(batch_hash, errors))
        self._send(Code.BATCH_ACK, waku.encode_batch_ack(batch_hash))

    def request_history(self, packet: bytes) -> None:
        """Send a P2P Request made by mail.build_request; its answers are expected from now on."""
        self.expects_history = True
        self._send(Code.P2P_REQUEST, packet)

    def deliver_history(self, packet: bytes) -> None:
        """Send a P2P Messages packet: an RLP list of envelopes."""
        self._send(Code.P2P_MESSAGE, packet)

    def complete_history(self, payload: bytes) -> None:
        """Send a Request Complete packet made by mail.Completion."""
        self._send(Code.P2P_REQUEST_COMPLETE, payload)

    # -- what the peer sends ------------------------------------------------------------------

    def _on_event(self, event: object, now: float, unix_time: int) -> Event | None:
        match event:
            case Packet(capability, code, payload) if capability == self._waku:
                return self._on_packet(code, payload, unix_time)
            case Established(hello, capabilities):
                self._on_established(hello, capabilities, now)
            case Authenticated():
                return event
            case Closed():
                self._status_deadline = None
                return event
        return None

    def _on_established(self, hello: Hello, capabilities: tuple[Shared, ...], now: float) -> None:
        self._hello = hello
        self._waku = next(shared for shared in capabilities if shared.name == "waku")
        self._status_deadline = now + STATUS_TIMEOUT
        self._send(Code.STATUS, waku.encode_status(self._options, self._waku.version))

    def _on_packet(self, code: int, payload: bytes, unix_time: int) -> Event | None:
        if code == Code.STATUS:
            return self._on_status(payload)
        if not self._ready:
            raise StatusMissing(f"packet {code} came before the status")
        match code:
            case Code.MESSAGES:
                return self._on_messages(payload, unix_time)
            case Code.P2P_REQUEST:
                return HistoryRequested(payload)
            case Code.P2P_MESSAGE | Code.P2P_REQUEST_COMPLETE:
                return self._on_history(code, payload)
            case Code.BATCH_ACK | Code.MESSAGE_RESPONSE:
                return self._on_confirmation(code, payload)
            case Code.STATUS_UPDATE:
                self._on_status_update(payload)
            case _:
                self._count("packets_unknown")
        return None

    def _on_status(self, payload: bytes) -> Event | None:
        assert self._hello is not None
        assert self._waku is not None
        if self._ready:
            self._count("packets_status_repeated")
            return None
        options = waku.decode_status(payload, self._waku.version)
        self.settings = self.settings.updated(options)
        self._status_deadline = None
        self._ready = True
        return Ready(self._hello, self._waku.version)

    def _on_status_update(self, payload: bytes) -> None:
        assert self._waku is not None
        try:
            options = waku.decode_status_update(payload, self._waku.version)
        except ProtocolError:
            self._count("packets_status_update_malformed")
        else:
            self.settings = self.settings.updated(options)

    def _on_messages(self, payload: bytes, unix_time: int) -> Event | None:
        try:
            batch = judge(payload, self._rules, unix_time)
        except RlpError:
            self._count("packets_messages_malformed")
            return None
        return EnvelopesReceived(batch, keccak256(payload) if self._options.confirmations else b"")

    def _on_confirmation(self, code: int, payload: bytes) -> Event | None:
        if not self.expects_confirmations:
            self._count("packets_unasked")
            return None
        if code == Code.BATCH_ACK:
            return Confirmed(waku.decode_batch_ack(payload), ())
        return Confirmed(*waku.decode_message_response(payload))

    def _on_history(self, code: int, payload: bytes) -> Event | None:
        if not self.expects_history:
            self._count("packets_unasked")
            return None
        if code == Code.P2P_REQUEST_COMPLETE:
            return HistoryCompleted(Completion.decode(payload))
        try:
            return HistoryDelivered(parse(payload))
        except RlpError as error:
            raise HistoryMalformed(f"malformed p2p messages: {error}") from error

    def _send(self, code: int, payload: bytes) -> None:
        assert self._waku is not None
        self.connection.send(self._waku, code, payload)
