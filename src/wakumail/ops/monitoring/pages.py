"""The pages for operators: one for a browser, /metrics, and three for programs that route to or
restart the server.

/        the overview, with its style and its script beside it (see overview.py)
/live    200 while the process answers at all
/ready   200 once the server takes connections, which is after its archive was opened; in a cluster
         also only while its archive has all that the log has
/health  200 while every check passes, otherwise 503 (see health.py)

The three answer with JSON: `ok`, and in `failing` each failing check, its reason and its seconds.
/health has also `lacking`, if the archive has gaps, and `warnings`, if its disk will be full soon.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wakumail.archive.gaps import Gap
from wakumail.ops.monitoring.numbers import Numbers
from wakumail.ops.monitoring.overview import Overview, render, static
from wakumail.ops.monitoring.report import Problem, Report
from wakumail.ops.monitoring.reporter import Reporter, warnings
from wakumail.rpc.bounded_server import BoundedServer
from wakumail.rpc.stream import MAX_SESSIONS

READY = ("listening", "history")
"""The checks of /ready."""

HEALTH_TIMEOUT = 0.3
"""Seconds that /health waits for the archive, whose disk may hang; then it tells no warning."""

OVERVIEW_AGE = 1.0
"""Seconds in which all who look at the overview are shown the same one."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Of the overview, its style and its script: a browser loads nothing from anywhere else."""


class Colleagues(Protocol):
    """The other processes of a server with several."""

    async def report(self, own: Report) -> Report:
        """The sum of our report and theirs."""

    async def problems(self, own: list[Problem]) -> list[Problem]:
        """Our problems and theirs."""


class ReportCollector(Collector):
    """Gives the metrics of a report to the client library, which writes them."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """All metrics of the report."""
        for family in self._report.families:
            metric = Metric(family.name, family.text, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, dict(labels), value)
            yield metric


class Pages:
    """The pages of one reporter, and of its colleagues if there are any."""

    def __init__(
        self,
        reporter: Reporter,
        colleagues: Colleagues | None = None,
        max_callers: int = MAX_SESSIONS,
    ) -> None:
        """`max_callers` connections are served at a time, see CallerSlots."""
        self._reporter = reporter
        self._colleagues = colleagues
        self._overview: tuple[float, str] = -math.inf, ""
        """The overview, and when it was made (time.monotonic)."""
        self._making = asyncio.Lock()
        self._pages: Mapping[str, Callable[[], Awaitable[web.Response]]] = {
            "/": self._show,
            "/page.css": partial(self._static, "page.css", "text/css"),
            "/page.js": partial(self._static, "page.js", "text/javascript"),
            "/metrics": self._metrics,
            "/live": self._live,
            "/ready": self._ready,
            "/health": self._health,
        }
        self._server = BoundedServer(self._answer, reporter.counters, max_callers)

    async def start(self, addr: str, port: int) -> tuple[str, int]:
        """Listen; returns the address in use. OSError if it is not available."""
        return await self._server.start(addr, port)

    async def close(self) -> None:
        """Stop; call it before the server closes, or the pages report that it fails."""
        await self._server.close()

    # -- pages --------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if (make := self._pages.get(request.path)) is None:
            raise web.HTTPNotFound
        if request.method not in ("GET", "HEAD"):
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD"])
        with self._server.caller_of(request).calling():
            return await make()

    async def _show(self) -> web.Response:
        async with self._making:
            made, page = self._overview
            if time.monotonic() - made > OVERVIEW_AGE:
                page = await self._render()
                self._overview = time.monotonic(), page
        return web.Response(text=page, content_type="text/html", headers=HEADERS)

    async def _render(self) -> str:
        reporter, now = self._reporter, time.time()
        look = await reporter.look()
        overview = Overview(
            now=now,
            numbers=Numbers(await self._report()),
            problems=await self._problems(),
            warnings=warnings(look, now),
            gaps=reporter.gaps,
            look=look,
            enode=reporter.enode,
            record=reporter.record,
        )
        return render(overview)

    async def _static(self, name: str, kind: str) -> web.Response:
        return web.Response(body=static(name), content_type=kind, charset="utf-8", headers=HEADERS)

    async def _metrics(self) -> web.Response:
        registry = CollectorRegistry()
        registry.register(ReportCollector(await self._report()))
        headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        return web.Response(body=generate_latest(registry), headers=headers)

    async def _live(self) -> web.Response:
        return answer_probe([])

    async def _ready(self) -> web.Response:
        return answer_probe([p for p in self._reporter.health.problems() if p.check in READY])

    async def _health(self) -> web.Response:
        look = await self._reporter.look(HEALTH_TIMEOUT)
        warned = warnings(look, time.time())
        return answer_probe(await self._problems(), self._reporter.gaps, warned)

    # -- of all processes ---------------------------------------------------------------------

    async def _report(self) -> Report:
        own = await self._reporter.report()
        return own if self._colleagues is None else await self._colleagues.report(own)

    async def _problems(self) -> list[Problem]:
        own = self._reporter.health.problems()
        return own if self._colleagues is None else await self._colleagues.problems(own)


def answer_probe(
    failing: Sequence[Problem], gaps: Sequence[Gap] = (), warned: Sequence[Problem] = ()
) -> web.Response:
    """The answer to a probe: 200, or 503 with the checks that fail."""
    content: dict[str, Any] = {
        "ok": not failing,
        "failing": [
            {"check": check, "reason": reason, "seconds": round(seconds, 1)}
            for check, reason, seconds in failing
        ],
    }
    if gaps:
        content["lacking"] = [{"from": lower, "to": upper, "reason": r} for lower, upper, r in gaps]
    if warned:
        content["warnings"] = [{"check": check, "reason": reason} for check, reason, _ in warned]
    return web.json_response(content, status=503 if failing else 200)
