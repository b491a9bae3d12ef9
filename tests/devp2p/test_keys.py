import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.devp2p.keys import (
    NODE_ID_SIZE,
    SIGNATURE_SIZE,
    PrivateKey,
    PublicKey,
    generate,
    node_id,
    parse_node_key,
    private_key,
    public_key,
    recover,
    shared_x,
    sign,
)

RLPX = VECTORS["rlpx"]
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGEST = bytes(range(32))
KEY = private_key(b"\x01" * 32)

secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))


def key_of(name: str) -> PrivateKey:
    return private_key(bytes.fromhex(RLPX[name]))


@pytest.mark.parametrize("side", ["initiator", "recipient", "initiator_eph", "recipient_eph"])
def test_node_id_is_the_public_key_without_its_first_byte(side: str) -> None:
    public = key_of(f"{side}_priv").public_key
    assert "04" + node_id(public).hex() == RLPX[f"{side}_pub"]
    assert public_key(node_id(public)) == public


def test_shared_x_agrees_with_go() -> None:
    static = shared_x(key_of("initiator_priv"), key_of("recipient_priv").public_key)
    assert static.hex() == RLPX["static_shared"]
    ephemeral = shared_x(key_of("recipient_eph_priv"), key_of("initiator_eph_priv").public_key)
    assert ephemeral.hex() == RLPX["ecdhe_shared"]


@given(secrets, secrets)
@settings(max_examples=50, deadline=None)
def test_shared_x_is_the_x_of_the_product(one: bytes, other: bytes) -> None:
    mine, theirs = private_key(one), private_key(other)
    product = theirs.public_key.multiply(mine.secret)
    assert shared_x(mine, theirs.public_key) == product.format()[1:]
    assert shared_x(theirs, mine.public_key) == product.format()[1:]


def test_shared_x_works_in_threads() -> None:
    keys = [generate(os.urandom) for _ in range(40)]
    with ThreadPoolExecutor(4) as pool:
        there = list(pool.map(lambda key: shared_x(key, KEY.public_key), keys))
        back = list(pool.map(lambda key: shared_x(KEY, key.public_key), keys))
    assert there == back
    assert len(set(there)) == len(keys)


def test_shared_x_refuses_a_broken_key() -> None:
    broken = private_key(b"\x01" * 32)
    broken.secret = bytes(32)
    with pytest.raises(ValueError, match="no shared secret"):
        shared_x(broken, KEY.public_key)


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        b"\1" * 31,
        b"\1" * 33,
        b"\0" + b"\1" * 32,
        bytes(32),
        ORDER.to_bytes(32, "big"),
        b"\xff" * 32,
    ],
)
def test_private_key_refuses(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"has 32 bytes|Secret scalar"):
        private_key(secret)


def test_generate_takes_what_random_gives() -> None:
    assert generate(lambda size: b"\x07" * size).secret == b"\x07" * 32
    with pytest.raises(ValueError, match="Secret scalar"):
        generate(bytes)


@pytest.mark.parametrize(
    "identity",
    [
        b"",
        bytes(NODE_ID_SIZE),
        b"\xff" * NODE_ID_SIZE,
        node_id(KEY.public_key)[:-1],
        node_id(KEY.public_key) + b"\0",
        node_id(KEY.public_key)[:-1] + bytes([node_id(KEY.public_key)[-1] ^ 1]),
    ],
)
def test_public_key_refuses(identity: bytes) -> None:
    with pytest.raises(ValueError, match=r"node id|public key"):
        public_key(identity)


def test_recover_finds_the_signer_of_go() -> None:
    signed = [case for case in VECTORS["messages_asymmetric"]["cases"] if case.get("signature")]
    assert signed
    for case in signed:
        digest = bytes.fromhex(case["signed_hash"])
        signer = recover(bytes.fromhex(case["signature"]), digest)
        assert "04" + node_id(signer).hex() == case["signer_pub"]


def test_sign_is_what_go_signs() -> None:
    private = private_key(bytes.fromhex(VECTORS["messages_asymmetric"]["signer_priv"]))
    case = VECTORS["messages_asymmetric"]["cases"][0]
    assert sign(private, bytes.fromhex(case["signed_hash"])).hex() == case["signature"]


@given(secrets, st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_recover_inverts_sign(secret: bytes, digest: bytes) -> None:
    private = private_key(secret)
    signature = sign(private, digest)
    assert len(signature) == SIGNATURE_SIZE
    assert signature[-1] in (0, 1)
    assert recover(signature, digest) == private.public_key
    wallet_form = signature[:-1] + bytes([signature[-1] + 27])
    assert recover(wallet_form, digest) == private.public_key


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(SIGNATURE_SIZE),
        b"\xff" * (SIGNATURE_SIZE - 1) + b"\0",
        sign(KEY, DIGEST)[:-1],
        sign(KEY, DIGEST) + b"\0",
    ],
)
def test_recover_refuses(signature: bytes) -> None:
    with pytest.raises(ValueError, match=r"signature|recover"):
        recover(signature, DIGEST)


@pytest.mark.parametrize("v", [2, 3, 26, 29, 255])
def test_recover_refuses_another_v(v: int) -> None:
    with pytest.raises(ValueError, match=f"cannot end in {v}"):
        recover(sign(KEY, DIGEST)[:-1] + bytes([v]), DIGEST)


def test_hashes_have_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        sign(KEY, DIGEST[1:])
    with pytest.raises(ValueError, match="32 bytes"):
        recover(sign(KEY, DIGEST), DIGEST[1:])


@given(st.binary(min_size=64, max_size=64), st.sampled_from([0, 1, 27, 28]))
@settings(max_examples=100, deadline=None)
def test_recover_gives_a_key_or_a_value_error(numbers: bytes, v: int) -> None:
    try:
        signer = recover(numbers + bytes([v]), DIGEST)
    except ValueError:
        return
    assert public_key(node_id(signer)) == signer


def test_parse_node_key_says_no_without_showing_the_key() -> None:
    assert parse_node_key("01" * 32) == KEY
    for text in ("ff" * 32, "ff" * 33, "\u0661" * 64):
        with pytest.raises(ValueError, match="64 hexadecimal digits") as caught:
            parse_node_key(text)
        assert text[:8] not in str(caught.value)


@pytest.mark.parametrize("other", [None, b"key", "key", 5])
@pytest.mark.parametrize(
    "key",
    [KEY, PrivateKey.from_hex(KEY.secret.hex()), KEY.public_key],
    ids=["private", "from_hex", "public"],
)
def test_a_key_equals_no_other_thing(key: PrivateKey | PublicKey, other: object) -> None:
    """coincurve's comparison raises AttributeError: an unsigned message has the signer None."""
    assert key != other
    assert other != key
    assert other not in (key,)


def test_keys_are_compared_by_value() -> None:
    made = [KEY.public_key, public_key(node_id(KEY.public_key)), recover(sign(KEY, DIGEST), DIGEST)]
    made.append(PublicKey(KEY.public_key.format()))
    private = [PrivateKey.from_hex(KEY.secret.hex()), PrivateKey.from_int(KEY.to_int())]
    private += [PrivateKey.from_pem(KEY.to_pem()), PrivateKey.from_der(KEY.to_der())]
    assert set(private) == {KEY}
    made += [key.public_key for key in private]
    assert len(set(made)) == 1
    assert all(type(key) is PublicKey and key != None for key in made)  # noqa: E711
    assert generate(os.urandom) != KEY
    assert generate(os.urandom).public_key != KEY.public_key


def test_a_node_id_that_is_no_point_is_named() -> None:
    with pytest.raises(ValueError, match=r"abab.* is no public key"):
        public_key(b"\xab" * NODE_ID_SIZE)
