"""Topics of names and keys, against known ones of Status and against independent code."""

from cryptography.hazmat.primitives.asymmetric import ec
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.base.keccak import keccak256
from wakumail.devp2p.keys import PrivateKey, private_key
from wakumail.waku.topics import (
    PARTITIONS,
    contact_code_topic,
    negotiated_topic,
    partitioned_topic,
    public_chat_topic,
)

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
secrets = st.integers(1, ORDER - 1).map(lambda number: private_key(number.to_bytes(32)))


def oracle_key(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(key.secret), ec.SECP256K1())


def test_known_public_chats() -> None:
    """The discovery topic of early Status clients, and the topic of #status."""
    assert public_chat_topic("contact-discovery").hex() == "f8946aac"
    assert public_chat_topic("status").hex() == "cd423760"


def test_known_partitions() -> None:
    """Two keys of status-go's tests and their partitions."""
    for secret, number in (
        ("c6cbd7d76bc5baca530c875663711b947efa6a86a900a9e8645ce32e5821484e", 4490),
        ("d51dd64ad19ea84968a308dca246012c00d2b2101d41bce740acd1c650acc509", 3991),
    ):
        public = private_key(bytes.fromhex(secret)).public_key
        assert partitioned_topic(public) == keccak(f"contact-discovery-{number}".encode())[:4]


def test_known_contact_code() -> None:
    """The private key 1, whose public key is the curve's generator."""
    generator = (
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    )
    expected = keccak(f"0x{generator}-contact-code".encode())[:4]
    assert contact_code_topic(private_key((1).to_bytes(32)).public_key) == expected


@settings(max_examples=50, deadline=None)
@given(name=st.text(max_size=60))
def test_public_chat_oracle(name: str) -> None:
    assert public_chat_topic(name) == keccak(name.encode())[:4]


@settings(max_examples=50, deadline=None)
@given(key=secrets)
def test_key_topics_oracle(key: PrivateKey) -> None:
    numbers = oracle_key(key).public_key().public_numbers()
    text = f"0x04{numbers.x:064x}{numbers.y:064x}-contact-code"
    assert contact_code_topic(key.public_key) == keccak(text.encode())[:4]
    text = f"contact-discovery-{numbers.x % PARTITIONS}"
    assert partitioned_topic(key.public_key) == keccak(text.encode())[:4]


@settings(max_examples=30, deadline=None)
@given(one=secrets, other=secrets)
def test_negotiated_oracle(one: PrivateKey, other: PrivateKey) -> None:
    shared = oracle_key(one).exchange(ec.ECDH(), oracle_key(other).public_key())
    topic = negotiated_topic(one, other.public_key)
    assert topic == keccak(shared.hex().encode())[:4]
    assert topic == negotiated_topic(other, one.public_key)


def test_negotiated_keeps_leading_zeros() -> None:
    """A shared secret that begins with a zero byte still has 64 digits."""
    one = private_key((1).to_bytes(32))
    for number in range(2, 2000):
        other = private_key(number.to_bytes(32))
        x = other.public_key.format()[1:]  # what 1 and any key share is that key itself
        if x[0] == 0:
            assert negotiated_topic(one, other.public_key) == keccak256(x.hex().encode())[:4]
            return
    raise AssertionError("no key with a zero was found")
