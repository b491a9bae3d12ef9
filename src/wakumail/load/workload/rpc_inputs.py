"""The worst calls of each method of the RPC API, at the bounds of a message."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wakumail.load.workload.archived_traffic import make_topics
from wakumail.waku.packets import MAX_TOPIC_INTEREST

MAX_MESSAGE = 5 << 20
"""Bytes of one message."""

MAX_SEPARATORS = 50_000
"""Commas, colons and opening brackets of one message."""

KEY = f"0x{bytes(range(32)).hex()}"
"""A symmetric key, which is a private key too."""

KEY_ID, PAIR_ID = "$KEY", "$PAIR"
"""Stand for the ids of a symmetric key and of a key pair that the server has."""

ENODE = f"enode://{'79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'}" + (
    "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8@127.0.0.1:1"
)
"""A node that cannot be reached."""

MARGIN = 2000
"""Bytes that a message has beside a value, at most."""

HOLE = "$HOLE"

TOPICS = [f"0x{topic.hex()}" for topic in make_topics(MAX_TOPIC_INTEREST)]
DATA = "0x" + "61" * ((1 << 20) - 200)
"""As much as fits into an envelope."""


@dataclass(frozen=True, slots=True)
class RpcInput:
    """Parameters of good calls of a method, the smallest last, and the most calls in a batch."""

    params: Sequence[Sequence[Any]] = ((),)
    batch: int = 1000


def filters(**choices: object) -> dict[str, object]:
    """A filter of as many topics as one may have."""
    return {"symKeyID": KEY_ID, "topics": TOPICS, "allowP2P": True} | choices


MESSAGE = {"symKeyID": KEY_ID, "topic": TOPICS[0], "powTarget": 0, "ttl": 50, "payload": "0x61"}

RPC_INPUTS: Mapping[str, RpcInput] = {
    "admin_addPeer": RpcInput([[ENODE]]),
    "admin_addTrustedPeer": RpcInput([[ENODE]]),
    "admin_discoveredNodes": RpcInput(),
    "admin_nodeInfo": RpcInput(),
    "admin_peers": RpcInput(batch=100),
    "admin_removePeer": RpcInput([[ENODE]]),
    "admin_removeTrustedPeer": RpcInput([[ENODE]]),
    "admin_sync": RpcInput([[ENODE, {"from": 2, "to": 1}]]),
    "admin_syncPeers": RpcInput(),
    "net_peerCount": RpcInput(),
    "net_version": RpcInput(),
    "rpc_modules": RpcInput(),
    "waku_addPrivateKey": RpcInput([[KEY]]),
    "waku_addSymKey": RpcInput([[KEY]]),
    "waku_deleteKeyPair": RpcInput([["x"]]),
    "waku_deleteMessageFilter": RpcInput([["x"]]),
    "waku_deleteSymKey": RpcInput([["x"]]),
    "waku_generateSymKeyFromPassword": RpcInput([["x"]], batch=10),
    "waku_getFilterMessages": RpcInput([["x"]]),
    "waku_getPrivateKey": RpcInput([[PAIR_ID]]),
    "waku_getPublicKey": RpcInput([[PAIR_ID]]),
    "waku_getSymKey": RpcInput([[KEY_ID]]),
    "waku_hasKeyPair": RpcInput([[PAIR_ID]]),
    "waku_hasSymKey": RpcInput([[KEY_ID]]),
    "waku_info": RpcInput(),
    "waku_markTrustedPeer": RpcInput([[ENODE]]),
    "waku_newKeyPair": RpcInput(),
    "waku_newMessageFilter": RpcInput([[filters()], [filters(topics=TOPICS[:1])]], batch=4),
    "waku_newSymKey": RpcInput(),
    "waku_post": RpcInput([[MESSAGE | {"payload": DATA}], [MESSAGE]], 20),
    "waku_setMaxEnvelopeSize": RpcInput([[1 << 20]]),
    "waku_setMinPoW": RpcInput([[0]]),
    "waku_subscribe": RpcInput(
        [["messages", filters()], ["messages", filters(topics=TOPICS[:1])]], batch=4
    ),
    "waku_unsubscribe": RpcInput([["x"]]),
    "waku_version": RpcInput(),
    "wakuext_requestMessages": RpcInput(
        [
            [{"mailServerPeer": ENODE, "topics": topics, "symKeyID": KEY_ID}]
            for topics in (TOPICS[:1000], TOPICS[:1])
        ]
    ),
    "web3_clientVersion": RpcInput(),
}
"""By method: every one has its row."""


def rpc_messages(method: str, keys: Mapping[str, str], share: float) -> Iterator[bytes]:
    """The messages that are sent to one method: good calls, a batch, and messages of all shapes.

    `keys` are the ids for KEY_ID and PAIR_ID. The last messages have a `share` of MAX_MESSAGE
    bytes, from 0 to 1.
    """
    row = RPC_INPUTS[method]
    calls = [call(method, params, keys) for params in row.params]
    yield from calls
    size = max(MARGIN, int(MAX_MESSAGE * share) - MARGIN)
    separators = max(100, int(MAX_SEPARATORS * share) - 100)
    each = calls[-1]
    count = min(
        max(1, int(row.batch * share)),
        size // (len(each) + 1),
        separators // (separators_of(each) + 1),
    )
    yield b"[%b]" % b",".join([each] * max(1, count))
    name = method.encode()
    for value in values(size, separators):
        yield b'{"jsonrpc":"2.0","id":1,"method":"%b","params":[%b]}' % (name, value)
    holes = list(holed(method, row.params[-1], keys))
    for value in few_values(size, separators):
        yield b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":[]}' % (value, name)
        for hole in holes:
            yield hole.replace(b'"%b"' % HOLE.encode(), value)


def holed(method: str, params: Sequence[Any], keys: Mapping[str, str]) -> Iterator[bytes]:
    """Calls with a HOLE in the place of one parameter after the first, or of one field."""
    for place, param in enumerate(params):
        holes = [{**param, name: HOLE} for name in param] if isinstance(param, dict) else []
        for hole in (*holes, *([HOLE] if place else [])):
            yield call(method, [*params[:place], hole, *params[place + 1 :]], keys)


def few_values(size: int, separators: int) -> Iterator[bytes]:
    """The JSON values that take longest to read, to repeat in an answer, and to look at."""
    yield b'"0x%b"' % (b"61" * (size // 2))
    yield b'"%b"' % ("\N{GRINNING FACE}".encode() * (size // 4))
    yield b"[%b]" % b",".join([b"1." + b"7" * (size // separators - 4)] * separators)


def values(size: int, separators: int) -> Iterator[bytes]:
    """JSON values of `size` bytes, with at most this number of separators."""
    yield from few_values(size, separators)
    yield b'"%b"' % (rb"\u00e9" * (size // 6))
    yield b'"%b"' % (rb"\ud83d\ude00" * (size // 12))
    yield b"[%b]" % b",".join([b" " * (size // separators - 4) + b"[0]"] * (separators // 2))
    yield b"{%b}" % b",".join(b'"%0*d":0' % (10, n) for n in range(separators // 2))
    yield b"[%b]" % b",".join([b"9" * 399] * min(separators, size // 400))
    yield b"1." + b"7" * (size - 2)
    yield b"9" * size
    depth = min(size // 2, separators)
    yield b"[" * depth + b"]" * depth
    yield b" " * size


def call(method: str, params: Sequence[Any], keys: Mapping[str, str]) -> bytes:
    """A call as JSON."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    text = json.dumps(message, separators=(",", ":"))
    for stands_for, key_id in keys.items():
        text = text.replace(stands_for, key_id)
    return text.encode()


def separators_of(message: bytes) -> int:
    """Commas, colons and opening brackets in a message."""
    return sum(map(message.count, (b",", b":", b"[", b"{")))
