"""Every error of the API, exactly, on every transport."""

import json
import re
from pathlib import Path
from typing import Any

from tests.support.disks import FullDisk
from tests.support.envelopes import rules_with
from tests.support.patience import asynchronous
from tests.support.rpc_callers import HELLO, KEY, POINT, TOPIC, node, over_all
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id
from wakumail.rpc.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, PARSE_ERROR
from wakumail.rpc.jsonrpc import SERVER as REFUSED
from wakumail.rpc.methods.waku import MAX_ENVELOPE_SIZE, MAX_POW_TIME, MAX_TTL
from wakumail.waku.envelope import LARGE_ENVELOPE
from wakumail.waku.packets import StatusOptions

STRANGER = str(Enode(node_id(KEY.public_key), "127.0.0.1", 1, 1))
BOTH = {"symKeyID": "KEY", "privateKeyID": "PAIR"}
EITHER = "specify either symKeyID or privateKeyID"
HEX = "must be 0x and an even number of hexadecimal digits"
NO_PAIR = "no key pair has the id nobody's"
NO_KEY = "no symmetric key has the id nobody's"
ASKED = {"mailServerPeer": STRANGER, "topics": [TOPIC]}

WRONG_PARAMS: list[tuple[str, list[Any], str]] = [
    ("waku_version", [1], "waku_version takes no parameters, not 1"),
    ("waku_setMaxEnvelopeSize", [], "waku_setMaxEnvelopeSize takes 1 parameter, not 0"),
    ("waku_setMaxEnvelopeSize", [0], f"size must be an integer from 14 to {MAX_ENVELOPE_SIZE}"),
    (
        "waku_setMaxEnvelopeSize",
        [MAX_ENVELOPE_SIZE + 1],
        f"size must be an integer from 14 to {MAX_ENVELOPE_SIZE}",
    ),
    ("waku_setMinPoW", [-1], "min_pow must be a finite number, 0 or more"),
    ("waku_setMinPoW", [1e308], "min_pow must be a number from 0 to 1e+09"),
    ("waku_setMinPoW", ["1"], "min_pow must be a finite number, 0 or more"),
    (
        "waku_markTrustedPeer",
        ["x"],
        "enode is no enode URL or node record: "
        "a node looks like enode://<128 hex digits>@host:port, or like enr:<base64>",
    ),
    ("waku_addPrivateKey", ["0x00"], "key must be 32 bytes, not 1"),
    ("waku_addPrivateKey", ["0x" + "00" * 32], "key must be a private key of secp256k1"),
    ("waku_deleteKeyPair", [1], "id must be a string of at most 128 characters"),
    ("waku_hasKeyPair", [None], "id must be a string of at most 128 characters"),
    ("waku_getPublicKey", [{}], "id must be a string of at most 128 characters"),
    ("waku_getPrivateKey", [[]], "id must be a string of at most 128 characters"),
    ("waku_addSymKey", ["0x" + "00" * 31], "key must be 32 bytes, not 31"),
    ("waku_generateSymKeyFromPassword", [1], "password must be a string"),
    ("waku_generateSymKeyFromPassword", ["\ud800"], "password must be a string"),
    ("waku_hasSymKey", ["x" * 129], "id must be a string of at most 128 characters"),
    ("waku_hasSymKey", [1], "id must be a string of at most 128 characters"),
    ("waku_getSymKey", [1], "id must be a string of at most 128 characters"),
    ("waku_deleteSymKey", [1], "id must be a string of at most 128 characters"),
    ("waku_unsubscribe", [1], "subscription must be a string of at most 128 characters"),
    ("waku_newMessageFilter", ["x"], "filter must be an object"),
    ("waku_newMessageFilter", [{}], EITHER),
    ("waku_newMessageFilter", [BOTH], EITHER),
    ("waku_newMessageFilter", [{"symKeyID": "KEY"}], "missing topics"),
    (
        "waku_newMessageFilter",
        [{"symKeyID": "KEY", "topics": ["0x0102030405"]}],
        "topics[0] must be 1 to 4 bytes, not 5",
    ),
    ("waku_newMessageFilter", [{"privateKeyID": "PAIR", "sig": "0x04"}], "sig must be 65 bytes"),
    ("waku_newMessageFilter", [{"privateKeyID": "PAIR", "topics": ""}], f"topics[0] {HEX}"),
    ("waku_newMessageFilter", [{"privateKeyID": "PAIR", "sig": ""}], f"sig {HEX}"),
    (
        "waku_newMessageFilter",
        [{"privateKeyID": "PAIR", "minPow": ""}],
        "minPow must be a finite number, 0 or more",
    ),
    ("admin_sync", [STRANGER, []], "choice must be an object"),
    ("admin_sync", [STRANGER, 0], "choice must be an object"),
    ("admin_sync", [STRANGER, {"to": ""}], "to must be an integer"),
    (
        "waku_newMessageFilter",
        [{"privateKeyID": "PAIR", "minPow": 1e10}],
        "minPow must be a number from 0 to 1e+09",
    ),
    (
        "waku_newMessageFilter",
        [{"privateKeyID": "PAIR", "minPow": -1}],
        "minPow must be a finite number, 0 or more",
    ),
    (
        "waku_newMessageFilter",
        [{"privateKeyID": "PAIR", "allowP2P": 1}],
        "allowP2P must be true or false",
    ),
    ("waku_deleteMessageFilter", [1], "id must be a string of at most 128 characters"),
    ("waku_getFilterMessages", [1], "id must be a string of at most 128 characters"),
    ("waku_post", [None], "message must be an object"),
    ("waku_post", [{"payload": "0x", "topic": TOPIC}], "specify either symKeyID or pubKey"),
    (
        "waku_post",
        [{"symKeyID": "KEY", "pubKey": POINT, "payload": "0x", "topic": TOPIC}],
        "specify either symKeyID or pubKey",
    ),
    ("waku_post", [{"pubKey": "0x04", "payload": "0x"}], "pubKey must be 65 bytes, not 1"),
    ("waku_post", [{"symKeyID": "KEY", "payload": "0x"}], "missing topic"),
    ("waku_post", [{"symKeyID": "KEY", "topic": TOPIC}], "missing payload"),
    ("waku_post", [{"pubKey": POINT, "topic": "0x01", "payload": "0x"}], "topic must be 4 bytes"),
    ("waku_post", [{"pubKey": POINT, "payload": "text"}], f"payload {HEX}"),
    ("waku_post", [{"pubKey": POINT, "payload": "0x", "padding": 1}], f"padding {HEX}"),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "ttl": MAX_TTL + 1}],
        f"ttl must be an integer from 0 to {MAX_TTL}",
    ),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "powTime": MAX_POW_TIME + 1}],
        "powTime must be at most 600 seconds",
    ),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "powTarget": "much"}],
        "powTarget must be a finite number, 0 or more",
    ),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "targetPeer": "0x00"}],
        "targetPeer must be 64 bytes, not 1",
    ),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "powTarget": 1e308}],
        "powTarget must be a number from 0 to 1e+09",
    ),
    ("wakuext_requestMessages", [7], "request must be an object"),
    ("wakuext_requestMessages", [{"topics": [TOPIC]}], "missing mailServerPeer"),
    ("wakuext_requestMessages", [ASKED | {"timeout": "x"}], "timeout must be an integer"),
    ("wakuext_requestMessages", [ASKED | {"force": 1}], "force must be true or false"),
    ("wakuext_requestMessages", [ASKED | {"from": ""}], "from must be an integer"),
    ("wakuext_requestMessages", [{"mailServerPeer": STRANGER}], "missing topics"),
    (
        "wakuext_requestMessages",
        [ASKED | {"topics": ["0x01"]}],
        "topics[0] must be 4 bytes, not 1",
    ),
    (
        "wakuext_requestMessages",
        [ASKED | {"from": 2, "to": 1}],
        "from must not be after to (2 > 1)",
    ),
    ("wakuext_requestMessages", [ASKED | {"limit": -1}], "limit must be an integer"),
    ("wakuext_requestMessages", [ASKED | {"cursor": "zz"}], f"cursor {HEX}"),
    ("admin_addPeer", ["enode://"], "enode is no enode URL"),
    ("admin_removePeer", ["enode://"], "enode is no enode URL"),
    ("admin_addTrustedPeer", ["enode://"], "enode is no enode URL"),
    ("admin_removeTrustedPeer", [], "admin_removeTrustedPeer takes 1 parameter, not 0"),
    ("net_peerCount", [None], "net_peerCount takes no parameters, not 1"),
]
"""Params in which "KEY" and "PAIR" stand for the ids of known keys."""

REFUSALS: list[tuple[str, list[Any], str]] = [
    ("waku_deleteKeyPair", ["nobody's"], "key pair nobody's not found"),
    ("waku_getPublicKey", ["nobody's"], NO_PAIR),
    ("waku_getPrivateKey", ["nobody's"], NO_PAIR),
    ("waku_getPrivateKey", ["KEY"], "no key pair has the id"),
    ("waku_getSymKey", ["nobody's"], NO_KEY),
    ("waku_getSymKey", ["PAIR"], "no symmetric key has the id"),
    ("waku_newMessageFilter", [{"symKeyID": "nobody's", "topics": TOPIC}], NO_KEY),
    ("waku_newMessageFilter", [{"privateKeyID": "nobody's"}], NO_PAIR),
    ("waku_deleteMessageFilter", ["nobody's"], "filter not found"),
    ("waku_getFilterMessages", ["nobody's"], "no filter to poll has the id nobody's"),
    ("waku_post", [{"symKeyID": "nobody's", "topic": TOPIC, "payload": "0x"}], NO_KEY),
    ("waku_post", [{"pubKey": POINT, "payload": "0x", "sig": "nobody's"}], NO_PAIR),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "targetPeer": STRANGER}],
        "the peer is not connected",
    ),
    (
        "waku_post",
        [{"pubKey": POINT, "payload": "0x", "powTarget": 1e9, "powTime": 0}],
        "no PoW of 1000000000.0 within 0.0 s",
    ),
    ("wakuext_requestMessages", [ASKED], "the peer is not connected"),
    ("wakuext_requestMessages", [ASKED | {"symKeyID": "nobody's"}], NO_KEY),
]


def with_ids(value: Any, key: str, pair: str) -> Any:
    """Params with the ids of keys put in."""
    if isinstance(value, dict):
        return {name: with_ids(item, key, pair) for name, item in value.items()}
    return {"KEY": key, "PAIR": pair}.get(value, value) if isinstance(value, str) else value


@over_all
@asynchronous
async def test_every_refusal_is_exact(tmp_path: Path, transport: str) -> None:
    async with node(tmp_path, transport) as (_, _enode, caller):
        key = await caller.call("waku_newSymKey")
        pair = await caller.call("waku_newKeyPair")
        cases = [(INVALID_PARAMS, *case) for case in WRONG_PARAMS]
        cases += [(REFUSED, *case) for case in REFUSALS]
        for code, method, params, text in cases:
            refused = await caller.refusal(method, *(with_ids(p, key, pair) for p in params))
            assert refused[0] == code, method
            assert refused[1].startswith(text), method
        assert await caller.refusal("waku_none") == (
            METHOD_NOT_FOUND,
            "the method waku_none does not exist/is not available",
        )


NUMBERS: list[tuple[str, list[Any]]] = [
    ("waku_setMinPoW", ["N"]),
    ("waku_setMaxEnvelopeSize", ["N"]),
    *(
        ("waku_post", [{"pubKey": POINT, "payload": "0x", name: "N"}])
        for name in ("ttl", "powTarget", "powTime")
    ),
    ("waku_newMessageFilter", [{"privateKeyID": "PAIR", "minPow": "N"}]),
    *(
        ("wakuext_requestMessages", [ASKED | {name: "N"}])
        for name in ("from", "to", "limit", "timeout")
    ),
    *(("admin_sync", [STRANGER, {name: "N"}]) for name in ("from", "to")),
]
"""Every number that a method takes."""

NO_NUMBERS = ("1e308", "-1e308", "-1", "9" * 30, str(1 << 64), "1e400", "NaN", "true", '"1"', "[]")


@asynchronous
async def test_numbers_beyond_all_bounds_are_refused(tmp_path: Path) -> None:
    async with node(tmp_path, "unix") as (server, _, caller):
        before = server.rules
        pair = await caller.call("waku_newKeyPair")
        for method, params in NUMBERS:
            call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            for number in NO_NUMBERS:
                text = json.dumps(call).replace('"N"', number).replace("PAIR", pair)
                await caller.send(text + "\n")
                answer = json.loads(await caller.receive())
                expected = PARSE_ERROR if number in ("1e400", "NaN") else INVALID_PARAMS
                assert answer["error"]["code"] == expected, (text, answer)
        assert server.rules == before


@over_all
@asynchronous
async def test_what_the_node_does_not_take_it_does_not_post(tmp_path: Path, transport: str) -> None:
    rules = rules_with(min_pow=0.25, min_pow_large=0.0001, max_envelope=100_000)
    choices = {"rules": rules, "options": StatusOptions(pow=0.25)}
    async with node(tmp_path, transport, node=choices) as (server, _, caller):
        message = {"pubKey": POINT, "payload": HELLO}
        assert await caller.refusal("waku_post", message | {"powTarget": 0.2}) == (
            REFUSED,
            "message rejected, too little PoW: this node asks for 0.25",
        )
        large = {"pubKey": POINT, "payload": "0x" + "00" * LARGE_ENVELOPE, "ttl": 10}
        assert await caller.refusal("waku_post", large | {"powTarget": 0.0}) == (
            REFUSED,
            "message rejected, too little PoW: this node asks for 0.0001",
        )
        assert await caller.call("waku_post", large) is True
        for too_large in ({"payload": "0x" + "00" * 100_001}, {"padding": "0x" + "00" * 100_000}):
            code, text = await caller.refusal("waku_post", message | too_large)
            assert code == REFUSED
            assert re.fullmatch(r"message too large: \d+ bytes, of 100000 in an envelope", text)
        code, text = await caller.refusal("waku_post", message | {"payload": "0x" + "00" * 99_990})
        assert (code, text) == (REFUSED, "envelope too large")
        assert server.relay.pool.envelopes == 1


@asynchronous
async def test_what_the_disk_does_not_take_is_not_posted(tmp_path: Path) -> None:
    """The first call finds out that the disk refuses; the second is refused before it is sent."""
    async with node(tmp_path, "http") as (server, _, caller):
        assert server.store is not None
        FullDisk(server.store)
        message = {"pubKey": POINT, "payload": HELLO, "powTarget": 0}
        sent = await caller.refusal("waku_post", message)
        assert sent == (REFUSED, "sent, but not stored: no room")
        refused = await caller.refusal("waku_post", message)
        assert refused == (REFUSED, "the archive takes nothing now: no room")
        assert server.relay.pool.envelopes == 1
        counters = server.counters
        assert (counters["publish_unstored"], counters["publish_refused"]) == (1, 1)
