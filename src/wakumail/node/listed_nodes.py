"""Nodes of lists in the DNS, as candidates for the finder of peers."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from wakumail.base.tasks import end_tasks
from wakumail.devp2p.dns_tree import ListUrl
from wakumail.devp2p.enode import enode_of
from wakumail.devp2p.enr import Enr
from wakumail.node.dns_lists import DnsLists
from wakumail.node.peer_finder import Candidate

RECORDS_AT_ONCE = 16
"""Records that one look reads."""

MAX_LISTED = 1000
"""Nodes that are remembered, with the address of the newest record of each."""


class ListedNodes:
    """The nodes that were read of some lists; a look reads a few more."""

    def __init__(self, lists: DnsLists, on_seqs: Callable[[Mapping[ListUrl, int]], None]) -> None:
        """`on_seqs` takes the sequence numbers of the lists after each record."""
        self._lists = lists
        self._records = lists.endless()
        self._on_seqs = on_seqs
        self._candidates: OrderedDict[bytes, Candidate] = OrderedDict()
        self._looking: asyncio.Task[None] | None = None

    def candidates(self) -> Iterator[Candidate]:
        """The nodes that can be dialed."""
        return iter(tuple(self._candidates.values()))

    def look(self) -> None:
        """Read more records, unless that is going on."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        """Read no more."""
        if self._looking is not None:
            await end_tasks([self._looking])
        await self._records.aclose()

    async def _read(self) -> None:
        for _ in range(RECORDS_AT_ONCE):
            self._take(await anext(self._records))
            self._on_seqs(self._lists.seqs)

    def _take(self, record: Enr) -> None:
        try:
            enode = enode_of(record)
        except ValueError:  # it tells no address
            return
        self._candidates[enode.node_id] = Candidate(enode, record.speaks_waku)
        self._candidates.move_to_end(enode.node_id)
        if len(self._candidates) > MAX_LISTED:
            self._candidates.popitem(last=False)
