"""Trusted peers: only they may send P2P Messages, which go to the filters and no further."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.envelopes import rules_with
from tests.support.exchanges import messages, post
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Mailserver, Puppet, mailserver
from tests.support.relaying import ALL, link_of, mark, received, send
from wakumail.devp2p.keys import generate, node_id
from wakumail.mail.requester import Untrusted
from wakumail.node.filters import Filter
from wakumail.node.messages import ReceivedMessage
from wakumail.waku.completion import Completion, CompletionForm
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal
from wakumail.waku.packets import Code

KEY, TOPIC = bytes(range(32)), b"topi"
MAILSERVER = generate(os.urandom)
IDENTITY = node_id(MAILSERVER.public_key)


def sealed(payload: bytes, *, age: int = 0) -> Envelope:
    """An envelope made `age` seconds ago with a ttl of 50."""
    data = seal(payload, key=KEY, random=os.urandom)
    return make_envelope(int(time.time()) - age + 50, 50, TOPIC, data, 0)


HISTORY = [sealed(b"an hour old", age=3600), sealed(b"of last month", age=30 * 86400)]


class Heard:
    """The payloads that a filter lets through."""

    def __init__(self, server: Mailserver, *, allow_p2p: bool) -> None:
        self.payloads: list[bytes] = []
        wanted = Filter((TOPIC,), KEY, allow_p2p=allow_p2p)
        server.filters.install(wanted, self.add)

    def add(self, message: ReceivedMessage) -> None:
        self.payloads.append(message.payload)


def deliver(puppet: Puppet, envelopes: Sequence[Envelope]) -> None:
    puppet.send(Code.P2P_MESSAGE, messages(envelopes))


async def settled(puppet: Puppet, heard: Heard) -> None:
    """Waits until a live envelope reaches the filter: all that came before has reached it too."""
    heard.payloads.clear()
    send(puppet, sealed(os.urandom(8).hex().encode()))
    await eventually(lambda: bool(heard.payloads))


@asynchronous
async def test_nothing_is_taken_from_who_is_not_trusted(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        p2p, live = Heard(server, allow_p2p=True), Heard(server, allow_p2p=False)
        deliver(puppet, HISTORY)
        deliver(puppet, [sealed(b"new")])
        puppet.send(Code.P2P_REQUEST_COMPLETE, Completion(bytes(32)).encode(CompletionForm.LIST))
        await settled(puppet, live)
        assert p2p.payloads == live.payloads
        assert server.counters["packets_unasked"] == 3
        assert server.counters["history_received"] == 0


@asynchronous
async def test_history_goes_to_filters_that_allow_it_and_no_further(tmp_path: Path) -> None:
    """They are neither archived nor relayed, and nothing is confirmed."""
    async with mailserver(tmp_path) as (server, enode):
        server.node.admission.trust(IDENTITY)
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        other = await Puppet.ready(enode, options=ALL)
        p2p, live = Heard(server, allow_p2p=True), Heard(server, allow_p2p=False)
        history = [*HISTORY, sealed(b"new")]
        deliver(puppet, history)
        await eventually(lambda: len(p2p.payloads) == 3)
        assert p2p.payloads == [b"an hour old", b"of last month", b"new"]
        send(puppet, mark())
        assert await received(other) == []
        assert live.payloads == []
        await eventually(lambda: server.counters["envelopes_archived"] == 1)
        assert server.store.archive.stat().envelopes == server.relay.pool.envelopes == 1
        assert server.counters["messages_confirmed"] == 1


@asynchronous
async def test_live_and_historic_messages_come_to_one_filter_once(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        server.node.admission.trust(IDENTITY)
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        heard = Heard(server, allow_p2p=True)
        envelope = sealed(b"both ways")
        send(puppet, envelope)
        deliver(puppet, [envelope, *HISTORY])
        await eventually(lambda: len(heard.payloads) == 3)
        assert heard.payloads == [b"both ways", b"an hour old", b"of last month"]


@asynchronous
async def test_trust_is_no_leave_to_send_expired_envelopes_live(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        server.node.admission.trust(IDENTITY)
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        heard = Heard(server, allow_p2p=True)
        errors = await post(puppet, [*HISTORY, sealed(b"new")])
        assert [(error.hash, error.code) for error in errors] == [(e.hash, 1) for e in HISTORY]
        await eventually(lambda: heard.payloads == [b"new"])
        assert server.store.archive.stat().envelopes == server.relay.pool.envelopes == 1


async def ask(server: Mailserver, puppet: Puppet) -> bytes:
    return await server.requester.request(
        link_of(server, puppet), lower=0, upper=1, topics=[TOPIC], limit=0, cursor=b"", key=KEY
    )


@asynchronous
async def test_a_mailserver_has_to_be_trusted_to_be_asked(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        with pytest.raises(Untrusted):
            await ask(server, puppet)
        server.node.admission.trust(IDENTITY)
        request_id = await ask(server, puppet)
        await puppet.packet(Code.P2P_REQUEST)
        completion = Completion(request_id).encode(CompletionForm.LIST)
        puppet.send(Code.P2P_REQUEST_COMPLETE, completion)
        await eventually(lambda: server.counters["history_answered"] == 1)


@asynchronous
async def test_who_is_trusted_no_longer_is_not_heard_even_if_it_was_asked(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        server.node.admission.trust(IDENTITY)
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        p2p, live = Heard(server, allow_p2p=True), Heard(server, allow_p2p=False)
        await ask(server, puppet)
        await puppet.packet(Code.P2P_REQUEST)
        server.node.admission.distrust(IDENTITY)
        deliver(puppet, HISTORY)
        await settled(puppet, live)
        assert p2p.payloads == live.payloads
        assert server.counters["packets_unasked"] == 1
        server.node.admission.trust(IDENTITY)
        await ask(server, puppet)
        deliver(puppet, HISTORY)
        await eventually(lambda: len(p2p.payloads) == 3)


@asynchronous
async def test_an_envelope_of_history_that_is_too_large_is_dropped(tmp_path: Path) -> None:
    rules = rules_with(min_pow=0.0, min_pow_large=0.0, max_envelope=1000)
    async with mailserver(tmp_path, node={"rules": rules}) as (server, enode):
        server.node.admission.trust(IDENTITY)
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        heard = Heard(server, allow_p2p=True)
        deliver(puppet, [sealed(bytes(2000)), sealed(b"small")])
        await eventually(lambda: b"small" in heard.payloads)
        assert heard.payloads == [b"small"]
        assert server.counters["history_too_large"] == 1


@asynchronous
async def test_a_request_does_not_stay_open_for_more_than_it_asked_for(tmp_path: Path) -> None:
    """Only envelopes keep it open, and only as many as it asked for."""
    async with mailserver(tmp_path) as (server, enode):
        server.node.admission.trust(IDENTITY)
        puppet = await Puppet.ready(enode, key=MAILSERVER)
        link = link_of(server, puppet)
        await server.requester.request(
            link, lower=0, upper=1, topics=[TOPIC], limit=3, cursor=b"", key=KEY
        )
        deadline = server.requester._open[link].deadline
        deliver(puppet, [])
        deliver(puppet, HISTORY)
        await eventually(lambda: server.counters["history_received"] == 2)
        assert deadline.cancelled()
        deadline = server.requester._open[link].deadline
        deliver(puppet, [])
        deliver(puppet, [])
        await settled(puppet, Heard(server, allow_p2p=False))
        assert not deadline.cancelled()
        assert link.peer.expects_history
        deliver(puppet, HISTORY)
        await eventually(lambda: server.counters["history_over_limit"] == 1)
        assert not link.peer.expects_history
