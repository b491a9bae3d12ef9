"""Strict JSON with a bound on its nesting (RFC 8259)."""

import json
import math
from typing import Any

MAX_NESTING = 64
"""Arrays and objects that may lie inside each other."""

MAX_DIGITS = 400
"""Most characters of a short number: the time to read an integer grows with the square of them.
Python itself reads 4,300 digits."""


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _parse_short_int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} characters")
    return int(text)


DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_finite)
"""Reads strict JSON; ValueError, or RecursionError if it is nested about a thousand deep."""


SHORT_NUMBERS = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_parse_finite, parse_int=_parse_short_int
)
"""The same for integers of at most MAX_DIGITS characters."""


def parse_json(text: str | bytes, *, short_numbers: bool = False) -> Any:
    """The value in a text; ValueError for other texts, NaN, 1e999, and over MAX_NESTING.

    With `short_numbers` also for an integer of more than MAX_DIGITS characters.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value = (SHORT_NUMBERS if short_numbers else DECODER).decode(decoded)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if _is_deep(value):
        raise ValueError("nested too deep")
    return value


def _is_deep(value: Any) -> bool:
    """True if a value is nested deeper than MAX_NESTING.

    The text is not searched: one with many escapes takes 0.2 s for what takes 10 ms to parse.
    """
    level = [value] if isinstance(value, (list, dict)) else []
    for _ in range(MAX_NESTING):
        if not level:
            break
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (list, dict))
        ]
    return bool(level)
