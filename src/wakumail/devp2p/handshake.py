"""The RLPx handshake: keys for a connection out of two packets (RLPx, "Initial Handshake").

Only the form of EIP-8 is spoken: a 16-bit size, then that number of bytes of ECIES around an RLP
list and padding. Any fault in a packet is a HandshakeError.

A Handshake takes received bytes and returns steps to be computed, our packets and the keys. The
owner of the connection computes the steps. `Initiator` and `respond` depend on their arguments
alone and take half a millisecond of curve arithmetic, most of it without the GIL: they may run in
a thread.

A recorded auth packet that is sent again passes here, and gains nothing: the recipient's part of
the keys is new each time, and without the initiator's ephemeral key no frame can be made.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.devp2p import ecies
from wakumail.devp2p.keys import (
    PrivateKey,
    PublicKey,
    Random,
    generate,
    node_id,
    public_key,
    recover,
    shared_x,
    sign,
)
from wakumail.errors import EciesError, HandshakeError

PREFIX_SIZE = 2
"""Bytes of the prefix of a packet, which gives the size of the rest."""

MAX_HANDSHAKE_PACKET = 2048
"""Bytes of an auth or ack packet with its prefix; Go refuses more too."""

HANDSHAKE_NONCE_SIZE = 32
"""Bytes of the nonce that each side adds to the keys."""

HANDSHAKE_VERSION = 4
"""We send this as auth-vsn and ack-vsn; the version of a peer is ignored (EIP-8)."""

MIN_PADDING, MAX_PADDING = 100, 300
"""Random bytes after the list, so that the packets of EIP-8 have no fixed length."""


class Secrets(NamedTuple):
    """The keys and MAC seeds of one connection, as one side uses them.

    `aes` and `mac` are 32-byte keys; each MAC absorbs its seed first (RLPx, "MAC").
    """

    aes: bytes
    mac: bytes
    egress_seed: bytes
    ingress_seed: bytes


class Response(NamedTuple):
    """The result of a recipient: the packet to send, the keys, and the key of the caller."""

    ack: bytes
    secrets: Secrets
    remote: PublicKey


class Initiator:
    """The side that opened the TCP connection: it sends `auth`; the ack packet finishes it."""

    def __init__(self, node_key: PrivateKey, remote: PublicKey, random: Random) -> None:
        self._node_key = node_key
        self._ephemeral = generate(random)
        self._nonce = random(HANDSHAKE_NONCE_SIZE)
        token = shared_x(node_key, remote)
        signature = sign(self._ephemeral, _xor(token, self._nonce))
        identity = node_id(node_key.public_key)
        self.auth = _encrypt(remote, [signature, identity, self._nonce, HANDSHAKE_VERSION], random)

    def finish(self, ack: bytes) -> Secrets:
        """The keys. `ack` is the whole ack packet of the recipient, with its prefix."""
        ephemeral, nonce = _read_ack(self._node_key, ack)
        aes, mac = _derive(shared_x(self._ephemeral, ephemeral), nonce, self._nonce)
        return Secrets(aes, mac, _xor(mac, nonce) + self.auth, _xor(mac, self._nonce) + ack)


def respond(node_key: PrivateKey, auth: bytes, random: Random) -> Response:
    """Answer an initiator. `auth` is its whole auth packet, with the prefix."""
    remote, remote_ephemeral, remote_nonce = _read_auth(node_key, auth)
    ephemeral = generate(random)
    nonce = random(HANDSHAKE_NONCE_SIZE)
    ack = _encrypt(remote, [node_id(ephemeral.public_key), nonce, HANDSHAKE_VERSION], random)
    aes, mac = _derive(shared_x(ephemeral, remote_ephemeral), nonce, remote_nonce)
    secrets = Secrets(aes, mac, _xor(mac, remote_nonce) + ack, _xor(mac, nonce) + auth)
    return Response(ack, secrets, remote)


def packet_size(data: bytes | bytearray | memoryview) -> int | None:
    """Bytes of the packet at the start of `data`, None while its prefix is not complete.

    HandshakeError for a size that no handshake packet has.
    """
    if len(data) < PREFIX_SIZE:
        return None
    size = PREFIX_SIZE + int.from_bytes(data[:PREFIX_SIZE], "big")
    if not PREFIX_SIZE + ecies.OVERHEAD < size <= MAX_HANDSHAKE_PACKET:
        raise HandshakeError(f"a handshake packet of {size} bytes")
    return size


StepResult = Initiator | Response | Secrets | HandshakeError
"""The result of a HandshakeStep."""


@dataclass(frozen=True, slots=True)
class HandshakeStep:
    """A step of the handshake to be computed: give the result to Connection.handshake_computed.

    `compute` does not use the connection, so it may run in another thread; until it is done, do
    not read from the peer. It takes half a millisecond, most of it without the GIL.
    """

    work: Callable[[], StepResult]

    def compute(self) -> StepResult:
        """Do the arithmetic; a fault in the peer's packet is a result too."""
        try:
            return self.work()
        except HandshakeError as error:
            return error


class Handshake:
    """A handshake. We are the initiator if `remote`, the public key of the peer, is given."""

    def __init__(
        self, node_key: PrivateKey, random: Random, remote: PublicKey | None = None
    ) -> None:
        self.remote_id = b"" if remote is None else node_id(remote)
        """The peer's node id, 64 bytes; empty until the keys are known if the peer called us."""
        self.unsent: list[bytes] = []
        """Our packets; the connection takes them out and sends them."""
        self._node_key = node_key
        self._random = random
        self._remote = remote
        self._initiator: Initiator | None = None
        self._buffer = bytearray(MAX_HANDSHAKE_PACKET)
        self._filled = 0
        self._packet_size = 0
        """Bytes of the peer's packet; 0 until it is complete."""
        self._computing = False

    def get_buffer(self) -> memoryview:
        """A buffer for received bytes; it is empty only when `next_step` raises an error."""
        return memoryview(self._buffer)[self._filled :]

    def received(self, count: int) -> None:
        """`count` bytes were written into the buffer."""
        self._filled += count

    def next_step(self) -> HandshakeStep | None:
        """The step to compute now; None while one is computed, or the peer's packet is incomplete.

        HandshakeError when it is no handshake packet, or when more bytes come meanwhile than the
        buffer holds.
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

    def step_computed(self, result: Initiator | Response | Secrets) -> Secrets | None:
        """Take a result; returns the keys if the handshake is complete."""
        self._computing = False
        match result:
            case Initiator():
                self._initiator = result
                self.unsent.append(result.auth)
                return None
            case Response(ack, secrets, remote):
                self.remote_id = node_id(remote)
                self.unsent.append(ack)
                return secrets
            case Secrets():
                return result

    def rest(self) -> bytes:
        """Take out the bytes that came after the peer's packet, and free the buffer."""
        rest = bytes(self._buffer[self._packet_size : self._filled])
        self._buffer = bytearray()  # not clear(): the event loop may still hold a view of it
        return rest

    def _compute(self, work: Callable[[], StepResult]) -> HandshakeStep:
        self._computing = True
        return HandshakeStep(work)


@contextmanager
def _told_as_handshake_error() -> Iterator[None]:
    """Raise any fault in a packet as a HandshakeError."""
    try:
        yield
    except (EciesError, ValueError) as error:
        raise HandshakeError(str(error)) from error


@_told_as_handshake_error()
def _read_auth(node_key: PrivateKey, packet: bytes) -> tuple[PublicKey, PublicKey, bytes]:
    """The initiator's key, its ephemeral key and its nonce."""
    signature, identity, nonce, _version, *_ = _decrypt(node_key, packet, at_least=4)
    remote = public_key(rlp.as_bytes(identity))
    nonce = rlp.as_bytes(nonce, HANDSHAKE_NONCE_SIZE)
    token = shared_x(node_key, remote)
    ephemeral = recover(rlp.as_bytes(signature), _xor(token, nonce))
    return remote, ephemeral, nonce


@_told_as_handshake_error()
def _read_ack(node_key: PrivateKey, packet: bytes) -> tuple[PublicKey, bytes]:
    """The recipient's ephemeral key and its nonce."""
    identity, nonce, _version, *_ = _decrypt(node_key, packet, at_least=3)
    return public_key(rlp.as_bytes(identity)), rlp.as_bytes(nonce, HANDSHAKE_NONCE_SIZE)


def _decrypt(node_key: PrivateKey, packet: bytes, *, at_least: int) -> list[rlp.Item]:
    """The items of a packet's RLP list; the padding after it is ignored."""
    if packet_size(packet) != len(packet):
        raise HandshakeError(f"a handshake packet cut to {len(packet)} bytes")
    message = ecies.decrypt(node_key, packet[PREFIX_SIZE:], packet[:PREFIX_SIZE])
    body, _ = rlp.decode_prefix(message, max_depth=rlp.DEPTH_LIMIT)
    return rlp.as_list(body, at_least=at_least)


def _encrypt(remote: PublicKey, body: list[bytes | int], random: Random) -> bytes:
    spread = MAX_PADDING - MIN_PADDING + 1
    padding = random(MIN_PADDING + int.from_bytes(random(2), "big") % spread)
    message = rlp.encode(body) + padding
    prefix = (len(message) + ecies.OVERHEAD).to_bytes(PREFIX_SIZE, "big")
    return prefix + ecies.encrypt(remote, message, random, auth_data=prefix)


def _derive(ephemeral_key: bytes, nonce: bytes, initiator_nonce: bytes) -> tuple[bytes, bytes]:
    """aes-secret and mac-secret; `nonce` is the recipient's."""
    shared = keccak256(ephemeral_key + keccak256(nonce + initiator_nonce))
    aes = keccak256(ephemeral_key + shared)
    return aes, keccak256(ephemeral_key + aes)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
