"""Strategies for statuses: their options, and RLP items of any shape."""

import struct
from typing import Any

from hypothesis import strategies as st

from wakumail.waku.bloom import BLOOM_SIZE
from wakumail.waku.packets import (
    RateLimits,
    StatusOptions,
)

limits = st.builds(RateLimits, *[st.integers(0, 2**64 - 1)] * 3)
options = st.builds(
    StatusOptions,
    pow=st.none() | st.floats(0, allow_nan=False, allow_infinity=False),
    bloom=st.none() | st.just(b"") | st.binary(min_size=BLOOM_SIZE, max_size=BLOOM_SIZE),
    light=st.none() | st.booleans(),
    confirmations=st.none() | st.booleans(),
    packet_rate_limits=st.none() | limits,
    topic_interest=st.none() | st.lists(st.binary(min_size=4, max_size=4), max_size=20).map(tuple),
    bytes_rate_limits=st.none() | limits,
)
items: st.SearchStrategy[Any] = st.recursive(
    st.binary(max_size=70), lambda children: st.lists(children, max_size=5), max_leaves=12
)


def pow_bits(value: float) -> bytes:
    return struct.pack(">d", value).lstrip(b"\0")
