"""Hostile peers that send as fast as they can, and harmless ones that have to be served meanwhile.

Their envelopes are plain and without work, for nodes that take every PoW.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.support.exchanges import build, messages
from tests.support.processes import Server
from tests.support.puppet import Puppet, dialed
from wakumail.base import rlp
from wakumail.devp2p.enode import Enode
from wakumail.waku.completion import Completion
from wakumail.waku.envelope import make_envelope, parse
from wakumail.waku.packets import Code, StatusOptions

NOTHING = StatusOptions(pow=0.0, topic_interest=())
ALL = StatusOptions(pow=0.0)
MIB = 1 << 20
TTL = 300
MARK = b"mark"
"""The topic of the envelopes of the harmless peers."""

LOWERED = (
    "import runpy, sys; from wakumail.archive import store; store.MAX_UNCOMMITTED_BYTES = 4 << 20;"
    "del sys.argv[:3]; runpy.run_module('wakumail', run_name='__main__', alter_sys=True)"
)
"""Runs a command with a lower bound on the envelopes that wait for the disk."""

FLAGS = ("--min-pow", "0", "--password", "test")


def tiny(amount: int, *, start: int = 0, topic: bytes | None = None) -> bytes:
    """A packet of the smallest envelopes, each with a topic of its own unless one is given."""
    end = (int(time.time()) + TTL).to_bytes(4)
    before = b"\xd3\x84" + end + b"\x82" + TTL.to_bytes(2) + b"\x84"
    first = (1 << 24) + start
    numbers = [number.to_bytes(4) for number in range(first, first + amount)]
    return rlp.join_list([before + (topic or n) + b"\x80\x84" + n for n in numbers])


def bulk(topic: bytes = b"bulk", size: int = 50_000) -> Iterator[bytes]:
    """An endless series of packets, each with one envelope of a little over `size` bytes."""
    end = int(time.time()) + TTL
    data = os.urandom(size)
    for number in count():
        yield messages([make_envelope(end, TTL, topic, data, number)])


class Flooded(Server):
    """A `wakumail serve` to be flooded."""

    def __init__(self, datadir: Path, *flags: object) -> None:
        super().__init__(datadir, *FLAGS, *flags, wrapper=(sys.executable, "-c", LOWERED))

    @property
    def address(self) -> Enode:
        return Enode.parse(self.enode)

    @property
    def memory(self) -> int:
        """Bytes of memory of the process, without the pages of the archive's files."""
        return self._status("RssAnon")

    def _status(self, name: str) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(f"{name}:"))
        return int(line.split()[1]) << 10


@asynccontextmanager
async def flooded(datadir: Path, *flags: object) -> AsyncIterator[Flooded]:
    """A server in a process of its own. Its peers hang up before it ends."""
    with Flooded(datadir, *flags) as server:
        try:
            yield server
        finally:
            while dialed:
                dialed.pop().hang_up()


class Hostile(Puppet):
    """A peer that sends on as soon as its socket takes more."""

    poured = 0
    """Bytes of the packets that `pour` has sent."""

    @classmethod
    async def enter(cls, enode: Enode, options: StatusOptions = NOTHING) -> Self:
        return await cls.ready(enode, options=options)

    def deaf(self) -> Self:
        """Read nothing more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        return self

    def take_bytes(self, count: int) -> int:
        """Read up to `count` bytes straight from the socket; the number of bytes read."""
        handle = self._writer.get_extra_info("socket").fileno()
        try:
            return len(os.read(handle, count))
        except BlockingIOError:
            return 0

    async def pour(self, packets: Iterable[bytes], code: int = Code.MESSAGES) -> None:
        """Send packets of one code, one after the other. Ends early if the server hangs up."""
        for packet in packets:
            self.connection.send(self.waku, code, packet)
            self.flush()
            self.poured += len(packet)
            try:
                await self._writer.drain()
            except OSError:
                return

    async def read_all(self) -> None:
        """Read all that comes, until cancelled."""
        while await self._reader.read(1 << 20):
            pass


class Served:
    """Two harmless peers: envelopes of one must reach the other, and requests must be answered."""

    def __init__(self, sender: Puppet, listener: Puppet, archive: bool) -> None:
        self._sender, self._listener, self._archive = sender, listener, archive
        self._number = 0

    @classmethod
    async def connect(cls, enode: Enode, *, archive: bool = True) -> Self:
        sender = await Puppet.ready(enode, options=NOTHING)
        wanting = StatusOptions(pow=0.0, topic_interest=(MARK,))
        return cls(sender, await Puppet.ready(enode, options=wanting), archive)

    async def check(self) -> None:
        """Check that a live envelope and a request get through."""
        self._number += 1
        now = int(time.time())
        mark = make_envelope(now + TTL, TTL, MARK, os.urandom(16), self._number)
        self._sender.send(Code.MESSAGES, messages([mark]))
        while mark not in parse(await self._listener.packet(Code.MESSAGES)):
            pass
        if self._archive:
            packet, request_id = build(topics=[b"none"])
            self._sender.send(Code.P2P_REQUEST, packet)
            answer = await self._sender.packet(Code.P2P_REQUEST_COMPLETE)
            assert Completion.decode(answer) == Completion(request_id)

    async def during(self, *floods: Coroutine[Any, Any, None]) -> int:
        """Check again and again during the floods, and once more after; the number of checks."""
        tasks = [asyncio.ensure_future(flood) for flood in floods]
        checks = 1
        try:
            while not all(task.done() for task in tasks):
                await self.check()
                checks += 1
            await self.check()
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return checks

    async def amid(self, floods: Mapping[Hostile, Iterable[bytes]], least: int) -> None:
        """Check twice or more, until each flood has sent `least` bytes. None may end by itself."""
        tasks = [asyncio.ensure_future(hostile.pour(flood)) for hostile, flood in floods.items()]
        checks = 0
        try:
            while checks < 2 or any(hostile.poured < least for hostile in floods):
                await self.check()
                checks += 1
                assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
