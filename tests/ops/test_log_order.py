"""The order of the log, against a model that knows everything: whatever comes in whatever order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.ops.cluster.log_order import Hole, LogOrder


def test_our_own_messages_are_passed_when_those_before_them_have_come() -> None:
    order = LogOrder(4)
    order.acknowledge(6)
    assert order.has(6)
    assert not order.has(5)
    assert order.place == order.head == 4
    assert order.read(5)
    assert order.place == order.head == 6
    order.acknowledge(6)
    order.acknowledge(7)
    assert order.place == order.head == 7
    assert not order.read(5)


def test_a_hole_leaves_out_our_own_messages() -> None:
    order = LogOrder(0)
    order.acknowledge(2)
    order.acknowledge(5)
    order.leave_out(6)
    assert order.holes == [Hole(1, 1), Hole(3, 4), Hole(6, 6)]
    order.acknowledge(3)
    assert order.holes == [Hole(1, 1), Hole(4, 4), Hole(6, 6)]


def test_a_bounded_number_of_our_own_messages_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wakumail.ops.cluster.log_order.MAX_AHEAD", 2)
    order = LogOrder(0)
    for sequence in (2, 3, 4):
        order.acknowledge(sequence)
    assert order.read(1)
    assert order.head == 3
    assert order.read(4)


def test_a_message_that_leaves_others_out_is_refused() -> None:
    order = LogOrder(0)
    with pytest.raises(ValueError, match="2 does not follow 0"):
        order.read(2)


def test_the_place_stays_before_a_hole() -> None:
    order = LogOrder(0)
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
    order = LogOrder(0)
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
    order = LogOrder(0)
    came: set[int] = set()
    places = [0]
    for action, sequence in actions:
        if action == "own":
            order.acknowledge(sequence)
            came.add(sequence)
        elif action == "read" and sequence <= order.head + 1:
            assert order.read(sequence) == (sequence not in came)
            came.add(sequence)
        elif action == "leave":
            order.leave_out(sequence)
        elif action == "fill" and order.fill(sequence, sequence):
            came.add(sequence)
        assert all(order.has(number) == (number in came) for number in range(1, 13))
        assert came >= set(range(1, order.place + 1))
        holes = [number for hole in order.holes for number in range(hole.first, hole.last + 1)]
        assert holes == sorted(set(holes))
        assert len(holes) == order.missing
        places.append(order.place)
    assert places == sorted(places)
