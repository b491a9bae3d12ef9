"""The results of wakumail.archive.archive."""

from enum import IntEnum
from typing import NamedTuple

MAX_PROBLEMS_TOLD = 100
"""Problems that a check of the archive describes. It counts all."""


class Appended(NamedTuple):
    """The result of one commit.

    stored: new envelopes; duplicates: those that were stored before or came twice; bytes: of the
    RLP of the new ones; next_sequence: the sequence that the next new envelope gets.
    """

    stored: int
    duplicates: int
    bytes: int
    next_sequence: int


class LogPlace(NamedTuple):
    """A place in the log of a cluster: all messages up to `sequence` are in the archive.

    name: of the log; made: when it was made, in Unix nanoseconds, which tells a log from another
    that was made anew under its name.
    """

    name: str
    made: int
    sequence: int


class Pruned(NamedTuple):
    """The result of one slice of pruning.

    envelopes: deleted ones; bytes: of deleted chunks; more: True if there is more to prune.
    """

    envelopes: int
    bytes: int
    more: bool


class Sorted(NamedTuple):
    """The result of one slice of sorting.

    day: its start in Unix seconds; envelopes: those that have found their last place; more: True if
    the day needs a further slice.
    """

    day: int
    envelopes: int
    more: bool


class PageState(IntEnum):
    """The end of a page: nothing remains, there is at least one more hit, or the budget ran out."""

    EXHAUSTED = 0
    MORE = 1
    PAUSED = 2


class Page(NamedTuple):
    """One slice of an answer.

    packet: an RLP list of the envelopes; count: their number; last_hash: of the last one, 32 bytes,
    empty if there is none; position: of the next page, 36 bytes, or the given position if this page
    passed no entry.
    """

    packet: bytes
    count: int  # type: ignore[assignment]  # a field, where tuple has a method
    last_hash: bytes
    position: bytes
    state: PageState


class Stat(NamedTuple):
    """The archive as a whole.

    bytes: of the envelopes' RLP; file_bytes: of the pages in use; free_bytes: of the other pages of
    the file, with those that a commit takes meanwhile; oldest and newest: creation times in Unix
    seconds, None if there are no envelopes; next_sequence: as in Appended; sums: minutes that have
    envelopes; pruned: the horizon in Unix seconds, 0 if nothing was pruned; copied: bytes of the
    envelopes that lie there twice while a day is sorted, which `bytes` counts once.
    Pruning has deleted what was created before the horizon; what arrived later may be older.
    """

    envelopes: int
    bytes: int
    file_bytes: int
    free_bytes: int
    oldest: int | None
    newest: int | None
    next_sequence: int
    sums: int
    pruned: int
    copied: int


class Day(NamedTuple):
    """A day (UTC) of creation times that has envelopes.

    start: Unix seconds; bytes: of the envelopes' RLP; topics: number of distinct ones; unsorted:
    number of envelopes that lie where they arrived, and not beside those of their topic.
    """

    start: int
    envelopes: int
    bytes: int
    topics: int
    unsorted: int


class Bound(NamedTuple):
    """A place between items, which are ordered by (created, id): before all items from it on.

    time: Unix seconds; prefix: the first bytes of an id, up to 32; the others are zero.
    """

    time: int
    prefix: bytes


class Fold(NamedTuple):
    """All items of a range together.

    count: their number; sum: of their ids as little-endian numbers, modulo 2^256, little-endian in
    32 bytes.
    """

    count: int  # type: ignore[assignment]  # a field, where tuple has a method
    sum: bytes


class Fetched(NamedTuple):
    """Envelopes that were asked for by their items.

    joined: their RLPs; taken: items that are dealt with, at least one if there is any; absent:
    those of them that are not stored, 36 bytes each.
    """

    joined: bytes
    taken: int
    absent: bytes
