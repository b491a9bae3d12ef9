"""JSON-RPC over a Unix socket, as in geth: JSON values one after the other, answers on lines."""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

from wakumail.counters import Counters
from wakumail.errors import WakumailError
from wakumail.rpc.caller_slots import Caller, CallerSlots
from wakumail.rpc.jsonrpc import MAX_MESSAGE, Dispatcher
from wakumail.rpc.splitter import Splitter
from wakumail.rpc.stream import MAX_SESSIONS, StreamSession

MAX_PATH = 107
"""Most bytes of a Unix socket's path (unix(7): sun_path has 108, with a final zero)."""

CHUNK = 1 << 16
"""Most bytes that are read at a time."""

MAX_STEPS = 4000
"""Most quotes, brackets and backslashes of received bytes that are looked at in one step of the
loop: some 3 ms."""

IPC_CLOSE_TIMEOUT = 2.0
"""Seconds that a caller has to read its last answers when its session ends."""


class IpcError(WakumailError):
    """The RPC socket cannot be made; the text says why."""

    counter = "rpc_ipc_failed"


class IpcWire:
    """A Unix socket as a wire, for server and caller."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._splitter = Splitter(max_message)

    async def receive(self) -> bytes | None:
        """The next value, of at most `max_message` bytes; None at the end."""
        while (value := self._splitter.next_value(MAX_STEPS)) is None:
            if self._splitter.paused:
                await asyncio.sleep(0)  # Let peers and other callers have a turn.
                continue
            data = await self._reader.read(CHUNK)
            if not data:
                return self._splitter.rest()
            self._splitter.feed(data)
        return value

    async def send(self, value: bytes) -> None:
        """Send a value and a newline."""
        if self._writer.is_closing():  # uvloop would raise a RuntimeError
            raise ConnectionResetError("the connection was closed")
        self._writer.writelines((value, b"\n"))
        await self._writer.drain()


class IpcEndpoint:
    """A Unix socket that only its owner can open; who can open it may call all its methods."""

    def __init__(self, path: Path, dispatcher: Dispatcher, counters: Counters) -> None:
        self.path = path
        self._dispatcher = dispatcher
        self._counters = counters
        self._sessions: dict[StreamSession, asyncio.Task[Any]] = {}
        self._slots = CallerSlots(counters)
        self.max_callers = MAX_SESSIONS
        self._server: asyncio.Server
        self._inode = 0

    async def start(self) -> None:
        """Listen; IpcError if no socket can be made."""
        listening = bind(self.path)
        self._inode = self.path.lstat().st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listening)

    async def close(self) -> None:
        """Stop listening, end all sessions, and remove the socket."""
        self._server.close()
        ending = list(self._sessions.values())
        for session in self._sessions:
            session.close()
        if ending:
            await asyncio.wait(ending)
        self._remove()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        caller = Caller(writer.transport.abort)
        if not self._slots.enter(caller, self.max_callers):
            writer.transport.abort()
            return
        wire = IpcWire(reader, writer)
        session = StreamSession(self._dispatcher, wire, self._counters, caller)
        task = asyncio.current_task()
        assert task is not None
        self._sessions[session] = task
        try:
            await session.serve()
            if not session.slow:
                writer.close()
                async with asyncio.timeout(IPC_CLOSE_TIMEOUT):
                    await writer.wait_closed()
        except OSError:
            pass  # The caller does not read the rest, or is gone.
        finally:
            writer.transport.abort()
            self._slots.leave(caller)
            del self._sessions[session]

    def _remove(self) -> None:
        """Remove the socket, unless another has taken its place."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()


def bind(path: Path) -> socket.socket:
    """Bind a socket at `path` that nobody else can open at any moment."""
    if len(os.fsencode(path)) > MAX_PATH:
        raise IpcError(f"{path}: the path of a Unix socket has at most {MAX_PATH} bytes")
    remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode that the socket has at bind.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(os.fspath(path))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise IpcError(f"{path}: {error.strerror}") from None
    return listening


def remove_stale(path: Path) -> None:
    """Remove the socket of a dead process; IpcError if a process answers on it."""
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise IpcError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        refused = probe.connect_ex(os.fspath(path))
    if refused != errno.ECONNREFUSED:
        raise IpcError(f"{path} is in use by another process")
    path.unlink()
