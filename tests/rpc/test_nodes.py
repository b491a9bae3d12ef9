"""The API of several nodes: peers come and go, messages and history go from one to another."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet
from tests.support.rpc_callers import HELLO, SYMMETRIC, TOPIC, node, over_all, over_streams
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import join_list
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.rpc.jsonrpc import INVALID_PARAMS
from wakumail.rpc.jsonrpc import SERVER as REFUSED
from wakumail.waku.envelope import make_envelope
from wakumail.waku.message import seal
from wakumail.waku.packets import Code


@over_all
@asynchronous
async def test_peers_come_and_go(tmp_path: Path, transport: str) -> None:
    async with (
        node(tmp_path / "a", transport) as (server, enode, caller),
        node(tmp_path / "b", transport) as (_, other, stranger),
    ):
        assert await caller.call("admin_addPeer", str(other)) is True
        await eventually(lambda: any(link.ready for link in server.node.links.values()))
        link = server.node.links[other.node_id]
        own_end = f"{link.local[0]}:{link.local[1]}"
        assert await caller.call("net_peerCount") == "0x1"
        assert await caller.call("admin_addTrustedPeer", str(other)) is True
        protocols = {
            "waku": {"version": 1, "minimumPoW": 0.0, "light": False, "confirmations": True}
        }
        assert await caller.call("admin_peers") == [
            {
                "enode": str(other),
                "id": keccak256(other.node_id).hex(),
                "name": "puppet",
                "caps": ["waku/0", "waku/1"],
                "network": {
                    "localAddress": own_end,
                    "remoteAddress": f"127.0.0.1:{other.port}",
                    "inbound": False,
                    "trusted": True,
                    "static": True,
                },
                "protocols": protocols,
            }
        ]
        (seen,) = await stranger.call("admin_peers")
        assert seen["enode"] == str(enode)
        assert seen["network"] == {
            "localAddress": f"127.0.0.1:{other.port}",
            "remoteAddress": own_end,
            "inbound": True,
            "trusted": False,
            "static": False,
        }
        assert await caller.call("admin_removeTrustedPeer", str(other)) is True
        assert (await caller.call("admin_peers"))[0]["network"]["trusted"] is False
        assert await caller.call("admin_removePeer", str(other)) is True
        await eventually(lambda: not server.node.links)
        assert await caller.call("admin_peers") == []
        assert other.node_id not in server.dialer.targets


@asynchronous
async def test_a_node_does_not_name_itself_or_an_address_of_nobody(tmp_path: Path) -> None:
    async with node(tmp_path, "unix") as (server, enode, caller):
        for method in ("admin_addPeer", "admin_addTrustedPeer", "waku_markTrustedPeer"):
            elsewhere = str(replace(enode, host="192.0.2.7"))
            code, text = await caller.refusal(method, elsewhere)
            assert (code, "it is the id of this node itself" in text) == (INVALID_PARAMS, True)
        other = replace(enode, node_id=node_id(generate(os.urandom).public_key))
        for host, port in (("0.0.0.0", 1), ("[::]", 1), ("192.0.2.7", 0)):
            url = f"enode://{other.node_id.hex()}@{host}:{port}?discport=30301"
            code, text = await caller.refusal("admin_addPeer", url)
            assert (code, "cannot be dialed" in text) == (INVALID_PARAMS, True)
        request = {"mailServerPeer": str(enode), "topics": ["0xffaadd11"]}
        code, text = await caller.refusal("wakuext_requestMessages", request)
        assert text == "mailServerPeer is the id of this node itself"
        assert not server.dialer.targets
        assert not server.node.admission.trusted
        assert await caller.call("admin_addPeer", str(other)) is True  # at our own address
        assert set(server.dialer.targets) == {other.node_id}


@pytest.mark.parametrize(("said", "shown"), [(30303, 30303), (0, None), (1 << 20, None)])
@asynchronous
async def test_a_peer_that_called_is_shown_where_it_listens(
    tmp_path: Path, said: int, shown: int | None
) -> None:
    async with node(tmp_path, "http") as (server, enode, caller):
        await Puppet.ready(enode, port=said)
        await eventually(lambda: any(link.ready for link in server.node.links.values()))
        (peer,) = await caller.call("admin_peers")
        (link,) = server.node.links.values()
        assert peer["enode"].endswith(f"@127.0.0.1:{shown or link.port}")


@over_streams
@asynchronous
async def test_a_message_goes_from_node_to_node(tmp_path: Path, transport: str) -> None:
    async with (
        node(tmp_path / "a", transport) as (server, _, sender),
        node(tmp_path / "b", transport) as (_, enode, receiver),
    ):
        await sender.call("admin_addPeer", str(enode))
        pair = await receiver.call("waku_newKeyPair")
        subscription = await receiver.call("waku_subscribe", "messages", {"privateKeyID": pair})
        await eventually(lambda: any(link.ready for link in server.node.links.values()))
        public = await receiver.call("waku_getPublicKey", pair)
        assert await sender.call("waku_post", {"pubKey": public, "payload": HELLO}) is True
        told = await receiver.notification()
        assert told["subscription"] == subscription
        assert told["result"]["payload"] == HELLO
        assert told["result"]["recipientPublicKey"] == public


@over_streams
@pytest.mark.parametrize("name", [str, lambda enode: enode.node_id.hex()])
@asynchronous
async def test_a_message_for_one_peer(
    tmp_path: Path, transport: str, name: Callable[[Enode], str]
) -> None:
    """It goes to no other peer, needs no PoW, and only filters that allow p2p messages get it."""
    async with (
        node(tmp_path / "a", transport) as (server, own, sender),
        node(tmp_path / "b", transport) as (other, enode, receiver),
    ):
        await sender.call("admin_addPeer", str(enode))
        await eventually(lambda: any(link.ready for link in other.node.links.values()))
        await eventually(lambda: any(link.ready for link in server.node.links.values()))
        await receiver.call("waku_markTrustedPeer", str(own))
        pair = await receiver.call("waku_newKeyPair")
        public = await receiver.call("waku_getPublicKey", pair)
        live = await receiver.call("waku_newMessageFilter", {"privateKeyID": pair})
        wanted = {"privateKeyID": pair, "allowP2P": True}
        subscription = await receiver.call("waku_subscribe", "messages", wanted)
        await sender.call("waku_setMinPoW", 1e9)
        message = {"pubKey": public, "payload": HELLO, "targetPeer": name(enode)}
        assert await sender.call("waku_post", message) is True
        told = await receiver.notification()
        assert told["subscription"] == subscription
        assert told["result"]["payload"] == HELLO
        assert await receiver.call("waku_getFilterMessages", live) == []
        assert server.relay.pool.envelopes == other.relay.pool.envelopes == 0


@over_streams
@asynchronous
async def test_history_comes_to_a_subscriber(tmp_path: Path, transport: str) -> None:
    async with (
        node(tmp_path / "a", "http") as (_, mailserver, poster),
        node(tmp_path / "b", transport) as (server, _, reader),
    ):
        key = await reader.call("waku_newSymKey")
        key_there = await poster.call("waku_addSymKey", await reader.call("waku_getSymKey", key))
        for payload in ("0x01", "0x02"):
            message = {"symKeyID": key_there, "topic": TOPIC, "payload": payload}
            await poster.call("waku_post", message)
        wanted = {"symKeyID": key, "topics": [TOPIC]}
        await reader.call("waku_subscribe", "messages", wanted)
        subscription = await reader.call("waku_subscribe", "messages", wanted | {"allowP2P": True})
        # Live envelopes are not history: the reader tells that it wants none.
        await reader.call("waku_setMinPoW", 1e9)
        await reader.call("admin_addPeer", str(mailserver))
        await eventually(lambda: any(link.ready for link in server.node.links.values()))
        request = {"mailServerPeer": str(mailserver), "topics": [TOPIC], "cursor": "0x"}
        assert await reader.refusal("wakuext_requestMessages", request) == (
            REFUSED,
            "the mailserver is not trusted",
        )
        assert await reader.call("waku_markTrustedPeer", str(mailserver)) is True
        assert await reader.call("wakuext_requestMessages", request) is True
        told = [await reader.notification() for _ in range(2)]
        assert {note["subscription"] for note in told} == {subscription}
        assert {note["result"]["payload"] for note in told} == {"0x01", "0x02"}


@asynchronous
async def test_history_is_asked_for_as_told(tmp_path: Path) -> None:
    """Times, limit, cursor and the key of the password arrive at the mailserver."""
    key = generate(os.urandom)
    async with (
        node(tmp_path / "a", "http") as (mailserver, enode, poster),
        node(tmp_path / "b", "http", connection={"node_key": key}) as (server, _, reader),
    ):
        now = int(time.time())
        key_id = await reader.call("waku_addSymKey", SYMMETRIC)
        sealing = await poster.call("waku_addSymKey", SYMMETRIC)
        for payload in ("0x01", "0x02", "0x03"):
            message = {"symKeyID": sealing, "topic": TOPIC, "payload": payload}
            await poster.call("waku_post", message)
        await reader.call("waku_setMinPoW", 1e9)
        await reader.call("admin_addPeer", str(enode))
        await reader.call("admin_addTrustedPeer", str(enode))
        await eventually(lambda: any(link.ready for link in server.node.links.values()))
        password = await reader.call("waku_generateSymKeyFromPassword", "test")
        wanted = {"symKeyID": key_id, "topics": [TOPIC], "allowP2P": True}
        filter_id = await reader.call("waku_newMessageFilter", wanted)
        request = {
            "mailServerPeer": str(enode),
            "topics": [TOPIC],
            "symKeyID": password,
            "from": now - 60,
            "to": now + 60,
            "limit": 2,
        }
        assert await reader.call("wakuext_requestMessages", request) is True
        first = await reader.messages(filter_id, 2)
        cursor = f"{first[-1]['timestamp']:08x}{first[-1]['hash'][2:]}"
        assert await reader.call("wakuext_requestMessages", request | {"cursor": cursor}) is True
        last = await reader.messages(filter_id, 1)
        found = {m["payload"] for m in [*first, *last]}
        assert (len(first), len(last), found) == (2, 1, {"0x01", "0x02", "0x03"})
        assert mailserver.counters["envelopes_delivered"] == 3
        nothing = {"from": 1, "to": now - 3600}, {"from": now + 3600, "to": now + 7200}
        for times in nothing:
            assert await reader.call("wakuext_requestMessages", request | times) is True
        await eventually(lambda: server.counters["history_answered"] == 4)
        assert mailserver.counters["envelopes_delivered"] == 3


@asynchronous
async def test_a_message_without_a_ttl_has_no_pow(tmp_path: Path) -> None:
    """A trusted peer may send one; its PoW would be infinite, which JSON cannot express."""
    key = generate(os.urandom)
    async with node(tmp_path, "http") as (server, enode, caller):
        symmetric = await caller.call("waku_addSymKey", SYMMETRIC)
        wanted = {"symKeyID": symmetric, "topics": [TOPIC], "allowP2P": True}
        filter_id = await caller.call("waku_newMessageFilter", wanted)
        server.node.admission.trust(node_id(key.public_key))
        peer = await Puppet.ready(enode, key=key)
        data = seal(b"old", key=bytes.fromhex(SYMMETRIC[2:]), random=os.urandom)
        envelope = make_envelope(1_500_000_000, 0, bytes.fromhex(TOPIC[2:]), data, 0)
        peer.send(Code.P2P_MESSAGE, join_list([envelope.rlp]))
        (received,) = await caller.messages(filter_id, 1)
        assert received["payload"] == "0x" + b"old".hex()
        assert (received["ttl"], received["pow"]) == (0, 0)
        assert received["timestamp"] == 1_500_000_000
