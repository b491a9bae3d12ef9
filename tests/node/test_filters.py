"""Filters: messages reach those who want them, once, in order."""

import math
import os
import threading
from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelopes import rules_with
from tests.support.filter_rig import (
    ALICE,
    BOB,
    KEY,
    NOW,
    OTHER,
    OTHER_KEY,
    OTHER_RECEIVER,
    RECEIVER,
    TOPIC,
    Gate,
    payloads,
    rig,
    sealed,
)
from tests.support.patience import asynchronous, eventually
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import join_list
from wakumail.devp2p.keys import PrivateKey, PublicKey
from wakumail.node import filters as filters_module
from wakumail.node.filters import (
    MAX_TOLD_HASHES,
    Filter,
)
from wakumail.node.messages import ReceivedMessage
from wakumail.waku.envelope import judge, make_envelope
from wakumail.waku.message import open_message, seal
from wakumail.waku.pow import mine

# -- matching -------------------------------------------------------------------------------------


@asynchronous
async def test_a_symmetric_message() -> None:
    async with rig() as it:
        filter_id = it.install(TOPIC)
        envelope = sealed(b"hello", signer=ALICE)
        it.offer(sealed(key=OTHER_KEY), envelope, sealed(topic=OTHER))
        await it.through()
        (message,) = it.filters.poll(filter_id)
        assert message.envelope == envelope
        assert message.payload == b"hello"
        assert len(message.padding) > 0
        assert message.signer == ALICE.public_key
        assert message.recipient is None
        assert message.pow == envelope.pow
        assert it.filters.poll(filter_id) == []


@asynchronous
async def test_an_asymmetric_message() -> None:
    async with rig() as it:
        filter_id = it.install(TOPIC, key=RECEIVER)
        it.offer(
            sealed(b"other's", key=OTHER_RECEIVER.public_key),
            sealed(b"hello", key=RECEIVER.public_key),
            sealed(b"elsewhere", key=RECEIVER.public_key, topic=OTHER),
        )
        await it.through()
        (message,) = it.filters.poll(filter_id)
        assert message.payload == b"hello"
        assert message.signer is None
        assert message.recipient == RECEIVER.public_key


@asynchronous
async def test_a_private_key_without_topics_sees_all() -> None:
    async with rig() as it:
        filter_id = it.install(key=RECEIVER)
        topics = [b"abcd", b"wxyz", bytes(4)]
        it.offer(*(sealed(each, topic=each, key=RECEIVER.public_key) for each in topics))
        assert await it.poll(filter_id) == topics


@asynchronous
async def test_partial_topics() -> None:
    async with rig() as it:
        wanted = {
            it.install(b"abcd"): [b"abcd"],
            it.install(b"abc"): [b"abcd", b"abcx"],
            it.install(b"ab"): [b"abcd", b"abcx", b"abxx"],
            it.install(b"a"): [b"abcd", b"abcx", b"abxx", b"axxx"],
            it.install(b"abcd", b"a", b"a"): [b"abcd", b"abcx", b"abxx", b"axxx"],
            it.install(b"abx", b"x"): [b"abxx", b"xabc"],
            it.install(b"zzzz", b"b"): [],
        }
        sent = [b"abcd", b"abcx", b"abxx", b"axxx", b"xabc"]
        it.offer(*(sealed(topic, topic=topic) for topic in sent))
        await it.through()
        assert {each: payloads(it.filters.poll(each)) for each in wanted} == wanted


@asynchronous
async def test_the_signer() -> None:
    async with rig() as it:
        anyone = it.install(TOPIC)
        alice = it.install(TOPIC, signer=ALICE.public_key)
        it.offer(sealed(b"alice", signer=ALICE), sealed(b"bob", signer=BOB), sealed(b"nobody"))
        assert await it.poll(anyone) == [b"alice", b"bob", b"nobody"]
        assert await it.poll(alice) == [b"alice"]


@asynchronous
async def test_a_signature_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with rig() as it:
        filter_id = it.install(TOPIC)
        with mock.patch("wakumail.waku.message.sign", return_value=bytes(65)):
            forged = sealed(b"forged", signer=ALICE)
        it.offer(forged, sealed(b"after"))
        assert await it.poll(filter_id) == [b"after"]


@asynchronous
async def test_pow() -> None:
    async with rig() as it:
        data = seal(b"worked", key=KEY, random=os.urandom)
        nonce = mine(NOW + 50, 50, TOPIC, data, target=0.02)
        assert nonce is not None
        worked = make_envelope(NOW + 50, 50, TOPIC, data, nonce)
        exact = it.install(TOPIC, min_pow=worked.pow)
        more = it.install(TOPIC, min_pow=math.nextafter(worked.pow, math.inf))
        none = it.install(TOPIC)
        it.offer(worked)
        assert await it.poll(exact) == [b"worked"]
        assert await it.poll(more) == []
        assert await it.poll(none) == [b"worked"]


@asynchronous
async def test_what_came_to_us_alone() -> None:
    async with rig() as it:
        live, both = it.install(TOPIC), it.install(TOPIC, allow_p2p=True)
        it.offer(sealed(b"live"))
        it.offer(sealed(b"history"), p2p=True)
        assert await it.poll(live) == [b"live"]
        assert await it.poll(both) == [b"live", b"history"]


@asynchronous
async def test_only_accepted_envelopes() -> None:
    async with rig() as it:
        filter_id = it.install(TOPIC)
        good = make_envelope(NOW + 50, 50, TOPIC, seal(b"good", key=KEY, random=os.urandom), 0)
        old = make_envelope(NOW - 50, 50, TOPIC, seal(b"old", key=KEY, random=os.urandom), 0)
        rules = rules_with(min_pow=0.0, min_pow_large=0.0)
        it.filters.offer(judge(join_list([old.rlp, good.rlp]), rules, NOW), p2p=False)
        assert await it.poll(filter_id) == [b"good"]


@asynchronous
async def test_a_key_of_each_kind_with_the_same_bytes() -> None:
    async with rig() as it:
        private = it.install(TOPIC, key=RECEIVER)
        symmetric = it.install(TOPIC, key=RECEIVER.secret)
        it.offer(
            sealed(b"to the public key", key=RECEIVER.public_key),
            sealed(b"with the secret", key=RECEIVER.secret),
        )
        assert await it.poll(private) == [b"to the public key"]
        assert await it.poll(symmetric) == [b"with the secret"]


KEYS: list[tuple[bytes | PublicKey, bytes | PrivateKey]] = [
    (KEY, KEY),
    (OTHER_KEY, OTHER_KEY),
    (RECEIVER.public_key, RECEIVER),
]
TOPICS = [b"aaaa", b"aaab", b"aabb", b"bbbb"]
SIGNERS = [None, ALICE, BOB]
messages = st.tuples(
    st.sampled_from(TOPICS), st.integers(0, 2), st.sampled_from(SIGNERS), st.booleans()
)
prefixes = st.sampled_from(TOPICS).flatmap(lambda topic: st.integers(1, 4).map(lambda n: topic[:n]))
wishes = st.tuples(
    st.lists(prefixes, min_size=1, max_size=3),
    st.integers(0, 2),
    st.sampled_from(SIGNERS),
    st.booleans(),
)


@settings(max_examples=30, deadline=None)
@given(sent=st.lists(messages, max_size=8), wanted=st.lists(wishes, max_size=5))
def test_any_filters_and_envelopes(sent: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Compared with the rules in plain words."""

    def fits(message: Any, wish: Any) -> bool:
        topic, key, signer, p2p = message
        return (
            any(topic.startswith(prefix) for prefix in wish[0])
            and key == wish[1]
            and (wish[2] is None or wish[2] is signer)
            and (wish[3] or not p2p)
        )

    async def check() -> None:
        async with rig() as it:
            ids = [
                it.install(
                    *topics,
                    key=KEYS[key][1],
                    signer=signer and signer.public_key,
                    allow_p2p=allow_p2p,
                )
                for topics, key, signer, allow_p2p in wanted
            ]
            for number, (topic, key, signer, p2p) in enumerate(sent):
                envelope = sealed(bytes([number]), topic=topic, key=KEYS[key][0], signer=signer)
                it.offer(envelope, p2p=p2p)
            await it.through()
            for filter_id, wish in zip(ids, wanted, strict=True):
                expected = [bytes([n]) for n, each in enumerate(sent) if fits(each, wish)]
                assert payloads(it.filters.poll(filter_id)) == expected

    asynchronous(check)()


@pytest.mark.parametrize(
    ("topics", "key", "min_pow"),
    [
        ((), KEY, 0.0),
        ((b"",), RECEIVER, 0.0),
        ((TOPIC, b"abcde"), KEY, 0.0),
        ((TOPIC,), KEY[:16], 0.0),
        ((TOPIC,), KEY, -0.1),
        ((TOPIC,), KEY, math.nan),
        ((TOPIC,), KEY, math.inf),
    ],
)
def test_what_is_no_filter(topics: tuple[bytes, ...], key: Any, min_pow: float) -> None:
    with pytest.raises(ValueError, match=r"topic|32 bytes|no PoW"):
        Filter(topics, key, min_pow=min_pow)


# -- once, in order, off the loop -----------------------------------------------------------------


@asynchronous
async def test_an_envelope_is_handed_out_once() -> None:
    async with rig() as it:
        polled = it.install(TOPIC, allow_p2p=True)
        told: list[ReceivedMessage] = []
        it.filters.install(Filter((TOPIC,), KEY, allow_p2p=True), told.append)
        envelope = sealed()
        it.offer(envelope, envelope)
        it.offer(envelope)
        assert await it.poll(polled) == [b"payload"]
        it.offer(envelope, p2p=True)
        assert await it.poll(polled) == []
        assert len(told) == 1
        later = it.install(TOPIC, allow_p2p=True)
        it.offer(envelope, p2p=True)
        assert await it.poll(later) == [b"payload"]
        assert await it.poll(polled) == []


@asynchronous
async def test_what_was_told_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_TOLD_HASHES >= 1000  # a whole page of history
    monkeypatch.setattr(filters_module, "MAX_TOLD_HASHES", 3)
    async with rig() as it:
        filter_id = it.install(TOPIC)
        envelopes = [sealed(bytes([number])) for number in range(4)]
        it.offer(*envelopes)
        it.offer(*reversed(envelopes))
        assert await it.poll(filter_id) == [b"\0", b"\1", b"\2", b"\3", b"\0"]


@asynchronous
async def test_the_order_of_arrival_is_kept() -> None:
    async with rig() as it:
        filter_id = it.install(b"a")
        numbers = [bytes([number]) for number in range(200)]
        for start, stop in ((0, 1), (1, 60), (60, 61), (61, 200)):
            it.offer(
                *(sealed(n, topic=b"a" + bytes([n[0] % 3] * 3)) for n in numbers[start:stop]),
                p2p=False,
            )
        assert await it.poll(filter_id) == numbers


@asynchronous
async def test_each_key_is_tried_once_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    async with rig() as it:
        ids = [it.install(TOPIC) for _ in range(3)]
        ids += [it.install(b"a", signer=ALICE.public_key), it.install(TOPIC, allow_p2p=True)]
        it.install(TOPIC, key=OTHER_KEY)
        it.install(key=RECEIVER)
        it.install(TOPIC, key=RECEIVER)
        it.install(OTHER, key=keccak256(b"never tried"))
        it.install(TOPIC, key=keccak256(b"never tried"), min_pow=1e9)
        envelope = sealed(signer=ALICE)
        it.offer(envelope)
        for each in ids:
            assert await it.poll(each) == [b"payload"]
        tried = [
            key if isinstance(key, bytes) else key.secret
            for data, key in gate.calls
            if data == envelope.data
        ]
        assert sorted(tried) == sorted([KEY, OTHER_KEY, RECEIVER.secret])
        assert threading.get_ident() not in gate.threads


@asynchronous
async def test_the_loop_runs_while_envelopes_are_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    gate.free.clear()
    async with rig() as it:
        filter_id = it.install(TOPIC)
        it.offer(sealed())
        await eventually(lambda: len(gate.calls) == 1)
        assert it.filters.poll(filter_id) == []
        gate.free.set()
        assert await it.poll(filter_id) == [b"payload"]


def test_without_filters_nothing_is_looked_at() -> None:
    async def check() -> None:
        async with rig() as it:
            batch: Any = object()
            it.filters.offer(batch, p2p=False)
            it.filters.uninstall(it.install(TOPIC))
            it.filters.offer(batch, p2p=False)

    asynchronous(check)()


@asynchronous
async def test_unwanted_batches_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    monkeypatch.setattr(filters_module, "MAX_UNOPENED_BYTES", 1)
    async with rig() as it:
        filter_id = it.install(TOPIC)
        for _ in range(10):
            it.offer(sealed(topic=OTHER))
        it.offer(sealed())  # as into an empty queue
        await eventually(lambda: payloads(it.filters.poll(filter_id)) == [b"payload"])
        assert it.counters["filters_overloaded"] == 0
        assert len(gate.calls) == 1


@asynchronous
async def test_callbacks_come_in_order_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    async with rig() as it:
        told: list[bytes] = []

        def fail(message: ReceivedMessage) -> None:
            raise RuntimeError("a subscriber's own")

        it.filters.install(Filter((TOPIC,), KEY), fail)
        it.filters.install(Filter((TOPIC,), KEY), lambda message: told.append(message.payload))
        polled = it.install(TOPIC)
        it.offer(sealed(b"1"), sealed(b"2"))
        assert await it.poll(polled) == [b"1", b"2"]
        assert told == [b"1", b"2"]
        assert caplog.text.count("a subscriber failed on a message") == 2


@asynchronous
async def test_an_error_of_ours_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig() as it:
        filter_id = it.install(TOPIC)
        broken = sealed(b"broken")

        def stumble(data: bytes, key: bytes | PrivateKey) -> Any:
            assert data != broken.data, "stumbled"
            return open_message(data, key)

        monkeypatch.setattr("wakumail.node.messages.open_message", stumble)
        it.offer(broken)
        it.offer(sealed(b"whole"))
        assert await it.poll(filter_id) == [b"whole"]
        assert "could not be matched" in caplog.text
