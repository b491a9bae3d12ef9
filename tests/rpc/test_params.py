"""Parameters of calls: read exactly, or refused by the name of the field."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.mail.request import MAX_REQUEST_TOPICS
from wakumail.node.filters import MAX_FILTER_TOPICS
from wakumail.rpc import params
from wakumail.rpc.jsonrpc import INVALID_PARAMS, RpcError
from wakumail.rpc.params import Fields
from wakumail.waku.completion import MAX_FOREIGN_CURSOR
from wakumail.waku.envelope import MAX_TIME

KEY = PrivateKey(bytes(range(1, 33)))
POINT = KEY.public_key.format(compressed=False)
ENODE = Enode(node_id(KEY.public_key), "127.0.0.1", 30303, 30303)
ORDER = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
READERS = [
    params.text,
    params.flag,
    params.integer,
    params.number,
    params.data,
    params.topic,
    params.topics,
    params.partial_topics,
    params.symmetric_key,
    params.private_key,
    params.public_key,
    params.enode,
    params.peer_id,
    params.cursor,
]


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (params.text, "", ""),
        (params.text, "päss\U0001f511", "päss\U0001f511"),
        (params.flag, False, False),
        (params.integer, 0, 0),
        (params.integer, MAX_TIME, MAX_TIME),
        (params.number, 0, 0.0),
        (params.number, 0.002, 0.002),
        (params.number, 10**300, 1e300),
        (params.data, "0x", b""),
        (params.data, "0xaBcD", b"\xab\xcd"),
        (params.data, "0X01", b"\x01"),
        (params.topic, "0x01020304", b"\x01\x02\x03\x04"),
        (params.topics, ["0x01020304"], (b"\x01\x02\x03\x04",)),
        (params.partial_topics, "0x01", (b"\x01",)),
        (params.partial_topics, ["0x01", "0x01020304"], (b"\x01", b"\x01\x02\x03\x04")),
        (params.symmetric_key, "0x" + "5a" * 32, b"\x5a" * 32),
        (params.cursor, "ff" * 36, b"\xff" * 36),
        (params.cursor, "0x" + "ff" * 36, b"\xff" * 36),
        (params.enode, str(ENODE), ENODE),
        (params.peer_id, str(ENODE), ENODE.node_id),
        (params.peer_id, ENODE.node_id.hex(), ENODE.node_id),
        (params.peer_id, "0x" + ENODE.node_id.hex(), ENODE.node_id),
    ],
)
def test_what_fits_is_read(read: Callable[[Any, str], Any], value: Any, expected: Any) -> None:
    result = read(value, "field")
    assert result == expected
    assert type(result) is type(expected)


def test_keys_are_read() -> None:
    assert params.private_key("0x" + KEY.secret.hex(), "key").secret == KEY.secret
    assert params.public_key("0x" + POINT.hex(), "key") == KEY.public_key


@pytest.mark.parametrize(
    ("read", "value", "text"),
    [
        (params.text, 1, "field must be a string"),
        (params.text, "\ud800", "field must be a string"),
        (params.flag, 1, "field must be true or false"),
        (params.flag, "true", "field must be true or false"),
        (params.integer, -1, f"field must be an integer from 0 to {MAX_TIME}"),
        (params.integer, MAX_TIME + 1, f"field must be an integer from 0 to {MAX_TIME}"),
        (params.integer, 1.0, f"field must be an integer from 0 to {MAX_TIME}"),
        (params.integer, True, f"field must be an integer from 0 to {MAX_TIME}"),
        (params.integer, "1", f"field must be an integer from 0 to {MAX_TIME}"),
        (params.number, -0.1, "field must be a finite number, 0 or more"),
        (params.number, float("nan"), "field must be a finite number, 0 or more"),
        (params.number, float("inf"), "field must be a finite number, 0 or more"),
        (params.number, 10**400, "field must be a finite number, 0 or more"),
        (params.number, True, "field must be a finite number, 0 or more"),
        (params.number, "1", "field must be a finite number, 0 or more"),
        (params.data, "abcd", "field must be 0x and an even number of hexadecimal digits"),
        (params.data, "0xabc", "field must be 0x and an even number of hexadecimal digits"),
        (params.data, "0xzz", "field must be 0x and an even number of hexadecimal digits"),
        (params.data, "0xab cd", "field must be 0x and an even number of hexadecimal digits"),
        (params.data, "", "field must be 0x and an even number of hexadecimal digits"),
        (params.data, b"0x00", "field must be 0x and an even number of hexadecimal digits"),
        (params.topic, "0x010203", "field must be 4 bytes, not 3"),
        (params.topic, "0x0102030405", "field must be 4 bytes, not 5"),
        (params.topics, "0x01020304", f"field must be a list of 1 to {MAX_REQUEST_TOPICS}"),
        (params.topics, [], f"field must be a list of 1 to {MAX_REQUEST_TOPICS}"),
        (params.topics, ["0x01020304", "0x01"], "field[1] must be 4 bytes, not 1"),
        (params.partial_topics, ["0x"], "field[0] must be 1 to 4 bytes, not 0"),
        (params.partial_topics, "0x0102030405", "field[0] must be 1 to 4 bytes, not 5"),
        (params.partial_topics, [], f"field must be a list of 1 to {MAX_FILTER_TOPICS}"),
        (params.partial_topics, {}, f"field must be a list of 1 to {MAX_FILTER_TOPICS}"),
        (params.symmetric_key, "0x" + "00" * 16, "field must be 32 bytes, not 16"),
        (params.private_key, "0x" + "00" * 32, "field must be a private key of secp256k1"),
        (params.private_key, ORDER, "field must be a private key of secp256k1"),
        (params.private_key, "0x00", "field must be 32 bytes, not 1"),
        (params.public_key, "0x" + POINT[1:].hex(), "field must be 65 bytes, not 64"),
        (
            params.public_key,
            "0x05" + POINT[1:].hex(),
            "field must be a public key of secp256k1 that begins with 0x04",
        ),
        (
            params.public_key,
            "0x04" + "00" * 64,
            "field must be a public key of secp256k1 that begins with 0x04",
        ),
        (
            params.enode,
            "http://localhost",
            "field is no enode URL or node record: "
            "a node looks like enode://<128 hex digits>@host:port, or like enr:<base64>",
        ),
        (params.enode, None, "field must be a string"),
        (params.peer_id, "0x00", "field must be 64 bytes, not 1"),
        (
            params.peer_id,
            "enode://00@localhost:1",
            "field is no enode URL or node record: "
            "the node id of an enode is 128 hexadecimal digits",
        ),
        (
            params.cursor,
            "00" * (MAX_FOREIGN_CURSOR + 1),
            f"field must be at most {MAX_FOREIGN_CURSOR} bytes, not {MAX_FOREIGN_CURSOR + 1}",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    read: Callable[[Any, str], Any], value: Any, text: str
) -> None:
    with pytest.raises(RpcError) as refusal:
        read(value, "field")
    assert (refusal.value.code, refusal.value.message) == (INVALID_PARAMS, text)


@pytest.mark.parametrize(
    ("read", "most"),
    [(params.topics, MAX_REQUEST_TOPICS), (params.partial_topics, MAX_FILTER_TOPICS)],
)
def test_lists_of_topics_are_bounded(read: Callable[[Any, str], Any], most: int) -> None:
    assert len(read(["0x01020304"] * most, "topics")) == most
    with pytest.raises(RpcError, match=f"topics must be a list of 1 to {most}"):
        read(["0x01020304"] * (most + 1), "topics")


def test_a_refusal_does_not_show_a_secret() -> None:
    with pytest.raises(RpcError) as refusal:
        params.private_key(ORDER, "key")
    assert ORDER[2:] not in refusal.value.message


@given(st.binary(max_size=200))
def test_bytes_are_read_back(value: bytes) -> None:
    assert params.data(f"0x{value.hex()}", "field") == value


@pytest.mark.parametrize("read", READERS)
@given(value=JSON)
def test_any_value_is_read_or_refused(read: Callable[[Any, str], Any], value: Any) -> None:
    refused = None
    try:
        read(value, "field")
    except RpcError as error:
        refused = error
    assert refused is None or refused.code == INVALID_PARAMS
    assert refused is None or refused.message.startswith("field")


# -- objects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, [], "{}", 1, True])
def test_an_object_is_an_object(value: Any) -> None:
    with pytest.raises(RpcError, match="filter must be an object") as refusal:
        Fields(value, "filter")
    assert refusal.value.code == INVALID_PARAMS


def test_fields_are_read() -> None:
    fields = Fields({"ttl": 7, "other": []}, "message")
    assert fields.required("ttl", params.integer) == 7
    assert fields.optional("ttl", params.integer, 50) == 7
    with pytest.raises(RpcError, match="ttl must be a string"):
        fields.optional("ttl", params.text, None)


@pytest.mark.parametrize("given", [{}, {"sig": None}, {"sig": ""}])
def test_a_field_may_be_absent(given: dict[str, Any]) -> None:
    fields = Fields(given, "message", blank=("sig",))
    assert fields.optional("sig", params.identifier, "none") == "none"
    with pytest.raises(RpcError, match="missing sig") as refusal:
        fields.required("sig", params.identifier)
    assert refusal.value.code == INVALID_PARAMS


@pytest.mark.parametrize("value", [0, False, [], ""])
def test_an_empty_value_is_not_an_absent_one(value: Any) -> None:
    assert Fields({"field": value}, "message").optional("field", lambda v, _: v, None) is value
