"""What the archive answers: the shapes that wakumail.archive.archive fills and hands out."""

from enum import IntEnum
from typing import NamedTuple


class Appended(NamedTuple):
    """What one commit did."""

    stored: int
    duplicates: int
    bytes: int
    next_sequence: int


class Pruned(NamedTuple):
    """What one slice of a retention did.

    envelopes: that are gone; bytes: of chunks that are gone; more: whether there is more to prune.
    """

    envelopes: int
    bytes: int
    more: bool


class PageState(IntEnum):
    """Why a page ends: nothing remains, a further hit is certain, or the budget ran out."""

    EXHAUSTED = 0
    MORE = 1
    PAUSED = 2


class Page(NamedTuple):
    """One slice of an answer.

    packet: an RLP list of the envelopes; count: how many; last_hash: of the last one, 32 bytes,
    empty without any; position: where to go on, 36 bytes, or what was given if nothing was passed.
    """

    packet: bytes
    count: int  # type: ignore[assignment]  # a field, where tuple has a method
    last_hash: bytes
    position: bytes
    state: PageState


class Stat(NamedTuple):
    """The archive as a whole.

    bytes: of the envelopes' RLP; file_bytes: of the pages in use; oldest and newest: creation
    times in Unix seconds, None when there are no envelopes.
    """

    envelopes: int
    bytes: int
    file_bytes: int
    oldest: int | None
    newest: int | None
    next_sequence: int


class Day(NamedTuple):
    """One day of creation times that has envelopes; start: Unix seconds; topics: distinct ones."""

    start: int
    envelopes: int
    bytes: int
    topics: int
