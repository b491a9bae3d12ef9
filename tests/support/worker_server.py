"""`wakumail serve --workers N` for tests: its processes, and the connections of each."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.support.patience import eventually, until
from tests.support.processes import Server, takes_calls
from tests.support.puppet import Puppet, dialed
from tests.support.rpc_callers import UnixCaller
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey
from wakumail.mail.client import MailPeer, connect
from wakumail.waku.packets import StatusOptions

MAX_DIALS = 64
"""Connections after which a worker that has none is not without by chance."""


class WorkerServer(Server):
    """A supervisor and its workers."""

    def __init__(self, datadir: Path, *flags: object, workers: int = 2) -> None:
        super().__init__(datadir, "--min-pow", "0", "--workers", workers, *flags)

    @property
    def target(self) -> Enode:
        return Enode.parse(self.enode)

    def kill(self) -> None:
        """Kill the supervisor; its workers end by themselves."""
        workers = self.workers() if self.process.poll() is None else []
        super().kill()
        wait_for_end(*workers)

    def workers(self) -> list[int]:
        """The worker processes that run now, the oldest first."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children if alive(int(child))]

    async def without(self, *old: int, count: int = 2) -> list[int]:
        """The workers, when these are gone and others take connections instead."""
        await asyncio.to_thread(wait_for_end, *old)
        await eventually(lambda: len(self.serving()) >= count)
        return self.serving()

    def serving(self) -> list[int]:
        """The workers that take connections."""
        ready = re.findall(r"worker \d+, process (\d+), takes connections", self.log.read_text())
        return [pid for pid in self.workers() if str(pid) in ready]

    def owner(self, port: int) -> int:
        """The worker that has accepted the connection from `port`."""
        return self._holder(self.target.port, port)

    def _holder(self, own: int, remote: int) -> int:
        """The worker whose socket has these two ports."""
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inode = next(
            row[9]
            for row in rows
            if row[1].endswith(f":{own:04X}") and row[2].endswith(f":{remote:04X}")
        )
        return next(pid for pid in self.workers() if f"socket:[{inode}]" in descriptors(pid))

    async def puppet(self, key: PrivateKey | None = None, *, min_pow: float = 0.0) -> Puppet:
        """A puppet at any worker that wants every envelope of a PoW."""
        return await Puppet.ready(self.target, key=key, options=StatusOptions(pow=min_pow))

    async def puppets(self, *, min_pow: float = 0.0) -> dict[int, Puppet]:
        """A puppet at each worker."""
        wanted = set(self.workers())
        found: dict[int, Puppet] = {}
        for _ in range(MAX_DIALS):
            if found.keys() == wanted:
                return found
            puppet = await self.puppet(min_pow=min_pow)
            if found.setdefault(self.owner(puppet.port), puppet) is not puppet:
                puppet.hang_up()
        raise AssertionError(f"{wanted - found.keys()} got no connection")

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[dict[int, MailPeer]]:
        """A client at each worker."""
        wanted = set(self.workers())
        found: dict[int, MailPeer] = {}
        async with AsyncExitStack() as opened:
            for _ in range(MAX_DIALS):
                async with AsyncExitStack() as opening:
                    client = await opening.enter_async_context(connect(self.enode))
                    owner = self.owner(client._link.local[1])
                    if owner not in found:
                        found[owner] = client
                        opened.push_async_callback(opening.pop_all().aclose)
                if found.keys() == wanted:
                    break
            assert found.keys() == wanted
            yield found

    def dialer(self, address: str, other: Enode) -> int:
        """The worker that has dialed `other` from an address."""
        return self._holder(int(address.rpartition(":")[2]), other.port)

    def listener(self, port: int) -> int:
        """The worker that listens on a port."""
        return self._holder(port, 0)


@asynccontextmanager
async def caller_of(datadir: Path) -> AsyncIterator[UnixCaller]:
    """A caller of the RPC API, when a worker offers it."""
    await eventually(lambda: takes_calls(datadir))
    reader, writer = await asyncio.open_unix_connection(datadir / "wakumail.ipc", limit=1 << 24)
    try:
        yield UnixCaller(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def running(datadir: Path, *flags: object) -> AsyncIterator[WorkerServer]:
    """Two workers and their supervisor, which stops them when the test ends."""
    server = WorkerServer(datadir, *flags)
    try:
        await asyncio.to_thread(server.start)
        yield server
        while dialed:
            dialed.pop().hang_up()
        assert await asyncio.to_thread(server.stop) == 0
    finally:
        while dialed:
            dialed.pop().hang_up()
        await asyncio.to_thread(server.kill)


def alive(pid: int) -> bool:
    """True if a process runs and is no zombie."""
    try:
        return re.search(r"^State:\s+[ZX]", Path(f"/proc/{pid}/status").read_text(), re.M) is None
    except OSError:
        return False


def wait_for_end(*pids: int) -> None:
    """Wait until none of the processes runs; they are no children, so nobody reports their end."""
    until(lambda: not any(map(alive, pids)))


def descriptors(pid: int) -> list[str]:
    """The open sockets of a process."""
    found = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        except OSError:
            continue  # closed meanwhile
    return found


def kill(pid: int) -> None:
    """Kill a process, as a crash would."""
    os.kill(pid, signal.SIGKILL)
