"""Clusters of real hosts, on real servers of the log."""

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.support.independent import arrival_hashes, check_sound
from tests.support.patience import until
from tests.support.processes import WAKUMAIL, Server, run, run_json
from wakumail.mail.client import connect
from wakumail.ops.cluster.demo import PACKET, TOPIC, Deed, Demo, new_envelope
from wakumail.ops.cluster.local_log import LocalLog
from wakumail.ops.cluster.log import Log
from wakumail.ops.cluster.log_message import VERSION, pack

T = TypeVar("T")


def test_nothing_that_was_confirmed_is_lost_to_kills(tmp_path: Path) -> None:
    """The small version of the kills, judged by the independent reader too."""
    demo = Demo(tmp_path, rounds=3, freeze=2.0, deeds=[Deed.ALL, Deed.TWO_LOGS, Deed.FREEZE])
    result = asyncio.run(demo.run())
    assert result["problems"] == []
    assert result["ok"]
    assert (result["lost"], result["twice"], result["confirmed_without_majority"]) == (0, 0, 0)
    archives = [host.datadir / "archive" for host in demo.hosts]
    held = [arrival_hashes(archive) for archive in archives]
    assert all(set(hashes) == set(held[0]) for hashes in held)
    assert all(check_sound(archive) == len(held[0]) >= result["confirmed"] for archive in archives)


class Cluster:
    """A log in `directory`, and the means to use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = LocalLog(directory / "log", "fleet")
        self.at = ("--cluster", ",".join(self.log.urls), "--cluster-name", "fleet")

    def host(self, name: str, *flags: object) -> Server:
        """A host that is not started."""
        return Server(self.directory / name, "--min-pow", 0, *self.at, *flags)

    def refusal(self, name: str) -> str:
        """The log of a host that does not start."""
        server = self.host(name)
        server.launch()
        with suppress(AssertionError):
            server.await_enode()
            raise RuntimeError("the host has started")
        assert server.process.returncode == 1
        text = server.log.read_text()
        server.log.unlink()
        return text

    def with_log(self, work: Callable[[Log], Awaitable[T]]) -> T:
        """The result of `work` over a connection to the log."""

        async def connected() -> T:
            log = Log(self.log.urls, "fleet")
            await log.open()
            try:
                facts = await log.facts()
                log.subject = "" if facts is None else facts.subject
                return await work(log)
            finally:
                await log.close()

        return asyncio.run(connected())

    def publish(self, *messages: bytes) -> None:
        """Write messages to the log, as nobody of ours does."""

        async def work(log: Log) -> None:
            for number, message in enumerate(messages):
                await log.publish(message, f"foreign-{number}")

        self.with_log(work)

    def places(self) -> set[tuple[int, int]]:
        """The places of the hosts that answer, and the ends of the log that they have."""
        done = subprocess.run(
            [*WAKUMAIL, "cluster", "status", *self.at, "--json"], capture_output=True, check=False
        )
        if done.returncode:
            return set()
        status = json.loads(done.stdout)
        return {(host["place"], status["last"]) for host in status["hosts"]}

    def has_read_all(self) -> bool:
        """True if all hosts that run have all of the log."""
        places = self.places()
        return bool(places) and all(place == last for place, last in places)


def post(server: Server) -> set[bytes]:
    """Post a packet; the hashes of its envelopes, which are confirmed."""

    async def work() -> set[bytes]:
        envelopes = [new_envelope() for _ in range(PACKET)]
        async with connect(server.enode) as peer:
            posted = await peer.post(envelopes)
        assert posted.confirmed == PACKET
        return {envelope.hash for envelope in envelopes}

    return asyncio.run(work())


def flip_a_bit(cluster: Cluster, place: int, data: bytes) -> None:
    """Flip a bit of a message in the file of one server of the log, while it does not run."""
    server = cluster.log.servers[place]
    server.stop()
    (block,) = (
        path
        for path in server.store.glob("**/streams/fleet/msgs/*.blk")
        if data in path.read_bytes()
    )
    content = bytearray(block.read_bytes())
    content[content.index(data)] ^= 1
    block.write_bytes(content)
    server.start()


def test_a_log_that_is_damaged_foreign_or_another_one(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    with cluster.log:
        assert "make it with `wakumail cluster init`" in until(lambda: refused(cluster, "early"))
        for text in (b"made the stream fleet", b"is there"):
            assert text in run("cluster", "init", *cluster.at)

        strange = new_envelope()
        cluster.publish(
            bytes([VERSION + 1]) + strange.rlp, pack([b"no RLP"]), b"", pack([strange.rlp])
        )
        with cluster.host("one") as one:
            held = post(one) | {strange.hash}
            until(cluster.has_read_all)
            assert one.stop() == 0
        for number in (1, 2, 3):
            assert f"message {number} of the log is left out" in one.log.read_text()

        # One server of three skips a message without a word: the reader asks the others.
        flip_a_bit(cluster, 1, strange.data)
        with cluster.host("new") as new, cluster.host("one") as one:
            until(cluster.has_read_all)
            held |= post(new)
            until(cluster.has_read_all)
            assert (new.stop(), one.stop()) == (0, 0)
        for name in ("one", "new"):
            archive = tmp_path / name / "archive"
            assert set(arrival_hashes(archive)) == held
            assert check_sound(archive) == len(held)

        # A stream of the same name is another one, and begins at 1 again.
        cluster.with_log(lambda log: log.ask("STREAM.DELETE.fleet"))
        assert b"made the stream fleet" in run("cluster", "init", *cluster.at)
        assert "is another one: it was made" in cluster.refusal("one")
        run("cluster", "adopt", *cluster.at, "--datadir", tmp_path / "one")
        with cluster.host("one") as one:
            held |= post(one)
            assert one.stop() == 0
        assert set(arrival_hashes(tmp_path / "one" / "archive")) == held

        # A server that syncs now and then would lose what was confirmed.
        for server in cluster.log.servers:
            server.stop()
            server.configure(lambda text: text.replace('"always"', '"2m"'))
        for server in cluster.log.servers:
            server.start()
        assert "does not sync what it acknowledges" in until(lambda: refused(cluster, "one"))
        error = subprocess.run(
            [*WAKUMAIL, "cluster", "init", *cluster.at], capture_output=True, check=False
        )
        assert error.returncode == 1
        assert b"does not sync what it acknowledges" in error.stderr


def refused(cluster: Cluster, name: str) -> str:
    """The same; nothing if it has started, because the log was not there in time."""
    try:
        return cluster.refusal(name)
    except RuntimeError:
        return ""


def test_a_host_without_a_log_answers_requests(tmp_path: Path) -> None:
    """It joins when the log is there."""
    cluster = Cluster(tmp_path)
    with cluster.host("alone") as host:
        result = run_json("request", host.enode, "--from", "1h", "--topic", TOPIC.hex())
        assert result["envelopes"] == 0
        with cluster.log:
            run("cluster", "init", *cluster.at)
            until(cluster.has_read_all)
            post(host)
        assert host.stop() == 0
