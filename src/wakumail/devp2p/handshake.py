"""The RLPx handshake: keys for a connection out of two packets (RLPx, "Initial Handshake").

Only the form of EIP-8 is spoken: a 16-bit size, then that many bytes of ECIES around an RLP list
and padding. Initiator and respond are functions of their arguments that take half a millisecond of
curve arithmetic, most of it without the GIL: a caller may run it in a thread. Whatever is wrong
with a packet is a HandshakeError.

Handshake is sans-IO: bytes come in; what is to be computed, our packets and keys come out. The
arithmetic is left to the connection's owner.

A recorded auth packet that is sent again passes here, and gains nothing: the recipient's part of
the keys is fresh each time, and without the initiator's ephemeral key no frame can be made.
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
"""Bytes of the size that a packet begins with."""

MAX_HANDSHAKE_PACKET = 2048
"""Bytes of an auth or ack packet with its prefix; Go refuses more, too."""

HANDSHAKE_NONCE_SIZE = 32
"""Bytes of the nonce that each side adds to the keys."""

HANDSHAKE_VERSION = 4
"""What we send as auth-vsn and ack-vsn; what a peer sends there is not looked at (EIP-8)."""

MIN_PADDING, MAX_PADDING = 100, 300
"""Random bytes after the list, so that the packets of EIP-8 have no fixed length."""


class Secrets(NamedTuple):
    """What the frames of one connection are encrypted and authenticated with, seen by one side.

    `aes` and `mac` are 32-byte keys; the seeds are what each MAC absorbs first (RLPx, "MAC").
    """

    aes: bytes
    mac: bytes
    egress_seed: bytes
    ingress_seed: bytes


class Response(NamedTuple):
    """The recipient's end of a handshake: the packet to send, the keys, and who called."""

    ack: bytes
    secrets: Secrets
    remote: PublicKey


class Initiator:
    """The side that opened the TCP connection: sends `auth`, and finishes with the ack packet."""

    def __init__(self, node_key: PrivateKey, remote: PublicKey, random: Random) -> None:
        self._node_key = node_key
        self._ephemeral = generate(random)
        self._nonce = random(HANDSHAKE_NONCE_SIZE)
        token = shared_x(node_key, remote)
        signature = sign(self._ephemeral, _xor(token, self._nonce))
        identity = node_id(node_key.public_key)
        self.auth = _encrypt(remote, [signature, identity, self._nonce, HANDSHAKE_VERSION], random)

    def finish(self, ack: bytes) -> Secrets:
        """The keys, from the recipient's ack packet (all of it, with the prefix)."""
        ephemeral, nonce = _read_ack(self._node_key, ack)
        aes, mac = _derive(shared_x(self._ephemeral, ephemeral), nonce, self._nonce)
        return Secrets(aes, mac, _xor(mac, nonce) + self.auth, _xor(mac, self._nonce) + ack)


def respond(node_key: PrivateKey, auth: bytes, random: Random) -> Response:
    """Answer an initiator's auth packet (all of it, with the prefix)."""
    remote, remote_ephemeral, remote_nonce = _read_auth(node_key, auth)
    ephemeral = generate(random)
    nonce = random(HANDSHAKE_NONCE_SIZE)
    ack = _encrypt(remote, [node_id(ephemeral.public_key), nonce, HANDSHAKE_VERSION], random)
    aes, mac = _derive(shared_x(ephemeral, remote_ephemeral), nonce, remote_nonce)
    secrets = Secrets(aes, mac, _xor(mac, remote_nonce) + ack, _xor(mac, nonce) + auth)
    return Response(ack, secrets, remote)


def packet_size(data: bytes | bytearray | memoryview) -> int | None:
    """Bytes of the packet that `data` begins with; None while the prefix is not all there."""
    if len(data) < PREFIX_SIZE:
        return None
    size = PREFIX_SIZE + int.from_bytes(data[:PREFIX_SIZE], "big")
    if not PREFIX_SIZE + ecies.OVERHEAD < size <= MAX_HANDSHAKE_PACKET:
        raise HandshakeError(f"a handshake packet of {size} bytes")
    return size


StepResult = Initiator | Response | Secrets | HandshakeError
"""What a part of a handshake comes to."""


@dataclass(frozen=True, slots=True)
class HandshakeStep:
    """A part of the handshake to be computed: give the result to Connection.handshake_computed.

    `compute` touches nothing of the connection, so it may run in another thread; until it is done
    nothing is to be read. It takes half a millisecond, most of it without the GIL.
    """

    work: Callable[[], StepResult]

    def compute(self) -> StepResult:
        """The arithmetic; what is wrong with the peer's packet is answered, too."""
        try:
            return self.work()
        except HandshakeError as error:
            return error


class Handshake:
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
        """Room for received bytes; none is left only when `next_step` has an error to tell."""
        return memoryview(self._buffer)[self._filled :]

    def received(self, count: int) -> None:
        """`count` bytes were written into the buffer."""
        self._filled += count

    def next_step(self) -> HandshakeStep | None:
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

    def step_computed(self, result: Initiator | Response | Secrets) -> Secrets | None:
        """Take what was computed; the keys, if it is over now."""
        self._computing = False
        match result:
            case Initiator():
                self._initiator = result
                self.outbox.append(result.auth)
                return None
            case Response(ack, secrets, remote):
                self.remote_id = node_id(remote)
                self.outbox.append(ack)
                return secrets
            case Secrets():
                return result

    def rest(self) -> bytes:
        """What came behind the peer's packet; asking takes it out, and gives the memory back."""
        rest = bytes(self._buffer[self._packet_size : self._filled])
        self._buffer = bytearray()  # not clear(): the event loop may still hold a view of it
        return rest

    def _compute(self, work: Callable[[], StepResult]) -> HandshakeStep:
        self._computing = True
        return HandshakeStep(work)


@contextmanager
def _told_as_handshake_error() -> Iterator[None]:
    """Whatever a packet has wrong in it, as the one error that it comes out as."""
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
    """The items in a packet; the padding after them is ignored."""
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
