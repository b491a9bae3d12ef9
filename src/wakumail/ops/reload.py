"""SIGHUP: the settings are read again, and what can change while the server runs is changed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from wakumail.archive.datadir import Datadir
from wakumail.counters import Counters
from wakumail.errors import WakumailError, reason
from wakumail.mail.server import Server, ServerConfig
from wakumail.ops import assembly, logs
from wakumail.ops.config.layers import Loaded
from wakumail.ops.config.setting import Setting
from wakumail.ops.config.settings import SETTINGS, Settings
from wakumail.ops.file_limit import warn_of_file_limit
from wakumail.ops.named_nodes import NamedNodes
from wakumail.ops.service_manager import ServiceManager

log = logging.getLogger(__name__)

Read = Callable[[], Loaded]
"""Reads the settings from all their sources again. ValueError, OSError."""

Work = Callable[[], Awaitable[None]]

JUDGING = {"min_pow", "max_envelope", "topics", "interest"}
"""Settings of the status that peers are told. The RPC API changes some too: they stay as it has set
them, unless one of these or of RATES has changed."""

RATES = {s.field for s in SETTINGS if s.field.startswith("rate_")}
"""Settings of the rate limits, which peers are told too."""


def changes(before: Settings, after: Settings) -> list[Setting]:
    """The settings that differ."""
    return [s for s in SETTINGS if getattr(before, s.field) != getattr(after, s.field)]


def flags(settings: list[Setting]) -> str:
    """The names of settings in a sentence."""
    return ", ".join(setting.flag for setting in settings)


def refuse(error: Exception, counters: Counters) -> None:
    """Tell of settings that cannot be taken."""
    counters.add("reloads_failed")
    log.error("the settings stay as they are: %s", reason(error))


async def whenever(hung_up: asyncio.Event, manager: ServiceManager, work: Work) -> None:
    """Do the work each time that the event is set, and tell the service manager."""
    while True:
        await hung_up.wait()
        hung_up.clear()
        manager.reloading()
        await work()
        manager.ready()


class Reload:
    """The settings of a server that runs in one process, and how it takes others."""

    def __init__(
        self, settings: Settings, read: Read, datadir: Datadir, server: Server, named: NamedNodes
    ) -> None:
        self._settings = settings
        self._read = read
        self._datadir = datadir
        self._server = server
        self._named = named

    async def run(self) -> None:
        """Read the settings again, and take those that can change."""
        try:
            # In a thread: the files may be long, and a password takes long to become a key.
            given, taken, config, named = await asyncio.to_thread(self._prepare)
        except (ValueError, OSError, WakumailError) as error:
            refuse(error, self._server.counters)
            return
        if waiting := changes(taken, given):
            log.warning("a restart is needed for %s", flags(waiting))
        changed = changes(self._settings, taken)
        await self._take(taken, config, named, {setting.field for setting in changed})
        log.info("the settings were read again; changed: %s", flags(changed) or "none")

    def _prepare(self) -> tuple[Settings, Settings, ServerConfig, NamedNodes]:
        """The settings that are given, those that can be taken, and what is made of these."""
        loaded = self._read()
        for sentence in loaded.remarks:
            log.warning("%s", sentence)
        given, old = loaded.settings, self._settings
        stay = {s.field: getattr(old, s.field) for s in SETTINGS if not s.reloads(workers=False)}
        taken = replace(given, **stay)
        key = self._server.config.node.connection.node_key
        config = assembly.server_config(taken, self._datadir, key, self._server.counters)
        return given, taken, config, NamedNodes(taken, self._datadir)

    async def _take(
        self, settings: Settings, config: ServerConfig, named: NamedNodes, changed: set[str]
    ) -> None:
        server, store = self._server, self._server.store
        if not changed & RATES:
            limits = server.node.config.incoming_limits  # as used up as they are
            config = replace(config, node=replace(config.node, incoming_limits=limits))
        server.config = config
        server.node.configure(config.node)
        if changed & (JUDGING | RATES):
            server.change(config.node.options, config.node.rules)
        if server.history is not None and config.mail is not None:
            server.history.configure(config.mail)
        if server.partners is not None:
            server.partners.configure(config.sync)
        if store is not None:
            store.retain(settings.bounds)
        logs.start_in_thread(settings.verbosity, log_json=settings.log_json)
        if changed & {"maxpeers", "max_handshakes"}:
            warn_of_file_limit(settings)
        self._settings = settings
        former, self._named = self._named, named
        await named.replace(former, server, store)
