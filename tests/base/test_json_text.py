"""Strict JSON: the nesting is bounded."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.base.json_text import MAX_NESTING, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=16),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values.filter(lambda value: "Infinity" not in json.dumps(value)))
@settings(max_examples=100, deadline=None)
def test_values_come_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")) is not ...


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"[":', "}"), ('[{"\\\\":', "}]")])
def test_the_bound(start: str, end: str) -> None:
    levels = start.count("[") + start.count("{") - start.count('"[')
    most = MAX_NESTING // levels
    for inside in ("0", '"[[{\\""'):
        parse_json(start * most + inside + end * most)
    for depth in (most + 1, 1000, 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(start * depth + "0" + end * depth)


def test_width_is_no_depth() -> None:
    wide = [[[]] * 200, {"a": {}}] * 200
    assert parse_json(json.dumps(wide)) == wide


@pytest.mark.parametrize("text", ["", "{", "NaN", "1e999", "[1,]", b"\xff", "[" * 100_000])
def test_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
