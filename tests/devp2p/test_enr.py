import base64
import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import DISCOVERY
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import encode, join_list, split_list
from wakumail.devp2p.addresses import reach
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import (
    MAX_RECORD,
    Enr,
    EnrError,
    EnrForged,
    EnrKeyDoubled,
    EnrSchemeUnknown,
    EnrTooLarge,
    EnrUnsorted,
    Value,
)
from wakumail.devp2p.keys import node_id, private_key, sign

EXAMPLE = (
    "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5w"
    "BgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8"
)
"""The record of EIP-778's test vectors."""

KEY = private_key(bytes.fromhex("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291"))
ID = node_id(KEY.public_key)


def signed(pairs: list[tuple[bytes, Value]], seq: Value = 1) -> bytes:
    """A record of these pairs in this order, with a good signature, whatever they are."""
    content = [encode(seq)]
    for name, value in pairs:
        content += (encode(name), encode(value))
    signature = sign(KEY, keccak256(join_list(content)))[:64]
    return join_list([encode(signature), *content])


OWN: list[tuple[bytes, Value]] = [
    (b"id", b"v4"),
    (b"secp256k1", KEY.public_key.format()),
]


def test_the_example_of_the_specification_is_read_and_made() -> None:
    record = Enr.parse(EXAMPLE)
    assert (record.seq, str(record.ip), record.udp, record.tcp) == (1, "127.0.0.1", 30303, 0)
    assert keccak256(record.node_id).hex() == (
        "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
    )
    assert str(record) == EXAMPLE
    made = Enr.make(KEY, 1, {b"udp": 30303, b"ip": bytes([127, 0, 0, 1])})
    assert made == record


@pytest.mark.parametrize("node", DISCOVERY["nodes"], ids=lambda node: str(node["seq"]))
def test_records_are_read_and_made_as_go_ethereum_does(node: dict[str, Any]) -> None:
    record = Enr.parse(node["enr"])
    assert record.seq == node["seq"]
    assert keccak256(record.node_id).hex() == node["node_id_hash"]
    assert (str(record.ip), record.tcp, record.udp) == (node["ip"], node["tcp"], node["udp"])
    assert str(record) == node["enr"]
    values = dict(record.values)
    assert record.speaks_waku == record.is_mailserver == (b"waku" in values)
    key = private_key(bytes.fromhex(node["key"]))
    again: dict[bytes, Value] = {}
    for name in values.keys() - {b"id", b"secp256k1"}:
        again[name] = [1, 1] if name == b"waku" else split_list(join_list([values[name]]))[0][1:]
        if name in (b"tcp", b"udp", b"tcp6", b"udp6"):
            again[name] = int.from_bytes(values[name][1:], "big")
    assert Enr.make(key, record.seq, again) == record


@pytest.mark.parametrize(
    ("waku", "speaks", "keeps"),
    [
        ([1, 1], True, True),
        ([1, 0], True, False),
        ([2, 3, 4, [5]], True, True),
        ([1], False, False),
        ([], False, False),
        (b"\x01", False, False),
        ([[], 1], False, False),
    ],
)
def test_the_key_waku_tells_what_a_node_is(waku: Value, speaks: bool, keeps: bool) -> None:
    record = Enr.make(KEY, 1, {b"waku": waku})
    assert (record.speaks_waku, record.is_mailserver) == (speaks, keeps)


@pytest.mark.parametrize(
    ("values", "ip", "tcp", "udp"),
    [
        ({b"ip": b"\x01\x02\x03\x04", b"tcp": 5}, "1.2.3.4", 5, 0),
        ({b"ip6": b"\x20" + bytes(14) + b"\x01", b"tcp": 5, b"udp": 6}, "2000::1", 5, 6),
        ({b"ip6": b"\x20" + bytes(15), b"tcp": 5, b"tcp6": 7, b"udp6": 8}, "2000::", 7, 8),
        # As many hosts can reach the one as the other: the IPv4 address is taken.
        ({b"ip": b"\x08\x08\x08\x08", b"ip6": b"\x20" + bytes(15), b"tcp": 5}, "8.8.8.8", 5, 0),
        ({b"ip": b"\x0a\x00\x00\x01", b"ip6": b"\x20" + bytes(15), b"tcp": 5}, "2000::", 5, 0),
        ({b"ip": b"\x0a\x00\x00", b"tcp": 5}, "None", 5, 0),
        ({b"ip": b"\xe0\x00\x00\x01", b"tcp": 5}, "None", 5, 0),
        ({b"ip": bytes(4), b"tcp": 5}, "None", 5, 0),
        ({b"ip": b"\xff" * 4, b"ip6": b"\x20" + bytes(15), b"tcp": 5}, "2000::", 5, 0),
        ({b"ip6": bytes(10) + b"\xff\xff\x01\x02\x03\x04", b"tcp": 5}, "1.2.3.4", 5, 0),
        ({b"ip6": bytes(10) + b"\xff\xff\x01\x02\x03\x04", b"tcp6": 7, b"udp": 6}, "1.2.3.4", 7, 6),
        (
            {b"ip": b"\x08" * 4, b"ip6": bytes(10) + b"\xff\xff\x7f\0\0\1", b"tcp6": 7},
            "8.8.8.8",
            0,
            0,
        ),
        (
            {b"ip": b"\x08" * 4, b"ip6": bytes(10) + b"\xff\xff\x0a\0\0\1", b"tcp": 5},
            "8.8.8.8",
            5,
            0,
        ),
        ({b"ip": [b"\x0a\x00\x00\x01"], b"tcp": 5}, "None", 5, 0),
        ({b"ip": b"\x0a\x00\x00\x01", b"tcp": 1 << 16, b"udp": b"\x00\x01"}, "10.0.0.1", 0, 0),
        ({}, "None", 0, 0),
    ],
)
def test_addresses_and_ports(values: dict[bytes, Value], ip: str, tcp: int, udp: int) -> None:
    record = Enr.make(KEY, 1, values)
    assert (str(record.ip), record.tcp, record.udp) == (ip, tcp, udp)


@pytest.mark.parametrize(
    ("address", "measure"),
    [
        ("0.0.0.0", 0),
        ("::", 0),
        ("127.9.9.9", 1),
        ("::1", 1),
        ("169.254.0.1", 2),
        ("fe80::1", 2),
        ("192.168.1.1", 3),
        ("fd00::1", 3),
        ("203.0.113.1", 4),
        ("2001:db8::1", 4),
    ],
)
def test_reach_of_an_address(address: str, measure: int) -> None:
    assert reach(ipaddress.ip_address(address)) == measure


def test_a_record_is_taken_where_an_enode_is() -> None:
    record = Enr.make(KEY, 9, {b"ip": b"\x0a\x00\x00\x01", b"tcp": 30303, b"udp": 30301})
    assert Enode.parse(str(record)) == Enode(ID, "10.0.0.1", 30303, 30301)
    with pytest.raises(ValueError, match="no IP address"):
        Enode.parse(str(Enr.make(KEY, 9, {b"tcp": 1})))
    assert "0 is no TCP port" in Enode.parse(EXAMPLE).undialable
    with pytest.raises(EnrForged):
        Enode.parse(EXAMPLE.replace("QHCY", "QHCZ"))


def test_a_record_has_300_bytes_at_most() -> None:
    room = MAX_RECORD - len(Enr.make(KEY, 1, {b"x": bytes(150)}).encoded) + 150
    largest = Enr.make(KEY, 1, {b"x": bytes(room)})
    assert len(largest.encoded) == MAX_RECORD
    assert Enr.parse(str(largest)) == largest
    with pytest.raises(EnrTooLarge):
        Enr.make(KEY, 1, {b"x": bytes(room + 1)})
    with pytest.raises(EnrTooLarge):
        Enr.parse(str(largest) + "AA")
    with pytest.raises(EnrTooLarge):
        Enr.decode(signed([*OWN, (b"x", bytes(room + 1))]))


@pytest.mark.parametrize(
    ("encoded", "error"),
    [
        (signed([OWN[1], OWN[0]]), EnrUnsorted),
        (signed([*OWN, (b"secp256k1", b"")]), EnrKeyDoubled),
        (signed([(b"a", b"1"), (b"a", b"1"), *OWN]), EnrKeyDoubled),
        (signed([(b"id", b"v5"), OWN[1]]), EnrSchemeUnknown),
        (signed([(b"id", [b"v4"]), OWN[1]]), EnrSchemeUnknown),
        (signed([OWN[1]]), EnrSchemeUnknown),
        (signed([]), EnrSchemeUnknown),
        (signed([OWN[0]]), EnrError),
        (signed([OWN[0], (b"secp256k1", KEY.public_key.format(compressed=False))]), EnrError),
        (signed([OWN[0], (b"secp256k1", b"\x02" + b"\xff" * 32)]), EnrError),
        (signed([OWN[0], (b"secp256k1", [])]), EnrError),
        (signed(OWN, 1 << 64), EnrError),
        (signed(OWN, b"\x00\x01"), EnrError),
        (signed(OWN, [1]), EnrError),
        (signed(OWN) + b"\x00", EnrError),
        (signed(OWN)[:-1], EnrError),
        (b"", EnrError),
        (b"\xc0", EnrError),
        (b"\x80", EnrError),
        (encode([bytes(64)]), EnrError),
        (encode([bytes(64), 1, b"id"]), EnrError),
        (encode([bytes(63), 1, *(x for pair in OWN for x in pair)]), EnrError),
        (encode([bytes(65), 1, *(x for pair in OWN for x in pair)]), EnrError),
        (encode([[], 1, *(x for pair in OWN for x in pair)]), EnrError),
        (encode([bytes(64), 1, *(x for pair in OWN for x in pair)]), EnrForged),
        (encode([b"\xff" * 64, 1, *(x for pair in OWN for x in pair)]), EnrForged),
        (encode([bytes(64), 1, [], b"v4"]), EnrError),
    ],
)
def test_what_is_no_record_is_told_by_its_kind(encoded: bytes, error: type[EnrError]) -> None:
    with pytest.raises(EnrError) as caught:
        Enr.decode(encoded)
    assert type(caught.value) is error
    text = "enr:" + base64.urlsafe_b64encode(encoded).decode().rstrip("=")
    with pytest.raises(EnrError):
        Enr.parse(text)


def test_the_other_signature_of_a_pair_is_refused() -> None:
    """Anybody can turn S into the order less S; the order is that of secp256k1."""
    order = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
    signature, *content = split_list(Enr.parse(EXAMPLE).encoded)
    r, s = signature[2:34], int.from_bytes(signature[34:], "big")
    other = r + (order - s).to_bytes(32, "big")
    with pytest.raises(EnrForged):
        Enr.decode(join_list([encode(other), *content]))


def test_a_foreign_signature_is_refused() -> None:
    stranger = private_key(b"\x05" * 32)
    signature = split_list(Enr.make(stranger, 1, {}).encoded)[0]
    with pytest.raises(EnrForged):
        Enr.decode(join_list([signature, *split_list(signed(OWN))[1:]]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "enr:",
        EXAMPLE[4:],
        EXAMPLE.upper(),
        f"{EXAMPLE}=",
        f"{EXAMPLE}\n",
        f" {EXAMPLE}",
        EXAMPLE.replace("_", "/"),
        EXAMPLE[:-1],
        EXAMPLE[:-1] + "9",
        "enr:A",
        "enr:\u0661AAA",
    ],
)
def test_one_record_has_one_text(text: str) -> None:
    with pytest.raises(EnrError):
        Enr.parse(text)


names = st.binary(max_size=8).filter(lambda name: name not in (b"id", b"secp256k1"))
values = st.recursive(
    st.binary(max_size=20) | st.integers(0, 1 << 32), lambda item: st.lists(item, max_size=3)
)


@given(
    st.integers(1, 1 << 200),
    st.integers(0, (1 << 64) - 1),
    st.dictionaries(names, values, max_size=5),
)
@settings(max_examples=100, deadline=None)
def test_reading_inverts_making(secret: int, seq: int, pairs: dict[bytes, Value]) -> None:
    key = private_key(secret.to_bytes(32, "big"))
    try:
        record = Enr.make(key, seq, pairs)
    except EnrTooLarge:
        return
    assert Enr.decode(record.encoded) == Enr.parse(str(record)) == record
    assert (record.seq, record.node_id) == (seq, node_id(key.public_key))
    assert {name: encode(value) for name, value in pairs.items()} == {
        name: value for name, value in record.values.items() if name not in (b"id", b"secp256k1")
    }


@given(st.binary(max_size=320), st.text(max_size=40), st.integers(0, 400), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_record_or_an_error(raw: bytes, text: str, at: int, flip: int) -> None:
    good = bytearray(Enr.parse(EXAMPLE).encoded)
    good[at % len(good)] ^= flip
    for encoded in (raw, bytes(good)):
        with pytest.raises(EnrError):
            Enr.decode(encoded)
    for line in (text, f"enr:{text}"):
        with pytest.raises(EnrError):
            Enr.parse(line)
