import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.devp2p import ecies
from wakumail.devp2p.handshake import (
    HANDSHAKE_NONCE_SIZE,
    MAX_HANDSHAKE_PACKET,
    MAX_PADDING,
    MIN_PADDING,
    PREFIX_SIZE,
    Initiator,
    Secrets,
    packet_size,
    respond,
)
from wakumail.devp2p.keys import PublicKey, generate, node_id, private_key, shared_x, sign
from wakumail.errors import HandshakeError

GO = {
    name: bytes.fromhex(v) for name, v in VECTORS["rlpx"].items() if name not in ("frames", "note")
}
EIP8 = {
    name: bytes.fromhex(value)
    for name, value in VECTORS["rlpx_eip8"].items()
    if name not in ("frame_golden", "source")
}
ALICE = private_key(b"\x01" * 32)
BOB = private_key(b"\x02" * 32)
HELLO_ALICE = Initiator(ALICE, BOB.public_key, os.urandom)
ANSWER_BOB = respond(BOB, HELLO_ALICE.auth, os.urandom)


def scripted(*draws: bytes) -> Callable[[int], bytes]:
    """Random bytes that begin with `draws`."""
    left = list(draws)

    def random(size: int) -> bytes:
        draw = left.pop(0) if left else os.urandom(size)
        assert len(draw) == size
        return draw

    return random


def packet(public: PublicKey, message: bytes) -> bytes:
    """A handshake packet around any message."""
    prefix = (len(message) + ecies.OVERHEAD).to_bytes(PREFIX_SIZE, "big")
    return prefix + ecies.encrypt(public, message, os.urandom, prefix)


def auth_items() -> list[Any]:
    """The items of a valid auth packet from Alice to Bob."""
    nonce = os.urandom(HANDSHAKE_NONCE_SIZE)
    token = shared_x(ALICE, BOB.public_key)
    digest = bytes(a ^ b for a, b in zip(token, nonce, strict=True))
    return [sign(generate(os.urandom), digest), node_id(ALICE.public_key), nonce, 4]


def ack_items() -> list[Any]:
    """The items of a valid ack packet."""
    return [node_id(generate(os.urandom).public_key), os.urandom(HANDSHAKE_NONCE_SIZE), 4]


def without_padding(message: bytes) -> bytes:
    return message[: rlp.decode_prefix(message)[1]]


# -- against Go -----------------------------------------------------------------------------------


def test_recipient_agrees_with_go() -> None:
    random = scripted(GO["recipient_eph_priv"], GO["recipient_nonce"])
    ack, secrets, remote = respond(private_key(GO["recipient_priv"]), GO["auth"], random)
    assert b"\x04" + node_id(remote) == GO["initiator_pub"]
    assert secrets.aes == GO["aes_secret"]
    assert secrets.mac == GO["mac_secret"]
    assert keccak256(secrets.ingress_seed) == GO["initiator_egress_mac_init_digest"]
    assert secrets.egress_seed[HANDSHAKE_NONCE_SIZE:] == ack
    as_go = secrets.egress_seed[:HANDSHAKE_NONCE_SIZE] + GO["ack"]
    assert keccak256(as_go) == GO["recipient_egress_mac_init_digest"]
    message = ecies.decrypt(private_key(GO["initiator_priv"]), ack[2:], ack[:2])
    assert message.startswith(without_padding(GO["ack_plain"]))


def test_initiator_agrees_with_go() -> None:
    random = scripted(GO["initiator_eph_priv"], GO["initiator_nonce"])
    initiator = Initiator(private_key(GO["initiator_priv"]), PublicKey(GO["recipient_pub"]), random)
    message = ecies.decrypt(
        private_key(GO["recipient_priv"]), initiator.auth[2:], initiator.auth[:2]
    )
    assert message.startswith(without_padding(GO["auth_plain"]))
    secrets = initiator.finish(GO["ack"])
    assert secrets.aes == GO["aes_secret"]
    assert secrets.mac == GO["mac_secret"]
    assert keccak256(secrets.ingress_seed) == GO["recipient_egress_mac_init_digest"]
    as_go = secrets.egress_seed[:HANDSHAKE_NONCE_SIZE] + GO["auth"]
    assert keccak256(as_go) == GO["initiator_egress_mac_init_digest"]
    assert secrets.egress_seed[HANDSHAKE_NONCE_SIZE:] == initiator.auth


@pytest.mark.parametrize("auth", ["auth2_v4", "auth3_v56_extra"])
def test_recipient_reads_the_auth_packets_of_eip8(auth: str) -> None:
    random = scripted(EIP8["eph_b"], EIP8["nonce_b"])
    response = respond(private_key(EIP8["key_b_static_recipient"]), EIP8[auth], random)
    assert response.remote == private_key(EIP8["key_a_static_initiator"]).public_key
    assert response.secrets.aes == EIP8["aes_secret_recipient_auth2_ack2"]
    assert response.secrets.mac == EIP8["mac_secret"]


def test_recipient_mac_agrees_with_eip8() -> None:
    random = scripted(EIP8["eph_b"], EIP8["nonce_b"])
    response = respond(private_key(EIP8["key_b_static_recipient"]), EIP8["auth2_v4"], random)
    after_foo = keccak256(response.secrets.ingress_seed + b"foo")
    assert after_foo == EIP8["recipient_ingress_mac_after_foo"]


@pytest.mark.parametrize("ack", ["ack2_v4", "ack3_v57_extra"])
def test_initiator_reads_the_ack_packets_of_eip8(ack: str) -> None:
    initiator = Initiator(
        private_key(EIP8["key_a_static_initiator"]),
        private_key(EIP8["key_b_static_recipient"]).public_key,
        scripted(EIP8["eph_a"], EIP8["nonce_a"]),
    )
    secrets = initiator.finish(EIP8[ack])
    assert secrets.aes == EIP8["aes_secret_recipient_auth2_ack2"]
    assert secrets.mac == EIP8["mac_secret"]
    assert secrets.ingress_seed.endswith(EIP8[ack])


# -- with ourselves -------------------------------------------------------------------------------


def shake_hands() -> tuple[Secrets, Secrets]:
    initiator = Initiator(ALICE, BOB.public_key, os.urandom)
    response = respond(BOB, initiator.auth, os.urandom)
    assert response.remote == ALICE.public_key
    return initiator.finish(response.ack), response.secrets


def test_both_sides_get_mirrored_secrets() -> None:
    ours, theirs = shake_hands()
    assert (ours.aes, ours.mac) == (theirs.aes, theirs.mac)
    assert ours.egress_seed == theirs.ingress_seed
    assert ours.ingress_seed == theirs.egress_seed
    assert ours.egress_seed != ours.ingress_seed


def test_handshakes_run_in_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = [ours.aes for ours, _ in pool.map(lambda _: shake_hands(), range(40))]
    assert len(set(keys)) == len(keys)


def test_padding_differs_within_its_bounds() -> None:
    sizes = {len(Initiator(ALICE, BOB.public_key, os.urandom).auth) for _ in range(40)}
    fixed = len(rlp.encode(auth_items())) + ecies.OVERHEAD + PREFIX_SIZE
    assert len(sizes) > 10
    assert min(sizes) >= fixed + MIN_PADDING
    assert max(sizes) <= fixed + MAX_PADDING <= MAX_HANDSHAKE_PACKET


@pytest.mark.parametrize(("draw", "padding"), [(b"\0\0", MIN_PADDING), (b"\0\xc8", MAX_PADDING)])
def test_padding_reaches_its_bounds(draw: bytes, padding: int) -> None:
    random = scripted(b"\x03" * 32, bytes(HANDSHAKE_NONCE_SIZE), draw)
    fixed = len(rlp.encode(auth_items())) + ecies.OVERHEAD + PREFIX_SIZE
    assert len(Initiator(ALICE, BOB.public_key, random).auth) == fixed + padding


def test_a_replayed_auth_gives_other_keys() -> None:
    again = respond(BOB, HELLO_ALICE.auth, os.urandom)
    assert again.secrets.aes != ANSWER_BOB.secrets.aes


def test_packets_may_be_as_large_as_the_limit() -> None:
    room = MAX_HANDSHAKE_PACKET - ecies.OVERHEAD - PREFIX_SIZE
    for items, accept in (
        (auth_items(), lambda data: respond(BOB, data, os.urandom)),
        (ack_items(), lambda data: HELLO_ALICE.finish(data)),
    ):
        body = rlp.encode(items)
        public = BOB.public_key if len(items) == 4 else ALICE.public_key
        accept(packet(public, body.ljust(room, b"\xff")))
        with pytest.raises(HandshakeError, match=f"packet of {MAX_HANDSHAKE_PACKET + 1} bytes"):
            accept(packet(public, body.ljust(room + 1, b"\xff")))


@pytest.mark.parametrize("version", [b"", 1, 56, b"\xff" * 40, b"\0\0", [], [[1], 2]])
def test_versions_and_further_items_are_ignored(version: Any) -> None:
    nested: list[Any] = []
    for _ in range(100):
        nested = [nested]
    extra = [b"", 7, [1, [2, [3]]], b"x" * 80, nested]
    auth: list[Any] = [*auth_items()[:3], version, *extra]
    ack: list[Any] = [*ack_items()[:2], version, *extra]
    respond(BOB, packet(BOB.public_key, rlp.encode(auth)), os.urandom)
    HELLO_ALICE.finish(packet(ALICE.public_key, rlp.encode(ack)))


# -- faults ---------------------------------------------------------------------------------------


def assert_refused(auth: bytes | None = None, ack: bytes | None = None) -> None:
    if auth is not None:
        with pytest.raises(HandshakeError):
            respond(BOB, auth, os.urandom)
    if ack is not None:
        with pytest.raises(HandshakeError):
            HELLO_ALICE.finish(ack)


@pytest.mark.parametrize("size", [0, 1, 64, 66, 2000])
@pytest.mark.parametrize("at", range(3))
def test_items_of_a_wrong_size_are_refused(at: int, size: int) -> None:
    auth, ack = auth_items(), ack_items()
    auth[at] = os.urandom(size) if size != len(auth[at]) else b""
    ack[at % 2] = os.urandom(size) if size != len(ack[at % 2]) else b""
    assert_refused(
        packet(BOB.public_key, rlp.encode(auth)), packet(ALICE.public_key, rlp.encode(ack))
    )


@pytest.mark.parametrize("at", range(3))
def test_lists_in_place_of_strings_are_refused(at: int) -> None:
    auth, ack = auth_items(), ack_items()
    auth[at] = [auth[at]]
    ack[at % 2] = [ack[at % 2]]
    assert_refused(
        packet(BOB.public_key, rlp.encode(auth)), packet(ALICE.public_key, rlp.encode(ack))
    )


def test_missing_items_are_refused() -> None:
    for count in range(4):
        assert_refused(auth=packet(BOB.public_key, rlp.encode(auth_items()[:count])))
    for count in range(3):
        assert_refused(ack=packet(ALICE.public_key, rlp.encode(ack_items()[:count])))


def test_points_off_the_curve_are_refused() -> None:
    for point in (bytes(64), b"\xff" * 64, node_id(ALICE.public_key)[:-1] + b"\0"):
        auth, ack = auth_items(), ack_items()
        auth[1], ack[0] = point, point
        assert_refused(
            packet(BOB.public_key, rlp.encode(auth)), packet(ALICE.public_key, rlp.encode(ack))
        )


def test_a_signature_that_none_made_is_refused() -> None:
    for signature in (bytes(65), b"\xff" * 65, auth_items()[0][:-1] + b"\x04"):
        assert_refused(auth=packet(BOB.public_key, rlp.encode([signature, *auth_items()[1:]])))


def test_a_packet_for_another_key_is_refused() -> None:
    assert_refused(
        packet(ALICE.public_key, rlp.encode(auth_items())),
        packet(BOB.public_key, rlp.encode(ack_items())),
    )


def test_an_auth_is_no_ack() -> None:
    assert_refused(ANSWER_BOB.ack, HELLO_ALICE.auth)


def test_packet_size_waits_for_the_prefix() -> None:
    assert packet_size(b"") is None
    assert packet_size(b"\x01") is None
    assert packet_size(bytearray(b"\x01\x00")) == 258
    assert packet_size(memoryview(HELLO_ALICE.auth)) == len(HELLO_ALICE.auth)


@pytest.mark.parametrize("size", [0, 1, ecies.OVERHEAD, MAX_HANDSHAKE_PACKET - 1, 0xFFFF])
def test_packet_size_refuses_at_the_prefix(size: int) -> None:
    with pytest.raises(HandshakeError, match=f"packet of {size + PREFIX_SIZE} bytes"):
        packet_size(size.to_bytes(PREFIX_SIZE, "big"))


def test_packet_size_takes_the_limits() -> None:
    for size in (ecies.OVERHEAD + 1, MAX_HANDSHAKE_PACKET - PREFIX_SIZE):
        assert packet_size(size.to_bytes(PREFIX_SIZE, "big")) == size + PREFIX_SIZE


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_changed_packets_are_refused(data: st.DataObject) -> None:
    for good, refused in ((HELLO_ALICE.auth, "auth"), (ANSWER_BOB.ack, "ack")):
        at = data.draw(st.integers(0, len(good) - 1))
        changed = bytearray(good)
        changed[at] ^= data.draw(st.integers(1, 255))
        assert_refused(**{refused: bytes(changed)})
        assert_refused(**{refused: good[:at]})
        assert_refused(**{refused: good + good[: at + 1]})


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_garbage_is_refused(garbage: bytes) -> None:
    assert_refused(garbage, garbage)
    assert_refused(packet(BOB.public_key, garbage), packet(ALICE.public_key, garbage))


@given(st.integers(0, 150), st.binary(min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_changed_bodies_give_keys_or_a_handshake_error(at: int, change: bytes) -> None:
    for body, public, accept in (
        (rlp.encode(auth_items()), BOB.public_key, lambda data: respond(BOB, data, os.urandom)),
        (rlp.encode(ack_items()), ALICE.public_key, HELLO_ALICE.finish),
    ):
        changed = body[:at] + change + body[at + len(change) :]
        try:
            accept(packet(public, changed))
        except HandshakeError:
            continue
