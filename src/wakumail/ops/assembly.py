"""Makes the parts that `wakumail serve` runs from the settings."""

import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.gaps import last_trusted
from wakumail.archive.retention import KEEP_EVERYTHING
from wakumail.archive.store import Store
from wakumail.archive.writer_thread import CommitLock
from wakumail.base.edited_file import BLANK, read_edited
from wakumail.base.text import counted
from wakumail.counters import Counters
from wakumail.devp2p.connection import ConnectionConfig
from wakumail.devp2p.keys import PrivateKey, parse_node_key
from wakumail.devp2p.packets import SHH6, WAKU
from wakumail.mail.history import MailConfig
from wakumail.mail.request import RequestKeys, RequestPolicy
from wakumail.mail.server import LARGE_POW_RATIO, Server, ServerConfig
from wakumail.mail.sync.sync_config import SyncConfig
from wakumail.node.node import NodeConfig
from wakumail.node.node_key import load_node_key, load_or_create_node_key
from wakumail.ops.bind_errors import from_settings
from wakumail.ops.config.settings import Advertised, Settings
from wakumail.ops.config.values import Nat, words
from wakumail.ops.disk_watch import DiskWatch
from wakumail.ops.file_limit import share_files
from wakumail.ops.gap_watch import GapWatch
from wakumail.ops.named_nodes import NamedNodes
from wakumail.rpc.api import all_methods
from wakumail.rpc.ipc import IpcEndpoint
from wakumail.rpc.jsonrpc import Dispatcher
from wakumail.rpc.namespaces import Namespace
from wakumail.version import CLIENT_ID
from wakumail.waku.bloom import bloom_of
from wakumail.waku.envelope import Rules
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku.packets import RateLimits, StatusOptions
from wakumail.waku.rate_limits import IncomingLimits, Whitelist

if TYPE_CHECKING:
    from wakumail.ops.cluster.member import Member

log = logging.getLogger(__name__)

Offer = Callable[[tuple[Namespace, ...]], Dispatcher]
"""Makes the dispatcher that answers calls to the methods of some namespaces."""


def node_key(settings: Settings, datadir: Datadir) -> PrivateKey:
    """The node key: a setting, or in a file that the first start makes."""
    if settings.nodekeyhex is not None:
        return parse_node_key(settings.nodekeyhex)
    return load_or_create_node_key(settings.nodekey or datadir.nodekey, os.urandom)


def server_config(
    settings: Settings, datadir: Datadir, key: PrivateKey, counters: Counters
) -> ServerConfig:
    """The configuration of the server."""
    return ServerConfig(
        node_config(settings, key, counters),
        mail_config(settings, key) if settings.mailserver else None,
        relay_memory=settings.relay_memory,
        max_reply=settings.max_reply,
        external_host="" if settings.nat in tuple(Nat) else settings.nat.partition(":")[2],
        largest_envelope=largest_envelope(settings),
        record_file=datadir.enr,
        sync=SyncConfig(
            sync_interval=settings.sync_interval,
            sync_window=int(timedelta(days=settings.sync_window).total_seconds()),
            retention=settings.bounds.seconds,
            topics=settings.topics,
        ),
    )


def node_config(settings: Settings, key: PrivateKey, counters: Counters) -> NodeConfig:
    """The configuration of the node."""
    connection = ConnectionConfig(
        node_key=key,
        client_id=CLIENT_ID,
        port=settings.port,
        capabilities=(*WAKU, SHH6) if settings.shh else WAKU,
        max_packet=settings.max_packet,
    )
    return NodeConfig(
        connection,
        status_options(settings),
        rules(settings),
        maxpeers=settings.maxpeers,
        max_handshakes=settings.max_handshakes,
        netrestrict=settings.netrestrict,
        incoming_limits=incoming_limits(settings, counters),
        max_descriptor=share_files(settings).max_descriptor,
    )


def rules(settings: Settings) -> Rules:
    """The rules by which envelopes are judged."""
    return Rules(
        min_pow=settings.min_pow,
        min_pow_large=settings.min_pow / LARGE_POW_RATIO,
        max_envelope=min(
            settings.max_envelope, largest_envelope(settings) or settings.max_envelope
        ),
        interest=Interest(topics=settings.topics) if settings.topics else EVERYTHING,
    )


def largest_envelope(settings: Settings) -> int | None:
    """Bytes of the largest envelope that fits into a message of the cluster's log; None without."""
    if not settings.cluster:
        return None
    from wakumail.ops.cluster.log_message import MAX_STREAM  # a host alone needs none

    return MAX_STREAM


def status_options(settings: Settings) -> StatusOptions:
    """Our status options.

    Topics are told as a bloom by default: a nim node that sends a topic interest drops peers that
    send one too.
    """
    packets, sizes = rate_limits(settings)
    by_topic = settings.interest is Advertised.TOPICS
    topics = settings.topics or None
    return StatusOptions(
        pow=settings.min_pow,
        bloom=None if topics is None or by_topic else bloom_of(topics),
        light=settings.light,
        # A confirmation means "on disk": without an archive there is nothing to confirm.
        confirmations=settings.confirmations and settings.mailserver,
        packet_rate_limits=packets if any(packets) else None,
        topic_interest=topics if by_topic else None,
        bytes_rate_limits=sizes if any(sizes) else None,
    )


def rate_limits(settings: Settings) -> tuple[RateLimits, RateLimits]:
    """The limits of packets and of bytes that peers may send in a second."""
    packets = settings.rate_packets_ip, settings.rate_packets_peer, settings.rate_packets_topic
    sizes = settings.rate_bytes_ip, settings.rate_bytes_peer, settings.rate_bytes_topic
    return RateLimits(*packets), RateLimits(*sizes)


def incoming_limits(settings: Settings, counters: Counters) -> IncomingLimits | None:
    """The enforcement of rate limits; None if there are none."""
    packets, sizes = rate_limits(settings)
    if not any((*packets, *sizes)):
        return None
    exempt = settings.rate_whitelist
    return IncomingLimits(
        packets,
        sizes,
        tolerance=settings.rate_tolerance,
        max_packet=settings.max_packet,
        whitelist=Whitelist(
            [entry for entry in exempt if isinstance(entry, bytes)],
            [entry for entry in exempt if not isinstance(entry, bytes)],
        ),
        count=counters.add,
    )


def mail_config(settings: Settings, key: PrivateKey) -> MailConfig:
    """The configuration of the mailserver."""
    private = [key]
    if settings.asymkey_file is not None:
        private.append(load_node_key(settings.asymkey_file))
    password = settings.password
    if password is None:
        file = settings.password_file
        password = DEFAULT_PASSWORD if file is None else first_line(file)
    return MailConfig(
        keys=RequestKeys(symmetric_key(password), tuple(private)),
        policy=RequestPolicy(
            require_signature=settings.require_signature,
            request_min_pow=settings.request_min_pow,
            max_limit=settings.max_limit,
        ),
        completion=settings.completion,
        max_waiting=settings.max_waiting,
        request_rate=settings.request_rate,
    )


def first_line(path: Path) -> str:
    """The first line of a file that holds a secret, without blank ends; a ValueError names it."""
    try:
        return words(read_edited(path).partition("\n")[0].strip(BLANK))
    except ValueError as error:
        raise ValueError(f"{path} holds no password: {error}") from None


def open_store(
    settings: Settings,
    datadir: Datadir,
    counters: Counters,
    commit_lock: CommitLock | None = None,
    *,
    prunes: bool = True,
    kind: type[Store] = Store,
) -> Store:
    """The archive and its writer; `commit_lock` is for processes that share the archive.

    Without `prunes` everything is kept, until `Store.retain` gives other bounds.
    """
    archive = Archive(datadir.archive)
    store = kind(
        archive,
        counters,
        durability=settings.durability,
        retention=settings.bounds if prunes else KEEP_EVERYTHING,
        last_trusted=last_trusted(datadir.gaps),
        commit_lock=commit_lock,
    )
    if (totals := store.stat()) is not None:
        held = counted(totals.envelopes, "envelope")
        log.info("archive of %s with %s", settings.datadir, held)
    return store


async def join_cluster(
    settings: Settings, server: Server, store: Store | None, running: AsyncExitStack
) -> "Member | None":
    """Join the cluster, if the settings name one; `running` leaves it. LogRefused."""
    if not settings.cluster:
        return None
    try:
        from wakumail.ops.cluster.logged_store import LoggedStore
        from wakumail.ops.cluster.member import Member  # an extra, and takes long to import
    except ImportError as error:
        text = f'a cluster needs nats-py: pip install "nats-py>=2.16" ({error})'
        raise ValueError(text) from error
    assert isinstance(store, LoggedStore)
    member = Member(settings.cluster, settings.cluster_name, server, store)
    running.push_async_callback(member.close)
    await member.start()
    return member


async def watch_archive(
    server: Server, store: Store, datadir: Datadir, running: AsyncExitStack
) -> None:
    """Watch over the gaps and over the disk of the archive until `running` ends."""
    gap_watch = GapWatch(server, store, datadir.gaps)
    await gap_watch.start()
    running.push_async_callback(gap_watch.close)
    disk_watch = DiskWatch(store)
    disk_watch.start()
    running.push_async_callback(disk_watch.close)


async def start_ipc(
    settings: Settings, datadir: Datadir, offer: Offer, counters: Counters, running: AsyncExitStack
) -> None:
    """Offer the RPC API on a Unix socket until `running` ends. BindFailed."""
    endpoint = IpcEndpoint(settings.ipcpath or datadir.ipc, offer(settings.ipc_api), counters)
    endpoint.max_callers = share_files(settings).callers
    with from_settings("--ipcpath"):
        await endpoint.start()
    running.push_async_callback(endpoint.close)


def dispatcher(server: Server, namespaces: tuple[Namespace, ...]) -> Dispatcher:
    """The methods of some namespaces."""
    return Dispatcher(all_methods(server, namespaces), namespaces, server.counters)


async def join_network(
    settings: Settings,
    datadir: Datadir,
    server: Server,
    named: NamedNodes,
    running: AsyncExitStack,
) -> None:
    """Dial the named nodes, search for others if that is on, and settle our record.

    The server has to listen. `running` ends the search.
    """
    await named.dial(server.dialer)
    if settings.searches_peers:
        from wakumail.ops import peer_search  # takes long to import

        await peer_search.start(settings, datadir, server, running)
    server.presence.settle()


def log_counts(counters: Counters) -> None:
    """Log all counters."""
    for name, count in sorted(counters.items()):
        log.info("%s: %d", name, count)
