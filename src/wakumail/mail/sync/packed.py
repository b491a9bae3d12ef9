"""Packed items and ids: cut into packets, and chosen by their times."""

from collections.abc import Iterable, Iterator

from wakumail.mail.sync.id_set import IdSet, ids_of
from wakumail.mail.sync.items import ID_SIZE, ITEM_SIZE, TIME_SIZE, Run
from wakumail.mail.sync.packets import MAX_ITEMS, Seek, Want


def in_packets(items: bytes) -> Iterator[bytes]:
    """The items in pieces, each of which fits into a packet."""
    size = MAX_ITEMS * ITEM_SIZE
    for start in range(0, len(items), size):
        yield items[start : start + size]


def by_items(items: bytes) -> Iterator[tuple[Want, bytes]]:
    """Wants for items, and the ids of each."""
    for some in in_packets(items):
        yield Want(0, some), ids_of(some)


def by_runs(runs: Iterable[Run]) -> Iterator[tuple[Seek, bytes]]:
    """Wants for ids, and the ids of each: as many runs together as fit into one."""
    some: list[Run] = []
    room = MAX_ITEMS
    for run in runs:
        ids = run.ids
        while ids:
            some.append(run._replace(ids=ids[: room * ID_SIZE]))
            ids = ids[room * ID_SIZE :]
            room -= len(some[-1].ids) // ID_SIZE
            if not room:
                yield Seek(0, tuple(some)), b"".join(each.ids for each in some)
                some, room = [], MAX_ITEMS
    if some:
        yield Seek(0, tuple(some)), b"".join(each.ids for each in some)


def are_some_of(ids: bytes, of: bytes) -> bool:
    """True if each of these ids is one of `of`, and none comes twice; `of` has none twice."""
    left = IdSet()
    left.add(of)
    left.discard(ids)
    return len(left) * ID_SIZE == len(of) - len(ids)


def in_window(items: bytes, first: int, last: int) -> bytes:
    """The items that were created from second `first` to `last`."""
    lower, upper = (max(0, each).to_bytes(TIME_SIZE, "big") for each in (first, last))
    pieces = (items[at : at + ITEM_SIZE] for at in range(0, len(items), ITEM_SIZE))
    return b"".join(piece for piece in pieces if lower <= piece[:TIME_SIZE] <= upper)
