"""The packets of `wakusync/1`, encoded and decoded (docs/sync.md, "Packets").

Each is an RLP list; elements that follow the named ones are ignored. An item is an envelope's
creation time (u32, big-endian) and its id, the Keccak-256 of its RLP: 36 bytes. Items travel joined
as one string, so that none becomes an object of its own.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import NamedTuple, TypeVar

from wakumail.base import rlp
from wakumail.base.text import printable
from wakumail.errors import DisconnectReason, ProtocolError, RlpError
from wakumail.mail.sync.items import ID_SIZE, ITEM_SIZE, Run
from wakumail.waku.envelope import MAX_TIME

MAX_ITEMS = 8192
"""Items, or ids, of one packet."""

MAX_TEXT = 200
"""Characters of a text of the peer that are kept."""

T = TypeVar("T")


class SyncError(ProtocolError):
    """A peer broke a rule of `wakusync`; it is left alone for a while."""

    counter = "sync_breach"
    reason = DisconnectReason.SUBPROTOCOL_ERROR


class SyncMalformed(SyncError):
    """A packet of `wakusync` that cannot be decoded, or is over a limit."""

    counter = "sync_malformed"


class Code(IntEnum):
    """The codes of the packets, relative to the capability's first message id."""

    STATUS = 0
    OPEN = 1
    RECONCILE = 2
    WANT = 3
    ENVELOPES = 4
    STORED = 5
    CLOSE = 6
    OFFER = 7
    SEEK = 8
    FOUND = 9


class Ending(IntEnum):
    """The reasons of a Close."""

    EQUAL = 0
    """Both sides had the same."""
    MOVED = 1
    """The difference was moved, as far as it is taken."""
    COMPARED = 2
    """Nothing was to be moved."""
    TOPICS_DIFFER = 3
    ARCHIVE_FAILED = 4
    UNREADABLE = 5


class Refusal(IntEnum):
    """The reasons for which an envelope is not taken."""

    LOW_POW = 1
    TOO_LARGE = 2
    UNWANTED_TOPIC = 3
    TTL_ZERO = 4
    OUTSIDE_WINDOW = 5
    """Older than all that the side keeps, or ahead of its clock."""


def lasting(refused: Iterable[tuple[bytes, int]]) -> bytes:
    """The ids (joined) of what is refused whatever the clock says, which may have jumped."""
    return b"".join(identity for identity, reason in refused if reason != Refusal.OUTSIDE_WINDOW)


class Status(NamedTuple):
    """The first packet of each side, and again when its horizon or its clock has moved."""

    horizon: int
    """Unix seconds: nothing that was created before is kept. 0: everything is."""
    now: int
    """The side's clock, in Unix seconds."""
    topics: bytes
    """Names the topics that the side archives (`topics_digest`)."""
    min_pow: float
    max_envelope: int

    def encode(self) -> bytes:
        """The packet."""
        bits = int.from_bytes(struct.pack(">d", self.min_pow), "big")
        return rlp.encode([self.horizon, self.now, self.topics, bits, self.max_envelope])


class Open(NamedTuple):
    """Opens a round over the items created from `lower` to before `upper`."""

    round: int
    lower: int
    upper: int
    message: bytes
    """The first one."""

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.round, self.lower, self.upper, self.message])


class Reconcile(NamedTuple):
    """A message of a round, from either side."""

    round: int
    message: bytes

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.round, self.message])


class Want(NamedTuple):
    """Asks for items."""

    want: int
    items: bytes

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.want, self.items])


class Seek(NamedTuple):
    """Asks for envelopes by their ids: a round tells ids without their times."""

    want: int
    runs: tuple[Run, ...]
    locates: bool = False
    """Only their items are wanted: the answer is Found, and not Envelopes."""

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.want, [[*run] for run in self.runs], int(self.locates)])


class Found(NamedTuple):
    """The items of a Seek that locates, without those that are gone."""

    want: int
    items: bytes

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.want, self.items])


class Envelopes(NamedTuple):
    """Envelopes for the oldest Want or Seek, in the order asked, without those that are gone."""

    want: int
    last: bool
    """No more follow for it."""
    envelopes: bytes
    """An RLP list."""

    def encode(self) -> bytes:
        """The packet."""
        head = map(rlp.encode, (self.want, int(self.last)))
        return rlp.join_list([*head, self.envelopes])


class Offer(NamedTuple):
    """Tells of items. Those that the peer lacks it wants; it answers with Stored."""

    offer: int
    arrived: bool
    """They have just arrived, so that the live relay may bring them too."""
    items: bytes

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.offer, int(self.arrived), self.items])


class Stored(NamedTuple):
    """All of an Offer is on disk but the refused ones. `stored` of them were new."""

    offer: int
    refused: tuple[tuple[bytes, int], ...]
    """Id and Refusal."""
    stored: int

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.offer, [[*refused] for refused in self.refused], self.stored])


class Close(NamedTuple):
    """Ends a round. `code` is an Ending, or unknown to us."""

    round: int
    code: int
    text: str

    def encode(self) -> bytes:
        """The packet."""
        return rlp.encode([self.round, self.code, self.text.encode()])


Packet = Status | Open | Reconcile | Want | Seek | Found | Envelopes | Offer | Stored | Close
"""Any packet."""

CODES: dict[type[Packet], Code] = {
    Status: Code.STATUS,
    Open: Code.OPEN,
    Reconcile: Code.RECONCILE,
    Want: Code.WANT,
    Seek: Code.SEEK,
    Found: Code.FOUND,
    Envelopes: Code.ENVELOPES,
    Offer: Code.OFFER,
    Stored: Code.STORED,
    Close: Code.CLOSE,
}


def decode(code: int, data: bytes) -> Packet | None:
    """Read a packet; None for a code that is not known. SyncMalformed."""
    if code not in CODES.values():
        return None
    with _malformed(code):
        if code == Code.ENVELOPES:
            return _read_envelopes(rlp.split_list(data))
        return _READERS[code](rlp.as_list(rlp.decode(data, max_items=5 * MAX_ITEMS)))


@contextmanager
def _malformed(code: int) -> Iterator[None]:
    try:
        yield
    except RlpError as error:
        raise SyncMalformed(f"packet {Code(code).name.lower()}: {error}") from error


def _first(items: Sequence[T], count: int) -> Sequence[T]:
    """The elements that are read; more are ignored."""
    if len(items) < count:
        raise RlpError(f"{len(items)} elements, not {count}")
    return items[:count]


def _time(item: rlp.Item) -> int:
    return rlp.as_int(item, bits=33)


def _read_status(items: list[rlp.Item]) -> Status:
    horizon, now, topics, bits, max_envelope = _first(items, 5)
    (min_pow,) = struct.unpack(">d", rlp.as_int(bits).to_bytes(8, "big"))
    if not 0 <= min_pow < float("inf"):
        raise RlpError("a minimum PoW is finite and not negative")
    return Status(
        _time(horizon),
        rlp.as_int(now),
        rlp.as_bytes(topics, ID_SIZE),
        min_pow,
        rlp.as_int(max_envelope, bits=32),
    )


def _read_open(items: list[rlp.Item]) -> Open:
    number, lower, upper, message = _first(items, 4)
    opened = Open(rlp.as_int(number), _time(lower), _time(upper), rlp.as_bytes(message))
    if not opened.lower < opened.upper <= MAX_TIME + 1:
        raise RlpError(f"a window from {opened.lower} to {opened.upper}")
    return opened


def _read_reconcile(items: list[rlp.Item]) -> Reconcile:
    number, message = _first(items, 2)
    return Reconcile(rlp.as_int(number), rlp.as_bytes(message))


def _read_items(item: rlp.Item, size: int = ITEM_SIZE) -> bytes:
    packed = rlp.as_bytes(item)
    if not packed or len(packed) % size or len(packed) > size * MAX_ITEMS:
        raise RlpError(f"{len(packed)} bytes of items")
    return packed


def _read_want(items: list[rlp.Item]) -> Want:
    number, wanted = _first(items, 2)
    return Want(rlp.as_int(number), _read_items(wanted))


def _read_seek(items: list[rlp.Item]) -> Seek:
    number, runs, locates = _first(items, 3)
    seek = Seek(
        rlp.as_int(number),
        tuple(map(_read_run, rlp.as_list(runs, at_least=1))),
        bool(rlp.as_int(locates, bits=1)),
    )
    if sum(len(run.ids) for run in seek.runs) > ID_SIZE * MAX_ITEMS:
        raise RlpError(f"more than {MAX_ITEMS} ids")
    return seek


def _read_found(items: list[rlp.Item]) -> Found:
    number, found = _first(items, 2)
    return Found(rlp.as_int(number), _read_items(found) if found else b"")


def _read_run(item: rlp.Item) -> Run:
    lower, upper, ids = rlp.as_list(item, at_least=3, at_most=3)
    run = Run(rlp.as_int(lower, bits=32), rlp.as_int(upper, bits=32), _read_items(ids, ID_SIZE))
    if run.first > run.last:
        raise RlpError(f"a run from {run.first} to {run.last}")
    return run


def _read_envelopes(items: list[bytes]) -> Envelopes:
    number, last, envelopes = _first(items, 3)
    return Envelopes(
        rlp.as_int(rlp.decode(number)), bool(rlp.as_int(rlp.decode(last), bits=1)), envelopes
    )


def _read_offer(items: list[rlp.Item]) -> Offer:
    number, arrived, offered = _first(items, 3)
    return Offer(rlp.as_int(number), bool(rlp.as_int(arrived, bits=1)), _read_items(offered))


def _read_stored(items: list[rlp.Item]) -> Stored:
    number, refused, stored = _first(items, 3)
    return Stored(
        rlp.as_int(number),
        tuple(map(_read_refused, rlp.as_list(refused, at_most=MAX_ITEMS))),
        rlp.as_int(stored, bits=32),
    )


def _read_refused(item: rlp.Item) -> tuple[bytes, int]:
    identity, code = rlp.as_list(item, at_least=2, at_most=2)
    return rlp.as_bytes(identity, ID_SIZE), rlp.as_int(code, bits=8)


def _read_close(items: list[rlp.Item]) -> Close:
    number, code, text = _first(items, 3)
    return Close(
        rlp.as_int(number), rlp.as_int(code, bits=8), printable(rlp.as_bytes(text), MAX_TEXT)
    )


_READERS: dict[int, Callable[[list[rlp.Item]], Packet]] = {
    Code.STATUS: _read_status,
    Code.OPEN: _read_open,
    Code.RECONCILE: _read_reconcile,
    Code.WANT: _read_want,
    Code.SEEK: _read_seek,
    Code.FOUND: _read_found,
    Code.OFFER: _read_offer,
    Code.STORED: _read_stored,
    Code.CLOSE: _read_close,
}
