"""The dialer: keeps connections to the peers that an operator has named."""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Collection

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.errors import DisconnectReason, PeerGone, reason
from wakumail.node.link import Link
from wakumail.node.node import DIAL_TIMEOUT, Node

log = logging.getLogger(__name__)

MAX_DIALS = 16
"""Dials in progress at the same time."""

MIN_REDIAL_DELAY = 1.0
"""Seconds before the second dial of a peer. They double with each dial."""

MAX_REDIAL_DELAY = 300.0
"""Seconds between two dials of a peer, at most."""

STABLE_TIME = 30.0
"""Seconds that a connection has to last before the delay is MIN_REDIAL_DELAY again."""


class _Slots:
    """The dials that may be in progress, for those who wait for one in the order of their calls.

    A waiter that is cancelled costs the same however many others wait. With asyncio.Semaphore it
    costs a look at each of them, and a list of thousands of nodes may be taken back at once.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came at the same moment
                self._release()
            self._waiting.pop(turn, None)
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._release()

    def _release(self) -> None:
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Dialer:
    """Dials each named peer until it is connected, and again when the connection has ended.

    The delay doubles with each dial of a peer. A random part of it, up to a half, is left out. So
    nodes that lost each other dial neither all at once nor both at the same moment.
    """

    def __init__(self, node: Node, counters: Counters) -> None:
        self._node = node
        self._counters = counters
        self._slots = _Slots(MAX_DIALS)
        self._keepers: dict[bytes, asyncio.Task[None]] = {}

    @property
    def targets(self) -> Collection[bytes]:
        """The node ids of the named peers."""
        return self._keepers.keys()

    def add(self, enode: Enode) -> None:
        """Keep a connection to this peer from now on. A new address replaces the old one.

        ValueError for this node itself, and for an address that nobody can dial.
        """
        if enode.node_id == self._node.own_id:
            raise ValueError("it is the id of this node itself")
        if why := enode.undialable:
            raise ValueError(why)
        self._cancel(enode.node_id)
        keeper = asyncio.get_running_loop().create_task(self._keep(enode))
        self._keepers[enode.node_id] = keeper

    def remove(self, node_id: bytes) -> None:
        """Dial a peer no more, and disconnect it if it is connected."""
        self._cancel(node_id)
        if (link := self._node.links.get(node_id)) is not None:
            link.disconnect(DisconnectReason.REQUESTED)

    async def close(self) -> None:
        """Dial no more. Connections stay."""
        keepers = tuple(self._keepers.values())
        self._keepers.clear()
        await end_tasks(keepers)

    def _cancel(self, node_id: bytes) -> None:
        if (keeper := self._keepers.pop(node_id, None)) is not None:
            keeper.cancel()

    async def _keep(self, enode: Enode) -> None:
        loop = asyncio.get_running_loop()
        delay, level = MIN_REDIAL_DELAY, logging.WARNING
        while True:
            link = self._node.links.get(enode.node_id) or await self._dial(enode, level)
            level = logging.DEBUG if link is None else logging.WARNING
            if link is not None:
                since = loop.time()
                await link.gone()
                if loop.time() - since >= STABLE_TIME:
                    delay = MIN_REDIAL_DELAY
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, MAX_REDIAL_DELAY)

    async def _dial(self, enode: Enode, level: int) -> Link | None:
        """The link; None if the dial failed, and then a log line at `level`.

        Two nodes that dial each other at once keep one of both connections.
        """
        async with self._slots:
            self._counters.add("dials")
            try:
                async with asyncio.timeout(DIAL_TIMEOUT):
                    return await self._node.dial(enode)
            except (OSError, PeerGone) as error:  # a TimeoutError is an OSError
                self._counters.add("dials_failed")
                if (link := self._node.links.get(enode.node_id)) is not None:
                    return link
                log.log(level, "%s cannot be reached: %s", enode.address, reason(error))
                return None
