"""Clusters of real hosts, on real servers of the log."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.archive_model import put_row
from tests.support.commands import attempt, call, call_json
from tests.support.independent import arrival_hashes, check_sound
from tests.support.patience import until
from tests.support.processes import WAKUMAIL, Server
from wakumail.archive.archive import Archive
from wakumail.mail.client import connect
from wakumail.ops.cluster.demo import PACKET, TOPIC, Deed, Demo, new_envelope
from wakumail.ops.cluster.local_log import LocalLog, LocalServer
from wakumail.ops.cluster.log import Log, LogMessage
from wakumail.ops.cluster.log_message import VERSION, pack
from wakumail.waku.envelope import MAX_TIME

T = TypeVar("T")


def test_nothing_that_was_confirmed_is_lost_to_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The small version of the kills, judged by the independent reader too."""
    monkeypatch.setattr("wakumail.ops.cluster.demo.PACKET", 5)
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
        """The log of a host that does not start; nothing if it starts, for the log is not there."""
        server = self.host(name)
        server.launch()
        try:
            server.await_enode()
        except AssertionError:
            assert server.process.returncode == 1
            return server.log.read_text()
        finally:
            server.log.unlink()
        server.kill()
        return ""

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

    def status(self) -> dict[str, Any]:
        """The state of log and hosts; not ok and without hosts while the log does not answer."""
        _, stdout = attempt("cluster", "status", *self.at, "--json")
        status: dict[str, Any] = json.loads(stdout or b'{"ok": false, "hosts": []}')
        return status

    def has_read_all(self) -> bool:
        """True if all hosts that run have all of the log."""
        status = self.status()
        return bool(status["hosts"]) and all(
            host["place"] == status["last"] and not host["problem"] for host in status["hosts"]
        )


def post(server: Server) -> set[bytes]:
    """Post a packet; the hashes of its envelopes, which are confirmed."""

    async def work() -> set[bytes]:
        envelopes = [new_envelope() for _ in range(PACKET)]
        async with connect(server.enode) as peer:
            posted = await peer.post(envelopes)
        assert posted.confirmed == PACKET
        return {envelope.hash for envelope in envelopes}

    return asyncio.run(work())


async def read_both_ways(log: Log) -> tuple[LogMessage | None, LogMessage | None]:
    """Message 5, as any server has it and as the leader has it."""
    return await log.read_one(5), await log.read_from_leader(5)


def blocks(server: LocalServer) -> list[Path]:
    """The files in which a server of the log has its messages, in their order."""
    found = server.store.glob("**/streams/fleet/msgs/*.blk")
    return sorted(found, key=lambda path: int(path.stem))


def cut_a_file(cluster: Cluster, place: int) -> None:
    """Cut the file of the last messages of a server of the log in half, while it does not run."""
    server = cluster.log.servers[place]
    server.stop()
    block = blocks(server)[-1]
    os.truncate(block, block.stat().st_size // 2)
    server.start()


def note_gaps(datadir: Path, since: int, *gaps: tuple[int, int, str]) -> None:
    """Note the gaps of a host that took envelopes since then, and does so until now."""
    datadir.mkdir(exist_ok=True)
    content = {"since": since, "alive": MAX_TIME, "gaps": gaps}
    (datadir / "gaps.json").write_text(json.dumps(content))


def lose_the_store(cluster: Cluster, place: int) -> None:
    """Delete everything that one server of the log has."""
    server = cluster.log.servers[place]
    server.stop()
    shutil.rmtree(server.store)
    server.start()


def flip_a_bit(cluster: Cluster, place: int, data: bytes) -> None:
    """Flip a bit of the last message with this data at one server, while it does not run."""
    server = cluster.log.servers[place]
    server.stop()
    block = [path for path in blocks(server) if data in path.read_bytes()][-1]
    content = bytearray(block.read_bytes())
    content[content.rindex(data)] ^= 1
    block.write_bytes(content)
    server.start()


def test_a_log_that_is_damaged_foreign_or_another_one(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    for server in cluster.log.servers:
        server.configure(lambda text: f"{text}max_payload: 16MB\n")
    with cluster.log:
        assert "make it with `wakumail cluster init`" in until(lambda: cluster.refusal("early"))
        for text in (b"made the stream fleet", b"is there"):
            assert text in call("cluster", "init", *cluster.at)

        strange = new_envelope()
        filler = new_envelope().rlp
        large = pack([filler * (9_000_000 // len(filler))])
        cluster.publish(
            *(bytes([VERSION + 1]) + strange.rlp, pack([b"no RLP"]), b"", large),
            pack([strange.rlp]),
        )
        of_any, of_leader = cluster.with_log(read_both_ways)
        assert of_any == of_leader
        assert of_any is not None
        assert of_any.id == "foreign-4"
        with cluster.host("one") as one:
            held = post(one) | {strange.hash}
            until(cluster.has_read_all)
            assert one.stop() == 0
        for number in (1, 2, 3, 4):
            assert f"message {number} of the log is left out" in one.log.read_text()

        # One server of three skips a message without a word: the reader asks the others.
        flip_a_bit(cluster, 1, strange.data)
        since = int(time.time()) - 100_000
        early, late = (since - 200, since - 100), (since + 100, since + 200)
        note_gaps(tmp_path / "new", since)
        note_gaps(tmp_path / "one", since, (*early, "nobody ran"), (*late, "new ran"))
        with cluster.host("new") as new, cluster.host("one") as one:
            until(cluster.has_read_all)
            held |= post(new)
            until(cluster.has_read_all)
            until(lambda: [[*early]] in [host["lacking"] for host in cluster.status()["hosts"]])
            assert (new.stop(), one.stop()) == (0, 0)
        # A file is cut in half; then a server loses its whole store.
        cut_a_file(cluster, 0)
        with cluster.host("later") as later:
            until(cluster.has_read_all)
            until(lambda: cluster.status()["ok"])
            lose_the_store(cluster, 2)
            held |= post(later)
            until(cluster.has_read_all)
            assert later.stop() == 0
        with cluster.host("one") as one:
            until(cluster.has_read_all)
            assert one.stop() == 0
        for name in ("one", "later"):
            archive = tmp_path / name / "archive"
            assert set(arrival_hashes(archive)) == held
            assert check_sound(archive) == len(held)

        # A stream of the same name is another one, and begins at 1 again.
        cluster.with_log(lambda log: log.ask("STREAM.DELETE.fleet"))
        assert b"made the stream fleet" in call("cluster", "init", *cluster.at)
        assert "is another one: it was made" in until(lambda: cluster.refusal("one"))
        call("cluster", "adopt", *cluster.at, "--datadir", tmp_path / "one")
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
        assert "does not sync what it acknowledges" in until(lambda: cluster.refusal("one"))
        error = subprocess.run(
            [*WAKUMAIL, "cluster", "init", *cluster.at], capture_output=True, check=False
        )
        assert error.returncode == 1
        assert b"does not sync what it acknowledges" in error.stderr


def test_an_archive_that_does_not_tell_its_place(tmp_path: Path) -> None:
    """Behind a wrong place messages would be missing, or all of them read again."""
    Archive(tmp_path / "one" / "archive").close()
    put_row(tmp_path / "one" / "archive", "meta", b"log", b"cut")
    said = Cluster(tmp_path).refusal("one")
    assert "does not tell its place in the log" in said
    assert "Traceback" not in said


def test_a_host_without_a_log_answers_requests(tmp_path: Path) -> None:
    """It joins when the log is there."""
    cluster = Cluster(tmp_path)
    with cluster.host("alone") as host:
        result = call_json("request", host.enode, "--from", "1h", "--topic", TOPIC.hex())
        assert result["envelopes"] == 0
        with cluster.log:
            call("cluster", "init", *cluster.at)
            until(cluster.has_read_all)
            post(host)
        assert host.stop() == 0
