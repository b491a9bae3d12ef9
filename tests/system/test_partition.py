"""A cluster of three machines, one of which is cut off from the others while all are under load."""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.support.independent import arrival_hashes, check_sound
from tests.support.machines import Machine, machines
from tests.support.patience import PATIENCE, until
from tests.support.processes import Server
from wakumail.mail.answer import Wanted
from wakumail.mail.client import connect
from wakumail.ops.cluster.demo import TOPIC, new_envelope
from wakumail.ops.cluster.local_log import LocalServer
from wakumail.ops.cluster.log import Log
from wakumail.ops.cluster.log_status import look
from wakumail.ops.cluster.making import make_stream
from wakumail.ops.cluster.server_config import LogServer, configuration

T = TypeVar("T")

NAME = "fleet"

SENDERS = 3
"""Of each load. Each waits for the confirmation of its packet before it sends another."""

ENVELOPES = 5
"""Of each packet."""

LIMIT = 10
"""Envelopes that a request asks for."""


@dataclass(slots=True)
class Packet:
    """A packet that was sent; both times of time.monotonic, `confirmed` infinite until it is."""

    hashes: frozenset[bytes]
    begun: float
    confirmed: float = math.inf


class Site:
    """A machine with a server of the log, and a host under load."""

    def __init__(self, machine: Machine, log_server: LocalServer, host: Server) -> None:
        self.machine = machine
        self.log_server = log_server
        self.host = host
        self.packets: list[Packet] = []
        self._ended = threading.Event()
        self._loads: list[Future[None]] = []

    def start_load(self) -> None:
        """Start clients, beside those that run."""
        self._loads.append(self.machine.begin(asyncio.run, self._run_load()))

    def end_load(self) -> None:
        """End all clients, and raise what went wrong in them."""
        self._ended.set()
        for load in self._loads:
            load.result(PATIENCE)

    def begun(self, since: float) -> list[Packet]:
        """The packets that were sent since then."""
        return [packet for packet in self.packets if packet.begun > since]

    def confirmed(self) -> list[Packet]:
        """The packets that are confirmed."""
        return [packet for packet in self.packets if packet.confirmed < math.inf]

    def await_confirmations(self, since: float = 0.0) -> None:
        """Wait for confirmations of packets that were sent since then."""
        until(lambda: sum(packet.begun > since for packet in self.confirmed()) >= SENDERS)

    def ask(self) -> int:
        """The number of envelopes that a request is answered with."""
        return self.machine.do(asyncio.run, self._ask())

    async def _run_load(self) -> None:
        load = [asyncio.create_task(self._send_packets()) for _ in range(SENDERS)]
        await asyncio.get_running_loop().run_in_executor(None, self._ended.wait)
        for task in load:
            task.cancel()
        for outcome in await asyncio.gather(*load, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), outcome

    async def _send_packets(self) -> None:
        async with connect(self.host.enode, answer_timeout=PATIENCE) as peer:
            while True:
                envelopes = [new_envelope() for _ in range(ENVELOPES)]
                hashes = frozenset(envelope.hash for envelope in envelopes)
                self.packets.append(packet := Packet(hashes, time.monotonic()))
                if (await peer.post(envelopes)).confirmed == ENVELOPES:
                    packet.confirmed = time.monotonic()

    async def _ask(self) -> int:
        async with connect(self.host.enode, answer_timeout=PATIENCE) as peer:
            now = int(time.time())
            answered = await peer.request(Wanted(0, now, (TOPIC,), limit=LIMIT))
            return len(answered.envelopes)


class Sites:
    """A cluster: a server of the log and a host on each machine."""

    def __init__(self, directory: Path, on: Sequence[Machine]) -> None:
        self._urls = [f"nats://{machine.address}:4222" for machine in on]
        self._at = on[0]
        named = [LogServer(NAME, url, place) for place, url in enumerate(self._urls, 1)]
        self.each = []
        for machine, server in zip(on, named, strict=True):
            text = configuration(NAME, named, server, store=str(directory / server.name))
            host = Server(
                directory / f"host-{machine.number}",
                *("--min-pow", 0, "--cluster", ",".join(self._urls), "--cluster-name", NAME),
            )
            self.each.append(Site(machine, LocalServer(directory, server, text), host))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run all, under load, while the context lasts."""
        with ExitStack() as ending:
            for site in self.each:
                site.machine.do(site.log_server.start)
                ending.callback(site.log_server.kill)
            self.with_log(lambda log: make_stream(log, keep_days=1))
            for site in self.each:
                site.machine.do(site.host.start)
                ending.callback(site.host.kill)
                ending.callback(site.end_load)
                site.start_load()
            yield

    def with_log(self, work: Callable[[Log], Awaitable[T]]) -> T:
        """The result of work over a connection to the log, from the first machine."""

        async def connected() -> T:
            log = Log(self._urls, NAME)
            await log.open()
            try:
                return await work(log)
            finally:
                await log.close()

        return self._at.do(asyncio.run, connected())

    def leader(self) -> Site:
        """The site of the server that leads the log."""
        name = self.with_log(look)["leader"]
        (site,) = (each for each in self.each if each.log_server.server.name == name)
        return site

    def are_equal(self) -> bool:
        """True if all hosts have all of the log."""
        status = self.with_log(look)
        places = {host["place"] for host in status["hosts"]}
        return len(status["hosts"]) == len(self.each) and places == {status["last"]}


def test_the_minority_of_a_partition_confirms_nothing(tmp_path: Path) -> None:
    """It answers requests. It has the server that led: the others elect another, and go on."""
    with machines(3) as net:
        sites = Sites(tmp_path, net.each)
        with sites.running():
            for site in sites.each:
                site.await_confirmations()
            alone = sites.leader()
            net.cut(alone.machine)
            cut = time.monotonic()
            alone.start_load()  # the clients that it has wait for packets that they sent before
            for site in sites.each:
                if site is not alone:
                    site.await_confirmations(cut)
            until(lambda: len(alone.begun(cut)) >= SENDERS)
            assert alone.ask() == LIMIT
            mended = time.monotonic()
            net.mend(alone.machine)
            for site in sites.each:
                site.await_confirmations(mended)
            assert all(packet.confirmed > mended for packet in alone.begun(cut))
            for site in sites.each:
                site.end_load()
            until(sites.are_equal)
            assert [site.host.stop() for site in sites.each] == [0, 0, 0]
        confirmed = {
            each for site in sites.each for packet in site.confirmed() for each in packet.hashes
        }
        archives = [site.host.datadir / "archive" for site in sites.each]
        held = [arrival_hashes(archive) for archive in archives]
        for archive, hashes in zip(archives, held, strict=True):
            assert set(hashes) >= confirmed
            assert check_sound(archive) == len(hashes) == len(set(hashes))
            assert set(hashes) == set(held[0])
