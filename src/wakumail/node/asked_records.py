"""Node records, asked for from the nodes themselves by discovery v4 (EIP-868)."""

import asyncio
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from wakumail.counters import Counters
from wakumail.devp2p.addresses import read_network
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import generate
from wakumail.node.discovery import Discovery, DiscoveryConfig

MAX_ASKED_AT_ONCE = 16
"""Nodes that are asked at once, each from a socket and a key of its own."""

LOOK_INTERVAL = 0.05
"""Seconds between two looks whether the record has come."""


async def ask_records(enodes: Iterable[Enode], wait: float) -> dict[Enode, Enr]:
    """The records of the nodes that tell them, each within `wait` seconds."""
    slots = asyncio.Semaphore(MAX_ASKED_AT_ONCE)
    asked = list(enodes)

    async def ask(enode: Enode) -> Enr | None:
        async with slots:
            with suppress(OSError):  # a TimeoutError is one
                async with asyncio.timeout(wait):
                    return await _ask(enode)
        return None

    records = await asyncio.gather(*map(ask, asked))
    return {enode: record for enode, record in zip(asked, records, strict=True) if record}


async def _ask(enode: Enode) -> Enr:
    """The record of one node. OSError if its name has no address, or no datagram can be sent."""
    found = await asyncio.get_running_loop().getaddrinfo(
        enode.host, enode.discport, type=socket.SOCK_DGRAM
    )
    at = replace(enode, host=str(found[0][4][0]))
    key = generate(os.urandom)
    config = DiscoveryConfig(
        key=key,
        bootnodes=(at,),
        # Nodes that it tells of are none of our business.
        netrestrict=(read_network(at.host),),
        contacts=None,
    )
    discovery = Discovery(config, Counters())
    port = await discovery.listen("::" if ":" in at.host else "0.0.0.0", 0)
    discovery.start(Enr.make(key, 1, {b"udp": port}))
    try:
        while True:
            contact = discovery.table.get(enode.node_id)
            if contact is not None and contact.record is not None:
                return contact.record
            await asyncio.sleep(LOOK_INTERVAL)
    finally:
        await discovery.close()
