"""Against conversations of the C++ reference implementation: all messages, byte for byte."""

import pytest

from tests.support.reconciling import Conversation, pack, recorded
from tests.vectors import NEGENTROPY
from wakumail.mail.sync.initiator import FEW_TO_ASK, Initiator
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.reply import FEW
from wakumail.mail.sync.responder import answer

CASES = [case["name"] for case in NEGENTROPY["cases"]]


@pytest.mark.parametrize("name", CASES)
def test_our_initiator_says_what_theirs_did(name: str) -> None:
    ours, _, frame_limit, messages = recorded(name)
    items = ItemSet(pack(ours))
    initiator = Initiator(frame_limit=frame_limit, few=FEW)
    said = [initiator.begin(items), *(initiator.take(told, items) for _, told in messages)]
    assert said == [*(message for message, _ in messages), None]


@pytest.mark.parametrize("name", CASES)
def test_our_responder_says_what_theirs_did(name: str) -> None:
    _, theirs, frame_limit, messages = recorded(name)
    items = ItemSet(pack(theirs))
    said = [answer(message, items, frame_limit=frame_limit) for message, _ in messages]
    assert said == [told for _, told in messages]


@pytest.mark.parametrize("few", [FEW_TO_ASK, FEW])
@pytest.mark.parametrize("name", CASES)
def test_every_difference_is_found_once(name: str, few: int) -> None:
    ours, theirs, frame_limit, _ = recorded(name)
    one, other = ItemSet(pack(ours)), ItemSet(pack(theirs))
    found = Conversation(one, other, frame_limit=frame_limit, few=few)
    assert found.have == sorted({*ours} - {*theirs})
    assert sorted(found.need) == sorted(id_ for _, id_ in {*theirs} - {*ours})
    assert not found.initiator.full
