"""Sealed messages against the vectors of status-go and against independent code."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import PBKDF2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base.keccak import keccak256
from wakumail.devp2p import keys
from wakumail.errors import MessageError
from wakumail.waku.envelope import Envelope
from wakumail.waku.message import (
    GCM_NONCE_SIZE,
    GCM_TAG_SIZE,
    MAX_PAYLOAD_SIZE,
    PADDING_BLOCK,
    SYMMETRIC_KEY_SIZE,
    Message,
    open_message,
    seal,
    symmetric_key,
)

KEY = keccak256(b"a symmetric key")
SIGNER = keys.private_key(keccak256(b"a signer"))
RECEIVER = keys.private_key(keccak256(b"a receiver"))
OVERHEAD = GCM_NONCE_SIZE + GCM_TAG_SIZE

Case = dict[str, Any]

VECTOR_KEYS: dict[str, Callable[[Case], Any]] = {
    "messages_symmetric": lambda case: bytes.fromhex(case["key"]),
    "messages_asymmetric": lambda case: keys.private_key(bytes.fromhex(case["recipient_priv"])),
}
CASES = [
    pytest.param(case, key(case), id=f"{section.removeprefix('messages_')}-{case['name']}")
    for section, key in VECTOR_KEYS.items()
    for case in VECTORS[section]["cases"]
]


def vector(case: Any) -> Case:
    """The vector in a parameter set of pytest."""
    found: Case = case.values[0]
    return found


WHOLE_CASES = [case for case in CASES if "decrypted_raw" in vector(case)]


def filler(size: int) -> bytes:
    """`size` bytes that look random but are always the same."""
    return hashlib.shake_128(b"filler").digest(size)


def scripted(*chunks: bytes) -> Callable[[int], bytes]:
    """A source of randomness that returns these chunks and checks the sizes that are asked for."""
    rest = list(chunks)

    def random(size: int) -> bytes:
        chunk = rest.pop(0)
        assert len(chunk) == size
        return chunk

    return random


def encrypt(plain: bytes) -> bytes:
    """A data field around any plaintext, made without the code under test."""
    cipher = AES.new(KEY, AES.MODE_GCM, nonce=bytes(GCM_NONCE_SIZE))
    ciphertext, tag = cipher.encrypt_and_digest(plain)
    return ciphertext + tag + bytes(GCM_NONCE_SIZE)


def public_bytes(key: Any) -> Any:
    return None if key is None else key.format(compressed=False)


@pytest.mark.parametrize(("case", "key"), WHOLE_CASES)
def test_vectors_open(case: Case, key: Any) -> None:
    envelope = Envelope.decode(bytes.fromhex(case["rlp"]))
    message = open_message(envelope.data, key)
    assert message.payload.hex() == case["payload"]
    assert message.padding.hex() == case["padding"]
    signer = public_bytes(message.signer)
    assert (signer.hex() if signer else None) == case.get("signer_pub")


@pytest.mark.parametrize(("case", "key"), [c for c in WHOLE_CASES if "key" in vector(c)])
def test_vectors_seal_to_the_same_bytes(case: Case, key: Any) -> None:
    signer = keys.private_key(bytes.fromhex(VECTORS["messages_symmetric"]["signer_priv"]))
    padding = bytes.fromhex(case["padding"])
    own = case["name"] == "explicit-padding"
    data = seal(
        bytes.fromhex(case["payload"]),
        key=key,
        sign_with=signer if "signature" in case else None,
        padding=padding if own else None,
        random=scripted(*[] if own else [padding], bytes.fromhex(case["aesgcm_nonce"])),
    )
    assert data == Envelope.decode(bytes.fromhex(case["rlp"])).data


@pytest.mark.parametrize("size", [0, 1, PADDING_BLOCK, 1000])
@pytest.mark.parametrize("signer", [None, SIGNER])
@pytest.mark.parametrize("key", [KEY, RECEIVER])
def test_padding_of_the_sender(size: int, signer: Any, key: Any) -> None:
    padding = filler(size)
    public = key if key is KEY else key.public_key
    data = seal(b"payload", key=public, sign_with=signer, padding=padding, random=filler)
    message = open_message(data, key)
    assert (message.payload, message.padding) == (b"payload", padding)
    assert public_bytes(message.signer) == public_bytes(signer and signer.public_key)


@pytest.mark.parametrize("case", VECTORS["pbkdf2"]["cases"], ids=lambda case: case["password"])
def test_symmetric_key(case: Case) -> None:
    assert case["password"].encode().hex() == case["password_utf8"]
    assert symmetric_key(case["password"]).hex() == case["key"]


def test_symmetric_key_oracle() -> None:
    oracle = PBKDF2("oracle", b"", SYMMETRIC_KEY_SIZE, count=65356, hmac_hash_module=SHA256)
    assert symmetric_key("oracle") == oracle


def test_seal_oracle() -> None:
    """The parts of a signed message, one by one, with independent code."""
    data = seal(b"payload", key=KEY, sign_with=SIGNER, random=filler)
    cipher = AES.new(KEY, AES.MODE_GCM, nonce=data[-GCM_NONCE_SIZE:])
    plain = cipher.decrypt_and_verify(data[:-OVERHEAD], data[-OVERHEAD:-GCM_NONCE_SIZE])
    assert len(plain) % PADDING_BLOCK == 0
    assert plain[:9] == b"\x05\x07payload"
    assert public_bytes(keys.recover(plain[-65:], keccak256(plain[:-65]))) == public_bytes(
        SIGNER.public_key
    )


def test_signature_of_the_specification() -> None:
    """Signatures end in 27 or 28 in 7/WAKU-DATA, in 0 or 1 in status-go."""
    plain = b"\x05\x00"
    signature = keys.sign(SIGNER, keccak256(plain))
    message = open_message(encrypt(plain + signature[:-1] + bytes([signature[-1] + 27])), KEY)
    assert public_bytes(message.signer) == public_bytes(SIGNER.public_key)


def test_payload_that_reaches_into_a_good_signature() -> None:
    plain = b"\x05\x03ab"
    with pytest.raises(MessageError, match="shorter"):
        open_message(encrypt(plain + keys.sign(SIGNER, keccak256(plain))), KEY)


@settings(max_examples=60, deadline=None)
@given(payload=st.binary(max_size=700), signed=st.booleans(), asymmetric=st.booleans())
def test_round_trip(payload: bytes, signed: bool, asymmetric: bool) -> None:
    signer = SIGNER if signed else None
    data = seal(
        payload, key=RECEIVER.public_key if asymmetric else KEY, sign_with=signer, random=filler
    )
    message = open_message(data, RECEIVER if asymmetric else KEY)
    assert message.payload == payload
    assert public_bytes(message.signer) == public_bytes(signer.public_key if signer else None)
    assert 1 <= len(message.padding) <= PADDING_BLOCK


@pytest.mark.parametrize("size", [0, 1, 0xFF, 0x100, 0xFFFF, 0x10000, MAX_PAYLOAD_SIZE])
def test_payload_sizes(size: int) -> None:
    payload = bytes(size)
    assert open_message(seal(payload, key=KEY, random=filler), KEY).payload == payload


def test_payload_too_large() -> None:
    with pytest.raises(ValueError, match="over 16777215"):
        seal(bytes(MAX_PAYLOAD_SIZE + 1), key=KEY, random=filler)


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_key_of_wrong_size(size: int) -> None:
    with pytest.raises(ValueError, match="has 32 bytes"):
        seal(b"", key=bytes(size), random=filler)
    with pytest.raises(ValueError, match="has 32 bytes"):
        open_message(bytes(100), bytes(size))


@pytest.mark.parametrize(
    ("plain", "payload", "padding"),
    [
        (b"\x00", b"", b""),
        (b"\x00pad", b"", b"pad"),
        (b"\x01\x02abpad", b"ab", b"pad"),
        (b"\x03\x02\x00\x00ab", b"ab", b""),
        (b"\xf9\x02ab", b"ab", b""),
    ],
    ids=["no size", "no size but padding", "padded", "long size", "unknown flags"],
)
def test_unusual_messages_open(plain: bytes, payload: bytes, padding: bytes) -> None:
    message = open_message(encrypt(plain), KEY)
    assert message == Message(payload, padding, plain, b"")
    assert message.signer is None


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\x01",
        b"\x03\x00\x00",
        b"\x01\x01",
        b"\x02\x00\x01" + bytes(255),
        b"\x04" + bytes(64),
        b"\x05\x01" + bytes(65),
        b"\x05\x00" + bytes(65),
        b"\x05\x00" + bytes(64) + b"\x02",
    ],
    ids=[
        "empty",
        "size missing",
        "size cut",
        "payload missing",
        "payload cut",
        "signature cut",
        "signature in the payload",
        "signature of zeros",
        "signature without a parity",
    ],
)
def test_malformed_messages(plain: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        _ = open_message(encrypt(plain), KEY).signer  # a signature is checked on demand
    assert caught.value.counter == "message_unopened"


@pytest.mark.parametrize("size", [0, GCM_NONCE_SIZE, OVERHEAD - 1, OVERHEAD, 200])
def test_data_that_is_no_message(size: int) -> None:
    for key in (KEY, RECEIVER):
        with pytest.raises(MessageError):
            open_message(bytes(size), key)


def test_other_keys_do_not_open() -> None:
    with pytest.raises(MessageError):
        open_message(seal(b"x", key=KEY, random=filler), keccak256(KEY))
    with pytest.raises(MessageError):
        open_message(seal(b"x", key=RECEIVER.public_key, random=filler), SIGNER)


@settings(max_examples=150, deadline=None)
@given(place=st.integers(min_value=0), flip=st.integers(1, 255), asymmetric=st.booleans())
def test_changed_data_never_opens(place: int, flip: int, asymmetric: bool) -> None:
    data = bytearray(
        seal(b"x", key=RECEIVER.public_key if asymmetric else KEY, sign_with=SIGNER, random=filler)
    )
    data[place % len(data)] ^= flip
    with pytest.raises(MessageError):
        open_message(bytes(data), RECEIVER if asymmetric else KEY)


@settings(max_examples=300, deadline=None)
@given(plain=st.binary(max_size=200))
def test_any_plaintext_opens_or_is_refused(plain: bytes) -> None:
    try:
        message = open_message(encrypt(plain), KEY)
    except MessageError:
        return
    size = len(message.payload) + len(message.padding) + (65 if message.signer else 0)
    assert 1 <= len(plain) - size <= 4


@pytest.mark.parametrize(("case", "key"), [c for c in CASES if "decrypted_raw" not in vector(c)])
def test_vector_of_three_size_bytes(case: Case, key: Any) -> None:
    """The vector has hashes of its 70,000 bytes; the bytes are a stream of hashes of a seed."""
    size = case["payload_len"]
    blocks = [keccak256(b"p70000" + i.to_bytes(4, "big")) for i in range(size // 32 + 1)]
    payload = b"".join(blocks)[:size]
    assert keccak256(payload).hex() == case["payload_keccak256"]
    public = key.public_key if isinstance(key, keys.PrivateKey) else key
    data = seal(payload, key=public, random=filler)
    assert len(data) == case["data_len"]
    message = open_message(data, key)
    assert message.payload == payload
    assert len(message.padding) == case["padding_len"]
