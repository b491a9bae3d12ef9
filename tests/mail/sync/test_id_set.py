"""Sets of ids, against a set of Python's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.reconciling import pack
from wakumail.mail.sync.id_set import IdSet, ids_of

few = st.integers(0, 40).map(lambda number: bytes([number % 7, number]) * 16)
lists = st.lists(few | st.binary(min_size=32, max_size=32), max_size=60)
steps = st.lists(st.tuples(st.sampled_from(["add", "discard"]), lists), max_size=12)


@given(steps, lists)
def test_a_set(steps: list[tuple[str, list[bytes]]], asked: list[bytes]) -> None:
    held, model = IdSet(), set[bytes]()
    for step, ids in steps:
        if step == "add":
            fresh = [id_ for id_ in dict.fromkeys(ids) if id_ not in model]
            assert held.add(b"".join(ids)) == b"".join(fresh)
            model.update(ids)
        else:
            held.discard(b"".join(ids))
            model.difference_update(ids)
        assert len(held) == len(model)
    left = [id_ for id_ in asked if id_ not in model]
    assert held.without(b"".join(asked)) == b"".join(left)
    items = pack((number, id_) for number, id_ in enumerate(asked))
    lacking = pack((number, id_) for number, id_ in enumerate(asked) if id_ not in model)
    assert held.without_items(items) == lacking
    assert ids_of(items) == b"".join(asked)


def test_thousands_come_and_go() -> None:
    ids = [number.to_bytes(32, "big") for number in range(20_000)]
    held = IdSet()
    assert held.add(b"".join(ids)) == b"".join(ids)
    held.discard(b"".join(ids[::2]))
    assert held.without(b"".join(ids)) == b"".join(ids[::2])
    held.discard(b"".join(ids))
    assert len(held) == 0


@pytest.mark.parametrize("size", [1, 31, 33, 65])
def test_a_part_of_an_id(size: int) -> None:
    held = IdSet()
    for work in (held.add, held.discard, held.without, held.without_items, ids_of):
        held.add(bytes(32))
        with pytest.raises(ValueError, match="bytes are no multiple of"):
            work(bytes(size))
