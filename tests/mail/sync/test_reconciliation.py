"""Whole reconciliations: any two sets end equal, and nothing grows without bound."""

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reconciling import CoarseItems, Conversation, Item, make_items, pack, unpack
from wakumail.archive.results import Bound
from wakumail.mail.sync import initiator as initiators
from wakumail.mail.sync import reply
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.items import END, START, Items, Window
from wakumail.mail.sync.message_errors import IdOutside, MessageTruncated, TripsEndless
from wakumail.mail.sync.message_reader import IDS, MAX_MESSAGE, MessageReader
from wakumail.mail.sync.message_writer import MessageWriter
from wakumail.mail.sync.responder import answer

NOW = 1_700_000_000
DAY = make_items("day", range(NOW, NOW + 86400, 17))
SECOND = make_items("second", [NOW] * 3000)


def in_memory(items: Iterable[Item]) -> Items:
    return ItemSet(pack(items))


Holding = Callable[[Iterable[Item]], Items]
holdings = st.sampled_from([in_memory, CoarseItems])


def assert_found(
    found: Conversation, ours: Iterable[Item], theirs: Iterable[Item], window: Window | None = None
) -> None:
    """All differences inside the window, each once; each lacking one within its span of times."""

    def inside(item: Item) -> bool:
        return window is None or window.first <= item[0] < window.end

    assert found.have == sorted(filter(inside, {*ours} - {*theirs}))
    lacking = {id_: created for created, id_ in filter(inside, {*theirs} - {*ours})}
    assert sorted(found.need) == sorted(lacking)
    for wanted in found.initiator.need:
        for at in range(0, len(wanted.ids), 32):
            assert wanted.first <= lacking[wanted.ids[at : at + 32]] <= wanted.last
    assert not found.initiator.full


class Sides(NamedTuple):
    """Items in common, but for the numbers that a side lacks.

    Times are spread, or crowded into few seconds, or at the edges of what 32 bits hold.
    """

    amount: int
    start: int
    step: int
    lacking: tuple[set[int], set[int]]
    run: tuple[range, range]

    def items(self) -> tuple[list[Item], list[Item]]:
        known = make_items("any", (self.start + self.step * n for n in range(self.amount)))
        known.append((2**32 - 1, bytes(32)))
        ours, theirs = (
            [item for number, item in enumerate(known) if number not in few and number not in run]
            for few, run in zip(self.lacking, self.run, strict=True)
        )
        return ours, theirs


numbers = st.integers(0, 3000)
few = st.sets(numbers, max_size=40)
runs = st.builds(lambda at, length: range(at, at + length), numbers, st.just(0) | numbers)
two_sides = st.builds(
    Sides,
    st.sampled_from([0, 1, 31, 32, 33, 200, 3000]),
    st.sampled_from([0, NOW, 2**31 - 100, 2**32 - 2**17]),
    st.sampled_from([0, 1, 17]),
    st.tuples(few, few),
    st.tuples(runs, runs),
)

frame_limits = st.sampled_from([0, reply.MIN_FRAME_LIMIT, 5000, 20_000, MAX_MESSAGE])


@given(two_sides, holdings, holdings, frame_limits, frame_limits)
def test_any_two_sets_end_equal(
    sides: Sides, one: Holding, other: Holding, limit: int, their_limit: int
) -> None:
    ours, theirs = sides.items()
    found = Conversation(one(ours), other(theirs), frame_limit=limit, their_limit=their_limit)
    assert_found(found, ours, theirs)
    for said, told in found.messages:
        assert not limit or len(said) <= limit
        assert not their_limit or len(told) <= their_limit


@given(two_sides, holdings, st.integers(-2000, 2000), st.integers(0, 60_000), frame_limits)
def test_what_lies_outside_the_window_is_left_alone(
    sides: Sides, hold: Holding, offset: int, length: int, limit: int
) -> None:
    ours, theirs = sides.items()
    first = max(0, min(ours + theirs, default=(0, b""))[0] + offset)
    window = Window(first, first + length)
    found = Conversation(hold(ours), hold(theirs), window, frame_limit=limit)
    assert_found(found, ours, theirs, window)


@pytest.mark.parametrize("hold", [in_memory, CoarseItems])
def test_equal_sides_need_one_trip(hold: Holding) -> None:
    found = Conversation(hold(DAY), hold(DAY), frame_limit=MAX_MESSAGE)
    assert found.initiator.trips == 1
    assert [len(told) for _, told in found.messages] == [1]
    assert len(found.messages[0][0]) < 500


@pytest.mark.parametrize("hold", [in_memory, CoarseItems])
def test_an_empty_side(hold: Holding) -> None:
    for ours, theirs in ([], DAY), (DAY, []), ([], SECOND), (SECOND, []):
        found = Conversation(hold(ours), hold(theirs), frame_limit=20_000)
        assert_found(found, ours, theirs)


@pytest.mark.parametrize("hold", [in_memory, CoarseItems])
def test_scattered_losses_take_fewer_bytes_than_the_reference(hold: Holding) -> None:
    """Of few items that differ, parts are compared before ids are told, in as many trips."""
    ours = [each for number, each in enumerate(DAY) if number % 50]
    ways = [
        Conversation(hold(ours), hold(DAY), few=few) for few in (reply.FEW, initiators.FEW_TO_ASK)
    ]
    sizes = [sum(map(len, itertools.chain(*way.messages))) for way in ways]
    trips = [way.initiator.trips for way in ways]
    assert sizes[1] < 0.7 * sizes[0]
    assert trips[1] <= trips[0]
    for way in ways:
        assert_found(way, ours, DAY)


def test_a_version_that_we_do_not_speak_is_answered_with_ours() -> None:
    for version in (0x60, 0x62, 0x6F):
        assert answer(bytes([version]) + b"anything", ItemSet(b"")) == b"\x61"


def test_frame_limits_that_are_none() -> None:
    for limit in (-1, 1, reply.MIN_FRAME_LIMIT - 1, MAX_MESSAGE + 1):
        with pytest.raises(ValueError, match="frame limit"):
            answer(b"\x61", ItemSet(b""), frame_limit=limit)
        with pytest.raises(ValueError, match="frame limit"):
            Initiator(frame_limit=limit).begin(ItemSet(b""))


@pytest.mark.parametrize(("ours", "theirs"), [(DAY, []), ([], DAY), (DAY[::2], DAY[1::2])])
def test_differences_are_found_in_portions(ours: list[Item], theirs: list[Item]) -> None:
    """A side that transfers what was found, and begins again, gets everything."""
    mine, yours = {*ours}, {*theirs}
    rounds = 0
    full = True
    while full:
        initiator = Initiator(frame_limit=20_000, max_differences=700)
        holding, held = in_memory(mine), in_memory(yours)
        message: bytes | None = initiator.begin(holding)
        while message is not None:
            message = initiator.take(answer(message, held, frame_limit=20_000), holding)
        have, need = {*unpack(initiator.have)}, {w.ids for w in initiator.need}
        assert len(have) <= 700 + reply.PIECE
        assert sum(map(len, need)) <= 700 * 32 + 20_000
        assert have or need or not initiator.full
        got = {item for item in yours if any(item[1] in ids for ids in need)}
        mine, yours = mine | got, yours | have
        full = initiator.full
        rounds += 1
    assert mine == yours == {*ours} | {*theirs}
    assert rounds >= 4


@pytest.mark.parametrize(
    ("ours", "theirs", "trips"),
    [([], DAY, 8), ([], SECOND, 5), (DAY[::2], DAY[1::2], 7), (SECOND[5:], SECOND[:-5], 2)],
    ids=["empty-day", "empty-second", "halves", "ends"],
)
def test_a_message_that_would_hash_too_much_is_cut(
    ours: list[Item], theirs: list[Item], trips: int
) -> None:
    """The cost of one answer has a bound, and the whole still ends equal."""
    cost = reply.MAX_HASHED // 500
    one, other = CoarseItems(ours), CoarseItems(theirs, cost=cost)
    initiator = Initiator()
    message: bytes | None = initiator.begin(one)
    while message is not None:
        before = other.hashed
        told = answer(message, other)
        assert other.hashed - before <= reply.MAX_HASHED + (reply.PIECE + 1) * cost
        message = initiator.take(told, one)
    assert unpack(initiator.have) == sorted({*ours} - {*theirs})
    needed = b"".join(wanted.ids for wanted in initiator.need)
    assert len(needed) == 32 * len({*theirs} - {*ours})
    assert initiator.trips >= trips


def test_an_initiator_that_hashes_too_much_cuts_its_messages() -> None:
    ours, theirs = DAY[::3], DAY[1::3] + DAY[::3][::50]
    initiator = Initiator()
    items = CoarseItems(ours, cost=reply.MAX_HASHED // 500)
    message: bytes | None = initiator.begin(items)
    while message is not None:
        message = initiator.take(answer(message, in_memory(theirs)), items)
    assert unpack(initiator.have) == sorted({*ours} - {*theirs})
    assert initiator.trips > 5


def test_a_difference_that_is_told_twice_counts_once() -> None:
    """A skip that is cut with the range behind it has its ids told again."""
    items = make_items("any0", [0] * 3000)
    found = Conversation(CoarseItems(items), in_memory(items[:600]), their_limit=4096)
    told = 0
    for _, said in found.messages:
        lower = START
        for upper, mode, ids in MessageReader(said):
            if mode == IDS:  # all that the responder has, we have too
                told += ItemSet(pack(items)).fold(lower, upper).count - len(ids) // 32
            lower = upper
    assert told > 2400
    assert_found(found, items, items[:600])


def test_an_id_where_the_window_has_no_place() -> None:
    initiator = Initiator(Window(NOW, NOW + 60))
    items = ItemSet(pack(DAY))
    initiator.begin(items)
    for upper in (Bound(NOW, b""), Bound(NOW, b"")):
        writer = MessageWriter()
        writer.add_ids(upper, bytes(36))
        with pytest.raises(IdOutside):
            initiator.take(bytes(writer), items)
    writer = MessageWriter()
    writer.add_skip(Bound(NOW + 60, b""))
    writer.add_ids(END, bytes(36))
    with pytest.raises(IdOutside):
        initiator.take(bytes(writer), items)
    assert initiator.need == []


def test_a_responder_that_never_agrees() -> None:
    """Fingerprints of nothing: each makes us tell more, and the next answer the same again."""
    initiator = Initiator()
    items = ItemSet(pack(DAY))
    initiator.begin(items)
    writer = MessageWriter()
    writer.add_fingerprint(END, (0, b"a lie".ljust(32)))
    for _ in range(initiators.MAX_TRIPS - 1):
        assert initiator.take(bytes(writer), items)
    with pytest.raises(TripsEndless):
        initiator.take(bytes(writer), items)


def test_a_responder_that_repeats_itself() -> None:
    """Ids without end are taken up to a bound."""
    initiator = Initiator(max_differences=1000)
    items = ItemSet(pack(DAY))
    initiator.begin(items)
    writer = MessageWriter()
    for start in range(0, 1100, 100):
        lies = [(NOW, number.to_bytes(32, "big")) for number in range(start, start + 100)]
        writer.add_ids(Bound(start + 1, b""), pack(lies))
    assert initiator.take(bytes(writer), items) is None
    assert initiator.full
    assert sum(len(wanted.ids) for wanted in initiator.need) == 32 * 1000


def test_a_broken_answer_changes_nothing() -> None:
    ours, theirs = in_memory(DAY[10:]), in_memory(DAY[:-10])
    initiator = Initiator()
    told = answer(initiator.begin(ours), theirs)
    with pytest.raises(MessageTruncated):
        initiator.take(told[:-1], ours)
    assert not initiator.need
    assert not initiator.have
    assert initiator.trips == 1


def test_the_rest_after_the_last_ids_of_all() -> None:
    """The frame limit is passed by the last id: a fingerprint of nothing follows infinity."""
    for count in range(1, 200):
        theirs = make_items("rest", range(count))
        told = answer(b"\x61\x00\x00\x02\x00", in_memory(theirs), frame_limit=4096)
        ends = [upper for upper, _, _ in MessageReader(told)]
        if ends == [END, END]:
            assert_found(
                Conversation(in_memory([]), in_memory(theirs), frame_limit=4096), [], theirs
            )
            return
    pytest.fail("no such answer")


def test_what_was_handed_over_is_found_again_once_it_is_forgotten() -> None:
    ours, theirs = in_memory(DAY[10:]), in_memory(DAY[:-10])
    initiator = Initiator()

    def finds() -> tuple[list[Item], bytes]:
        message: bytes | None = initiator.begin(ours)
        while message is not None:
            message = initiator.take(answer(message, theirs), ours)
        have, need = initiator.hand_over()
        assert (initiator.have, initiator.need) == (b"", [])
        return unpack(have), b"".join(run.ids for run in need)

    have, need = finds()
    assert have == sorted(DAY[-10:])
    assert need == b"".join(id_ for _, id_ in DAY[:10])
    assert finds() == ([], b"")
    initiator.forget(need)
    assert finds() == ([], need)


def test_a_long_reconciliation_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large envelopes are few to a message, and there may be more of them than messages."""
    monkeypatch.setattr(initiators, "ENOUGH_TRIPS", 3)
    one, other = in_memory([]), CoarseItems(DAY, cost=reply.MAX_HASHED // 20)
    initiator = Initiator()
    message: bytes | None = initiator.begin(one)
    while message is not None:
        message = initiator.take(answer(message, other), one)
    assert initiator.full
    assert initiator.trips == 3
    assert 0 < sum(len(run.ids) for run in initiator.need) < 32 * len(DAY)
