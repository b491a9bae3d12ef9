"""Two sides that reconcile in memory."""

import hashlib
from collections.abc import Iterable

from tests.vectors import NEGENTROPY
from wakumail.archive.results import Bound, Fold
from wakumail.mail.sync.initiator import FEW_TO_ASK, Initiator
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.items import ALL_TIMES, ITEM_SIZE, Items, Window
from wakumail.mail.sync.responder import answer

Item = tuple[int, bytes]
"""created, and an id of 32 bytes."""


def pack(items: Iterable[Item]) -> bytes:
    return b"".join(created.to_bytes(4, "big") + id_ for created, id_ in items)


def unpack(packed: bytes) -> list[Item]:
    pieces = (packed[at : at + ITEM_SIZE] for at in range(0, len(packed), ITEM_SIZE))
    return [(int.from_bytes(piece[:4], "big"), piece[4:]) for piece in pieces]


def make_items(name: str, times: Iterable[int]) -> list[Item]:
    """Items with the given times, and ids that hang on the name and their number."""
    return [
        (created, hashlib.sha256(f"{name}:{number}".encode()).digest())
        for number, created in enumerate(times)
    ]


class Conversation:
    """A whole reconciliation: what each side said, and what the initiator learned."""

    def __init__(
        self,
        ours: Items,
        theirs: Items,
        window: Window = ALL_TIMES,
        *,
        frame_limit: int = 0,
        their_limit: int | None = None,
        few: int = FEW_TO_ASK,
    ) -> None:
        limit = frame_limit if their_limit is None else their_limit
        self.initiator = Initiator(window, frame_limit=frame_limit, few=few)
        self.messages: list[tuple[bytes, bytes]] = []
        message: bytes | None = self.initiator.begin(ours)
        while message is not None:
            said = answer(message, theirs, window, frame_limit=limit)
            self.messages.append((message, said))
            message = self.initiator.take(said, ours)

    @property
    def have(self) -> list[Item]:
        return unpack(self.initiator.have)

    @property
    def need(self) -> list[bytes]:
        return [
            wanted.ids[at : at + 32]
            for wanted in self.initiator.need
            for at in range(0, len(wanted.ids), 32)
        ]


def recorded(name: str) -> tuple[list[Item], list[Item], int, list[tuple[bytes, bytes]]]:
    """A case of the vectors: the items of the initiator and the responder, limit, messages."""
    case = next(each for each in NEGENTROPY["cases"] if each["name"] == name)
    steps = {
        None: 0,
        "created = 1700000000": 0,
        "created = 1700000000 + 17 * i": 17,
    }
    step = steps[case["rule"]]
    times = case["created"] or [1_700_000_000 + step * number for number in range(case["count"])]
    items = make_items(name, times)
    ours, theirs = (
        [item for number, item in enumerate(items) if number not in set(case[f"{side}_lacks"])]
        for side in ("initiator", "responder")
    )
    messages = [(bytes.fromhex(said), bytes.fromhex(told)) for said, told in case["messages"]]
    return ours, theirs, case["frame_limit"], messages


class CoarseItems:
    """Items that are split at whole minutes where a range spans some, as an archive splits them.

    cost: bytes that count as hashed for each id that is read.
    """

    def __init__(self, items: Iterable[Item], *, cost: int = 0) -> None:
        self.held = ItemSet(pack(items))
        self.hashed = 0
        self._cost = cost

    def fold(self, lower: Bound, upper: Bound) -> Fold:
        return self.held.fold(lower, upper)

    def ids(self, lower: Bound, upper: Bound, limit: int) -> bytes:
        told = self.held.ids(lower, upper, limit)
        self.hashed += self._cost * (len(told) // ITEM_SIZE)
        return told

    def split(self, lower: Bound, upper: Bound, parts: int) -> list[tuple[Bound, Fold]]:
        times = [created for created, _ in unpack(self.held.ids(lower, upper, len(self.held)))]
        minutes = sorted({created // 60 for created in times})
        if len(minutes) == 1:
            return self.held.split(lower, upper, parts)
        chosen = minutes[1 :: max(1, len(minutes) // parts)][: parts - 1]
        ends = [*(Bound(60 * minute, b"") for minute in chosen), upper]
        starts = [lower, *ends]
        return [(end, self.fold(start, end)) for start, end in zip(starts, ends, strict=False)]
