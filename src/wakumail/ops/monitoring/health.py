"""Health: whether the server does what it is there for, found out by being its client.

A canary dials the server's own port, as any client would, and asks for history: through accept,
handshake, status, request, archive and answer. Its node key is of this process alone, and trusted,
so that a full house does not turn it away, while a server that no longer answers does. Beside it a
watch measures how late the event loop wakes, and sees whether the archive takes writes.

The server counts the canary's connections and requests like anybody's: they are as real. The
counter `canaries` says how many there were, and its link is known by `Canary.node_id`.
"""

import asyncio
import os
import time

from wakumail.base.histograms import SECONDS, Histogram
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.mail.answer import Wanted
from wakumail.mail.client import connect
from wakumail.mail.server import Server
from wakumail.ops.monitoring.report import Problem

CANARY_INTERVAL = 15.0
"""Seconds between the end of one canary and the next."""

CANARY_TIMEOUT = 10.0
"""Seconds that a canary may take."""

CANARY_MEMORY = 60.0
"""Seconds that the last answer counts for: a few canaries may fail before health does."""

CANARY_TOPIC = b"\xff\x00\xff\x00"
"""A topic that nobody uses: an answer that costs little, by the whole path."""

WATCH_INTERVAL = 0.25
"""Seconds between two looks at the clock, and at the checks."""

MAX_LAG = 1.0
"""Seconds that the event loop may be late."""

LAG_MEMORY = 60.0
"""Seconds for which it counts that the loop was too late."""

CHECKS = ("listening", "archive", "canary", "event loop")
"""What is checked, in the order in which it is told."""


class Canary:
    """The server's own client; it dials `enode`, or where the server listens."""

    def __init__(self, server: Server, enode: Enode | None = None) -> None:
        self._server = server
        self._enode = enode
        self._key = generate(os.urandom)
        self.node_id = node_id(self._key.public_key)
        self.seconds = Histogram(SECONDS)
        """From dialing to the answer, of those that were answered."""
        self._answered: float | None = None
        self._failure = "none has returned yet"

    async def sing(self) -> None:
        """Connect and ask once; what comes of it is kept, never raised."""
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
        except Exception as error:  # whatever it is, it is why no answer came
            server.counters.add("canaries_failed")
            self._failure = f"{step} failed: {str(error) or type(error).__name__}"
        else:
            self._answered = answered
            self.seconds.add(answered - started)

    def failure(self, now: float) -> str:
        """Why there is no answer of late at `now` (of time.monotonic()); empty when there is."""
        if self._answered is None:
            return f"no canary was answered: {self._failure}"
        age = now - self._answered
        return f"no answer for {age:.0f} s: {self._failure}" if age > CANARY_MEMORY else ""


class Health:
    """The checks, and since when each fails; a canary dials `enode`, as Canary says."""

    def __init__(self, server: Server, enode: Enode | None = None) -> None:
        self.canary = Canary(server, enode)
        self.lag = Histogram(SECONDS)
        """Seconds that the event loop was late."""
        self._server = server
        self._blocked: tuple[float, float] | None = None
        self._since: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch; the server has to listen."""
        self._server.node.admission.trust(self.canary.node_id)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._send_canaries()), loop.create_task(self._watch())]

    async def close(self) -> None:
        """Watch no longer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._server.node.admission.distrust(self.canary.node_id)

    def problems(self) -> list[Problem]:
        """The checks that fail."""
        now = time.monotonic()
        reasons = self._reasons(now)
        self._since = {check: self._since.get(check, now) for check in reasons}
        return [Problem(check, reasons[check], now - self._since[check]) for check in reasons]

    def _reasons(self, now: float) -> dict[str, str]:
        """Why each of the failing checks fails."""
        store = self._server.store
        reasons = (
            "" if self._server.node.listening is not None else "takes no connections",
            "" if store is None else store.degraded,
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
