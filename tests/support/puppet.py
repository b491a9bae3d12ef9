"""A mailserver in this process, and puppets: peers that a test drives over sockets."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.support.envelopes import rules_with
from tests.support.patience import PATIENCE
from wakumail.archive.archive import Archive
from wakumail.archive.durability import Durability
from wakumail.archive.retention import KEEP_EVERYTHING
from wakumail.archive.store import Store
from wakumail.counters import Counters
from wakumail.devp2p.connection import Connection, ConnectionConfig
from wakumail.devp2p.connection_events import (
    Authenticated,
    Closed,
    ConnectionEvent,
    Established,
    Packet,
)
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.handshake import HandshakeStep
from wakumail.devp2p.keys import PrivateKey, generate, public_key
from wakumail.devp2p.packets import SYNC, WAKU, Capability, Shared
from wakumail.mail.history import MailConfig
from wakumail.mail.request import MAX_LIMIT, RequestKeys, RequestPolicy
from wakumail.mail.server import Server, ServerConfig
from wakumail.mail.sync.sync_config import SyncConfig
from wakumail.node.node import NodeConfig
from wakumail.waku.message import symmetric_key
from wakumail.waku.packets import Code, StatusOptions
from wakumail.waku.peer import DIALECTS, Dialect

E = TypeVar("E", bound=ConnectionEvent)
PASSWORD_KEY = symmetric_key("test")
SYNC_CONFIG = SyncConfig(sync_interval=300.0, sync_window=0, retention=0, topics=())
dialed: list["Puppet"] = []
"""Every puppet with a socket. `mailserver` hangs them up at its end."""


def connection_config(key: PrivateKey, **changes: Any) -> ConnectionConfig:
    config = ConnectionConfig(
        node_key=key, client_id="puppet", port=0, capabilities=WAKU, max_packet=10 << 20
    )
    return replace(config, **changes)


def node_config(connection: ConnectionConfig, **changes: Any) -> NodeConfig:
    """A node that names no option, takes every PoW and is bounded by nothing that a test meets."""
    config = NodeConfig(
        connection,
        StatusOptions(),
        rules_with(min_pow=0.0, min_pow_large=0.0),
        maxpeers=5000,
        max_handshakes=1024,
        netrestrict=(),
        incoming_limits=None,
    )
    return replace(config, **changes)


def mail_config(keys: RequestKeys, **changes: Any) -> MailConfig:
    """A mailserver that answers every request."""
    config = MailConfig(keys, request_policy(), completion=None, max_waiting=16, request_rate=0.0)
    return replace(config, **changes)


def request_policy(**changes: Any) -> RequestPolicy:
    """Nothing is asked of a request."""
    policy = RequestPolicy(require_signature=False, request_min_pow=0.0, max_limit=MAX_LIMIT)
    return replace(policy, **changes)


class Mailserver(Server):
    """A server that has an archive."""

    store: Store


@asynccontextmanager
async def mailserver(
    datadir: Path,
    *,
    node: dict[str, Any] | None = None,
    mail: dict[str, Any] | None = None,
    connection: dict[str, Any] | None = None,
    port: int = 0,
    relay_memory: int = 64 << 20,
) -> AsyncIterator[tuple[Mailserver, Enode]]:
    """A mailserver on loopback that takes every PoW, and its enode."""
    key = generate(os.urandom)
    counters = Counters()
    choices: dict[str, Any] = {"options": StatusOptions(pow=0.0, confirmations=True)}
    config = ServerConfig(
        node_config(connection_config(key, **connection or {}), **choices | (node or {})),
        mail_config(RequestKeys(PASSWORD_KEY, (key,)), **mail or {}),
        relay_memory=relay_memory,
        max_reply=1 << 20,
        external_host="",
        sync=SYNC_CONFIG,
    )
    store = Store(
        Archive(datadir / "archive"),
        counters,
        durability=Durability.COMMIT,
        retention=KEEP_EVERYTHING,
    )
    server = Mailserver(config, store, counters)
    try:
        await server.node.listen("127.0.0.1", port)
        yield server, server.enode
    finally:
        await asyncio.wait_for(server.close(), PATIENCE)
        while dialed:
            dialed.pop().hang_up()


class Puppet:
    """One connection to a mailserver, driven by hand."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.waku: Shared
        """The capability that is spoken: waku, or shh."""
        self.sync: Shared | None = None
        """The capability wakusync, if both offer it."""
        self.dialect: Dialect
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @classmethod
    async def dial(
        cls, enode: Enode, *, key: PrivateKey | None = None, source: str = "", **changes: Any
    ) -> Self:
        """Open the socket, from the address `source` of this machine, and send auth."""
        config = connection_config(key or generate(os.urandom), **changes)
        puppet = cls(Connection(config, os.urandom, 0.0, public_key(enode.node_id)))
        puppet.next_event()
        puppet._reader, puppet._writer = await asyncio.open_connection(
            enode.host, enode.port, local_addr=(source, 0) if source else None
        )
        dialed.append(puppet)
        puppet.flush()
        return puppet

    @classmethod
    async def ready(
        cls,
        enode: Enode,
        *,
        key: PrivateKey | None = None,
        options: StatusOptions = StatusOptions(),
        **changes: Any,
    ) -> Self:
        """Dial, and exchange hello and status."""
        puppet = await cls.dial(enode, key=key, **changes)
        await puppet.greet(options)
        return puppet

    async def greet(self, options: StatusOptions = StatusOptions()) -> None:
        """Exchange hello and status."""
        established = await self.until(Established)
        *others, self.waku = established.capabilities
        if self.waku.name == SYNC.name:
            self.sync, self.waku = self.waku, others[-1]
        self.dialect = DIALECTS[Capability(self.waku.name, self.waku.version)]
        self.send(Code.STATUS, self.dialect.encode_status(options))
        await self.packet(Code.STATUS)

    async def event(self) -> ConnectionEvent:
        """Wait for the next event. Hellos are exchanged on the way."""
        async with asyncio.timeout(PATIENCE):
            while (event := self.next_event()) is None:
                self.flush()
                data = await self._reader.read(1 << 16)
                if data:
                    self.feed(data)
                else:
                    self.connection.eof(0.0)
        if isinstance(event, Authenticated):
            self.connection.accept()
        self.flush()
        return event

    def next_event(self) -> ConnectionEvent | None:
        """The next event of the bytes received so far. Handshake steps are computed on the way."""
        while isinstance(event := self.connection.next_event(), HandshakeStep):
            self.connection.handshake_computed(event.compute())
        return event

    async def until(self, kind: type[E]) -> E:
        """Wait for the next event of a kind. An unexpected end is a failure."""
        while not isinstance(event := await self.event(), kind):
            assert not isinstance(event, Closed), event
        return event

    async def packet(self, code: int) -> bytes:
        """Wait for the next packet with that code; its payload."""
        while (packet := await self.until(Packet)).code != code:
            pass
        return packet.payload

    async def closed(self) -> Closed:
        """Wait for the end of the connection."""
        while not isinstance(event := await self.event(), Closed):
            pass
        return event

    def send(self, code: int, payload: bytes) -> None:
        """Send a packet of the waku capability."""
        self.connection.send(self.waku, code, payload)
        self.flush()

    def send_sync(self, code: int, packet: bytes) -> None:
        """Send a packet of the capability wakusync."""
        assert self.sync is not None
        self.connection.send(self.sync, code, packet)
        self.flush()

    async def sync_packet(self, code: int) -> bytes:
        """Wait for the next packet of wakusync with that code; its payload."""
        while (packet := await self.until(Packet)).capability is not self.sync or (
            packet.code != code
        ):
            pass
        return packet.payload

    def update(self, options: StatusOptions) -> None:
        """Send the Status Updates for these options."""
        for code, payload in self.dialect.encode_update(options):
            self.send(code, payload)

    def write(self, data: bytes) -> None:
        """Send raw bytes."""
        self._writer.write(data)

    def feed(self, data: bytes) -> None:
        """Hand received bytes to the connection."""
        while data:
            buffer = self.connection.get_buffer(len(data))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.connection.buffer_updated(size, 0.0)
            data = data[size:]

    def flush(self) -> None:
        """Write the bytes that the connection has to send."""
        self._writer.writelines(self.connection.data_to_send())

    @property
    def port(self) -> int:
        """The port of our end of the socket."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    def hang_up(self) -> None:
        """Close the socket without a word."""
        self._writer.transport.abort()
