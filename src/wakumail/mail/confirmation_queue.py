"""The confirmation queue: confirms the packets of peers, within the rate limits that they told."""

import asyncio
from collections import deque
from collections.abc import Sequence

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.errors import PeerGone
from wakumail.node.link import Link
from wakumail.waku.envelope import Batch

MAX_UNSENT = 1000
"""Confirmations of one peer that may wait for its rate limits. Later ones are not sent: the peer
posts far more than it lets us answer, and has given up waiting for them."""


class ConfirmationQueue:
    """Confirms batches to the peers that sent them.

    A peer without a limit of packets gets a Message Response and a Batch Ack at once, as status-go
    sends them. One with a limit gets only the Message Response, which says the same (6/WAKU1,
    "Batch Ack and Message Response"), and leaves every other packet to the relay.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._unsent: dict[Link, deque[tuple[bytes, bytes]]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def confirm(self, link: Link, batch: Batch) -> None:
        """Confirm the packets of a batch: their good envelopes are on disk."""
        if link.closed is not None:
            return
        confirmations = batch.confirmations
        if link.peer.limits.has_packet_limit or link in self._unsent:  # in the packets' order
            self._wait(link, confirmations)
        else:
            link.peer.confirm(confirmations)
            link.outbox.flush_soon()
            self._counters.add("messages_confirmed", len(confirmations))

    async def close(self) -> None:
        """Send no more of what waits."""
        await end_tasks(self._sending)

    def _wait(self, link: Link, confirmations: Sequence[tuple[bytes, bytes]]) -> None:
        unsent = self._unsent.get(link)
        if unsent is None:
            unsent = self._unsent[link] = deque()
            task = asyncio.get_running_loop().create_task(self._send(link, unsent))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        room = MAX_UNSENT - len(unsent)
        unsent.extend(confirmations[:room])
        self._counters.add("confirmations_unsent", max(0, len(confirmations) - room))

    async def _send(self, link: Link, unsent: deque[tuple[bytes, bytes]]) -> None:
        """Send the confirmations of a peer one by one."""
        try:
            while unsent:
                await link.outbox.pace(packets=2)
                link.peer.respond(*unsent.popleft())
                link.outbox.flush_soon()
                self._counters.add("messages_confirmed")
        except PeerGone:
            self._counters.add("confirmations_unsent", len(unsent))
        finally:
            del self._unsent[link]
