"""Keys and their ids: made, added, read, deleted, bounded."""

import os
import re

import pytest

from wakumail.devp2p.keys import private_key
from wakumail.node import keystore
from wakumail.node.keystore import KeysFull, KeyStore, KeyUnknown

SECRET = bytes(31) + b"\x07"
SYMMETRIC = bytes(range(32))


def test_key_pairs() -> None:
    store = KeyStore(os.urandom)
    made, added = store.new_key_pair(), store.add_private_key(private_key(SECRET))
    assert store.private_key(added).secret == SECRET
    assert store.private_key(added).public_key == private_key(SECRET).public_key
    assert store.private_key(made).secret != SECRET
    assert store.has_key_pair(made)
    assert store.has_key_pair(added)
    assert store.delete_key_pair(made)
    assert not store.delete_key_pair(made)
    assert not store.has_key_pair(made)
    assert store.has_key_pair(added)
    with pytest.raises(KeyUnknown, match=made):
        store.private_key(made)


def test_symmetric_keys() -> None:
    store = KeyStore(os.urandom)
    made, added = store.new_symmetric_key(), store.add_symmetric_key(SYMMETRIC)
    assert store.symmetric_key(added) == SYMMETRIC
    assert len(store.symmetric_key(made)) == 32
    assert store.symmetric_key(made) != SYMMETRIC
    assert store.has_symmetric_key(made)
    assert store.has_symmetric_key(added)
    assert store.delete_symmetric_key(made)
    assert not store.delete_symmetric_key(made)
    assert not store.has_symmetric_key(made)
    assert store.has_symmetric_key(added)
    with pytest.raises(KeyUnknown, match=made):
        store.symmetric_key(made)


def test_a_key_made_comes_from_the_given_randomness() -> None:
    chunks = iter([SECRET, b"\x01" * 32, SYMMETRIC, b"\x02" * 32])
    store = KeyStore(lambda size: next(chunks))
    assert store.private_key(store.new_key_pair()).secret == SECRET
    assert store.symmetric_key(store.new_symmetric_key()) == SYMMETRIC


def test_ids_tell_nothing() -> None:
    """A key that is added twice has two ids, and an id of one kind finds no key of the other."""
    store = KeyStore(os.urandom)
    pairs = [store.add_private_key(private_key(SECRET)) for _ in range(2)]
    symmetric = [store.add_symmetric_key(SECRET) for _ in range(2)]
    ids = pairs + symmetric
    assert len(set(ids)) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in ids)
    assert store.delete_key_pair(pairs[0])
    assert store.private_key(pairs[1]).secret == SECRET
    assert not store.has_symmetric_key(pairs[1])
    assert not store.delete_symmetric_key(pairs[1])
    assert not store.has_key_pair(symmetric[0])
    assert not store.delete_key_pair(symmetric[0])


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_what_is_no_symmetric_key(size: int) -> None:
    with pytest.raises(ValueError, match="has 32 bytes"):
        KeyStore(os.urandom).add_symmetric_key(bytes(size))


def test_both_kinds_fill_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystore, "MAX_KEYS", 4)
    store = KeyStore(os.urandom)
    pair = store.new_key_pair()
    store.add_private_key(private_key(SECRET))
    symmetric = store.new_symmetric_key()
    store.add_symmetric_key(SYMMETRIC)
    for add in (
        store.new_key_pair,
        store.new_symmetric_key,
        lambda: store.add_private_key(private_key(SECRET)),
        lambda: store.add_symmetric_key(SYMMETRIC),
    ):
        with pytest.raises(KeysFull):
            add()
    store.delete_key_pair(pair)
    store.new_symmetric_key()
    store.delete_symmetric_key(symmetric)
    store.new_key_pair()
    with pytest.raises(KeysFull):
        store.new_key_pair()
