"""Every method of the API on one node, over HTTP, a WebSocket and a Unix socket."""

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import cast
from unittest import mock

import pytest

from tests.support.envelopes import rules_with
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet
from tests.support.rpc_callers import (
    HELLO,
    KEY,
    POINT,
    STREAMS,
    SYMMETRIC,
    TOPIC,
    api,
    node,
    over_all,
    over_streams,
)
from wakumail.base.keccak import keccak256
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.mail.server import Server
from wakumail.node.filters import MAX_FILTERS
from wakumail.node.keystore import MAX_KEYS
from wakumail.rpc.api import NAMESPACES, all_methods
from wakumail.rpc.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Session
from wakumail.rpc.jsonrpc import SERVER as REFUSED
from wakumail.rpc.methods.waku import MAX_ENVELOPE_SIZE
from wakumail.rpc.objects import write_message
from wakumail.version import CLIENT_ID
from wakumail.waku.message import KEY_ROUNDS
from wakumail.waku.packets import Code, StatusOptions, WakuDialect

ID = re.compile(r"[0-9a-f]{64}")
EITHER = "specify either symKeyID or privateKeyID"
PAGE = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text()


# -- the node itself ------------------------------------------------------------------------------


def test_every_method_is_documented_with_its_result_and_an_example() -> None:
    methods = all_methods(cast(Server, None), NAMESPACES)
    sections = dict(re.findall(r"^### (\w+_\w+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
    assert set(sections) == set(methods)
    for method, section in sections.items():
        assert re.match(r"(No params|Params: .*?)\.\s", section, re.DOTALL), method
        assert "Result: " in section, method
        assert re.search(r"^`\[.*\]` → `.+`$", section, re.MULTILINE), method


def test_methods_are_of_the_namespaces() -> None:
    methods = all_methods(cast(Server, None), NAMESPACES)
    assert {name.partition("_")[0] for name in methods} == set(NAMESPACES)


@over_all
@asynchronous
async def test_the_node_says_what_it_is(tmp_path: Path, transport: str) -> None:
    rules = rules_with(min_pow=0.5, min_pow_large=0.0, max_envelope=20_000)
    choices = {"rules": rules, "options": StatusOptions(pow=0.5)}
    async with node(tmp_path, transport, node=choices) as (_, enode, caller):
        assert await caller.call("waku_version") == "1"
        info = await caller.call("waku_info")
        assert info == {"minPow": 0.5, "maxEnvelopeSize": 20_000, "memory": 0, "envelopes": 0}
        assert await caller.call("net_version") == "1"
        assert await caller.call("net_peerCount") == "0x0"
        assert await caller.call("web3_clientVersion") == CLIENT_ID
        assert await caller.call("rpc_modules") == dict.fromkeys(sorted(NAMESPACES), "1.0")
        assert await caller.call("admin_peers") == []
        told = await caller.call("admin_nodeInfo")
        record = Enr.parse(told.pop("enr"))
        assert Enode.parse(str(record)) == replace(enode, discport=0)
        assert record.is_mailserver
        assert told == {
            "id": keccak256(enode.node_id).hex(),
            "name": CLIENT_ID,
            "enode": str(enode),
            "ip": "127.0.0.1",
            "ports": {"discovery": 0, "listener": enode.port},
            "listenAddr": f"127.0.0.1:{enode.port}",
            "protocols": {"waku": {"version": "1", "maxMessageSize": 20_000, "minimumPoW": 0.5}},
        }


@over_all
@asynchronous
async def test_limits_can_be_set(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (_, enode, caller):
        peer = await Puppet.ready(enode)
        assert await caller.call("waku_setMaxEnvelopeSize", 30_000) is True
        assert await caller.call("waku_setMinPoW", 0.25) is True
        info = await caller.call("waku_info")
        assert (info["maxEnvelopeSize"], info["minPow"]) == (30_000, 0.25)
        update = await peer.packet(Code.STATUS_UPDATE)
        assert WakuDialect(1).decode_update(Code.STATUS_UPDATE, update).pow == 0.25
        assert await caller.call("waku_setMaxEnvelopeSize", MAX_ENVELOPE_SIZE) is True
        assert await caller.call("waku_setMinPoW", 0) is True
        info = await caller.call("waku_info")
        assert (info["maxEnvelopeSize"], info["minPow"]) == (MAX_ENVELOPE_SIZE, 0)


# -- keys -----------------------------------------------------------------------------------------


@over_all
@asynchronous
async def test_key_pairs(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (_, _enode, caller):
        made = await caller.call("waku_newKeyPair")
        added = await caller.call("waku_addPrivateKey", f"0x{KEY.secret.hex()}")
        assert ID.fullmatch(made)
        assert ID.fullmatch(added)
        assert await caller.call("waku_getPublicKey", added) == POINT
        assert await caller.call("waku_getPrivateKey", added) == f"0x{KEY.secret.hex()}"
        assert await caller.call("waku_getPrivateKey", made) != f"0x{KEY.secret.hex()}"
        assert await caller.call("waku_hasKeyPair", made) is True
        assert await caller.call("waku_hasSymKey", made) is False
        assert await caller.call("waku_deleteKeyPair", made) is True
        assert await caller.call("waku_hasKeyPair", made) is False
        assert await caller.call("waku_hasKeyPair", added) is True


@over_all
@asynchronous
async def test_symmetric_keys(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (_, _enode, caller):
        made = await caller.call("waku_newSymKey")
        added = await caller.call("waku_addSymKey", SYMMETRIC)
        derived = await caller.call("waku_generateSymKeyFromPassword", "pässword")
        for key_id in (made, added, derived):
            assert ID.fullmatch(key_id)
            assert await caller.call("waku_hasSymKey", key_id) is True
            assert await caller.call("waku_hasKeyPair", key_id) is False
        assert await caller.call("waku_getSymKey", added) == SYMMETRIC
        expected = hashlib.pbkdf2_hmac("sha256", "pässword".encode(), b"", KEY_ROUNDS, 32)
        assert await caller.call("waku_getSymKey", derived) == f"0x{expected.hex()}"
        assert len(await caller.call("waku_getSymKey", made)) == len(SYMMETRIC)
        assert await caller.call("waku_deleteSymKey", made) is True
        assert await caller.call("waku_deleteSymKey", made) is False
        assert await caller.call("waku_hasSymKey", made) is False


@over_all
@asynchronous
async def test_keys_are_bounded(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (server, _, caller):
        ids = [server.keys.add_symmetric_key(bytes(32)) for _ in range(MAX_KEYS)]
        full = (REFUSED, f"{MAX_KEYS} keys are held")
        assert await caller.refusal("waku_newSymKey") == full
        assert await caller.refusal("waku_addSymKey", SYMMETRIC) == full
        assert await caller.refusal("waku_generateSymKeyFromPassword", "x") == full
        assert await caller.refusal("waku_newKeyPair") == full
        assert await caller.refusal("waku_addPrivateKey", f"0x{KEY.secret.hex()}") == full
        assert await caller.call("waku_deleteSymKey", ids[0]) is True
        assert await caller.call("waku_newKeyPair")


# -- messages -------------------------------------------------------------------------------------


@over_all
@asynchronous
async def test_a_filter_is_polled(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (server, _, caller):
        key = await caller.call("waku_addSymKey", SYMMETRIC)
        signer = await caller.call("waku_newKeyPair")
        wanted = {"symKeyID": key, "topics": ["0xffaa"]}
        filter_id = await caller.call("waku_newMessageFilter", wanted)
        assert ID.fullmatch(filter_id)
        assert await caller.call("waku_getFilterMessages", filter_id) == []
        posted = int(time.time())
        message = {
            "symKeyID": key,
            "sig": signer,
            "ttl": 70,
            "topic": TOPIC,
            "payload": HELLO,
            "padding": "0xff",
            "powTarget": 0.01,
            "powTime": 60,
        }
        assert await caller.call("waku_post", message) is True
        (received,) = await caller.messages(filter_id, 1)
        assert posted <= received.pop("timestamp") <= int(time.time())
        assert received.pop("pow") >= 0.01
        envelope_hash = received.pop("hash")
        assert server.relay.pool.contains(bytes.fromhex(envelope_hash[2:]))
        assert received == {
            "sig": await caller.call("waku_getPublicKey", signer),
            "recipientPublicKey": None,
            "ttl": 70,
            "topic": TOPIC,
            "payload": HELLO,
            "padding": "0xff",
        }
        info = await caller.call("waku_info")
        assert info["envelopes"] == 1
        assert info["memory"] > 0
        assert await caller.call("waku_deleteMessageFilter", filter_id) is True
        code, _ = await caller.refusal("waku_getFilterMessages", filter_id)
        assert code == REFUSED


@over_all
@asynchronous
async def test_a_message_for_a_key_pair(tmp_path: Path, transport: str) -> None:
    """It needs no topic, to post it or to find it, and no signature."""
    async with node(tmp_path, transport) as (_, _enode, caller):
        pair = await caller.call("waku_newKeyPair")
        public = await caller.call("waku_getPublicKey", pair)
        filter_id = await caller.call("waku_newMessageFilter", {"privateKeyID": pair})
        assert await caller.call("waku_post", {"pubKey": public, "payload": "0x"}) is True
        (received,) = await caller.messages(filter_id, 1)
        assert received["recipientPublicKey"] == public
        assert received["sig"] is None
        assert received["topic"] == "0x00000000"
        assert received["payload"] == "0x"
        assert received["ttl"] == 50
        assert len(received["padding"]) > 2


@over_all
@asynchronous
async def test_a_filter_lets_through_what_it_names(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (_, _enode, caller):
        key = await caller.call("waku_newSymKey")
        signer, other = [await caller.call("waku_newKeyPair") for _ in range(2)]
        wanted = {"symKeyID": key, "topics": TOPIC}
        signed = await caller.call(
            "waku_newMessageFilter",
            wanted | {"sig": await caller.call("waku_getPublicKey", signer)},
        )
        hard = await caller.call("waku_newMessageFilter", wanted | {"minPow": 0.5})
        any_ = await caller.call("waku_newMessageFilter", wanted)
        message = {"symKeyID": key, "topic": TOPIC, "ttl": 10, "powTime": 60}
        easy = message | {"payload": "0x01", "sig": signer}
        assert await caller.call("waku_post", easy) is True
        assert await caller.call("waku_post", message | {"payload": "0x02", "sig": other}) is True
        worked = {"payload": "0x03", "powTarget": 0.5}
        assert await caller.call("waku_post", message | worked) is True
        found = await caller.messages(any_, 3)
        assert [m["payload"] for m in found] == ["0x01", "0x02", "0x03"]
        assert [m["payload"] for m in await caller.messages(signed, 1)] == ["0x01"]
        enough = [m["payload"] for m in found if m["pow"] >= 0.5]
        assert [m["payload"] for m in await caller.messages(hard, 1)] == enough
        assert "0x03" in enough


@over_all
@asynchronous
async def test_filters_are_bounded(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (_, _enode, caller):
        wanted = {"privateKeyID": await caller.call("waku_newKeyPair")}
        ids = [await caller.call("waku_newMessageFilter", wanted) for _ in range(MAX_FILTERS)]
        full = (REFUSED, f"there are {MAX_FILTERS} filters")
        assert await caller.refusal("waku_newMessageFilter", wanted) == full
        if transport in STREAMS:
            assert await caller.refusal("waku_subscribe", "messages", wanted) == full
        assert await caller.call("waku_deleteMessageFilter", ids[0]) is True
        assert await caller.call("waku_newMessageFilter", wanted)


@asynchronous
async def test_nobody_subscribes_over_http(tmp_path: Path) -> None:
    async with node(tmp_path, "http") as (server, _, caller):
        wanted = {"privateKeyID": await caller.call("waku_newKeyPair")}
        refused = await caller.refusal("waku_subscribe", "messages", wanted)
        assert refused == (METHOD_NOT_FOUND, "notifications not supported")
        assert server.filters.interest is None
        assert await caller.call("waku_unsubscribe", "0" * 64) is False


@over_streams
@asynchronous
async def test_a_subscriber_is_told(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (server, _, caller):
        key = await caller.call("waku_newSymKey")
        wanted = {"symKeyID": key, "topics": [TOPIC]}
        assert await caller.refusal("waku_subscribe", "logs", wanted) == (
            METHOD_NOT_FOUND,
            'no "logs" subscription in waku namespace',
        )
        assert await caller.refusal("waku_subscribe", "messages", {}) == (
            INVALID_PARAMS,
            EITHER,
        )
        subscription = await caller.call("waku_subscribe", "messages", wanted)
        assert ID.fullmatch(subscription)
        message = {"symKeyID": key, "topic": TOPIC, "payload": HELLO}
        assert await caller.call("waku_post", message) is True
        told = await caller.notification()
        assert set(told) == {"subscription", "result"}
        assert told["subscription"] == subscription
        assert told["result"]["payload"] == HELLO
        code, _ = await caller.refusal("waku_getFilterMessages", subscription)
        assert code == REFUSED
        assert await caller.call("waku_unsubscribe", subscription) is True
        assert await caller.call("waku_unsubscribe", subscription) is False
        assert server.filters.interest is None


@over_streams
@asynchronous
async def test_a_message_is_written_once_for_all_its_subscriptions(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = mock.Mock(side_effect=write_message)
    monkeypatch.setattr("wakumail.rpc.methods.waku.write_message", written)
    async with node(tmp_path, transport) as (_, _enode, caller):
        key = await caller.call("waku_newSymKey")
        wanted = {"symKeyID": key, "topics": [TOPIC]}
        own = [await caller.call("waku_subscribe", "messages", wanted) for _ in range(20)]
        message = {"symKeyID": key, "topic": TOPIC, "payload": HELLO}
        assert await caller.call("waku_post", message) is True
        told = [await caller.notification() for _ in own]
        assert [each["subscription"] for each in told] == own
        assert all(each["result"] == told[0]["result"] for each in told)
    written.assert_called_once()


@over_streams
@asynchronous
async def test_a_subscription_is_its_sessions_own(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (server, _, caller):
        wanted = {"privateKeyID": await caller.call("waku_newKeyPair")}
        own = [await caller.call("waku_subscribe", "messages", wanted) for _ in range(2)]
        (tmp_path / "other").mkdir()
        async with api(server, transport, tmp_path / "other") as stranger:
            assert await stranger.call("waku_unsubscribe", own[0]) is False
            assert ID.fullmatch(await stranger.call("waku_subscribe", "messages", wanted))
        for subscription in own:
            assert await caller.call("waku_unsubscribe", subscription) is True
        await eventually(lambda: server.filters.interest is None)


@asynchronous
async def test_an_unknown_field_is_refused_by_its_name(tmp_path: Path) -> None:
    async with node(tmp_path, "unix") as (server, enode, caller):
        wanted = {"privateKeyID": await caller.call("waku_newKeyPair"), "topic": TOPIC}
        text = "unknown field topic of filter, the nearest known one is topics"
        assert await caller.refusal("waku_newMessageFilter", wanted) == (INVALID_PARAMS, text)
        assert await caller.refusal("waku_subscribe", "messages", wanted) == (INVALID_PARAMS, text)
        text = "unknown field topics of message, the nearest known one is topic"
        message = {"pubKey": POINT, "payload": HELLO, "topics": [TOPIC]}
        assert await caller.refusal("waku_post", message) == (INVALID_PARAMS, text)
        request = {"mailServerPeer": str(enode), "topics": [TOPIC], "x" * 1000: None}
        code, text = await caller.refusal("wakuext_requestMessages", request)
        assert (code, text) == (INVALID_PARAMS, f"unknown field {'x' * 100} of request")
        assert server.filters.interest is None


@over_streams
@asynchronous
async def test_nobody_deletes_what_another_connection_made(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path / "a", transport) as (server, _, caller):
        wanted = {"privateKeyID": await caller.call("waku_newKeyPair")}
        subscription = await caller.call("waku_subscribe", "messages", wanted)
        async with api(server, transport, tmp_path) as owner:
            own, left = [await owner.call("waku_newMessageFilter", wanted) for _ in range(2)]
            async with api(server, "http", tmp_path) as stranger:
                shared = await stranger.call("waku_newMessageFilter", wanted)
                for other in (caller, stranger, owner):
                    text = "filter not found"
                    refused = await other.refusal("waku_deleteMessageFilter", subscription)
                    assert refused == (REFUSED, text)
                for other in (caller, stranger):
                    text = "the filter belongs to another connection"
                    assert await other.refusal("waku_deleteMessageFilter", own) == (REFUSED, text)
                    assert await other.call("waku_getFilterMessages", own) == []
                assert await stranger.call("waku_unsubscribe", subscription) is False
            assert await owner.call("waku_unsubscribe", own) is False
            assert await owner.call("waku_deleteMessageFilter", own) is True
            assert await owner.call("waku_deleteMessageFilter", shared) is True

        session = cast(Session, server.filters.owner_of(left))
        await eventually(lambda: session.ended)
        assert await caller.call("waku_deleteMessageFilter", left) is True
        assert await caller.call("waku_unsubscribe", subscription) is True
        assert server.filters.interest is None


@over_streams
@asynchronous
async def test_subscriptions_end_with_their_session(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, "http") as (server, _, staying):
        wanted = {"privateKeyID": await staying.call("waku_newKeyPair")}
        async with api(server, transport, tmp_path) as caller:
            for _ in range(3):
                await caller.call("waku_subscribe", "messages", wanted)
            assert server.filters.interest is not None
        await eventually(lambda: server.filters.interest is None)
