"""A worker of `wakumail serve --workers N`, and the start of their supervisor."""

import asyncio
import logging
import math
import shutil
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from wakumail.archive.archive import Appended, Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.durability import Durability
from wakumail.archive.retention import Retention
from wakumail.archive.store import Store
from wakumail.archive.writer_thread import CommitLock
from wakumail.counters import Counters
from wakumail.mail.server import Server
from wakumail.node.acceptor import open_shared_listeners
from wakumail.ops import assembly, logs
from wakumail.ops.bind_errors import BindFailed, from_settings
from wakumail.ops.config.settings import Settings
from wakumail.ops.log_writer import LogWriter
from wakumail.ops.monitoring.report import Problem, Report
from wakumail.ops.named_nodes import NamedNodes
from wakumail.ops.reload import Read, changes, flags, refuse
from wakumail.ops.restored import refuse_twin
from wakumail.ops.service_manager import ServiceManager, server_state
from wakumail.ops.signals import STOP, set_by
from wakumail.ops.slow_imports import import_what_is_on
from wakumail.ops.workers.channel import ChannelClosed, WorkerChannel, open_channel
from wakumail.ops.workers.follower import Follower
from wakumail.ops.workers.methods import DIAL, for_all
from wakumail.ops.workers.registry import Registry, SharedRoster
from wakumail.ops.workers.shared import WakeUps, judgements_in
from wakumail.ops.workers.supervisor import Plan, Supervisor
from wakumail.rpc.api import all_methods
from wakumail.rpc.jsonrpc import Dispatcher, Session
from wakumail.rpc.namespaces import Namespace
from wakumail.waku.envelope import Batch

if TYPE_CHECKING:
    from wakumail.ops.monitoring.reporter import Reporter

log = logging.getLogger(__name__)

MAX_JOURNAL = 64 << 20
"""Most bytes of envelopes that workers without an archive keep for each other."""


async def supervise(settings: Settings, datadir: Datadir, writer: LogWriter, read: Read) -> int:
    """Run the workers until a signal; SIGHUP replaces each of them.

    `read` reads the settings again, before the new workers do.
    """
    stopped = set_by(asyncio.Event(), *STOP)
    renewal = set_by(asyncio.Event(), signal.SIGHUP)
    key = assembly.node_key(settings, datadir)  # one process makes it, before several read it
    await refuse_twin(datadir, key)
    shutil.rmtree(datadir.relay, ignore_errors=True)
    with from_settings("--host", "--port"):
        listeners = open_shared_listeners(settings.host, settings.port, settings.workers)
    plan = Plan(
        command=(sys.executable, *sys.orig_argv[1:], "--as-worker"),
        listeners=listeners,
        maxpeers=settings.maxpeers,
        datadir=str(datadir.path.resolve()),
    )
    counters = Counters()
    writer.count_in(counters)
    check = partial(may_renew, settings, read, counters)
    supervisor = Supervisor(plan, counters, ServiceManager(), on_ready=logs.announce, check=check)
    return await supervisor.run(stopped, renewal)


async def may_renew(settings: Settings, read: Read, counters: Counters) -> bool:
    """True if new workers can serve with the settings as they are now."""
    try:
        given = (await asyncio.to_thread(read)).settings
        fixed = [s for s in changes(settings, given) if not s.reloads(workers=True)]
        if fixed:
            raise ValueError(f"the whole server has to be restarted for {flags(fixed)}")
    except (ValueError, OSError) as error:
        refuse(error, counters)
        return False
    logs.start_in_thread(given.verbosity, log_json=given.log_json)
    return True


async def work(settings: Settings, datadir: Datadir, descriptor: int) -> int:
    """Work until a signal, or until the supervisor at the other end of `descriptor` is gone."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = Worker(settings, datadir)
    set_by(worker.stopped, *STOP)
    return await worker.run(socket.socket(fileno=descriptor))


class Worker:
    """A server that shares port, peers and archive with others, and leads if it is told to."""

    def __init__(self, settings: Settings, datadir: Datadir) -> None:
        self.stopped = asyncio.Event()
        self._settings = settings
        self._datadir = datadir
        self._counters = Counters()
        self._named = NamedNodes(settings, datadir)
        self._failed = False
        self._leading = AsyncExitStack()
        self._leads = False
        self._turn = asyncio.Lock()
        self._reporter: Reporter | None = None
        self._store: Store | None = None
        self._channel: WorkerChannel
        self._server: Server

    async def run(self, own: socket.socket) -> int:
        """Work until `stopped`; returns the exit code."""
        async with AsyncExitStack() as running:
            self._channel = await open_channel(own, self._handle)
            running.push_async_callback(self._channel.close)
            hello = await self._channel.call("hello", str(self._datadir.path.resolve()))
            writer = logs.start_in_thread(
                self._settings.verbosity, log_json=self._settings.log_json, worker=hello["number"]
            )
            writer.count_in(self._counters)
            running.push_async_callback(self._tell_counts)
            await self._start(hello, running)
            if hello["leads"]:
                await self._lead(hello["orders"])
            else:
                self._obey_all(hello["orders"])
            self._channel.note("ready", str(self._server.enode))
            lost = asyncio.create_task(self._channel.closed.wait())
            lost.add_done_callback(lambda _: self.stopped.set())
            running.callback(lost.cancel)
            await self.stopped.wait()
        assembly.log_counts(self._counters)
        degraded = self._store is not None and bool(self._store.degraded)
        return int(self._failed or degraded)

    async def _start(self, hello: dict[str, Any], running: AsyncExitStack) -> None:
        """Start to serve, with what the supervisor has sent."""
        settings = self._settings
        import_what_is_on(settings)  # also what it needs when it leads: then there are peers
        registry = Registry(hello["registry"])
        roster = SharedRoster(registry, hello["part"], self._probe_elsewhere)
        key = assembly.node_key(settings, self._datadir)
        config = assembly.server_config(settings, self._datadir, key, self._counters)
        handshakes = math.ceil(settings.max_handshakes / settings.workers)
        node = replace(config.node, roster=roster, max_handshakes=handshakes)
        config = replace(config, node=node)
        if settings.mailserver:
            self._store = assembly.open_store(
                settings, self._datadir, self._counters, registry.commit_lock, prunes=False
            )
            self._store.on_broken = self._fail
        server = self._server = Server(config, self._store, self._counters)
        self._methods = all_methods(server, ())
        journal = self._store or self._make_journal(registry.commit_lock, running)
        running.push_async_callback(server.close)
        judgements = journal.archive.judgements = judgements_in(hello["judgements"])
        wake_ups = WakeUps(hello["bells"], hello["part"])
        follower = Follower(journal.archive, judgements, server.relay_committed)
        running.push_async_callback(follower.close)

        def committed(appended: Appended) -> None:
            if appended.stored:
                follower.committed(appended)
                wake_ups.wake_others()

        journal.on_commit = committed
        wake_ups.listen(follower.wake)
        running.callback(wake_ups.close)
        await self._named.trust(server.node)
        await self._named.sync(server, self._store)
        server.on_equal = lambda first, last: self._channel.note("equal", first, last)
        if settings.metrics:
            await self._watch(running)
        server.node.listen_on(socket.socket(fileno=hello["listener"]))
        running.push_async_callback(self._resign)

    def _make_journal(self, commit_lock: CommitLock, running: AsyncExitStack) -> Store:
        """Make an archive for the envelopes that workers exchange if the server keeps none."""
        archive = Archive(self._datadir.relay, sync=False)
        journal = Store(
            archive,
            Counters(),
            durability=Durability.COMMIT,
            retention=Retention(seconds=0, max_size=MAX_JOURNAL, sort_days=False),
            commit_lock=commit_lock,
        )
        running.push_async_callback(journal.close)

        def keep(batch: Batch) -> None:
            if journal.full:
                self._counters.add("envelopes_untold", batch.accepted)
            else:
                journal.put(batch, lambda: None)

        self._server.on_unarchived = keep
        return journal

    async def _watch(self, running: AsyncExitStack) -> None:
        """Watch this worker, by a port of its own: on the shared one any worker may answer."""
        from wakumail.ops.monitoring.reporter import Reporter  # takes long to import

        await self._server.node.listen("127.0.0.1", 0)
        self._reporter = Reporter(self._server, self._server.own_enode)
        self._reporter.start()
        running.push_async_callback(self._reporter.close)

    async def _tell_counts(self) -> None:
        """Send our counters to the supervisor, which adds them to those of later workers."""
        if self._reporter is not None:
            with suppress(ChannelClosed):
                await self._channel.call("counted", await self._reporter.report())

    def _fail(self) -> None:
        self._failed = True
        self.stopped.set()

    # -- leading ------------------------------------------------------------------------------

    async def _lead(self, orders: list[tuple[str, list[Any]]]) -> None:
        """Begin to lead: do from now on what one worker does for all."""
        settings, server = self._settings, self._server
        async with self._turn:
            if self.stopped.is_set():
                return
            self._leads = True
            running = self._leading
            running.push_async_callback(server.dialer.close)
            await assembly.join_network(settings, self._datadir, server, self._named, running)
            self._obey_all(orders)  # Before a later order can come.
            await assembly.start_ipc(settings, self._datadir, self._offer, self._counters, running)
            if settings.listens_http:
                from wakumail.ops import endpoints

                await endpoints.start_rpc(settings, self._offer, self._counters, running)
                await endpoints.start_rest(settings, server, running)
                if self._reporter is not None:
                    await endpoints.start_pages(settings, self._reporter, running, self)
            if self._store is not None:
                self._store.retain(settings.bounds)
                await assembly.watch_archive(server, self._store, self._datadir, running)

    async def _resign(self) -> None:
        """Stop to lead: free the ports for the next leader."""
        async with self._turn:
            await self._leading.aclose()
        with suppress(ChannelClosed):
            await self._channel.call("resign")

    def _offer(self, namespaces: tuple[Namespace, ...]) -> Dispatcher:
        methods = for_all(all_methods(self._server, namespaces), self._channel)
        return Dispatcher(methods, namespaces, self._counters)

    # -- pages.Colleagues ---------------------------------------------------------------------

    async def report(self, own: Report) -> Report:
        """The report of all workers."""
        return Report.read(await self._channel.call("report", own))

    async def problems(self, own: list[Problem]) -> list[Problem]:
        """The problems of all workers."""
        return [Problem(*problem) for problem in await self._channel.call("problems", own)]

    # -- calls of the supervisor --------------------------------------------------------------

    async def _handle(self, method: str, params: list[Any]) -> Any:
        match method, params:
            case "lead", [list(orders)]:
                try:
                    await self._lead(orders)
                except BindFailed as error:
                    log.error("this worker cannot lead: %s", error)
                    self._fail()
                except Exception:
                    log.exception("this worker cannot lead")
                    self._fail()
            case "report", []:
                return None if self._reporter is None else await self._reporter.report()
            case "state", []:
                return await server_state(self._server)
            case "problems", []:
                return [] if self._reporter is None else self._reporter.health.problems()
            case "equal", [int(first), int(last)]:
                if self._server.gaps is not None:
                    self._server.gaps.fill(first, last)
            case "syncs", [str(peer)]:
                partners = self._server.partners
                partner = partners and partners.partners.get(bytes.fromhex(peer))
                return bool(partner and partner.session)
            case "probe", [str(identity)]:
                self._server.node.probe(bytes.fromhex(identity))
            case "order", [str(name), list(arguments)]:
                async with self._turn:  # after the nodes and orders that begin to lead comes this
                    self._obey(name, arguments)
            case _:
                result = self._methods[method](Session(), *params)
                return await result if isawaitable(result) else result
        return None

    def _obey_all(self, orders: list[tuple[str, list[Any]]]) -> None:
        for name, params in orders:
            self._obey(name, params)

    def _obey(self, name: str, params: list[Any]) -> None:
        """Carry out an order that the leading worker was given."""
        if name != DIAL or self._leads:
            self._methods[name](Session(), *params)

    def _probe_elsewhere(self, identity: bytes) -> None:
        self._channel.note("probe", identity.hex())
