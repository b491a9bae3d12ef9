"""The errors of a Message Response as RLP, made with another library."""

from collections.abc import Iterable

import rlp

from wakumail.waku.confirmations import EnvelopeError


def listed(errors: Iterable[EnvelopeError]) -> bytes:
    """`[[hash, code, text], ...]`."""
    return bytes(rlp.encode([[error.hash, error.code, error.text.encode()] for error in errors]))
