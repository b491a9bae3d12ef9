"""JSON values in a stream: cut at their ends, in any pieces, in linear time."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.rpc.jsonrpc import INVALID_REQUEST, PARSE_ERROR, RpcError
from wakumail.rpc.splitter import Splitter

LIMIT = 1 << 20


def split(data: bytes, size: int = LIMIT) -> list[bytes]:
    """The values of a stream in pieces of `size` bytes."""
    splitter = Splitter(LIMIT)
    values = []
    for start in range(0, len(data), size):
        splitter.feed(data[start : start + size])
        while (value := splitter.next_value()) is not None:
            values.append(value)
    rest = splitter.rest()
    assert splitter.rest() is None
    return values if rest is None else [*values, rest]


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", []),
        (b" \r\n\t", []),
        (b"{}", [b"{}"]),
        (b"{}{}", [b"{}", b"{}"]),
        (b" {}\n[] ", [b"{}", b"[]"]),
        (b'{"a":[{}]}[[]]', [b'{"a":[{}]}', b"[[]]"]),
        (b'{"}":"]"}1', [b'{"}":"]"}', b"1"]),
        (b'["\\"]"]{}', [b'["\\"]"]', b"{}"]),
        (b'"\\\\"{}', [b'"\\\\"', b"{}"]),
        (b'"a""b"', [b'"a"', b'"b"']),
        (b"1 2\n-3e5", [b"1", b"2", b"-3e5"]),
        (b'true{}null"x"false[]', [b"true", b"{}", b"null", b'"x"', b"false", b"[]"]),
        (b"12", [b"12"]),
        (b'{"a', [b'{"a']),
        (b"[}", [b"[}"]),
        ('"\u2603"{}'.encode(), ['"\u2603"'.encode(), b"{}"]),
    ],
)
def test_values_are_cut_where_they_end(data: bytes, values: list[bytes]) -> None:
    for size in range(1, len(data) + 1):
        assert split(data, size) == values


@pytest.mark.parametrize("data", [b"}", b"]", b",", b":", b"x", b"\xff", b"\x00", b"'a'"])
def test_what_begins_no_value_is_refused(data: bytes) -> None:
    splitter = Splitter(LIMIT)
    splitter.feed(b"{} " + data)
    assert splitter.next_value() == b"{}"
    with pytest.raises(RpcError) as raised:
        splitter.next_value()
    assert raised.value.code == PARSE_ERROR


@pytest.mark.parametrize("begin", [b'"', b"[", b'{"', b"[" * 50, b"1", b'"\\'])
def test_a_value_has_a_bound(begin: bytes) -> None:
    splitter = Splitter(100)
    splitter.feed(begin + b"1" * (100 - len(begin)))
    assert splitter.next_value() is None
    splitter.feed(b"1")
    with pytest.raises(RpcError) as raised:
        splitter.next_value()
    assert raised.value.code == INVALID_REQUEST


def test_a_whole_value_has_a_bound_too() -> None:
    splitter = Splitter(10)
    splitter.feed(b'"12345678""123456789"')
    assert splitter.next_value() == b'"12345678"'
    with pytest.raises(RpcError):
        splitter.next_value()


def test_each_byte_is_looked_at_once() -> None:
    """A value of a megabyte in pieces of 16 bytes: to read each piece twice would take minutes."""
    for value in (b'"%b"' % (b"x" * LIMIT), b"1" * LIMIT, b'"%b"' % (rb"\n" * (LIMIT // 2))):
        splitter = Splitter(2 * LIMIT)
        for start in range(0, len(value), 16):
            splitter.feed(value[start : start + 16])
            found = splitter.next_value()
        assert (found or splitter.rest()) == value


def test_what_was_taken_is_not_held() -> None:
    splitter = Splitter(LIMIT)
    for _ in range(100):
        splitter.feed(b"[1]" * 1000)
        while splitter.next_value() is not None:
            pass
    assert splitter.rest() is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(json_values), st.sampled_from([" ", "\n", "\r\n\t"]), st.integers(1, 40))
def test_any_values_are_found_again(values: list[Any], space: str, size: int) -> None:
    data = space.join(json.dumps(value, ensure_ascii=False) for value in values).encode(
        "utf-8", "surrogatepass"
    )
    found = [json.loads(value.decode("utf-8", "surrogatepass")) for value in split(data, size)]
    assert found == values


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(1, 10))
def test_any_bytes_are_cut_or_refused(data: bytes, size: int) -> None:
    try:
        values = split(data, size)
    except RpcError:
        return
    assert b"".join(b"".join(values).split()) == b"".join(data.split())


SMALL_VALUES = st.sampled_from([b"[]", b'{"a":"\\""}', b"1 ", b'"x"'])


@given(st.lists(SMALL_VALUES, max_size=6), st.integers(1, 5))
@settings(deadline=None)
def test_values_are_the_same_in_small_steps(values: list[bytes], steps: int) -> None:
    splitter = Splitter(LIMIT)
    splitter.feed(b"".join(values))
    found = []
    while (value := splitter.next_value(steps)) is not None or splitter.paused:
        if value is not None:
            found.append(value)
    assert found == [value.strip() for value in values]


def test_a_step_looks_at_few_bytes() -> None:
    splitter = Splitter(LIMIT)
    splitter.feed(b"[" * 1000)
    for step in range(1, 11):
        assert splitter.next_value(100) is None
        assert (splitter.paused, splitter._at) == (True, 100 * step)
    assert splitter.next_value(100) is None
    assert not splitter.paused
