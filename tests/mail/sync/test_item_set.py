"""Items in memory, against a list of Python's."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reconciling import Item, make_items, pack, unpack
from wakumail.archive.results import Bound, Fold
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.items import END, START
from wakumail.mail.sync.message_writer import fingerprint

ids = st.binary(min_size=1, max_size=2).map(lambda start: start.ljust(32, b"\xff"))
ids |= st.binary(min_size=32, max_size=32)
times = st.integers(0, 4) | st.sampled_from([2**31, 2**32 - 1])
items = st.tuples(times, ids)
bounds = st.builds(Bound, times | st.just(2**64 - 1), st.binary(max_size=2) | ids)


def between(known: list[Item], lower: Bound, upper: Bound) -> list[Item]:
    first, end = ((bound.time, bound.prefix.ljust(32, b"\0")) for bound in (lower, upper))
    return sorted(item for item in {*known} if first <= item < end)


def fold(known: list[Item]) -> Fold:
    total = sum(int.from_bytes(id_, "little") for _, id_ in known) % 2**256
    return Fold(len(known), total.to_bytes(32, "little"))


@given(st.lists(items, max_size=30), bounds, bounds, st.integers(0, 40))
def test_folds_and_ids(known: list[Item], lower: Bound, upper: Bound, limit: int) -> None:
    held = ItemSet(pack(known))
    inside = between(known, lower, upper)
    assert held.fold(lower, upper) == fold(inside)
    assert unpack(held.ids(lower, upper, limit)) == inside[:limit]
    assert len(held) == len({*known})
    assert held.hashed == 0


@given(st.lists(items, min_size=1, max_size=60), bounds, bounds, st.integers(1, 20))
def test_parts(known: list[Item], lower: Bound, upper: Bound, parts: int) -> None:
    """They have the counts of the reference, and the shortest bounds that separate them."""
    held, inside = ItemSet(pack(known)), between(known, lower, upper)
    if not inside:
        with pytest.raises(ValueError, match="nothing"):
            held.split(lower, upper, parts)
        return
    told = held.split(lower, upper, parts)
    parts = min(parts, len(inside))
    share, larger = divmod(len(inside), parts)
    assert [part.count for _, part in told] == [share + 1] * larger + [share] * (parts - larger)
    assert told[-1][0] == upper
    at = 0
    for bound, part in told[:-1]:
        assert part == fold(inside[at : at + part.count])
        at += part.count
        assert bound == shortest(inside[at - 1], inside[at])


def shortest(before: Item, item: Item) -> Bound:
    candidates = (Bound(item[0], item[1][:size]) for size in range(33))
    return next(c for c in candidates if before < (c.time, c.prefix.ljust(32, b"\0")) <= item)


def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="36"):
        ItemSet(bytes(37))
    with pytest.raises(ValueError, match="32"):
        ItemSet(b"").fold(START, Bound(1, bytes(33)))


def test_many_items_fold_to_a_sum_that_overflows() -> None:
    known = make_items("overflow", range(10_000))
    assert ItemSet(pack(known)).fold(START, END) == fold(known)


@pytest.mark.parametrize("count", [0, 1, 127, 128, 16_383, 16_384, 2**63])
def test_fingerprints(count: int) -> None:
    """SHA-256 over the sum and the varint of the count."""
    groups = [count >> shift & 0x7F for shift in range(0, 70, 7)]
    while len(groups) > 1 and not groups[-1]:
        groups.pop()
    number = bytes([0x80 | group for group in reversed(groups[1:])] + [groups[0]])
    total = hashlib.sha256(b"sum").digest()
    assert fingerprint(Fold(count, total)) == hashlib.sha256(total + number).digest()[:16]
