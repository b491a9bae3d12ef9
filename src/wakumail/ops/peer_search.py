"""Starts what finds peers, and the address at which they find us, from settings."""

import logging
from contextlib import AsyncExitStack

from wakumail.archive.datadir import Datadir
from wakumail.mail.server import Server
from wakumail.node.discovery import Discovery, DiscoveryConfig
from wakumail.node.dns_lists import CountedFaults, DnsLists
from wakumail.node.dns_resolver import DnsResolver
from wakumail.node.listed_nodes import ListedNodes
from wakumail.node.peer_finder import PeerFinder, Source
from wakumail.node.seq_file import SeqFile
from wakumail.ops.bind_errors import from_settings
from wakumail.ops.config.settings import Settings
from wakumail.ops.external_address import ExternalAddress

log = logging.getLogger(__name__)


async def start(
    settings: Settings, datadir: Datadir, server: Server, running: AsyncExitStack
) -> None:
    """Find peers and our address, until `running` ends. The server has to listen."""
    external = ExternalAddress(server.presence, settings.nat, server.counters)
    running.push_async_callback(external.close)
    sources: list[Source] = []
    if settings.discovers_v4:
        sources.append(await start_discovery(settings, datadir, server, external, running))
    if settings.discovers_dns:
        sources.append(listed_nodes(settings, datadir, server, running))
    await external.start()
    if settings.mindial and sources:
        finder = PeerFinder(server.node, server.dialer, sources, settings.mindial)
        finder.start()
        running.push_async_callback(finder.close)


def listed_nodes(
    settings: Settings, datadir: Datadir, server: Server, running: AsyncExitStack
) -> ListedNodes:
    """The nodes of lists in the DNS, which are read when peers are missing."""
    urls = settings.discovery_dns
    seqs = SeqFile(datadir.dns_lists)
    ask = DnsResolver(settings.discovery_dns_server).ask
    lists = DnsLists(urls, ask, CountedFaults(urls, server.counters), seqs.seqs)
    nodes = ListedNodes(lists, seqs.keep)
    running.push_async_callback(nodes.close)
    return nodes


async def start_discovery(
    settings: Settings,
    datadir: Datadir,
    server: Server,
    external: ExternalAddress,
    running: AsyncExitStack,
) -> Discovery:
    """Open the UDP port, and begin to find and to be found."""
    config = DiscoveryConfig(
        key=server.config.node.connection.node_key,
        bootnodes=settings.bootnodes,
        netrestrict=settings.netrestrict,
        contacts=datadir.discovered_nodes,
    )
    discovery = Discovery(config, server.counters, external.note_told)
    listening = server.node.listening
    assert listening is not None
    port = listening[1] if settings.discovery_port is None else settings.discovery_port
    with from_settings("--host", "--discovery.port"):
        await discovery.listen(settings.host, port)
    server.presence.discovery = discovery
    discovery.start(server.presence.record)
    running.push_async_callback(discovery.close)
    log.info("discovery v4 on UDP port %d, as %s", discovery.port, server.presence.record)
    return discovery
