"""The HTTP endpoints of `wakumail serve`: RPC, history and metrics.

They are imported only if one is on: that takes half as long as all other imports of a server.
"""

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from wakumail.counters import Counters
from wakumail.mail.server import Server
from wakumail.ops.assembly import Offer
from wakumail.ops.bind_errors import from_settings
from wakumail.ops.config.settings import Settings
from wakumail.ops.file_limit import share_files
from wakumail.ops.monitoring.pages import Colleagues, Pages
from wakumail.ops.monitoring.reporter import Reporter
from wakumail.rpc.access import Access, load_token
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.jsonrpc import Dispatcher
from wakumail.rpc.rest.rest_endpoint import PATH, RestEndpoint
from wakumail.rpc.rest.store_reader import StoreReader

if TYPE_CHECKING:
    from wakumail.ops.cluster.member import Member

log = logging.getLogger(__name__)


async def start(
    settings: Settings,
    server: Server,
    offer: Offer,
    running: AsyncExitStack,
    member: "Member | None" = None,
) -> None:
    """Start the endpoints that are on; `running` closes them. `member`: of a cluster."""
    await start_rpc(settings, offer, server.counters, running)
    await start_rest(settings, server, running)
    if settings.metrics:
        reporter = Reporter(server, member=member)
        reporter.start()
        running.push_async_callback(reporter.close)
        await start_pages(settings, reporter, running)


async def start_rpc(
    settings: Settings, offer: Offer, counters: Counters, running: AsyncExitStack
) -> None:
    """Start HTTP and WebSocket, if they are on."""
    for endpoint in rpc_endpoints(settings, offer, counters):
        endpoint.max_callers = share_files(settings).callers
        name = "http" if "HTTP" in endpoint.offers else "ws"
        with from_settings(f"--{name}.addr", f"--{name}.port"):
            await endpoint.start()
        running.push_async_callback(endpoint.close)
        log.info("RPC on %s:%d, %s", *endpoint.address, endpoint.offers)


async def start_rest(settings: Settings, server: Server, running: AsyncExitStack) -> None:
    """Start to answer requests for history over HTTP, if that is on."""
    store = server.store
    if not settings.store or store is None:
        return
    access = Access(
        vhosts=settings.http_vhosts, origins=settings.store_origins, token=rpc_token(settings)
    )
    reader = StoreReader(store.pages)
    endpoint = RestEndpoint(reader, access, server.counters, rate=settings.store_rate)
    endpoint.max_callers = share_files(settings).callers
    with from_settings("--store.addr", "--store.port"):
        address = await endpoint.start(settings.store_addr, settings.store_port)
    running.push_async_callback(endpoint.close)
    log.info("history on http://%s:%d%s", *address, PATH)


async def start_pages(
    settings: Settings,
    reporter: Reporter,
    running: AsyncExitStack,
    colleagues: Colleagues | None = None,
) -> None:
    """Start the pages of metrics and health."""
    pages = Pages(reporter, colleagues, share_files(settings).callers)
    running.push_async_callback(pages.close)
    with from_settings("--metrics.addr", "--metrics.port"):
        address = await pages.start(addr=settings.metrics_addr, port=settings.metrics_port)
    log.info("metrics on http://%s:%d/metrics", *address)


def rpc_endpoints(settings: Settings, offer: Offer, counters: Counters) -> list[HttpEndpoint]:
    """The endpoints of HTTP and WebSocket that are on: one if they share an address."""
    access = Access(
        vhosts=settings.http_vhosts, origins=settings.ws_origins, token=rpc_token(settings)
    )
    offered: dict[tuple[str, int], dict[str, Dispatcher]] = {}
    if settings.http:
        address = settings.http_addr, settings.http_port
        offered.setdefault(address, {})["http"] = offer(settings.http_api)
    if settings.ws:
        address = settings.ws_addr, settings.ws_port
        offered.setdefault(address, {})["websocket"] = offer(settings.ws_api)
    return [
        HttpEndpoint(addr, port, access, counters, **dispatchers)
        for (addr, port), dispatchers in offered.items()
    ]


def rpc_token(settings: Settings) -> str | None:
    """The bearer token that callers over TCP need; AccessError if the file holds none."""
    return None if settings.rpc_token_file is None else load_token(settings.rpc_token_file)
