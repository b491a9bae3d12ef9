"""The confirmation queue: confirms the packets of peers, within the rate limits that they told."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.errors import PeerGone
from wakumail.node.link import Link
from wakumail.waku.confirmations import encode_message_response
from wakumail.waku.envelope import Batch

MAX_UNSENT = 1000
"""Confirmations of one peer that may wait for its rate limits. Later ones are not sent: the peer
posts far more than it lets us answer, and has given up waiting for them."""

MAX_UNSENT_BYTES = 256 << 10
"""Bytes of them, for each refused envelope is named; one may always wait."""


@dataclass(slots=True)
class Unsent:
    """The Message Responses that wait for the rate limits of one peer."""

    responses: deque[bytes] = field(default_factory=deque)
    size: int = 0
    """Their bytes."""

    def add(self, response: bytes) -> bool:
        """Let a Message Response wait; False if there is no room for it."""
        full = len(self.responses) >= MAX_UNSENT or self.size + len(response) > MAX_UNSENT_BYTES
        if full and self.responses:
            return False
        self.responses.append(response)
        self.size += len(response)
        return True

    def take(self) -> bytes:
        """The one that has waited the longest."""
        response = self.responses.popleft()
        self.size -= len(response)
        return response


class ConfirmationQueue:
    """Confirms batches to the peers that sent them.

    A peer without rate limits gets a Message Response and a Batch Ack at once, as status-go sends
    them. One with limits, of packets or of bytes, gets only the Message Response, which says the
    same (6/WAKU1, "Batch Ack and Message Response"), and leaves every other packet to the relay.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._unsent: dict[Link, Unsent] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def confirm(self, link: Link, batch: Batch) -> None:
        """Confirm the packets of a batch: their good envelopes are on disk."""
        if link.closed is not None:
            return
        confirmations = batch.confirmations
        if link.peer.limits.is_limited or link in self._unsent:  # in the packets' order
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
            unsent = self._unsent[link] = Unsent()
            task = asyncio.get_running_loop().create_task(self._send(link, unsent))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        for batch_hash, errors in confirmations:
            if not unsent.add(encode_message_response(batch_hash, errors)):
                self._counters.add("confirmations_unsent")

    async def _send(self, link: Link, unsent: Unsent) -> None:
        """Send the confirmations of a peer one by one, in turns with its other packets."""
        try:
            while unsent.responses:
                await link.outbox.pace(len(unsent.responses[0]))
                link.peer.respond(unsent.take())
                link.outbox.flush_soon()
                self._counters.add("messages_confirmed")
        except PeerGone:
            self._counters.add("confirmations_unsent", len(unsent.responses))
        finally:
            del self._unsent[link]
