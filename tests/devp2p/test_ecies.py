import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base import rlp
from wakumail.devp2p.ecies import HMAC_SIZE, IV_SIZE, OVERHEAD, POINT_SIZE, decrypt, encrypt
from wakumail.devp2p.keys import generate, private_key, shared_x
from wakumail.errors import EciesError

KEY = private_key(b"\x02" * 32)
OTHER = private_key(b"\x03" * 32)
ENCRYPTED = encrypt(KEY.public_key, b"hello", os.urandom, b"prefix")


WHOLE = [case for case in VECTORS["messages_asymmetric"]["cases"] if "rlp" in case]


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case["name"])
def test_decrypt_opens_the_envelopes_of_status_go(case: dict[str, str]) -> None:
    private = private_key(bytes.fromhex(case["recipient_priv"]))
    data = rlp.as_bytes(rlp.as_list(rlp.decode(bytes.fromhex(case["rlp"])))[3])
    assert decrypt(private, data).hex() == case["decrypted_raw"]


@pytest.mark.parametrize(("packet", "side"), [("auth", "recipient"), ("ack", "initiator")])
def test_decrypt_opens_the_handshake_packets_of_go(packet: str, side: str) -> None:
    vector = VECTORS["rlpx"]
    data = bytes.fromhex(vector[packet])
    private = private_key(bytes.fromhex(vector[f"{side}_priv"]))
    assert decrypt(private, data[2:], data[:2]).hex().startswith(vector[f"{packet}_plain"])


@given(st.binary(max_size=300), st.binary(max_size=4))
@settings(max_examples=50, deadline=None)
def test_decrypt_inverts_encrypt(message: bytes, auth_data: bytes) -> None:
    encrypted = encrypt(KEY.public_key, message, os.urandom, auth_data)
    assert len(encrypted) == len(message) + OVERHEAD
    assert decrypt(KEY, encrypted, auth_data) == message


def test_encrypt_draws_the_ephemeral_key_then_the_iv() -> None:
    draws = iter([b"\x05" * 32, b"\xff" * IV_SIZE])
    encrypted = encrypt(KEY.public_key, b"m" * 40, lambda size: next(draws))
    assert encrypted[:POINT_SIZE] == private_key(b"\x05" * 32).public_key.format(compressed=False)
    assert encrypted[POINT_SIZE : POINT_SIZE + IV_SIZE] == b"\xff" * IV_SIZE
    assert decrypt(KEY, encrypted) == b"m" * 40  # the counter runs over its 128 bits


@given(st.integers(0, len(ENCRYPTED) - 1), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_is_noticed(at: int, change: int) -> None:
    changed = bytearray(ENCRYPTED)
    changed[at] ^= change
    with pytest.raises(EciesError):
        decrypt(KEY, bytes(changed), b"prefix")


@pytest.mark.parametrize("size", [0, 1, POINT_SIZE, OVERHEAD - 1, len(ENCRYPTED) - 1])
def test_a_cut_message_is_noticed(size: int) -> None:
    with pytest.raises(EciesError):
        decrypt(KEY, ENCRYPTED[:size], b"prefix")


def test_hybrid_and_compressed_points_are_refused() -> None:
    for first in (0x00, 0x02, 0x03, 0x06, 0x07):
        with pytest.raises(EciesError, match="not an ECIES message"):
            decrypt(KEY, bytes([first]) + ENCRYPTED[1:], b"prefix")


def test_a_point_off_the_curve_is_refused() -> None:
    with pytest.raises(EciesError, match="no point"):
        decrypt(KEY, b"\x04" + b"\x01" * (POINT_SIZE - 1) + ENCRYPTED[POINT_SIZE:], b"prefix")


def test_another_key_or_other_auth_data_does_not_open() -> None:
    with pytest.raises(EciesError, match="tag"):
        decrypt(OTHER, ENCRYPTED, b"prefix")
    for auth_data in (b"", b"prefiX", b"prefix "):
        with pytest.raises(EciesError, match="tag"):
            decrypt(KEY, ENCRYPTED, auth_data)


@given(st.binary(max_size=OVERHEAD + 40))
@settings(max_examples=100, deadline=None)
def test_garbage_is_an_ecies_error(data: bytes) -> None:
    point = generate(os.urandom).public_key.format(compressed=False)
    for message in (data, point + data):
        with pytest.raises(EciesError):
            decrypt(KEY, message)


def test_empty_message() -> None:
    encrypted = encrypt(KEY.public_key, b"", os.urandom)
    assert len(encrypted) == POINT_SIZE + IV_SIZE + HMAC_SIZE
    assert decrypt(KEY, encrypted) == b""


def test_no_two_messages_are_alike() -> None:
    one, other = (encrypt(KEY.public_key, b"hello", os.urandom) for _ in range(2))
    assert one[:POINT_SIZE] != other[:POINT_SIZE]
    assert one[POINT_SIZE + IV_SIZE :] != other[POINT_SIZE + IV_SIZE :]
    assert shared_x(KEY, OTHER.public_key) == shared_x(OTHER, KEY.public_key)
