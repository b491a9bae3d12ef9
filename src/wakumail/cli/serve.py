"""`wakumail serve`: run a mailserver until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import os
import signal
from pathlib import Path

import uvloop

from wakumail.archive import Archive
from wakumail.bloom import bloom_of
from wakumail.cli.options import Subparsers
from wakumail.cli.settings import Settings
from wakumail.connection import ConnectionConfig
from wakumail.counters import Counters
from wakumail.datadir import Datadir
from wakumail.devp2p import WAKU
from wakumail.enode import Enode
from wakumail.envelope import Rules
from wakumail.keys import (
    PrivateKey,
    load_node_key,
    load_or_create_node_key,
    node_id,
    parse_node_key,
)
from wakumail.mail import RequestKeys, RequestPolicy
from wakumail.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.node import NodeConfig
from wakumail.server import MailConfig, Mailserver
from wakumail.store import Retention, Store
from wakumail.version import CLIENT_ID
from wakumail.waku import StatusOptions

log = logging.getLogger(__name__)

LARGE_POW_RATIO = 1000
"""Envelopes of 50,000 bytes and more need 0.000002 where others need 0.002 (WAKU-USAGE)."""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="run a mailserver", description=__doc__)
    Settings.add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the server; 0 when it was stopped by a signal and the archive has all it was sent."""
    settings = Settings.from_flags(arguments)
    logging.getLogger().setLevel(settings.log_level.upper())
    datadir = Datadir(settings.datadir)
    datadir.make()
    with datadir.serving():
        return uvloop.run(serve(settings, datadir))


async def serve(settings: Settings, datadir: Datadir) -> int:
    """Serve until a signal comes, then finish the commit and part from the peers."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    key = node_key(settings, datadir)
    node, mail = node_config(settings, key), mail_config(settings, key)
    retention = Retention(int(settings.retention * 86400), settings.max_size)
    counters = Counters()
    archive = Archive(datadir.archive)
    store = Store(archive, counters, settings.durability, retention)
    store.on_broken = stopped.set
    server = Mailserver(node, mail, store, counters)
    try:
        host, port = await server.node.listen(settings.host, settings.port)
        log.info("archive of %s with %d envelopes", settings.datadir, archive.stat().envelopes)
        own_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        print(Enode(node_id(key.public_key), own_host, port, port), flush=True)
        await stopped.wait()
        log.info("stopping")
    finally:
        await server.close()
    for name, count in sorted(counters.items()):
        log.info("%s: %d", name, count)
    return 1 if store.degraded else 0


def node_key(settings: Settings, datadir: Datadir) -> PrivateKey:
    """The node key: given, or kept in a file that is made at the first start."""
    if settings.nodekeyhex is not None:
        return parse_node_key(settings.nodekeyhex)
    return load_or_create_node_key(settings.nodekey or datadir.nodekey, os.urandom)


def node_config(settings: Settings, key: PrivateKey) -> NodeConfig:
    """What the node is to its peers."""
    topics = settings.topics or None
    return NodeConfig(
        ConnectionConfig(
            node_key=key,
            client_id=CLIENT_ID,
            listen_port=settings.port,
            capabilities=WAKU,
            max_packet=settings.max_packet,
        ),
        # A subset of topics is advertised as their bloom: a nim node that sends topic interest
        # of its own drops a peer that does so too.
        StatusOptions(
            pow=settings.min_pow,
            bloom=None if topics is None else bloom_of(topics),
            light=False,
            confirmations=settings.confirmations,
        ),
        Rules(
            min_pow=settings.min_pow,
            min_pow_large=settings.min_pow / LARGE_POW_RATIO,
            max_envelope_size=settings.max_envelope,
            topics=topics,
        ),
        max_peers=settings.max_peers,
        max_handshakes=settings.max_handshakes,
    )


def mail_config(settings: Settings, key: PrivateKey) -> MailConfig:
    """How requests are opened, limited and answered."""
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
            min_pow=settings.request_min_pow,
            max_limit=settings.max_limit,
        ),
        dialect=settings.completion,
        max_waiting=settings.max_waiting,
        requests_per_second=settings.request_rate,
        max_packet=settings.max_reply,
    )


def first_line(path: Path) -> str:
    """The first line of a file that holds a secret."""
    with path.open() as file:
        return file.readline().rstrip("\r\n")
