"""The pages for operators: /metrics, and three for whoever routes to the server or restarts it.

/live    200 while the process answers at all
/ready   200 once the server takes connections, which is after its archive was opened
/health  200 while all is well, 503 and what fails otherwise (see health.py)

The three answer with JSON: whether all is well, and which checks fail, why and for how long.
"""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector

from wakumail.archive_results import Stat
from wakumail.health import Health, Problem
from wakumail.metrics import Scrape
from wakumail.server import Server

STAT_TIMEOUT = 2.0
"""Seconds that a scrape waits for the archive; a disk that hangs costs its gauges alone."""

KEEPALIVE = 30.0
"""Seconds that a connection may be idle between two requests."""

CLOSE_TIMEOUT = 2.0
"""Seconds that requests in progress have to end when the pages close."""


class Monitor:
    """The pages, and the health that they tell of; on one event loop."""

    def __init__(self, server: Server) -> None:
        self.health = Health(server)
        self._server = server
        self._process = ProcessCollector(registry=None)
        self._stat: asyncio.Future[Stat] | None = None
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/live", self._live)
        application.router.add_get("/ready", self._ready)
        application.router.add_get("/health", self._health)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            keepalive_timeout=KEEPALIVE,
            shutdown_timeout=CLOSE_TIMEOUT,
        )

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Begin to watch the server, which has to listen, and answer; the address in use."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        self.health.start()
        address = self._runner.addresses[0]
        return address[0], address[1]

    async def close(self) -> None:
        """Answer no more; before the server closes, so that it is not seen to fail."""
        await self.health.close()
        await self._runner.cleanup()

    # -- pages --------------------------------------------------------------------------------

    async def _metrics(self, request: web.Request) -> web.Response:
        registry = CollectorRegistry()
        registry.register(Scrape(self._server, self.health, await self._read_stat()))
        registry.register(self._process)
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        return web.Response(body=generate_latest(registry), headers=headers)

    async def _live(self, request: web.Request) -> web.Response:
        return page([])

    async def _ready(self, request: web.Request) -> web.Response:
        return page([p for p in self.health.problems() if p.check == "listening"])

    async def _health(self, request: web.Request) -> web.Response:
        return page(self.health.problems())

    async def _read_stat(self) -> Stat | None:
        """What the archive holds; None without one, or when it cannot be read in time.

        One thread reads at a time: while it is stuck, other scrapes wait for the same.
        """
        store = self._server.store
        if store is None:
            return None
        if self._stat is None:
            loop = asyncio.get_running_loop()
            self._stat = loop.run_in_executor(None, store.archive.stat)
        stat = self._stat
        await asyncio.wait((stat,), timeout=STAT_TIMEOUT)
        if not stat.done():
            return None
        self._stat = None
        return None if stat.exception() is not None else stat.result()


def page(failing: list[Problem]) -> web.Response:
    """What a probe is told: 200, or 503 with the checks that fail."""
    told = [
        {"check": check, "reason": reason, "seconds": round(seconds, 1)}
        for check, reason, seconds in failing
    ]
    return web.json_response({"ok": not told, "failing": told}, status=503 if told else 200)
