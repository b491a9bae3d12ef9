"""Light nodes (6/WAKU1, "Light node"): a server that is one, and peers that are."""

from pathlib import Path

import pytest

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, answer, build, post
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import ALL, by_hash, mark, received, send, wanting
from wakumail.devp2p.connection_events import Established
from wakumail.errors import DisconnectReason
from wakumail.waku.envelope import parse
from wakumail.waku.packets import Code, StatusOptions, WakuDialect

LIGHT = StatusOptions(pow=0.0, light=True, confirmations=True)


@asynchronous
async def test_we_say_that_we_are_light(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"options": LIGHT}) as (_, enode):
        puppet = await Puppet.dial(enode)
        await puppet.until(Established)
        assert WakuDialect(1).decode_status(await puppet.packet(Code.STATUS)).light


@asynchronous
async def test_as_a_light_node_we_send_our_own_envelopes_alone(tmp_path: Path) -> None:
    """To connected peers, to one that comes late, and to one that changes its wishes."""
    async with mailserver(tmp_path, node={"options": LIGHT}) as (server, enode):
        sender = await Puppet.ready(enode, options=ALL)
        listener = await Puppet.ready(enode, options=ALL)
        later = await Puppet.ready(enode, options=StatusOptions(pow=0.0, topic_interest=()))
        foreign = make(20, TOPICS)
        send(sender, *foreign)
        await eventually(lambda: server.counters["envelopes_received"] == 20)
        own = make(5, TOPICS, seed=2)
        for envelope in [*own, mark()]:
            await server.publish(envelope.rlp)
        late = await Puppet.ready(enode, options=ALL)
        later.update(StatusOptions(bloom=b"\xff" * 64))
        for puppet in (sender, listener, late, later):
            assert by_hash(await received(puppet)) == by_hash(own)


@asynchronous
async def test_a_light_mailserver_archives_confirms_and_answers(tmp_path: Path) -> None:
    """History is not forwarding: it goes as P2P Messages to the peer that asked."""
    async with mailserver(tmp_path, node={"options": LIGHT}) as (server, enode):
        puppet = await Puppet.ready(enode, options=ALL)
        envelopes = make(20, TOPICS)
        assert await post(puppet, envelopes) == []
        puppet.send(Code.P2P_REQUEST, build(topics=TOPICS)[0])
        assert by_hash((await answer(puppet))[0]) == by_hash(envelopes)
        assert server.counters["packets_relayed"] == 0


@asynchronous
async def test_light_nodes_that_meet_part(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"options": LIGHT}) as (server, enode):
        light = await Puppet.ready(enode, options=StatusOptions(light=True))
        assert (await light.closed()).reason == DisconnectReason.USELESS_PEER
        turning = await Puppet.ready(enode)
        turning.update(StatusOptions(light=True))
        assert (await turning.closed()).reason == DisconnectReason.USELESS_PEER
        assert server.counters["light_nodes_parted"] == 2


@pytest.mark.parametrize("first", [True, False])
@asynchronous
async def test_a_light_peer_is_not_relied_on(tmp_path: Path, first: bool) -> None:
    """Envelopes that were sent to it, and its own, go to all other peers too."""
    light_one = StatusOptions(pow=0.0, light=True)
    async with mailserver(tmp_path) as (_, enode):
        options = [light_one, ALL, ALL] if first else [ALL, ALL, light_one]
        puppets = [await Puppet.ready(enode, options=each) for each in options]
        light = puppets.pop(0 if first else 2)
        sender, listener = puppets
        envelopes = make(20, TOPICS)
        send(sender, *envelopes)
        got = list(parse(await light.packet(Code.MESSAGES)))
        assert by_hash(got) == by_hash(envelopes)
        own = make(5, TOPICS, seed=2)
        send(light, *own, mark())
        assert by_hash(await received(listener)) == by_hash([*envelopes, *own])
        assert by_hash(await received(sender)) == by_hash(own)


@asynchronous
async def test_a_light_peer_gets_what_it_wants(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (_, enode):
        sender = await Puppet.ready(enode, options=ALL)
        options = StatusOptions(
            pow=0.0, light=True, topic_interest=wanting(TOPICS[0]).topic_interest
        )
        light = await Puppet.ready(enode, options=options)
        envelopes = make(20, TOPICS)
        send(sender, *envelopes, mark())
        wanted = [envelope for envelope in envelopes if envelope.topic == TOPICS[0]]
        assert by_hash(await received(light)) == by_hash(wanted)
