"""One RLPx connection, sans-IO: bytes and time go in, events and bytes come out.

It goes through these states, never back:

    HANDSHAKE      waits for the auth or ack packet; HandshakeStep has to be computed on the way
    GREETING       the keys are there and our hello is out; a packet that names a node id proves
                   nothing before the peer's hello has come with the right MAC
    AUTHENTICATED  the peer is known; waits for accept(), and reads no packet before that
    ESTABLISHED    Packet after Packet (or Packets), pings in between
    CLOSED         Closed was the last event; nothing is sent, and received bytes are dropped

Whatever a peer sends, the outcome is one of these events and never an exception.
"""

from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto

from wakumail.base import rlp
from wakumail.base.snappy import inflate, inflate_start, inflated_size, store_prefix
from wakumail.devp2p.connection_events import (
    Authenticated,
    Closed,
    ConnectionEvent,
    Established,
    OversizedPacket,
    Packet,
    Packets,
    Uneventful,
)
from wakumail.devp2p.frame_reader import MAX_FRAME, FrameReader
from wakumail.devp2p.frame_writer import FrameWriter
from wakumail.devp2p.handshake import (
    MAX_HANDSHAKE_PACKET,
    Handshake,
    Secrets,
    StepResult,
)
from wakumail.devp2p.keys import PrivateKey, PublicKey, Random, node_id
from wakumail.devp2p.packets import (
    CAPABILITY_LENGTHS,
    MAX_MESSAGE_ID_SIZE,
    MAX_P2P_PACKET,
    P2P_MESSAGE_IDS,
    P2P_VERSION,
    SNAPPY_VERSION,
    Capability,
    Hello,
    MessageId,
    Shared,
    decode_disconnect,
    encode_disconnect,
    negotiate,
    read_message_id,
)
from wakumail.errors import (
    DisconnectReason,
    FrameError,
    HandshakeError,
    HandshakeTimeout,
    HelloError,
    PacketTooLarge,
    PingTimeout,
    ProtocolError,
)

PROBE_TIMEOUT = 5.0
"""Seconds in which a peer has to answer when the owner doubts that it is still there."""

PING_SLACK = 2.0
"""Seconds by which a ping of the peer delays our next one beyond the interval: a peer that pings as
often as we do gets no pings from us."""

MAX_UNEVENTFUL = 64 << 10
"""Bytes of packets that need nothing of the owner (pings, for one) after which it gets Uneventful:
they are work too, and it may want to do something else first."""

PACKET_COST = 1 << 10
"""Bytes that each such packet counts for, beside its own."""

SMALL_PACKET = 4 << 10
"""Bytes of a packet, inflated, up to which it is returned whatever its code is."""

START_SIZE = 64
"""Bytes that an OversizedPacket keeps."""

MAX_GREETING = MAX_P2P_PACKET + 64
"""Bytes of an unfinished frame that can still become a hello: 64 for id, padding and MAC."""

EMPTY_LIST = b"\xc0"
"""The data of ping and pong."""


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """The settings of our side, the same for every peer; times in seconds, sizes in bytes.

    ValueError for a capability that CAPABILITY_LENGTHS does not have. `p2p_version` 4 speaks
    without compression. `max_packet` bounds a packet after it is inflated. `reserved` has the
    capabilities that only some peers are offered, each with their node ids (64 bytes): the sets may
    change, and hold for the connections that are made from then on.
    """

    node_key: PrivateKey
    client_id: str
    port: int
    capabilities: tuple[Capability, ...]
    max_packet: int
    p2p_version: int = P2P_VERSION
    handshake_timeout: float = 5.0
    ping_interval: float = 15.0
    idle_timeout: float = 30.0
    reserved: Mapping[Capability, AbstractSet[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = {*self.capabilities, *self.reserved} - set(CAPABILITY_LENGTHS)
        if unknown:
            raise ValueError(f"no number of message ids is known for {sorted(unknown)}")

    def hello_for(self, peer: bytes) -> Hello:
        """Our hello for the peer with this node id."""
        reserved = (capability for capability, peers in self.reserved.items() if peer in peers)
        return Hello(
            self.p2p_version,
            self.client_id,
            (*self.capabilities, *reserved),
            self.port,
            node_id(self.node_key.public_key),
        )

    @property
    def max_frame(self) -> int:
        """Bytes of frame data for a packet of `max_packet` bytes: Snappy may make it longer."""
        return min(MAX_FRAME, MAX_MESSAGE_ID_SIZE + 32 + self.max_packet + self.max_packet // 6)


class State(Enum):
    """The states of a connection: see the top of this module."""

    HANDSHAKE = auto()
    GREETING = auto()
    AUTHENTICATED = auto()
    ESTABLISHED = auto()
    CLOSED = auto()


READING = (State.GREETING, State.ESTABLISHED)
"""The states in which frames are read as they come."""


class Connection:
    """One RLPx connection. We called the peer if `remote`, its public key, is given.

    Its owner hands in received bytes (get_buffer, buffer_updated, eof), pulls events until there
    is none, writes what data_to_send returns, and calls handle_timer at the time of next_timer.
    An owner that stops reading for a while calls touch, or the peer is taken for silent.
    """

    def __init__(
        self, config: ConnectionConfig, random: Random, now: float, remote: PublicKey | None = None
    ) -> None:
        self._config = config
        self._state = State.HANDSHAKE
        self._deadline = now + config.handshake_timeout
        self._heard = now
        self._next_ping = now
        self._ended = False
        self._events: deque[ConnectionEvent] = deque()
        self._handshake = Handshake(config.node_key, random, remote)
        self._reader: FrameReader
        self.writer: FrameWriter | None = None
        """Encrypts our packets, once there are keys; the owner may call it in a thread."""
        self._snappy = False
        self.offered: tuple[Capability, ...] = ()
        """The capabilities in our hello; none before it is sent."""
        self._hello: Hello
        self._shared: tuple[Shared, ...] = ()
        self._limit_of: Callable[[Shared, int], int] | None = None
        self._gathered = b""
        """The encoded message id of packets that are returned together; empty for none."""
        self._step_handshake()

    # -- bytes in ---------------------------------------------------------------------------------

    def get_buffer(self, hint: int) -> memoryview:
        """A buffer for received bytes, never empty; valid until buffer_updated is called.

        BufferError when a MiB of packets waits to be pulled: the owner should pull before it
        reads on.
        """
        match self._state:
            case State.HANDSHAKE:
                return self._handshake.get_buffer()
            case State.CLOSED:
                return memoryview(bytearray(MAX_HANDSHAKE_PACKET))
            case _:
                return self._reader.get_buffer(hint)

    def buffer_updated(self, count: int, now: float) -> None:
        """`count` bytes were written into the buffer."""
        self.touch(now)
        match self._state:
            case State.HANDSHAKE:
                self._handshake.received(count)
                self._step_handshake()
            case State.CLOSED:
                pass
            case _:
                self._reader.received(count)

    def eof(self, now: float) -> None:
        """The peer has sent its last byte; packets before it can be pulled, then Closed follows."""
        self.touch(now)
        self._ended = True

    def abandon(self) -> None:
        """The connection is lost: drop all packets that were not pulled; only Closed follows."""
        if self._state is not State.CLOSED:
            self._close(Closed(None, by_peer=True))

    @property
    def closed(self) -> bool:
        """True once nothing but Closed is left to pull."""
        return self._state is State.CLOSED

    @property
    def max_packet(self) -> int:
        """Bytes of a packet, inflated, that no packet may exceed, whatever its code is."""
        return self._config.max_packet

    @property
    def capacity(self) -> int:
        """Bytes of memory that the buffer of received frames has."""
        return 0 if self._state in (State.HANDSHAKE, State.CLOSED) else self._reader.capacity

    @property
    def buffered(self) -> int:
        """Bytes of packets that were received and not pulled yet."""
        return 0 if self._state in (State.HANDSHAKE, State.CLOSED) else self._reader.buffered

    # -- events -----------------------------------------------------------------------------------

    def next_event(self) -> ConnectionEvent | None:
        """The next event, or None until more bytes come.

        A call decodes one packet, or one Packets of bounded size. An owner that does not pull
        holds its peer back: it should neither pull nor read while its own queues, or its data to
        write, are too long.
        """
        taken = 0
        try:
            while not self._events and self._state in READING:
                if taken >= MAX_UNEVENTFUL:
                    return Uneventful()
                if self._gathered and (
                    packets := self._reader.next_payloads(
                        self._gathered, self._config.max_packet, compressed=self._snappy
                    )
                ):
                    return Packets(*packets)
                frame = self._reader.next_frame()
                if frame is None:
                    self._check_greeting()
                    break
                taken += PACKET_COST + len(frame)
                self._on_frame(frame)
        except FrameError as error:
            self._close(Closed(None, by_peer=False, error=error))
        except ProtocolError as error:
            self.fail(error)
        if not self._events and self._ended and self._state is not State.CLOSED:
            self._close(Closed(None, by_peer=True))
        return self._events.popleft() if self._events else None

    def gather(self, capability: Shared, code: int) -> None:
        """From now on return packets with this code as Packets, except those that are too large."""
        self._gathered = rlp.encode(capability.offset + code)

    def limit_packets(self, limit_of: Callable[[Shared, int], int]) -> None:
        """From now on ask for the maximum of bytes of each packet before it is inflated.

        `limit_of` is called with the capability and the code of a packet of more than SMALL_PACKET
        bytes. Over its limit the packet becomes an OversizedPacket, and nothing of it is inflated.
        """
        self._limit_of = limit_of

    # -- the handshake ----------------------------------------------------------------------------

    def handshake_computed(self, result: StepResult) -> None:
        """Take the result of a HandshakeStep; ignored when the connection is closed already."""
        if self._state is State.CLOSED:
            return
        if isinstance(result, HandshakeError):
            self._close(Closed(None, by_peer=False, error=result))
        elif (secrets := self._handshake.step_computed(result)) is not None:
            self._authenticate(secrets)
        else:
            self._step_handshake()

    def _step_handshake(self) -> None:
        """Ask the owner to compute the next step, if there is one."""
        try:
            step = self._handshake.next_step()
        except HandshakeError as error:
            self._close(Closed(None, by_peer=False, error=error))
            return
        if step is not None:
            self._events.append(step)

    def _authenticate(self, secrets: Secrets) -> None:
        """Start to use the keys; bytes after the peer's packet belong to its first frame."""
        aes, mac, egress_seed, ingress_seed = secrets
        self._reader = FrameReader(aes, mac, ingress_seed, max_frame=self._config.max_frame)
        self.writer = FrameWriter(aes, mac, egress_seed)
        self._reader.feed(self._handshake.rest())
        self._state = State.GREETING
        hello = self._config.hello_for(self._handshake.remote_id)
        self.offered = hello.capabilities
        self._write(MessageId.HELLO, hello.encode())

    # -- bytes out --------------------------------------------------------------------------------

    def accept(self) -> None:
        """Go on with an Authenticated peer: Established follows."""
        if self._state is State.AUTHENTICATED:
            self._state = State.ESTABLISHED
            self._deadline = self._heard + self._config.idle_timeout
            self._next_ping = self._heard + self._config.ping_interval
            self._events.append(Established(self._hello, self._shared))

    def send(self, capability: Shared, code: int, payload: bytes) -> None:
        """Send a packet of a shared capability; dropped when the connection is closed already.

        ValueError for a code that the capability does not have, or a payload that fits in no
        frame; RuntimeError before Established.
        """
        message_id = capability.message_id(code)
        if self._may_send():
            self._write(message_id, payload)

    def send_each(self, capability: Shared, code: int, items: bytes) -> int:
        """Send each item of an RLP list in a packet of its own: a list of this item alone.

        Returns the bytes of their payloads; 0 when the connection is closed already. RlpError if
        `items` is not exactly one list; other errors as in `send`. No packet is sent then.
        """
        message_id = rlp.encode(capability.message_id(code))
        if not self._may_send():
            return 0
        assert self.writer is not None
        return self.writer.add_each(items, message_id, stored=self._snappy)

    def disconnect(self, reason: DisconnectReason) -> None:
        """End the connection; the peer is told the reason if there are keys to encrypt it."""
        self._end(reason, None)

    def fail(self, error: ProtocolError) -> None:
        """End the connection because the peer broke a rule, of this layer or of one above."""
        self._end(error.reason, error)

    def data_to_send(self) -> list[bytes]:
        """Take out the bytes to be written now; packets that wait are encrypted first."""
        data, self._handshake.unsent = self._handshake.unsent, []
        if self.unencrypted and self.writer is not None:
            data.append(self.writer.encrypt())
        return data

    @property
    def unencrypted(self) -> int:
        """Bytes of the frames of all packets that wait to be encrypted."""
        return 0 if self.writer is None else self.writer.waiting

    # -- time -------------------------------------------------------------------------------------

    def touch(self, now: float) -> None:
        """Begin the peer's idle time anew: the owner did not read, the peer may have sent."""
        self._heard = now
        if self._state is State.ESTABLISHED:
            self._deadline = now + self._config.idle_timeout

    def probe(self, now: float) -> None:
        """Ping at once, and end the connection unless bytes come within PROBE_TIMEOUT."""
        if self._state is State.ESTABLISHED:
            self._ping(now)
            self._deadline = min(self._deadline, now + PROBE_TIMEOUT)

    def next_timer(self) -> float | None:
        """The time to call handle_timer; every event may change it. None: never."""
        match self._state:
            case State.CLOSED:
                return None
            case State.ESTABLISHED:
                return min(self._next_ping, self._deadline)
            case _:
                return self._deadline

    def handle_timer(self, now: float) -> None:
        """Send a ping or end the connection, if it is time at `now`."""
        due = self.next_timer()
        if due is None or now < due:
            return
        if self._state is not State.ESTABLISHED:
            error = HandshakeTimeout("no keys and no hello in time")
            self._close(Closed(None, by_peer=False, error=error))
        elif now >= self._deadline:
            self.fail(PingTimeout(f"nothing came for {now - self._heard:.0f} s"))
        else:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self._write(MessageId.PING, EMPTY_LIST)
        self._next_ping = now + self._config.ping_interval

    # -- packets of the peer ----------------------------------------------------------------------

    def _on_frame(self, frame: memoryview) -> None:
        """Handle a frame: a message id, then the data of the packet."""
        message_id, size = read_message_id(frame)
        data = frame[size:]
        if message_id == MessageId.DISCONNECT:
            self._close(Closed(self._read_reason(data), by_peer=True))
        elif self._state is State.GREETING:
            self._on_greeting(message_id, data)
        elif message_id < P2P_MESSAGE_IDS:
            self._on_p2p(message_id)
        else:
            self._on_packet(message_id, data)

    def _check_greeting(self) -> None:
        """Refuse a hello that is too large before all of it has come, to save memory."""
        if self._state is State.GREETING and self._reader.buffered > MAX_GREETING:
            raise HelloError(f"a hello of more than {MAX_P2P_PACKET} bytes")

    def _on_greeting(self, message_id: int, data: memoryview) -> None:
        if message_id != MessageId.HELLO:
            raise ProtocolError(f"message {message_id} came in place of the hello")
        hello = Hello.decode(bytes(data))
        # From here on both sides know both versions, so a refusal travels compressed too.
        self._snappy = min(hello.version, self._config.p2p_version) >= SNAPPY_VERSION
        hello.verify(self._handshake.remote_id)
        self._shared = negotiate(self.offered, hello.capabilities)
        self._hello = hello
        self._state = State.AUTHENTICATED
        self._events.append(Authenticated(hello.node_id))

    def _on_p2p(self, message_id: int) -> None:
        if message_id == MessageId.HELLO:
            raise ProtocolError("a second hello")
        if message_id == MessageId.PING:
            self._write(MessageId.PONG, EMPTY_LIST)
            self._next_ping = self._heard + self._config.ping_interval + PING_SLACK

    def _on_packet(self, message_id: int, data: memoryview) -> None:
        for shared in self._shared:
            if shared.offset <= message_id < shared.offset + shared.length:
                break
        else:
            raise ProtocolError(f"message {message_id} belongs to no shared capability")
        code = message_id - shared.offset
        size = inflated_size(data) if self._snappy else len(data)
        limit_of = self._limit_of
        if size > SMALL_PACKET and limit_of is not None and size > limit_of(shared, code):
            start = inflate_start(data, START_SIZE) if self._snappy else bytes(data[:START_SIZE])
            self._events.append(OversizedPacket(shared, code, size, start))
            return
        payload = self._inflate(data, self._config.max_packet)
        self._events.append(Packet(shared, code, payload))

    def _read_reason(self, data: memoryview) -> DisconnectReason | int:
        # A peer that left before it had our hello did not compress: then read it as it is.
        with suppress(ProtocolError):
            return decode_disconnect(self._inflate(data, MAX_P2P_PACKET))
        return decode_disconnect(bytes(data[:MAX_P2P_PACKET]))

    def _inflate(self, data: memoryview, limit: int) -> bytes:
        """A copy of a packet's data, inflated; its size is checked before memory is allocated."""
        if self._snappy:
            return inflate(data, limit)
        if len(data) > limit:
            raise PacketTooLarge(f"a packet of {len(data)} bytes")
        return bytes(data)

    # -- the end of it ----------------------------------------------------------------------------

    def _may_send(self) -> bool:
        if self._state not in (State.ESTABLISHED, State.CLOSED):
            raise RuntimeError("no packet may be sent before Established")
        return self._state is State.ESTABLISHED

    def _write(self, message_id: int, data: bytes) -> None:
        assert self.writer is not None
        prefix = rlp.encode(message_id)
        if self._snappy:
            prefix += store_prefix(len(data))
        self.writer.add(data, prefix)

    def _end(self, reason: DisconnectReason, error: ProtocolError | None) -> None:
        if self._state is State.CLOSED:
            return
        if self._state is not State.HANDSHAKE:
            self._write(MessageId.DISCONNECT, encode_disconnect(reason))
        self._close(Closed(reason, by_peer=False, error=error))

    def _close(self, closed: Closed) -> None:
        self._state = State.CLOSED
        self._events = deque((closed,))  # events that were not pulled are dropped
        self._limit_of = None  # it holds the owner, which holds us: no cyclic garbage
