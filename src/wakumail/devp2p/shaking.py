"""A handshake, sans-IO: bytes come in; what is to be computed, our packets and keys come out.

The arithmetic, which takes half a millisecond a part, is left to the connection's owner.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from wakumail.devp2p.handshake import (
    MAX_HANDSHAKE_PACKET,
    Initiator,
    Response,
    Secrets,
    packet_size,
    respond,
)
from wakumail.devp2p.keys import PrivateKey, PublicKey, Random, node_id
from wakumail.errors import HandshakeError

Computed = Initiator | Response | Secrets | HandshakeError
"""What a part of a handshake comes to."""


@dataclass(frozen=True, slots=True)
class HandshakeDue:
    """A part of the handshake has to be computed: give what `compute` answers to shaken().

    That may be done in another thread, for it touches nothing of the connection; until then
    nothing is to be read. It takes half a millisecond, most of it without the GIL.
    """

    work: Callable[[], Computed]

    def compute(self) -> Computed:
        """The arithmetic; what is wrong with the peer's packet is answered, too."""
        try:
            return self.work()
        except HandshakeError as error:
            return error


class Shaking:
    """A handshake; the initiator's side when `remote`, whom it calls, is given."""

    def __init__(
        self, node_key: PrivateKey, random: Random, remote: PublicKey | None = None
    ) -> None:
        self.remote_id = b"" if remote is None else node_id(remote)
        """The peer's node id, 64 bytes; of one that called us it is known with the keys."""
        self.outbox: list[bytes] = []
        """Our packets, for who sends them to take out."""
        self._node_key = node_key
        self._random = random
        self._remote = remote
        self._initiator: Initiator | None = None
        self._buffer = bytearray(MAX_HANDSHAKE_PACKET)
        self._filled = 0
        self._packet_size = 0
        """Bytes of the peer's packet, once it is being looked at."""
        self._computing = False

    def get_buffer(self) -> memoryview:
        """Room for received bytes; none is left only when `due` has an error to tell."""
        return memoryview(self._buffer)[self._filled :]

    def received(self, count: int) -> None:
        """`count` bytes were written into the buffer."""
        self._filled += count

    def due(self) -> HandshakeDue | None:
        """What has to be computed now; None until that is done, or the peer's packet is whole.

        HandshakeError when it is no such packet, or when more has come meanwhile than fits.
        """
        if self._computing:
            if self._filled == MAX_HANDSHAKE_PACKET:
                raise HandshakeError("more came before the handshake was computed")
            return None
        if self._initiator is None and self._remote is not None:
            return self._compute(partial(Initiator, self._node_key, self._remote, self._random))
        size = packet_size(self._buffer[: self._filled])
        if size is None or size > self._filled:
            return None
        self._packet_size = size
        packet = bytes(self._buffer[:size])
        if self._initiator is not None:
            return self._compute(partial(self._initiator.finish, packet))
        return self._compute(partial(respond, self._node_key, packet, self._random))

    def shaken(self, computed: Initiator | Response | Secrets) -> Secrets | None:
        """Take what was computed; the keys, if it is over now."""
        self._computing = False
        match computed:
            case Initiator():
                self._initiator = computed
                self.outbox.append(computed.auth)
                return None
            case Response(ack, secrets, remote):
                self.remote_id = node_id(remote)
                self.outbox.append(ack)
                return secrets
            case Secrets():
                return computed

    def rest(self) -> bytes:
        """What came behind the peer's packet; asking takes it out, and gives the memory back."""
        rest = bytes(self._buffer[self._packet_size : self._filled])
        self._buffer = bytearray()  # not clear(): the event loop may still hold a view of it
        return rest

    def _compute(self, work: Callable[[], Computed]) -> HandshakeDue:
        self._computing = True
        return HandshakeDue(work)
