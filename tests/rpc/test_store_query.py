"""The parameters of GET /store/v3/messages: nwaku's names, defaults and bounds."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakumail.rpc.rest.store_cursor import make_cursor, read_cursor
from wakumail.rpc.rest.store_query import (
    MAX_HASHES,
    NAMES,
    ParameterError,
    StoreQuery,
    read_query,
)
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.waku2_message import NANOSECONDS, content_topic

HASH = "0x" + "ab" * 32
TOPIC = bytes.fromhex("1a2b3c4d")


def query(**parameters: str) -> StoreQuery:
    return read_query(parameters.items())


def test_the_defaults() -> None:
    assert query() == StoreQuery(
        *(0, MAX_TIME, None, (), b""), page_size=20, ascending=True, include_data=False
    )
    assert query(**dict.fromkeys(NAMES, "")) == query()


def test_times_are_nanoseconds_both_inclusive() -> None:
    asked = query(startTime=str(10 * NANOSECONDS), endTime=str(20 * NANOSECONDS))
    assert (asked.lower, asked.upper) == (10, 20)
    asked = query(startTime=str(10 * NANOSECONDS + 1), endTime=str(21 * NANOSECONDS - 1))
    assert (asked.lower, asked.upper) == (11, 20)
    assert query(startTime="0", endTime="0") == query()
    assert query(startTime=str((1 << 63) - 1)).is_empty
    assert query(endTime=str((1 << 63) - 1)).upper == MAX_TIME
    assert query(startTime=str(20 * NANOSECONDS), endTime=str(10 * NANOSECONDS)).is_empty


def test_topics() -> None:
    other = bytes(4)
    both = f"{content_topic(TOPIC)},{content_topic(other)},{content_topic(TOPIC)}"
    assert query(contentTopics=both).topics == frozenset({TOPIC, other})
    assert query(contentTopics=f"/a/1/b/proto,{content_topic(TOPIC)}").topics == frozenset({TOPIC})
    assert query(contentTopics="/a/1/b/proto").is_empty
    assert query(pubsubTopic="/waku/2/default-waku/proto") == query()
    assert query(pubsubTopic="/waku/2/rs/16/32").is_empty


def test_hashes_pages_and_flags() -> None:
    assert query(hashes=f"{HASH},{'CD' * 32},{HASH}").hashes == (b"\xab" * 32, b"\xcd" * 32)
    assert query(cursor=HASH).cursor == b"\xab" * 32
    sizes = {"0": 20, "1": 1, "100": 100, "101": 100, "9223372036854775807": 100}
    assert {text: query(pageSize=text).page_size for text in sizes} == sizes
    for word in ("true", "TRUE", "yes", "y", "on", "1"):
        assert query(includeData=word).include_data
    for word in ("false", "No", "n", "off", "0"):
        assert not query(ascending=word).ascending


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("pageSize", text) for text in ("-1", "abc", "1.5", "9" * 5000, "9223372036854775808")),
        *(("startTime", text) for text in ("-5", "abc", "1e9", "٣", "9" * 20)),
        *(("endTime", text) for text in ("-1", "now")),
        *(("hashes", text) for text in ("0x12", f"{HASH},", f"{HASH},x", "q" * 64)),
        ("hashes", ",".join(f"{number:064x}" for number in range(MAX_HASHES + 1))),
        *(("cursor", text) for text in ("test", "0x", HASH + "00", "q83vEjRWeJA=")),
        *(("ascending", text) for text in ("up", "2")),
        *(("includeData", text) for text in ("maybe", " true")),
        *(("contentTopics", text) for text in ("chat", "/waku/1/0x1/rfc26", "/a/1/b/proto,")),
        ("contentTopics", ",".join(["/a/1/b/proto"] * 1001)),
        ("peerAddr", "/ip4/127.0.0.1/tcp/60000/p2p/16U"),
        ("contentTopic", "/a/1/b/proto"),
        ("PageSize", "5"),
    ],
)
def test_a_bad_value_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(ParameterError, match=name):
        query(**{name: value})


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(ParameterError, match="pageSize is given twice"):
        read_query([("pageSize", "5"), ("pageSize", "6")])


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=80)), max_size=4))
def test_any_values_make_a_query_or_an_error(parameters: list[tuple[str, str]]) -> None:
    with contextlib.suppress(ParameterError):
        asked = read_query(parameters)
        assert 1 <= asked.page_size <= 100
        assert 0 <= asked.upper <= MAX_TIME
        assert len(asked.hashes) <= MAX_HASHES


@given(st.binary(min_size=36, max_size=36), st.binary(min_size=32, max_size=32))
def test_a_cursor_tells_a_place_and_no_hash_is_taken_for_one(position: bytes, name: bytes) -> None:
    cursor = make_cursor(position)
    assert len(cursor) == 32
    assert read_cursor(cursor) == position[:20] + bytes(16)
    assert read_cursor(name) is None
