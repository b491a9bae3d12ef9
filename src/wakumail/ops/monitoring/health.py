"""Health: checks that the server does its work, by being one of its clients.

A canary dials the server's own port like any client and asks for history. That takes accept,
handshake, status, request, archive and answer. Its node key is made by this process and trusted, so
that a server with --maxpeers peers still admits it. A watch beside it measures how late the event
loop wakes, and looks if the archive takes writes.

The connections and requests of the canary are real, and are counted like any others. The counter
`canaries` has their number; `Canary.node_id` identifies their link.
"""

import asyncio
import os
import time
from typing import TYPE_CHECKING

from wakumail.base.histograms import SECONDS, Histogram
from wakumail.base.tasks import end_tasks
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.mail.answer import Wanted
from wakumail.mail.client import connect
from wakumail.mail.server import Server
from wakumail.ops.monitoring.report import Problem

if TYPE_CHECKING:
    from wakumail.ops.cluster.member import Member

CANARY_INTERVAL = 15.0
"""Seconds between the end of one canary and the next."""

CANARY_TIMEOUT = 10.0
"""Seconds that a canary may take."""

CANARY_MEMORY = 60.0
"""Seconds that an answer stays valid: a few canaries may fail before /health does."""

CANARY_TOPIC = b"\xff\x00\xff\x00"
"""A topic that nobody uses: the answer costs little and takes the whole path."""

WATCH_INTERVAL = 0.25
"""Seconds between two runs of the watch."""

MAX_LAG = 1.0
"""Seconds that the event loop may be late before a check fails."""

LAG_MEMORY = 60.0
"""Seconds that the check fails after the loop was too late."""

CHECKS = ("listening", "archive", "history", "canary", "event loop")
"""The checks, in the order of the pages. `history` fails while the archive of a host in a cluster
lacks what the log has."""


class Canary:
    """The server's own client; it dials `enode`, by default where the server listens."""

    def __init__(self, server: Server, enode: Enode | None = None) -> None:
        self._server = server
        self._enode = enode
        self._key = generate(os.urandom)
        self.node_id = node_id(self._key.public_key)
        self.seconds = Histogram(SECONDS)
        """Seconds from dialing to the answer, of the canaries that were answered."""
        self._answered: float | None = None
        self._failure = "none has returned yet"

    async def sing(self) -> None:
        """Connect and ask once; the outcome is kept, and no error is raised."""
        server = self._server
        server.counters.add("canaries")
        started = time.monotonic()
        step = "connecting"
        try:
            async with (
                asyncio.timeout(CANARY_TIMEOUT),
                connect(self._enode or server.own_enode, node_key=self._key, password=None) as peer,
            ):
                if server.store is not None:
                    step = "a request"
                    now = int(time.time())
                    await peer.request(Wanted(now - 60, now, (CANARY_TOPIC,), limit=1))
                answered = time.monotonic()
        except Exception as error:  # any error is the reason that no answer came
            server.counters.add("canaries_failed")
            self._failure = f"{step} failed: {str(error) or type(error).__name__}"
        else:
            self._answered = answered
            self.seconds.add(answered - started)

    def failure(self, now: float) -> str:
        """The reason that no answer is valid at `now` (time.monotonic()); empty if one is."""
        if self._answered is None:
            return f"no canary was answered: {self._failure}"
        age = now - self._answered
        return f"no answer for {age:.0f} s: {self._failure}" if age > CANARY_MEMORY else ""


class Health:
    """The checks, and the time since when each fails; `enode` is the canary's."""

    def __init__(
        self, server: Server, enode: Enode | None = None, member: "Member | None" = None
    ) -> None:
        self.canary = Canary(server, enode)
        self.lag = Histogram(SECONDS)
        """Seconds that the event loop was late, one value for each run of the watch."""
        self._server = server
        self._member = member
        self._blocked: tuple[float, float] | None = None
        self._since: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the canary and the watch; the server must be listening."""
        self._server.node.admission.trust(self.canary.node_id)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send_canaries()), loop.create_task(self._watch())]

    async def close(self) -> None:
        """Stop the canary and the watch."""
        await end_tasks(self._tasks)
        self._server.node.admission.distrust(self.canary.node_id)

    def problems(self) -> list[Problem]:
        """The checks that fail."""
        now = time.monotonic()
        reasons = self._reasons(now)
        self._since = {check: self._since.get(check, now) for check in reasons}
        return [Problem(check, reasons[check], now - self._since[check]) for check in reasons]

    def _reasons(self, now: float) -> dict[str, str]:
        """The reason of each check that fails."""
        store = self._server.store
        reasons = (
            "" if self._server.node.listening is not None else "takes no connections",
            "" if store is None else store.degraded or store.pages.damaged,
            "" if self._member is None else self._member.behind,
            self.canary.failure(now),
            self._lateness(now),
        )
        return {check: reason for check, reason in zip(CHECKS, reasons, strict=True) if reason}

    def _lateness(self, now: float) -> str:
        if self._blocked is None:
            return ""
        lag, at = self._blocked
        return f"event loop blocked for {lag:.1f} s" if now - at <= LAG_MEMORY else ""

    async def _send_canaries(self) -> None:
        while True:
            await self.canary.sing()
            await asyncio.sleep(CANARY_INTERVAL)

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + WATCH_INTERVAL
            await asyncio.sleep(WATCH_INTERVAL)
            now = time.monotonic()
            lag = max(0.0, now - due)
            self.lag.add(lag)
            if lag > MAX_LAG:
                self._blocked = lag, now
            self.problems()
