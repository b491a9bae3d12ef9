"""What `wakumail serve` offers over HTTP: RPC and metrics.

Apart from all else, for it takes half as long to import as all that a server needs besides.
"""

import logging
from contextlib import AsyncExitStack

from wakumail.cli.build import dispatcher
from wakumail.config import Settings
from wakumail.monitor import Monitor
from wakumail.rpc.access import Access, load_token
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.jsonrpc import Dispatcher
from wakumail.server import Server

log = logging.getLogger(__name__)


async def start(settings: Settings, server: Server, running: AsyncExitStack) -> None:
    """Start all that is on; `running` closes it."""
    for endpoint in rpc_endpoints(settings, server):
        await endpoint.start()
        running.push_async_callback(endpoint.close)
        log.info("RPC on http://%s:%d", *endpoint.address)
    if settings.metrics:
        monitor = Monitor(server)
        running.push_async_callback(monitor.close)
        address = await monitor.start(settings.metrics_addr, settings.metrics_port)
        log.info("metrics on http://%s:%d/metrics", *address)


def rpc_endpoints(settings: Settings, server: Server) -> list[HttpEndpoint]:
    """HTTP and WebSocket, as far as they are on; both on one address if that is the same."""
    token = None if settings.rpc_token_file is None else load_token(settings.rpc_token_file)
    access = Access(vhosts=settings.http_vhosts, origins=settings.ws_origins, token=token)
    offered: dict[tuple[str, int], dict[str, Dispatcher]] = {}
    if settings.http:
        place = settings.http_addr, settings.http_port
        offered.setdefault(place, {})["http"] = dispatcher(server, settings.http_api)
    if settings.ws:
        place = settings.ws_addr, settings.ws_port
        offered.setdefault(place, {})["websocket"] = dispatcher(server, settings.ws_api)
    return [
        HttpEndpoint(host, port, access, server.counters, **dispatchers)
        for (host, port), dispatchers in offered.items()
    ]
