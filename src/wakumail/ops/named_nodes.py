"""The nodes that an operator has named: static and trusted ones and those to sync with."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TypeVar

from wakumail.archive.datadir import Datadir
from wakumail.archive.store import Store
from wakumail.base.edited_list import EditedList
from wakumail.devp2p.enode import Enode
from wakumail.mail.server import Server
from wakumail.node.dialer import Dialer
from wakumail.node.node import Node
from wakumail.ops.config.settings import Settings

SLICE = 200
"""Nodes that are looked at in one step of the loop: some 2 ms."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class NamedNodes:
    """The static and the trusted nodes of a server, and those that it syncs with.

    An entry that is malformed or cannot be meant is left out with a warning: the node itself, which
    is known by its id and never by its address, and an address that nobody can dial.
    """

    def __init__(self, settings: Settings, datadir: Datadir) -> None:
        self._malformed: list[str] = []
        """Sentences on malformed entries of the files."""
        self._static = [*settings.static_nodes]
        self._trusted = [*settings.trusted_nodes]
        self._syncing = settings.sync_peers if settings.mailserver else ()
        for nodes, path in (
            (self._static, datadir.static_nodes),
            (self._trusted, datadir.trusted_nodes),
        ):
            if path.exists():
                listed = EditedList.read(path, Enode.parse)
                nodes += listed.items
                self._malformed += listed.malformed

    async def trust(self, node: Node) -> None:
        """Let the node trust the trusted ones."""
        async for enode in _in_slices(self._trusted):
            if enode.node_id != node.own_id:
                node.admission.trust(enode.node_id)

    async def sync(self, server: Server, store: Store | None) -> None:
        """Let the server sync with those that are named for it, whoever makes the connection."""
        if store is None:
            return
        async for enode in _in_slices(self._syncing):
            if enode.node_id != server.node.own_id:
                server.sync(store).add(enode)

    async def dial(self, dialer: Dialer) -> None:
        """Keep connections to all of them, and warn of those that are left out."""
        await self._dial((*self._static, *self._trusted, *self._syncing), dialer)

    async def replace(self, former: "NamedNodes", server: Server, store: Store | None) -> None:
        """Take the place of those that were named before: leave some, and dial those that are new.

        Nodes that the RPC API has named stay.
        """
        before = {*former._static, *former._trusted, *former._syncing}
        now = (*self._static, *self._trusted, *self._syncing)
        async for enode in _in_slices({*former._syncing} - {*self._syncing}):
            if server.partners is not None:
                server.partners.remove(enode.node_id)
        named = {enode.node_id for enode in now}
        async for node_id in _in_slices({enode.node_id for enode in before} - named):
            server.dialer.remove(node_id)
        trusted = {enode.node_id for enode in self._trusted}
        async for enode in _in_slices(former._trusted):
            if enode.node_id not in trusted:
                server.node.admission.distrust(enode.node_id)
        await self.trust(server.node)
        if {*self._syncing} - {*former._syncing}:
            await self.sync(server, store)
        await self._dial([enode for enode in now if enode not in before], server.dialer)

    async def _dial(self, enodes: Sequence[Enode], dialer: Dialer) -> None:
        async for sentence in _in_slices(self._malformed):
            log.warning("%s; it is left out", sentence)
        at: dict[str, Enode] = {}
        dialed: dict[bytes, Enode] = {}
        async for enode in _in_slices(enodes):
            try:
                dialer.add(enode)
            except ValueError as error:
                log.warning("%s is not dialed: %s", enode, error)
                continue
            if (other := dialed.get(enode.node_id, enode)).address != enode.address:
                log.warning("%s is dialed at %s, not at %s", enode, enode.address, other.address)
            if (other := at.get(enode.address, enode)).node_id != enode.node_id:
                log.warning("%s and %s have one address: only one can be there", other, enode)
            dialed[enode.node_id] = at[enode.address] = enode


async def _in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """The items. Peers and callers have a turn after every SLICE of them."""
    for number, item in enumerate(items, 1):
        if not number % SLICE:
            await asyncio.sleep(0)
        yield item
