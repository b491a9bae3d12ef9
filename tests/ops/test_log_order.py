"""The order of the log, against a model that knows everything: whatever comes in whatever order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.ops.cluster.log_order import Hole, LogOrder


def test_our_own_messages_wait_for_their_turn() -> None:
    order: LogOrder[str] = LogOrder(4)
    assert order.acknowledge(6, "own")
    assert order.next_own() is None
    assert [*order.wanted] == [5, 5]
    assert order.read(5)
    assert order.next_own() == "own"
    assert [*order.wanted] == [7, None]
    assert order.place == order.head == 6
    assert not order.acknowledge(6, "again")
    assert not order.read(5)


def test_a_message_that_leaves_others_out_is_refused() -> None:
    order: LogOrder[str] = LogOrder(0)
    with pytest.raises(ValueError, match="2 does not follow 0"):
        order.read(2)


def test_the_place_stays_before_a_hole() -> None:
    order: LogOrder[str] = LogOrder(0)
    order.leave_out(2)
    assert order.read(3)
    order.leave_out(5)
    assert order.holes == [Hole(1, 2), Hole(4, 5)]
    assert (order.place, order.head, order.missing) == (0, 5, 4)
    assert order.read(1)
    assert order.place == 1
    assert order.fill(2, 4)
    assert order.holes == [Hole(5, 5)]
    assert order.place == 4
    assert not order.fill(1, 4)
    assert order.fill(1, 9)
    assert order.place == order.head == 5


def test_holes_that_touch_are_one() -> None:
    order: LogOrder[str] = LogOrder(0)
    order.leave_out(1)
    order.leave_out(2)
    assert order.holes == [Hole(1, 2)]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("own"), st.integers(1, 12)),
            st.tuples(st.just("read"), st.integers(1, 12)),
            st.tuples(st.just("leave"), st.integers(1, 12)),
            st.tuples(st.just("fill"), st.integers(1, 12)),
        ),
        max_size=40,
    )
)
@settings(max_examples=300, deadline=None)
def test_nothing_is_passed_that_did_not_come(actions: list[tuple[str, int]]) -> None:
    order: LogOrder[int] = LogOrder(0)
    came: set[int] = set()
    places = [0]
    for action, sequence in actions:
        if action == "own":
            if not order.acknowledge(sequence, sequence):
                came.add(sequence)  # it is stored again, without a place
                assert sequence <= order.head
        elif action == "read" and sequence <= order.head + 1:
            before = sequence in came
            new = order.read(sequence)
            assert new or before or sequence <= order.head
            came.add(sequence)
        elif action == "leave":
            _, before_own = order.wanted
            order.leave_out(sequence if before_own is None else min(sequence, before_own))
        elif action == "fill" and order.fill(sequence, sequence):
            came.add(sequence)
        while (own := order.next_own()) is not None:
            assert own == order.head
            came.add(own)
        assert came >= set(range(1, order.place + 1))
        holes = [number for hole in order.holes for number in range(hole.first, hole.last + 1)]
        assert holes == sorted(set(holes))
        assert len(holes) == order.missing
        places.append(order.place)
    assert places == sorted(places)
