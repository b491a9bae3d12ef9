"""A server and the peers that it syncs with, over real sockets."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.envelopes import make
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.syncing import ALL_TOPICS, batch_of
from wakumail.archive import retention
from wakumail.base.rlp import join_list
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, generate, node_id
from wakumail.devp2p.packets import SYNC, WAKU, Hello
from wakumail.errors import DisconnectReason, PeerGone, ProtocolError
from wakumail.mail.server import Server
from wakumail.mail.sync import partners
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.packets import (
    Close,
    Code,
    Ending,
    Envelopes,
    Offer,
    Open,
    Reconcile,
    Status,
    Stored,
    Want,
    decode,
)

OLD = 1_600_000_000
ENVELOPES = make(5, [b"topi"], created=OLD)
BOTH = (*WAKU, SYNC)


def enode_of(key: PrivateKey) -> Enode:
    return Enode(node_id(key.public_key), "127.0.0.1", 1, 1)


def allow(server: Server, key: PrivateKey) -> partners.Partner:
    assert server.store is not None
    return server.sync(server.store).add(enode_of(key))


async def greeted(enode: Enode, key: PrivateKey) -> Puppet:
    puppet = await Puppet.ready(enode, key=key, capabilities=BOTH)
    status = decode(Code.STATUS, await puppet.sync_packet(Code.STATUS))
    assert isinstance(status, Status)
    puppet.send_sync(Code.STATUS, Status(0, status.now, ALL_TOPICS, 0.0, 1 << 20).encode())
    return puppet


@asynchronous
async def test_who_is_not_listed_is_not_offered_to_sync(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        allow(server, generate(os.urandom))
        puppet = await Puppet.ready(enode, capabilities=BOTH)
        assert puppet.sync is None
        hello: Hello = puppet.connection._hello
        assert SYNC not in hello.capabilities
        assert puppet.connection.writer is not None
        puppet.connection.writer.add(b"\xc0", b"\x81\x90\x00\x01")  # the id that it would have
        puppet.flush()
        closed = await puppet.closed()
        assert closed.reason == DisconnectReason.BREACH_OF_PROTOCOL


@asynchronous
async def test_a_listed_peer_is_served_and_taken_from(tmp_path: Path) -> None:
    """It opens a round with a message that asks for nothing, gives an envelope and gets it back."""
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        partner = allow(server, key)
        puppet = await greeted(enode, key)
        item = ENVELOPES[0].created.to_bytes(4, "big") + ENVELOPES[0].hash
        puppet.send_sync(Code.OFFER, Offer(1, arrived=False, items=item).encode())
        want = decode(Code.WANT, await puppet.sync_packet(Code.WANT))
        assert want == Want(1, item)
        packet = Envelopes(1, True, join_list([ENVELOPES[0].rlp]))
        puppet.send_sync(Code.ENVELOPES, packet.encode())
        stored = decode(Code.STORED, await puppet.sync_packet(Code.STORED))
        assert stored == Stored(1, (), 1)
        assert server.store is not None
        assert server.store.archive.contains(ENVELOPES[0].created, ENVELOPES[0].hash)
        assert server.relay.pool.envelopes == 0
        puppet.send_sync(Code.WANT, Want(1, item).encode())
        sent = decode(Code.ENVELOPES, await puppet.sync_packet(Code.ENVELOPES))
        assert sent == packet
        window = Window(0, OLD + 1)
        puppet.send_sync(Code.OPEN, Open(1, *window, b"\x61").encode())
        reply = decode(Code.RECONCILE, await puppet.sync_packet(Code.RECONCILE))
        assert reply == Reconcile(1, b"\x61")
        puppet.send_sync(Code.CLOSE, Close(1, Ending.EQUAL, "").encode())
        await eventually(lambda: partner.tally.rounds)
        assert partner.tally.agreed is None  # It may say so; we have not seen it.
        with server.store.archive.items() as items:
            message = Initiator(window).begin(items)
        puppet.send_sync(Code.OPEN, Open(3, *window, message).encode())
        await eventually(lambda: partner.tally.agreed)
        assert (partner.tally.stored, partner.tally.sent) == (1, 1)


@asynchronous
async def test_who_lies_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(partners, "MIN_REST", 3600.0)
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        partner = allow(server, key)
        puppet = await greeted(enode, key)
        lie = Envelopes(1, True, join_list([ENVELOPES[0].rlp]))
        puppet.send_sync(Code.ENVELOPES, lie.encode())
        closed = await puppet.closed()
        assert closed.reason == DisconnectReason.SUBPROTOCOL_ERROR
        assert server.counters["sync_envelopes_unasked"] == 1
        assert "envelopes that were not asked for" in partner.tally.problem
        assert "the next try is in 3600 s" in caplog.text
        again = await Puppet.ready(enode, key=key, capabilities=BOTH)
        assert again.sync is None
        assert server.store is not None
        with pytest.raises(PeerGone, match="left alone for a while: envelopes that were not asked"):
            await server.sync(server.store).make_round(partner.enode, None, moves=True)
        assert server.store.archive.stat().envelopes == 0


@asynchronous
async def test_after_its_rest_a_peer_is_offered_to_sync_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partners, "MIN_REST", 0.05)
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        partner = allow(server, key)
        puppet = await greeted(enode, key)
        puppet.send_sync(Code.STORED, Stored(1, (), 1).encode())
        await puppet.closed()
        await eventually(lambda: key_id(key) in server.node.admission.syncing)
        assert partner.rest == 0.05
        again = await greeted(enode, key)
        again.send_sync(Code.STORED, Stored(1, (), 1).encode())
        await again.closed()
        assert partner.rest == 0.1


def key_id(key: PrivateKey) -> bytes:
    return node_id(key.public_key)


@asynchronous
async def test_a_connected_peer_that_is_added_connects_anew(tmp_path: Path) -> None:
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, key=key, capabilities=BOTH)
        await eventually(lambda: server.node.peers)
        partner = allow(server, key)
        assert (await puppet.closed()).reason == DisconnectReason.REQUESTED
        await eventually(lambda: not server.node.peers)
        await greeted(enode, key)
        await eventually(lambda: partner.session)


@asynchronous
async def test_a_peer_that_is_added_between_both_hellos_connects_anew(tmp_path: Path) -> None:
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.dial(enode, key=key, capabilities=BOTH)
        await eventually(lambda: any(link.peer.connection.offered for link in server.node._sockets))
        partner = allow(server, key)
        await puppet.greet()
        assert (await puppet.closed()).reason == DisconnectReason.REQUESTED
        assert not partner.tally.problem
        await eventually(lambda: not server.node.peers)
        await greeted(enode, key)
        await eventually(lambda: partner.session)


@asynchronous
async def test_a_peer_that_offers_nothing_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        partner = allow(server, key)
        await Puppet.ready(enode, key=key)
        await eventually(lambda: partner.tally.problem)
        assert "does not offer to sync" in partner.tally.problem
        assert caplog.text.count("does not offer to sync") == 1


@asynchronous
async def test_a_rest_begins_anew_whatever_the_clock_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path) as (server, _):
        partner = allow(server, generate(os.urandom))
        syncing = server.partners
        assert syncing is not None
        clock = SimpleNamespace(time=lambda: OLD + 62 * 86400, monotonic=lambda: 50.0)
        monkeypatch.setattr(partners, "time", clock)
        syncing._rest(partner, ProtocolError("a rule"))
        monkeypatch.undo()
        assert partner.rest == partners.MIN_REST
        partner.tally.agreed = 60.0
        syncing._rest(partner, ProtocolError("a rule"))
        assert partner.rest == partners.MIN_REST


@asynchronous
async def test_the_horizon_goes_by_no_clock_that_jumps_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, monotonic = float(OLD), 50.0
    clock = SimpleNamespace(time=lambda: wall, monotonic=lambda: monotonic)
    monkeypatch.setattr(partners, "time", clock)
    monkeypatch.setattr(retention, "time", clock)
    monkeypatch.setattr(partners, "HORIZON_INTERVAL", 0.01)
    async with mailserver(tmp_path) as (server, _):
        assert server.store is not None
        syncing = server.sync(server.store)
        syncing.configure(replace(syncing._config, retention=30 * 86400))
        right = syncing._status()
        assert (right.horizon, right.now) == (OLD - 30 * 86400, OLD)
        wall += 62 * 86400
        assert syncing._status() == right._replace(now=int(wall))
        # Envelopes of that time show that the clock is right, once it has run on.
        new = make(retention.SHOWING, [b"topi"], created=int(wall), spread=1)
        server.store.archive.append([batch_of(new)])
        await eventually(lambda: syncing._shown == wall)
        assert syncing._status().horizon == right.horizon
        wall, monotonic = wall + retention.STEADY, monotonic + retention.STEADY
        assert syncing._status().horizon == int(wall) - 30 * 86400
