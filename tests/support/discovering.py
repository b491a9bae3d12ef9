"""Nodes of discovery on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.discovery import record_of
from wakumail.counters import Counters
from wakumail.devp2p.addresses import Network
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.node.discovery import Discovery, DiscoveryConfig


@asynccontextmanager
async def discovering(
    key: PrivateKey,
    contacts: Path,
    *bootnodes: Enode,
    host: str = "127.0.0.1",
    netrestrict: tuple[Network, ...] = (),
) -> AsyncIterator[tuple[Discovery, Enode, Counters]]:
    """A node of discovery, and its enode."""
    counters = Counters()
    config = DiscoveryConfig(key, bootnodes, netrestrict, contacts)
    discovery = Discovery(config, counters)
    port = await discovery.listen(host, 0)
    own = {"::": "::1"}.get(host, host)
    discovery.start(record_of(key, (own, port), waku=[1, 1]))
    try:
        yield discovery, Enode(node_id(key.public_key), own, port, port), counters
    finally:
        await discovery.close()


def is_at(discovery: Discovery, enode: Enode) -> bool:
    """True if a node is known at its address."""
    contact = discovery.table.get(enode.node_id)
    return contact is not None and contact.endpoint.udp == enode.port


def known(discovery: Discovery) -> set[bytes]:
    return {contact.node_id for contact in discovery.table}
