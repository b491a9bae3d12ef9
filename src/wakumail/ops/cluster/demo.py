"""The demonstration: a cluster on this machine, under load, of which processes are killed.

It proves nothing of power cuts, since the system keeps what the processes have written.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from wakumail.archive.archive import POSITION_SIZE, Archive
from wakumail.archive.datadir import Datadir
from wakumail.base.free_ports import free_ports
from wakumail.base.tasks import end_tasks
from wakumail.base.text import counted
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.errors import WakumailError
from wakumail.load.parent_death import start
from wakumail.mail.answer import Wanted
from wakumail.mail.client import MailPeer, connect
from wakumail.ops.cluster.local_log import LocalLog, LocalServer
from wakumail.ops.cluster.log import Log
from wakumail.ops.cluster.log_errors import ClusterFailed, LogUnavailable
from wakumail.ops.cluster.log_status import look
from wakumail.ops.cluster.making import make_stream
from wakumail.waku.envelope import Envelope, make_envelope

log = logging.getLogger(__name__)

NAME = "demo"
HOSTS = 3
TOPIC = b"demo"
TTL = 3600
PACKET = 20
"""Envelopes of a packet."""
PAYLOAD = 400
"""Bytes of an envelope's data."""
PACKET_INTERVAL = 0.02
"""Seconds between two packets of a sender; each host has one."""
ANSWER_TIMEOUT = 10.0
REQUEST_INTERVAL = 0.25
LOAD_SECONDS = 1.5
"""Seconds of load before and after each kill."""
MAX_DEAD = 10.0
"""Seconds for which two servers of the log are dead at most."""
RECOVERY_TIMEOUT = 180.0
"""Seconds in which a cluster has to recover."""


class Deed(StrEnum):
    """One round of harm."""

    ONE = "kill one process of the six"
    ALL = "kill all six"
    FREEZE = "stop the leader of the log"
    TWO_LOGS = "kill two of the three servers of the log"


class Host:
    """One host: `wakumail serve` in a process, on ports and with a key known beforehand."""

    def __init__(self, directory: Path, number: int, port: int) -> None:
        key = generate(os.urandom)
        self.datadir = directory / f"host-{number}"
        self.enode = Enode(node_id(key.public_key), "127.0.0.1", port, port)
        self._log = directory / f"host-{number}.log"
        self._key = key.secret.hex()
        self._command: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, others: "list[Host]", servers: tuple[str, ...]) -> None:
        """Name the other hosts and the servers of the log."""
        self._command = [
            *(sys.executable, "-m", "wakumail", "serve", "--datadir", str(self.datadir)),
            *("--host", "127.0.0.1", "--port", str(self.enode.port), "--nodekeyhex", self._key),
            *("--min-pow", "0", "--retention", "0"),
            *("--cluster", ",".join(servers), "--cluster-name", NAME),
            *("--sync-peers", ",".join(str(other.enode) for other in others)),
        ]

    def start(self) -> None:
        """Start, without waiting."""
        with self._log.open("ab") as output:
            self.process = start(
                self._command, stdout=subprocess.DEVNULL, stderr=output, stdin=subprocess.DEVNULL
            )

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def stop(self) -> int:
        """End it as an operator would; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.get_running_loop().run_in_executor(None, self.process.wait)

    def hashes(self) -> list[bytes]:
        """The hashes of all envelopes in its archive, in the order of arrival."""
        found: list[bytes] = []
        with Archive(Datadir(self.datadir).archive, readonly=True) as archive:
            sequence = 0
            while True:
                items, following = archive.arrived(sequence, limit=10_000)
                found += [items[at + 4 : at + 36] for at in range(0, len(items), POSITION_SIZE)]
                if following == sequence:
                    return found
                sequence = following


@dataclass(slots=True)
class Tally:
    """The numbers of senders and readers."""

    confirmed: set[bytes] = field(default_factory=set)
    """The hashes of envelopes."""
    sent: int = 0
    answered: int = 0
    """Requests."""
    unanswered: int = 0
    without_majority: int = 0
    """Envelopes that were sent and confirmed while the log had no majority."""
    has_majority: bool = True


class Demo:
    """A cluster in `directory` and its load; `rounds` of kills, chosen by `seed`.

    `freeze` is the time in seconds for which the leader is stopped; two servers are dead for as
    long, MAX_DEAD at most.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rounds: int,
        seed: int | None = None,
        freeze: float = 10.0,
        deeds: list[Deed] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = LocalLog(directory / "log", NAME)
        ports = free_ports(HOSTS)
        self.hosts = [Host(directory, number, port) for number, port in enumerate(ports, 1)]
        for host in self.hosts:
            host.configure([other for other in self.hosts if other is not host], self.log.urls)
        self._rounds = rounds
        self._freeze = freeze
        self._seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        self._random = random.Random(self._seed)
        self._deeds = deeds or [*Deed]
        self._tally = Tally()
        self._done: Counter[str] = Counter()
        self._problems: list[str] = []

    async def run(self) -> dict[str, Any]:
        """Run all rounds; returns the outcome, as `wakumail cluster demo --json` prints it."""
        try:
            with self.log:
                client = Log(self.log.urls, NAME)
                async with asyncio.timeout(RECOVERY_TIMEOUT):
                    await client.open()
                try:
                    await make_stream(client, keep_days=1)
                    return await self._run(client)
                finally:
                    await client.close()
        finally:
            for host in self.hosts:
                host.kill()

    async def _run(self, client: Log) -> dict[str, Any]:
        for host in self.hosts:
            host.start()
        await self._recovered(client, at_rest=False)
        load = [
            asyncio.create_task(work)
            for host in self.hosts
            for work in (self._send(host), self._request(host))
        ]
        seconds = 0.0
        try:
            deeds: list[Deed] = []
            for number in range(1, self._rounds + 1):
                if not deeds:
                    deeds = self._random.sample(self._deeds, len(self._deeds))
                deed = deeds.pop()
                log.info("round %d of %d: %s", number, self._rounds, deed)
                await asyncio.sleep(LOAD_SECONDS)
                await self._do(deed, client)
                self._done[deed] += 1
                await self._recovered(client, at_rest=False)
                await asyncio.sleep(LOAD_SECONDS)
        finally:
            await end_tasks(load)
        began = time.monotonic()
        await self._recovered(client, at_rest=True)
        seconds = time.monotonic() - began
        for host in self.hosts:
            if code := await host.stop():
                self._problems.append(f"{host.enode.address} ended with exit code {code}")
        return self._outcome(seconds)

    # -- load ---------------------------------------------------------------------------------

    async def _send(self, host: Host) -> None:
        """Send packets to a host, and remember what it has confirmed."""
        while True:
            with contextlib.suppress(WakumailError, OSError):
                async with connect(host.enode, answer_timeout=ANSWER_TIMEOUT) as peer:
                    while True:
                        await self._send_packet(peer)
                        await asyncio.sleep(PACKET_INTERVAL)
            await asyncio.sleep(PACKET_INTERVAL * 5)

    async def _send_packet(self, peer: MailPeer) -> None:
        tally = self._tally
        envelopes = [new_envelope() for _ in range(PACKET)]
        tally.sent += len(envelopes)
        had_majority = tally.has_majority
        posted = await peer.post(envelopes)
        if posted.confirmed == len(envelopes):
            tally.confirmed.update(envelope.hash for envelope in envelopes)
            if not (had_majority or tally.has_majority):
                tally.without_majority += len(envelopes)

    async def _request(self, host: Host) -> None:
        """Ask a host that runs for history, again and again."""
        while True:
            process = host.process
            try:
                async with connect(host.enode, answer_timeout=ANSWER_TIMEOUT) as peer:
                    while True:
                        now = int(time.time())
                        await peer.request(Wanted(now - 60, now, (TOPIC,), limit=10))
                        self._tally.answered += 1
                        await asyncio.sleep(REQUEST_INTERVAL)
            except (WakumailError, OSError) as error:
                if process is host.process and process is not None and process.poll() is None:
                    log.debug("%s: %s", host.enode.address, error)
                    self._tally.unanswered += isinstance(error, TimeoutError)
            await asyncio.sleep(REQUEST_INTERVAL)

    # -- deeds --------------------------------------------------------------------------------

    async def _do(self, deed: Deed, client: Log) -> None:
        match deed:
            case Deed.ONE:
                victim = self._random.choice(self._all)
                victim.kill()
                await self._start([victim])
            case Deed.ALL:
                victims = self._all
                for each in self._random.sample(victims, len(victims)):
                    each.kill()
                await self._start(victims)
            case Deed.FREEZE:
                leader = await self._leader(client)
                leader.signal(signal.SIGSTOP)
                await asyncio.sleep(self._freeze)
                leader.signal(signal.SIGCONT)
            case Deed.TWO_LOGS:
                killed = self._random.sample(self.log.servers, 2)
                for each in killed:
                    each.kill()
                self._tally.has_majority = False
                await asyncio.sleep(min(self._freeze, MAX_DEAD))
                self._tally.has_majority = True
                await self._start([*killed])

    @property
    def _all(self) -> "list[Host | LocalServer]":
        return [*self.log.servers, *self.hosts]

    async def _start(self, victims: "list[Host | LocalServer]") -> None:
        for each in victims:
            # A server of the log is waited for: in a thread, so that the load goes on.
            await asyncio.get_running_loop().run_in_executor(None, each.start)

    async def _leader(self, client: Log) -> LocalServer:
        """The server that leads the stream; the first one if nobody tells."""
        with contextlib.suppress(LogUnavailable):
            facts = await client.facts()
            for server in self.log.servers:
                if facts is not None and server.server.name == facts.leader:
                    return server
        return self.log.servers[0]

    async def _recovered(self, client: Log, *, at_rest: bool) -> None:
        """Wait until all hosts are well, and at rest also as far as the log. ClusterFailed."""
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        problem = "nobody answers"
        while time.monotonic() < deadline:
            for host in self.hosts:
                if host.process is not None and host.process.poll() is not None:
                    raise ClusterFailed(f"a host has ended: {host.datadir}.log tells why")
            try:
                status = await look(client, 0.3)
                hosts = status["hosts"]
                problem = "; ".join(status["problems"]) or f"{counted(len(hosts), 'host')} answered"
                ends = {host["place"] for host in hosts} == {status["last"]}
                if status["ok"] and len(hosts) == HOSTS and (ends or not at_rest):
                    return
            except (LogUnavailable, ClusterFailed) as error:
                problem = str(error)
            await asyncio.sleep(0.1)
        raise ClusterFailed(f"the cluster does not recover: {problem}")

    # -- the outcome --------------------------------------------------------------------------

    def _outcome(self, seconds: float) -> dict[str, Any]:
        """Compare what was confirmed with the archives."""
        held = [host.hashes() for host in self.hosts]
        sets = [set(hashes) for hashes in held]
        tally = self._tally
        lost = sum(any(each not in hashes for hashes in sets) for each in tally.confirmed)
        twice = sum(len(hashes) - len(unique) for hashes, unique in zip(held, sets, strict=True))
        equal = all(unique == sets[0] for unique in sets)
        if not equal:
            self._problems.append("the archives differ")
        if tally.without_majority:
            self._problems.append(f"{tally.without_majority} confirmed without a majority")
        if not tally.confirmed:
            self._problems.append("nothing was confirmed")
        if not tally.answered:
            self._problems.append("no request was answered")
        return {
            "ok": not (self._problems or lost or twice),
            "rounds": self._rounds,
            "seed": self._seed,
            "deeds": dict(self._done),
            "sent": tally.sent,
            "confirmed": len(tally.confirmed),
            "lost": lost,
            "twice": twice,
            "equal": equal,
            "seconds_until_equal": round(seconds, 2),
            "confirmed_without_majority": tally.without_majority,
            "requests_answered": tally.answered,
            "requests_unanswered": tally.unanswered,
            "hosts": [
                {"host": host.enode.node_id[:4].hex(), "envelopes": len(hashes)}
                for host, hashes in zip(self.hosts, held, strict=True)
            ],
            "problems": self._problems,
        }


def new_envelope() -> Envelope:
    """An envelope that nobody has seen."""
    now = int(time.time())
    return make_envelope(now + TTL, TTL, TOPIC, os.urandom(PAYLOAD), 0)
