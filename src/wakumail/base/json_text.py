"""Strict JSON with a bound on its nesting (RFC 8259)."""

import json
import math
import re
from typing import Any

MAX_NESTING = 64
"""Arrays and objects that may lie inside each other."""

STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
ONE_KIND = bytes.maketrans(b"{}", b"[]")
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_finite)
"""Reads strict JSON; ValueError, or RecursionError if it is nested about a thousand deep."""


def parse_json(text: str | bytes) -> Any:
    """The value in a text; ValueError for other texts, NaN, 1e999, and over MAX_NESTING."""
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = DECODER.decode(decoded)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _is_deep(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")):
        raise ValueError("nested too deep")
    return value


def _is_deep(raw: bytes) -> bool:
    """True if valid JSON is nested deeper than MAX_NESTING."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_NESTING:
        return False
    brackets = STRING.sub(b"", raw).translate(ONE_KIND, NOT_BRACKETS)
    for _ in range(MAX_NESTING):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")  # the innermost level
    return bool(brackets)
