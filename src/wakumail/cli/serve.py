"""`wakumail serve`: run a server until SIGTERM or SIGINT."""

import argparse
import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack
from functools import partial

import uvloop

from wakumail.archive.datadir import Datadir
from wakumail.archive.store import Store
from wakumail.cli.config import add_flags, load_settings
from wakumail.counters import Counters
from wakumail.mail.server import Server
from wakumail.ops import assembly, logs
from wakumail.ops.bind_errors import from_settings
from wakumail.ops.config.layers import load
from wakumail.ops.config.settings import Settings
from wakumail.ops.file_limit import raise_file_limit, warn_of_file_limit
from wakumail.ops.heap import collect_rarely, keep_freed
from wakumail.ops.log_writer import LogWriter
from wakumail.ops.monitoring.step_meter import StepMeter
from wakumail.ops.named_nodes import NamedNodes
from wakumail.ops.reload import Read, Reload, whenever
from wakumail.ops.restored import refuse_twin
from wakumail.ops.service_manager import ServiceManager, server_state
from wakumail.ops.signals import STOP, set_by
from wakumail.ops.slow_imports import import_what_is_on
from wakumail.ops.workers import worker

log = logging.getLogger(__name__)


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    add_flags(parser)
    parser.add_argument("--as-worker", type=int, help=argparse.SUPPRESS)  # a descriptor
    parser.add_argument("--step-meter", type=int, help=argparse.SUPPRESS)  # a descriptor
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the server; 0 if a signal stopped it and the archive has all that it was sent."""
    loaded = load_settings(arguments)
    settings = loaded.settings
    writer = logs.start_in_thread(settings.verbosity, log_json=settings.log_json)
    if arguments.as_worker is None:
        for sentence in loaded.remarks:
            log.warning("%s", sentence)
    keep_freed()
    collect_rarely()
    raise_file_limit()
    if arguments.as_worker is None:
        warn_of_file_limit(settings)
    datadir = Datadir(settings.datadir)
    if arguments.as_worker is not None:
        with datadir.writing():
            return uvloop.run(worker.work(settings, datadir, arguments.as_worker))
    read = partial(load, vars(arguments), os.environ, arguments.config)
    datadir.make()
    with datadir.serving():
        if settings.workers > 1:
            return uvloop.run(worker.supervise(settings, datadir, writer, read))
        return uvloop.run(serve(settings, datadir, writer, read, arguments.step_meter))


async def serve(
    settings: Settings,
    datadir: Datadir,
    writer: LogWriter,
    read: Read,
    step_meter: int | None = None,
) -> int:
    """Serve until a signal comes, then finish the commit and disconnect from the peers.

    `read` reads the settings again at SIGHUP. `step_meter` is the descriptor of a socket of the
    bench, which wants the loop's steps measured.
    """
    stopped = set_by(asyncio.Event(), *STOP)
    hung_up = set_by(asyncio.Event(), signal.SIGHUP)
    counters = Counters()
    writer.count_in(counters)
    key = assembly.node_key(settings, datadir)
    await refuse_twin(datadir, key)
    config = assembly.server_config(settings, datadir, key, counters)
    named = NamedNodes(settings, datadir)
    store = open_store(settings, datadir, counters)
    server = Server(config, store, counters)
    async with AsyncExitStack() as running:
        running.push_async_callback(server.close)
        if store is not None:
            store.on_broken = stopped.set
        await named.sync(server, store)
        import_what_is_on(settings)
        if step_meter is not None:
            StepMeter(socket.socket(fileno=step_meter)).start()
        member = await assembly.join_cluster(settings, server, store, running)
        with from_settings("--host", "--port"):
            await server.node.listen(settings.host, settings.port)
        if store is not None:
            await assembly.watch_archive(server, store, datadir, running)
        offer = partial(assembly.dispatcher, server)
        await assembly.start_ipc(settings, datadir, offer, counters, running)
        if settings.listens_http:
            from wakumail.ops import endpoints

            await endpoints.start(settings, server, offer, running, member)
        await named.trust(server.node)
        await assembly.join_network(settings, datadir, server, named, running)
        logs.announce(str(server.enode))
        manager = ServiceManager()
        manager.ready()
        watch = asyncio.create_task(manager.watch(partial(server_state, server)))
        running.callback(watch.cancel)
        reload = Reload(settings, read, datadir, server, named)
        reloading = asyncio.create_task(whenever(hung_up, manager, reload.run))
        running.callback(reloading.cancel)
        await stopped.wait()
        manager.stopping()
        log.info("stopping")
    assembly.log_counts(counters)
    # A log that is out of reach takes nothing away: what it did not take is not confirmed.
    return 1 if store is not None and store.disk_problem else 0


def open_store(settings: Settings, datadir: Datadir, counters: Counters) -> Store | None:
    """The archive and its writer, if there is one; a host in a cluster has a kind of its own."""
    if settings.cluster:
        from wakumail.ops.cluster.logged_store import LoggedStore  # a host alone needs none

        return assembly.open_store(settings, datadir, counters, kind=LoggedStore)
    return assembly.open_store(settings, datadir, counters) if settings.mailserver else None
