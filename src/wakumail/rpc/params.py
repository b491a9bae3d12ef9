"""The parameters of calls: readers for each type, which refuse a wrong value by its name.

A reader takes a JSON value and its name in the documentation. A wrong value is an RpcError with
INVALID_PARAMS. Bytes are written as in geth: 0x, then two digits for each byte.
"""

import math
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any, TypeAlias, TypeVar

from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import PREFIX
from wakumail.devp2p.keys import NODE_ID_SIZE, SECRET_SIZE, PrivateKey, PublicKey
from wakumail.mail.request import MAX_REQUEST_TOPICS
from wakumail.node.filters import MAX_FILTER_TOPICS
from wakumail.rpc.jsonrpc import INVALID_PARAMS, RpcError
from wakumail.waku.bloom import TOPIC_SIZE
from wakumail.waku.completion import MAX_FOREIGN_CURSOR
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.message import SYMMETRIC_KEY_SIZE
from wakumail.waku.packets import MAX_POW

T = TypeVar("T")
D = TypeVar("D")
Reader: TypeAlias = Callable[[Any, str], T]

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character: JSON can write it, UTF-8 cannot."""


MAX_IDENTIFIER = 128
"""Characters of an identifier; ours have 64."""

MAX_FIELD_NAME = 100
"""Characters of an unknown field's name that the error repeats."""


class Fields:
    """The fields of an object; null counts as absent."""

    def __init__(
        self,
        value: Any,
        name: str,
        known: Collection[str] | None = None,
        blank: Collection[str] = (),
    ) -> None:
        """RpcError for what is no object, and for a field that is not `known`; None: all are.

        `blank` are the fields that clients in Go send as an empty string instead of none. Elsewhere
        an empty string is a wrong value: it would widen a filter, or a request.
        """
        if not isinstance(value, dict):
            raise unfit(name, "an object")
        for key in value:
            if known is not None and key not in known:
                told = key[:MAX_FIELD_NAME]
                near = get_close_matches(told, known, 1)
                hint = f", the nearest known one is {near[0]}" if near else ""
                raise RpcError(INVALID_PARAMS, f"unknown field {told} of {name}{hint}")
        self._values = {
            key: item
            for key, item in value.items()
            if item is not None and not (item == "" and key in blank)
        }

    def required(self, name: str, read: Reader[T]) -> T:
        """The field, read by `read`; RpcError if it is absent."""
        if name not in self._values:
            raise RpcError(INVALID_PARAMS, f"missing {name}")
        return read(self._values[name], name)

    def optional(self, name: str, read: Reader[T], default: D) -> T | D:
        """The field, or `default` when it is absent."""
        return read(self._values[name], name) if name in self._values else default


def unfit(name: str, expected: str) -> RpcError:
    """The error for a wrong parameter."""
    return RpcError(INVALID_PARAMS, f"{name} must be {expected}")


def text(value: Any, name: str) -> str:
    """A string that UTF-8 can encode."""
    if not isinstance(value, str) or SURROGATE.search(value):
        raise unfit(name, "a string")
    return value


def identifier(value: Any, name: str) -> str:
    """The id of a key, a filter or a subscription, or another short name: errors repeat it."""
    if not isinstance(value, str) or len(value) > MAX_IDENTIFIER or SURROGATE.search(value):
        raise unfit(name, f"a string of at most {MAX_IDENTIFIER} characters")
    return value


def flag(value: Any, name: str) -> bool:
    """True or false, no other value."""
    if not isinstance(value, bool):
        raise unfit(name, "true or false")
    return value


def integer(value: Any, name: str, low: int = 0, high: int = MAX_TIME) -> int:
    """An integer from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise unfit(name, f"an integer from {low} to {high}")
    return value


def number(value: Any, name: str) -> float:
    """A finite number, 0 or more."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        try:
            result = float(value)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
    raise unfit(name, "a finite number, 0 or more")


def least_pow(value: Any, name: str) -> float:
    """The least PoW of what is wanted: one that an envelope can reach."""
    result = number(value, name)
    if result > MAX_POW:
        raise unfit(name, f"a number from 0 to {MAX_POW:g}")
    return result


def data(value: Any, name: str) -> bytes:
    """Bytes of any length."""
    if isinstance(value, str) and value[:2] in ("0x", "0X"):
        try:
            result = bytes.fromhex(value[2:])
        except ValueError:
            pass
        else:
            if 2 + 2 * len(result) == len(value):  # fromhex skips spaces
                return result
    raise unfit(name, "0x and an even number of hexadecimal digits")


def sized(value: Any, name: str, size: int) -> bytes:
    """Exactly `size` bytes."""
    result = data(value, name)
    if len(result) != size:
        raise unfit(name, f"{size} bytes, not {len(result)}")
    return result


def topic(value: Any, name: str) -> bytes:
    """A whole topic."""
    return sized(value, name, TOPIC_SIZE)


def topics(value: Any, name: str) -> tuple[bytes, ...]:
    """The topics of a request: one or more."""
    return _list(value, name, topic, MAX_REQUEST_TOPICS)


def partial_topics(value: Any, name: str) -> tuple[bytes, ...]:
    """The topics of a filter: one or a list, each whole or its first bytes."""
    items = [value] if isinstance(value, str) else value
    return _list(items, name, _partial_topic, MAX_FILTER_TOPICS)


def symmetric_key(value: Any, name: str) -> bytes:
    """A key of AES-256."""
    return sized(value, name, SYMMETRIC_KEY_SIZE)


def private_key(value: Any, name: str) -> PrivateKey:
    """A private key of secp256k1."""
    try:
        return keys.private_key(sized(value, name, SECRET_SIZE))
    except ValueError:
        raise unfit(name, "a private key of secp256k1") from None


def public_key(value: Any, name: str) -> PublicKey:
    """A public key as geth writes it: 04, X and Y."""
    point = sized(value, name, 1 + NODE_ID_SIZE)
    try:
        if point[0] == 4:
            return keys.public_key(point[1:])
    except ValueError:
        pass
    raise unfit(name, "a public key of secp256k1 that begins with 0x04")


def enode(value: Any, name: str) -> Enode:
    """An enode URL or a node record."""
    try:
        return Enode.parse(text(value, name))
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"{name} is no enode URL or node record: {error}") from None


def peer_id(value: Any, name: str) -> bytes:
    """The node id in an enode URL or node record, or alone: 64 bytes, with or without 0x."""
    if text(value, name).startswith(("enode:", PREFIX)):
        return enode(value, name).node_id
    return sized(_prefixed(value, name), name, NODE_ID_SIZE)


def cursor(value: Any, name: str) -> bytes:
    """The cursor of a mailserver's answer, with or without 0x."""
    result = data(_prefixed(value, name), name)
    if len(result) > MAX_FOREIGN_CURSOR:
        raise unfit(name, f"at most {MAX_FOREIGN_CURSOR} bytes, not {len(result)}")
    return result


def _prefixed(value: Any, name: str) -> str:
    digits = text(value, name)
    return digits if digits.startswith("0x") else f"0x{digits}"


def _partial_topic(value: Any, name: str) -> bytes:
    result = data(value, name)
    if not 1 <= len(result) <= TOPIC_SIZE:
        raise unfit(name, f"1 to {TOPIC_SIZE} bytes, not {len(result)}")
    return result


def _list(value: Any, name: str, read: Reader[T], most: int) -> tuple[T, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise unfit(name, f"a list of 1 to {most}")
    return tuple(read(item, f"{name}[{index}]") for index, item in enumerate(value))
