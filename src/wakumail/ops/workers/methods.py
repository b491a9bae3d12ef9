"""The RPC API of the leading worker, whose methods concern all workers."""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from inspect import isawaitable
from typing import Any

from wakumail.devp2p.enode import Enode
from wakumail.ops.workers.channel import WorkerChannel
from wakumail.rpc.params import enode

Method = Callable[..., Any]


def all_peers(peers: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The peers of all workers in the order of their ids."""
    return sorted((peer for some in peers for peer in some), key=lambda peer: str(peer["id"]))


def sum_of_all(counts: Iterable[str]) -> str:
    """The sum of hexadecimal numbers."""
    return hex(sum(int(count, 16) for count in counts))


def all_sync_peers(peers: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The peers that we sync with, each as the worker tells it that has it connected."""
    joined: dict[str, dict[str, Any]] = {}
    for peer in (peer for some in peers for peer in some):
        known = joined.get(peer["id"])
        if known is None or (peer["connected"] and not known["connected"]):
            joined[peer["id"]] = peer
    return list(joined.values())


GATHERED: Mapping[str, Callable[[Iterable[Any]], Any]] = {
    "admin_peers": all_peers,
    "admin_syncPeers": all_sync_peers,
    "net_peerCount": sum_of_all,
}
"""Methods that every worker is asked, and the functions that join their answers."""

ORDERS: Mapping[str, str] = {
    "waku_setMinPoW": "min_pow",
    "waku_setMaxEnvelopeSize": "max_envelope",
    "waku_markTrustedPeer": "trust {}",
    "admin_addTrustedPeer": "trust {}",
    "admin_removeTrustedPeer": "trust {}",
    "admin_addPeer": "dial {}",
    "admin_removePeer": "dial {}",
}
"""Methods that every worker obeys, also one that starts later; and their subject."""

SYNC = "admin_sync"
"""The method that the worker carries out to which the peer is connected."""

DIAL = "admin_addPeer"
"""The order that only the leading worker carries out: a peer is dialed once."""


def subject(name: str, params: Iterable[Any]) -> str:
    """The subject of an order, of which the last order holds; a node is its id at any address."""
    node_ids = (Enode.parse(param).node_id.hex() for param in params if isinstance(param, str))
    return ORDERS[name].format(*node_ids)


def for_all(methods: Mapping[str, Method], channel: WorkerChannel) -> dict[str, Method]:
    """The methods of one worker, changed to concern all workers."""
    own = dict(methods)
    for name, join in GATHERED.items():
        own[name] = gathered(name, methods[name], join, channel)
    for name in ORDERS:
        own[name] = ordered(name, methods[name], channel)
    if SYNC in methods:
        own[SYNC] = at_its_worker(methods[SYNC], methods["admin_syncPeers"], channel)
    return own


def at_its_worker(method: Method, peers: Method, channel: WorkerChannel) -> Method:
    """A method about a peer that another worker calls if the peer is connected there.

    `peers` tells those that are connected here.
    """

    @wraps(method)
    async def sync(session: Any, *params: Any) -> Any:
        peer = enode(params[0] if params else None, "enode").node_id.hex()
        if not any(each["connected"] for each in peers(session) if each["id"] == peer):
            outcome = await channel.call("sync", peer, params)
            if outcome is not None:
                return outcome
        return await method(session, *params)

    return sync


def gathered(
    name: str, method: Method, join: Callable[[Iterable[Any]], Any], channel: WorkerChannel
) -> Method:
    """A method that joins the answers of all workers."""

    @wraps(method)
    async def ask(session: Any, *params: Any) -> Any:
        result = method(session, *params)
        own = await result if isawaitable(result) else result
        return join([own, *await channel.call("ask", name, params)])

    return ask


def ordered(name: str, method: Method, channel: WorkerChannel) -> Method:
    """A method that is carried out here, then at all other workers."""

    @wraps(method)
    async def order(session: Any, *params: Any) -> Any:
        result = method(session, *params)
        await channel.call("order", name, params)
        return result

    return order
