"""Workers: several real processes behind one port, as one server."""

import asyncio
import itertools
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.envelopes import make
from tests.support.networks import free_port
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.processes import Server, failing, run
from tests.support.puppet import Puppet
from tests.support.rpc_callers import SYMMETRIC
from tests.support.worker_server import WorkerServer, caller_of, kill, running, wait_for_end
from wakumail.base.rlp import join_list
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, generate
from wakumail.errors import DisconnectReason, PeerGone
from wakumail.mail.client import MailPeer, connect
from wakumail.ops.monitoring.health import LAG_MEMORY
from wakumail.waku.envelope import Envelope, make_envelope, parse
from wakumail.waku.packets import Code

TOPICS = [b"top" + bytes([number]) for number in range(3)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WorkerServer]:
    with WorkerServer(tmp_path / "data") as server:
        yield server


def fresh(number: int, topic: bytes = b"live") -> Envelope:
    return make_envelope(int(time.time()) + 60, 60, topic, number.to_bytes(8, "big"), 0)


async def hashes(peer: MailPeer) -> set[bytes]:
    """All envelopes of the last minutes in this peer's mailserver."""
    pages = peer.history(lower=int(time.time()) - 300, bloom=b"\xff" * 64)
    return {envelope.hash async for page in pages for envelope in page.envelopes}


async def receive(puppet: Puppet, count: int) -> list[bytes]:
    """The hashes of the next `count` envelopes that a peer is sent."""
    found: list[bytes] = []
    while len(found) < count:
        found += [envelope.hash for envelope in parse(await puppet.packet(Code.MESSAGES))]
    return found


def metrics(port: int) -> dict[str, float]:
    """The samples of a scrape that have no labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        families = text_string_to_metric_families(page.read().decode())
        return {s.name: s.value for family in families for s in family.samples if not s.labels}


# -- envelopes ----------------------------------------------------------------------------------


@asynchronous
async def test_what_one_has_taken_all_relay_and_find(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        envelopes = make(600, TOPICS)
        listeners = await server.puppets()
        async with server.clients() as clients:
            assert len(clients) == 2
            posting = [
                client.post([envelope.rlp for envelope in envelopes[number::2]])
                for number, client in enumerate(clients.values())
            ]
            told = [receive(listener, len(envelopes)) for listener in listeners.values()]
            posted, seen = await asyncio.gather(asyncio.gather(*posting), asyncio.gather(*told))
            assert [each.confirmed for each in posted] == [300, 300]
            everything = {envelope.hash for envelope in envelopes}
            assert [sorted(one) for one in seen] == [sorted(everything)] * 2
            for client in clients.values():
                assert await hashes(client) == everything


@asynchronous
async def test_peers_are_sent_what_has_their_pow_whoever_took_it(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        envelopes = make(100, TOPICS)
        least = sorted(envelope.pow for envelope in envelopes)[50]
        wanted = sorted(envelope.hash for envelope in envelopes if envelope.pow >= least)
        listeners = await server.puppets(min_pow=least)
        async with connect(server.enode) as client:
            await client.post([envelope.rlp for envelope in envelopes])
            last = next(each for each in map(fresh, itertools.count()) if each.pow >= least)
            await client.post([last.rlp])
        for listener in listeners.values():
            *told, end = await receive(listener, len(wanted) + 1)
            assert (sorted(told), end) == (wanted, last.hash)


@asynchronous
async def test_without_an_archive_they_relay_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path / "data", "--no-mailserver") as server:
        listeners = await server.puppets()
        envelopes = [fresh(number) for number in range(20)]
        sender = await server.puppet()
        sender.send(Code.MESSAGES, join_list([envelope.rlp for envelope in envelopes]))
        for listener in listeners.values():
            assert sorted(await receive(listener, 20)) == sorted(e.hash for e in envelopes)
        await post(server)
        for listener in listeners.values():
            assert len(await receive(listener, 1)) == 1


# -- processes that end -------------------------------------------------------------------------


class Poster:
    """Posts small batches one after the other, and reconnects when it loses its server."""

    def __init__(self, server: WorkerServer, number: int) -> None:
        self.confirmed: list[bytes] = []
        self.batches = 0
        self.endings: list[str] = []
        self._crew = server
        self._number = number

    async def run(self, enough: asyncio.Event) -> None:
        while not enough.is_set():
            try:
                async with connect(self._crew.enode) as peer:
                    while not enough.is_set():
                        await self._post(peer)
            except ConnectionRefusedError:
                raise
            except (PeerGone, OSError) as error:
                self.endings.append(str(error))

    async def _post(self, peer: MailPeer) -> None:
        number = (self._number << 32) + 10 * self.batches
        self.batches += 1
        batch = [fresh(number + offset) for offset in range(10)]
        assert (await peer.post([envelope.rlp for envelope in batch])).confirmed == 10
        self.confirmed += [envelope.hash for envelope in batch]


async def archived(server: WorkerServer) -> set[bytes]:
    async with connect(server.enode) as peer:
        return await hashes(peer)


@asynchronous
async def test_kill_9_of_a_worker_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        listeners = await server.puppets()
        enough = asyncio.Event()
        posters = [Poster(server, number) for number in range(6)]
        posting = asyncio.gather(*(poster.run(enough) for poster in posters))
        await eventually(lambda: all(poster.batches > 3 for poster in posters))
        victim, survivor = server.workers()
        kill(victim)
        assert (await listeners[victim].closed()).reason is None
        workers = await server.without(victim)
        assert survivor in workers
        batches = [poster.batches for poster in posters]
        await eventually(
            lambda: all(p.batches > 3 + n for p, n in zip(posters, batches, strict=True))
        )
        enough.set()
        await posting
        assert set().union(*(poster.confirmed for poster in posters)) <= await archived(server)
        # The peers of the other worker noticed nothing, and the new worker relays their envelopes.
        told = await server.puppets()
        last = fresh(0, b"last")
        listeners[survivor].send(Code.MESSAGES, join_list([last.rlp]))
        newcomer = next(told[pid] for pid in workers if pid != survivor)
        while last.hash not in await receive(newcomer, 1):
            pass


@asynchronous
async def test_a_rolling_restart_refuses_no_connection(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        listeners = await server.puppets()
        enough = asyncio.Event()
        posters = [Poster(server, number) for number in range(4)]

        async def knock() -> int:
            count = 0
            while not enough.is_set():
                _, writer = await asyncio.open_connection("127.0.0.1", server.target.port)
                writer.transport.abort()
                count += 1
            return count

        knocking = asyncio.create_task(knock())
        posting = asyncio.gather(*(poster.run(enough) for poster in posters))
        await eventually(lambda: all(poster.batches > 3 for poster in posters))
        old = server.workers()
        server.process.send_signal(signal.SIGHUP)
        for listener in listeners.values():
            ending = await listener.closed()
            assert (ending.by_peer, ending.reason) == (True, DisconnectReason.QUITTING)
        new = await server.without(*old)
        assert not set(new) & set(old)
        enough.set()
        await posting
        assert await knocking > 10
        assert set().union(*(poster.confirmed for poster in posters)) <= await archived(server)
        assert all(ending for poster in posters for ending in poster.endings)
        assert server.log.read_text().count("all workers were replaced") == 1
        assert sorted(server.workers()) == sorted(new)
        assert "died" not in server.log.read_text()


@asynchronous
async def test_a_rolling_restart_stops_at_what_does_not_start(tmp_path: Path) -> None:
    key, password = tmp_path / "key", tmp_path / "password"
    password.write_text("secret")
    key.write_text("11" * 32)
    flags = ("--password-file", password, "--nodekey", key)
    async with running(tmp_path / "data", *flags) as server:
        workers = server.workers()
        password.rename(tmp_path / "gone")
        server.process.send_signal(signal.SIGHUP)
        await eventually(
            lambda: server.log.read_text().count("the rolling restart has stopped") == 1
        )
        (tmp_path / "gone").rename(password)
        key.write_text("22" * 32)
        server.process.send_signal(signal.SIGHUP)
        await eventually(
            lambda: server.log.read_text().count("the rolling restart has stopped") == 2
        )
        assert "another node key" in server.log.read_text()
        assert server.workers() == workers
        key.write_text("11" * 32)
        server.process.send_signal(signal.SIGHUP)
        assert len(await server.without(*workers)) == 2


def test_no_worker_outlives_the_supervisor(server: WorkerServer) -> None:
    workers = server.workers()
    assert len(workers) == 2
    server.process.kill()
    wait_for_end(*workers)


@asynchronous
async def test_a_worker_says_which_it_is(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        owner = server.owner((await server.puppet()).port)
        told = re.search(rf"worker (\d+), process {owner}, takes", server.log.read_text())
        assert told is not None
    said = rf" worker {told[1]}: connections_accepted: 1$"
    assert re.search(said, server.log.read_text(), re.MULTILINE)


def test_sigterm_ends_all(server: WorkerServer) -> None:
    workers = server.workers()
    assert server.stop() == 0
    assert not set(map(str, workers)) & set(os.listdir("/proc"))


@pytest.mark.parametrize(
    "flags", [["--password-file", "/nowhere"], ["--host", "192.0.2.1"], ["--ipcpath", "/no/where"]]
)
def test_a_start_that_fails_ends(tmp_path: Path, flags: list[str]) -> None:
    chosen = ["--datadir", tmp_path / "data", "--port", 0, "--workers", 2, *flags]
    assert run("serve", *chosen, check=1) == b""


def test_a_port_of_others_is_not_shared(server: WorkerServer, tmp_path: Path) -> None:
    flags = ["--datadir", tmp_path / "other", "--host", "127.0.0.1", "--port", server.target.port]
    run("serve", *flags, "--workers", 2, check=1)
    run("serve", *flags, check=1)


# -- peers --------------------------------------------------------------------------------------


async def refusal(server: WorkerServer, key: PrivateKey | None = None) -> int | None:
    """The reason that one more peer is refused."""
    return (await (await Puppet.dial(server.target, key=key)).closed()).reason


@asynchronous
async def test_peers_are_limited_together(tmp_path: Path) -> None:
    async with running(tmp_path / "data", "--maxpeers", 3) as server:
        keys = [generate(os.urandom) for _ in range(3)]
        peers = [await server.puppet(key) for key in keys]
        owners = [server.owner(peer.port) for peer in peers]
        endings = [asyncio.create_task(peer.closed()) for peer in peers]
        for _ in range(6):
            assert await refusal(server) == DisconnectReason.TOO_MANY_PEERS
            assert await refusal(server, keys[0]) == DisconnectReason.ALREADY_CONNECTED
        assert not any(ending.done() for ending in endings)
        kill(owners[0])
        await server.without(owners[0])
        # The peers of the dead worker are admitted again.
        for key, owner, ending in zip(keys, owners, endings, strict=True):
            if owner == owners[0]:
                await asyncio.wait((ending,))
                await server.puppet(key)
        for _ in range(6):
            assert await refusal(server) == DisconnectReason.TOO_MANY_PEERS
        for ending in endings:
            ending.cancel()


@asynchronous
async def test_a_static_peer_is_called_once_and_again_by_a_successor(tmp_path: Path) -> None:
    with Server(tmp_path / "other") as other:
        async with running(tmp_path / "data", "--static-nodes", other.enode) as server:
            identity = server.target.node_id.hex()

            async def callers() -> list[str]:
                peers = await call(other, "admin_peers")
                return [str(peer["network"]["remoteAddress"]) for peer in peers]

            async def called() -> str:
                async with asyncio.timeout(PATIENCE):
                    while not (found := await callers()):
                        pass
                (address,) = found
                return address

            first = await called()
            leader = server.dialer(first, Enode.parse(other.enode))
            kill(leader)
            await server.without(leader)
            async with asyncio.timeout(PATIENCE):
                while (second := await called()) == first:
                    pass
            assert server.dialer(second, Enode.parse(other.enode)) in server.workers()
            (peer,) = await call(other, "admin_peers")
            assert identity in peer["enode"]
            assert other.stop() == 0
        assert "connections_refused_duplicate" not in other.log.read_text()


# -- the API, metrics and health ----------------------------------------------------------------


async def call(server: Server, method: str, *params: object) -> Any:
    """The result of a call over the socket."""
    async with caller_of(server.datadir) as caller:
        return await caller.call(method, *params)


async def peer_ports(server: Server) -> set[int]:
    """The ports of the peers that `admin_peers` shows."""
    peers = await call(server, "admin_peers")
    return {int(peer["network"]["remoteAddress"].rpartition(":")[2]) for peer in peers}


async def post(server: Server, payload: str = "0x68656c6c6f") -> None:
    key = await call(server, "waku_addSymKey", SYMMETRIC)
    message = {"symKeyID": key, "topic": "0x6c697665", "payload": payload, "ttl": 50}
    await call(server, "waku_post", message | {"powTarget": 0.0})


@asynchronous
async def test_the_api_speaks_for_all(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        peers = await server.puppets()
        ports = {peer.port for peer in peers.values()}
        # The end of those that came to the same worker as another is heard of later.
        async with asyncio.timeout(PATIENCE):
            while await peer_ports(server) != ports:
                pass
        assert await call(server, "net_peerCount") == "0x2"
        await post(server)
        for peer in peers.values():
            assert len(await receive(peer, 1)) == 1
        # An order holds at all workers, also at one that starts later.
        assert await call(server, "waku_setMinPoW", 0.25) is True
        for peer in peers.values():
            await peer.packet(Code.STATUS_UPDATE)
        for old in server.workers():
            kill(old)
            await server.without(old)
        async with server.clients() as clients:
            assert [c._link.peer.settings.pow for c in clients.values()] == [0.25, 0.25]


@asynchronous
async def test_metrics_add_up(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path / "data", "--metrics", "--metrics.port", port) as server:
        envelopes = make(60, TOPICS)
        async with server.clients() as clients:
            for number, client in enumerate(clients.values()):
                await client.post([envelope.rlp for envelope in envelopes[number::2]])
            async with asyncio.timeout(PATIENCE):
                while (before := await asyncio.to_thread(metrics, port))["p2p_peers_absolute"] > 2:
                    pass  # of some the end has not come yet
        assert before["wakumail_envelopes_received_total"] == 60
        assert before["wakumail_envelopes_archived_total"] == 60
        assert before["waku_envelopes_size_bytes_count"] == 60
        assert before["waku_envelopes_size_bytes_sum"] == sum(len(e.rlp) for e in envelopes)
        assert before["wakumail_archive_envelopes"] == 60
        assert before["p2p_peers_absolute"] == 2
        assert before["p2p_peers_max"] == 5000
        await eventually_answers(port, "/health")
        old = server.workers()
        server.process.send_signal(signal.SIGHUP)
        await server.without(*old)
        await eventually_answers(port, "/health")
        after = await asyncio.to_thread(metrics, port)
        assert after["wakumail_envelopes_received_total"] == 60
        assert after["waku_envelopes_size_bytes_count"] == 60
        counted = {name for name in before if name.startswith("wakumail_")} & {
            name for name in before if name.endswith(("_total", "_count"))
        }
        assert len(counted) > 80
        assert all(after[name] >= before[name] for name in counted)


@asynchronous
async def test_health_tells_of_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    port = free_port()
    async with running(tmp_path / "data", "--metrics", "--metrics.port", port) as server:
        await eventually_answers(port, "/health")
        stuck = next(pid for pid in server.workers() if pid != server.listener(port))
        os.kill(stuck, signal.SIGSTOP)
        try:
            (problem,) = await asyncio.to_thread(failing, port)
        finally:
            os.kill(stuck, signal.SIGCONT)
        assert problem["check"] == "event loop"
        assert re.fullmatch("worker [01]: does not answer", problem["reason"])
        # Then it gives the reason itself.
        while "does not answer" in problem["reason"]:
            (problem,) = await asyncio.to_thread(failing, port)
        assert re.match("worker [01]: event loop blocked for ", problem["reason"])


async def eventually_answers(port: int, path: str) -> None:
    """Wait until a page answers 200."""

    def is_well() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    # On a busy machine a loop may be late once, which fails the check for LAG_MEMORY seconds.
    async with asyncio.timeout(LAG_MEMORY + PATIENCE):
        while not await asyncio.to_thread(is_well):
            pass
