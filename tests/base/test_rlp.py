"""RLP against the `rlp` package, against itself (one encoding only) and at its limits."""

import mmap
from array import array
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import pytest
import rlp as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base import rlp
from wakumail.errors import RlpError

strings = st.one_of(st.binary(max_size=3), st.binary(min_size=50, max_size=60), st.binary())
items = st.recursive(strings, lambda inner: st.lists(inner, max_size=8), max_leaves=40)
CANONICAL = [b"", b"\0", b"\x7f", b"\x80", b"a" * 55, b"a" * 56, b"a" * 255, b"a" * 256]
CANONICAL += [b"a" * 65535, b"a" * 65536, b"a" * 2**24]


def oracle_item(data: bytes) -> Any:
    """The item as the rlp package reads it, of lists and bytes; None if it refuses."""
    try:
        return oracle.codec.decode(data, strict=True)
    except oracle.exceptions.DecodingError:
        return None


def our_item(data: bytes) -> Any:
    try:
        return rlp.decode(data, max_depth=rlp.DEPTH_LIMIT)
    except RlpError:
        return None


@given(items)
@settings(max_examples=200, deadline=None)
def test_valid_items_agree_both_ways(item: rlp.Item) -> None:
    encoded = rlp.encode(item)
    assert encoded == oracle.encode(item)
    assert rlp.decode(encoded, max_depth=40) == item == oracle_item(encoded)


@pytest.mark.parametrize("item", CANONICAL, ids=lambda item: f"{len(item)} bytes")
def test_header_boundaries_agree(item: bytes) -> None:
    for value in (item, [item], [item, item[:1]]):
        encoded = rlp.encode(value)
        assert encoded == oracle.encode(value)
        assert rlp.decode(encoded) == value


@given(st.binary(max_size=12) | st.binary(max_size=300))
@example(b"")
@example(bytes.fromhex("8100"))
@example(bytes.fromhex("817f"))
@example(bytes.fromhex("b800"))
@example(bytes.fromhex("b837") + bytes(55))
@example(bytes.fromhex("b90038") + bytes(56))
@example(bytes.fromhex("f837") + bytes(55))
@example(bytes.fromhex("f90038") + bytes(56))
@example(bytes.fromhex("c3c280"))
@example(bytes.fromhex("c28280"))
@settings(max_examples=400, deadline=None)
def test_arbitrary_bytes_are_taken_or_refused_as_the_oracle_does(data: bytes) -> None:
    assert our_item(data) == oracle_item(data)


@given(items, st.data())
@settings(max_examples=200, deadline=None)
def test_every_mutation_is_refused_or_canonical(item: rlp.Item, data: st.DataObject) -> None:
    mutant = bytearray(rlp.encode(item))
    at = data.draw(st.integers(0, len(mutant) - 1))
    kind = data.draw(st.sampled_from(["replace", "insert", "delete", "cut"]))
    byte = data.draw(st.integers(0, 255))
    if kind == "replace":
        mutant[at] = byte
    elif kind == "insert":
        mutant.insert(at, byte)
    elif kind == "delete":
        del mutant[at]
    else:
        del mutant[at:]
    decoded = our_item(bytes(mutant))
    assert decoded is None or rlp.encode(decoded) == mutant
    assert decoded == oracle_item(bytes(mutant))


@given(items)
@settings(max_examples=60, deadline=None)
def test_every_cut_and_every_tail_is_refused(item: rlp.Item) -> None:
    encoded = rlp.encode(item)
    for size in range(min(len(encoded), 300)):
        with pytest.raises(RlpError):
            rlp.decode(encoded[:size], max_depth=40)
    with pytest.raises(RlpError, match="bytes after the item"):
        rlp.decode(encoded + b"\x80", max_depth=40)


@given(items, st.binary(max_size=20))
@settings(max_examples=60, deadline=None)
def test_prefix_leaves_what_follows(item: rlp.Item, tail: bytes) -> None:
    encoded = rlp.encode(item)
    assert rlp.decode_prefix(encoded + tail, max_depth=40) == (item, len(encoded))


@given(st.lists(items, max_size=6))
@settings(max_examples=60, deadline=None)
def test_split_and_join_are_inverse(children: list[rlp.Item]) -> None:
    whole = rlp.encode(children)
    parts = rlp.split_list(whole)
    assert parts == [oracle.encode(child) for child in children]
    assert rlp.join_list(iter(parts)) == whole


def test_split_does_not_look_inside() -> None:
    assert rlp.split_list(bytes.fromhex("c5c382000080")) == [
        bytes.fromhex("c3820000"),
        b"\x80",
    ]


@pytest.mark.parametrize(
    "data", ["", "80", "83616263", "c0c0", "c18100", "c282", "c3820000ff", "c28101", "f800", "c1"]
)
def test_split_refuses_what_is_not_one_list(data: str) -> None:
    with pytest.raises(RlpError):
        rlp.split_list(bytes.fromhex(data))


def test_depth_limit() -> None:
    nested: rlp.Item = []
    for _ in range(rlp.MAX_DEPTH - 1):
        nested = [nested]
    assert rlp.decode(rlp.encode(nested)) == nested
    with pytest.raises(RlpError, match="too deep"):
        rlp.decode(rlp.encode([nested]))
    assert rlp.decode(rlp.encode([nested]), max_depth=rlp.MAX_DEPTH + 1) == [nested]
    assert rlp.decode(b"\x80", max_depth=0) == b""
    with pytest.raises(RlpError, match="too deep"):
        rlp.decode(b"\xc0", max_depth=0)


def test_no_caller_can_ask_for_a_deeper_stack() -> None:
    deepest = bytes(nested_lists(rlp.DEPTH_LIMIT))
    assert rlp.encode(rlp.decode(deepest, max_depth=rlp.DEPTH_LIMIT)) == deepest
    with pytest.raises(ValueError, match="max_depth") as caught:
        rlp.decode(deepest, max_depth=rlp.DEPTH_LIMIT + 1)
    assert not isinstance(caught.value, RlpError)
    looped: list[Any] = []
    looped.append(looped)
    with pytest.raises(ValueError, match="deeper"):
        rlp.encode(looped)


def nested_lists(depth: int) -> bytes:
    """`depth` lists, each the only item of the one before."""
    headers = []
    size = 0
    for _ in range(depth):
        if size < 56:
            header = bytes([0xC0 + size])
        else:
            width = (size.bit_length() + 7) // 8
            header = bytes([0xF7 + width]) + size.to_bytes(width, "big")
        headers.append(header)
        size += len(header)
    return b"".join(reversed(headers))


@pytest.mark.parametrize("data", [b"\xc1" * 100_000, nested_lists(100_000)])
def test_very_deep_nesting_is_refused(data: bytes) -> None:
    for depth in (rlp.MAX_DEPTH, rlp.DEPTH_LIMIT):
        with pytest.raises(RlpError):
            rlp.decode(data, max_depth=depth)


def test_item_limit() -> None:
    data = rlp.encode([b""] * (rlp.MAX_ITEMS - 1))
    assert rlp.decode(data) == [b""] * (rlp.MAX_ITEMS - 1)
    assert len(rlp.split_list(data)) == rlp.MAX_ITEMS - 1
    over = rlp.encode([b""] * (rlp.MAX_ITEMS + 1))
    for read in (rlp.decode, rlp.decode_prefix, rlp.split_list):
        with pytest.raises(RlpError, match="too many items"):
            read(over)
    with pytest.raises(RlpError, match="too many items"):
        rlp.decode(rlp.encode([b""] * rlp.MAX_ITEMS))
    assert rlp.decode(rlp.encode([[b"a"], b"b"]), max_items=4) == [[b"a"], b"b"]
    with pytest.raises(RlpError, match="too many items"):
        rlp.decode(rlp.encode([[b"a"], b"b"]), max_items=3)
    with pytest.raises(RlpError, match="too many items"):
        rlp.decode(b"\x80", max_items=0)
    with pytest.raises(RlpError, match="too many items"):
        rlp.decode(b"\x80", max_items=-1)


@pytest.mark.parametrize("base", [0xB7, 0xF7])
@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ("ffff", "past the end"),
        ("ffffffff", "past the end"),
        ("80000000", "past the end"),
        ("0100000000", "over its limit"),
        ("ffffffffffffffff", "over its limit"),
        ("fffffffffffffff8", "over its limit"),
        ("8000000000000000", "over its limit"),
        ("00000000000000ff", "canonical"),
        ("0038", "canonical"),
        ("37", "canonical"),
    ],
)
def test_declared_sizes_are_not_trusted(base: int, size: str, reason: str) -> None:
    declared = bytes.fromhex(size)
    head = bytes([base + len(declared)]) + declared
    for data in (head + bytes(100), b"\xf8" + bytes([len(head) + 56]) + head + bytes(56)):
        with pytest.raises(RlpError, match=reason):
            rlp.decode(data)
    with pytest.raises(RlpError):
        rlp.decode(head[: len(head) // 2])


def test_four_gibibytes_are_not_encoded() -> None:
    # The pages of an anonymous map are not touched: the size is checked before the copy.
    with mmap.mmap(-1, 2**32) as huge, pytest.raises(ValueError, match="2\\^32"):
        rlp.encode(huge)


@given(st.integers(0, 2**256))
@example(0)
@example(127)
@example(128)
@example(2**64 - 1)
@settings(max_examples=100, deadline=None)
def test_integers_are_minimal(value: int) -> None:
    assert rlp.encode(value) == oracle.encode(value)
    assert rlp.as_int(rlp.decode(rlp.encode(value)), bits=257) == value


class Code(IntEnum):
    STATUS = 200


def test_what_encodes() -> None:
    assert rlp.encode([True, False]) == bytes.fromhex("c20180")
    assert rlp.encode(Code.STATUS) == bytes.fromhex("81c8")
    assert rlp.encode((b"a", bytearray(b"b"), memoryview(b"xcx")[1:2])) == bytes.fromhex("c3616263")
    assert rlp.encode(array("H", [0x6161])) == bytes.fromhex("826161")
    assert rlp.encode(range(3)) == bytes.fromhex("c3800102")


@pytest.mark.parametrize("item", ["text", None, 1.0, {1: 2}, {1}, object(), iter([1]), [["a"]]])
def test_what_does_not_encode(item: Any) -> None:
    with pytest.raises(TypeError, match="no RLP form"):
        rlp.encode(item)


def test_faults_of_the_caller() -> None:
    with pytest.raises(ValueError, match="negative"):
        rlp.encode([-1])
    with pytest.raises(BufferError):
        rlp.encode(memoryview(b"abcd")[::2])
    readers: list[Callable[[Any], Any]] = [rlp.decode, rlp.decode_prefix, rlp.split_list]
    for read in readers:
        with pytest.raises(TypeError):
            read("text")
    with pytest.raises(TypeError):
        rlp.join_list(["text"])  # type: ignore[list-item]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array("B", data)])
def test_any_buffer_is_read(kind: Any) -> None:
    data = kind(bytes.fromhex("c3806162"))
    assert rlp.decode(data) == [b"", b"a", b"b"]
    assert rlp.decode_prefix(data) == ([b"", b"a", b"b"], 4)
    assert rlp.split_list(data) == [b"\x80", b"a", b"b"]
    if isinstance(data, bytearray):
        data.append(0)  # the buffer has been given back


def test_as_int() -> None:
    assert rlp.as_int(b"") == 0
    assert rlp.as_int(b"\xff" * 8) == 2**64 - 1
    assert rlp.as_int(b"\x01", bits=1) == 1
    assert rlp.as_int(b"\xff" * 4, bits=32) == 2**32 - 1
    refused: list[tuple[rlp.Item, int]] = [(b"\0", 64), (b"\0\1", 64), (b"\2", 1), ([], 64)]
    for item, bits in [*refused, (b"\1" + bytes(8), 64)]:
        with pytest.raises(RlpError):
            rlp.as_int(item, bits)
    with pytest.raises(RlpError, match="over its limit"):
        rlp.as_int(b"\1" + bytes(4), bits=32)


def test_as_bytes() -> None:
    assert rlp.as_bytes(b"ab") == rlp.as_bytes(b"ab", 2) == b"ab"
    assert rlp.as_bytes(b"", 0) == b""
    refused: list[tuple[rlp.Item, int | None]] = [([], None), (b"ab", 3), (b"", 1), (b"a", 0)]
    for item, size in refused:
        with pytest.raises(RlpError):
            rlp.as_bytes(item, size)


def test_as_list() -> None:
    assert rlp.as_list([]) == []
    assert rlp.as_list([b"", []], at_least=2, at_most=2) == [b"", []]
    with pytest.raises(RlpError, match="in place of"):
        rlp.as_list(b"")
    for at_least, at_most in [(3, None), (0, 1)]:
        with pytest.raises(RlpError, match="a list of 2 items"):
            rlp.as_list([b"", []], at_least=at_least, at_most=at_most)


def test_what_the_deployed_code_wrote_is_canonical() -> None:
    for case in VECTORS["status_v1"]["cases"]:
        data = bytes.fromhex(case["rlp"])
        assert rlp.encode(rlp.decode(data)) == data
    for name in ("messages_packet", "p2p_messages_packet"):
        data = bytes.fromhex(VECTORS[name]["rlp"])
        assert rlp.encode(rlp.decode(data)) == data
