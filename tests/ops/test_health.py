"""Health: 200 only while clients are served, otherwise 503 with the reason."""

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.support.archive_model import batch_of, make
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.processes import Server as ServerProcess
from tests.support.puppet import Puppet, mailserver, request_policy
from wakumail.archive import outlook
from wakumail.archive.archive import Page, Query
from wakumail.errors import ArchiveDamaged, ArchiveError
from wakumail.mail.server import Server
from wakumail.ops.gap_watch import GapWatch
from wakumail.ops.monitoring import health as health_module
from wakumail.ops.monitoring import pages as pages_module
from wakumail.ops.monitoring.health import CANARY_MEMORY, Canary, Health
from wakumail.ops.monitoring.pages import Pages
from wakumail.ops.monitoring.reporter import Reporter


class Probed(NamedTuple):
    """A server, its reporter, and a client that reads its pages."""

    server: Server
    reporter: Reporter
    http: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self.http.get(path) as response:
            return response.status, await response.json()

    async def failing(self) -> dict[str, str]:
        """The failing checks of /health and their reasons."""
        status, body = await self.get("/health")
        assert body["ok"] == (status == 200) == (not body["failing"])
        assert status in (200, 503)
        return {problem["check"]: problem["reason"] for problem in body["failing"]}


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not show as a blocked loop."""
    monkeypatch.setattr(health_module, "MAX_LAG", 60.0)


@asynccontextmanager
async def pages(tmp_path: Path, **choices: Any) -> AsyncIterator[Probed]:
    async with mailserver(tmp_path, **choices) as (server, _):
        reporter = Reporter(server)
        reporter.start()
        served = Pages(reporter)
        try:
            host, port = await served.start("127.0.0.1", 0)
            async with aiohttp.ClientSession(f"http://{host}:{port}") as http:
                yield Probed(server, reporter, http)
        finally:
            await served.close()
            await reporter.close()


async def until_answered(server: Server, health: Health) -> None:
    await eventually(lambda: sum(health.canary.seconds.counts) > 0)
    assert server.counters["canaries_failed"] == 0


# -- the canary ---------------------------------------------------------------------------------


@asynchronous
async def test_a_canary_is_a_client(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        canary = Canary(server)
        assert canary.failure(time.monotonic()) == "no canary was answered: none has returned yet"
        await canary.sing()
        assert canary.failure(time.monotonic()) == ""
        assert server.counters["canaries"] == server.counters["peers_connected"] == 1
        assert server.counters["requests_received"] == server.counters["requests_completed"] == 1
        assert server.counters["canaries_failed"] == 0
        await eventually(lambda: not server.node.links)
        assert server.counters["peers_disconnected_them"] == 1


@asynchronous
async def test_an_answer_counts_for_a_while_only(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        canary = Canary(server)
        await canary.sing()
        answered = time.monotonic()
        assert server.node._acceptors
        server.node._acceptors[0].close()
        await canary.sing()
        assert server.counters["canaries_failed"] == 1
        assert canary.failure(answered + CANARY_MEMORY - 5) == ""
        failure = canary.failure(answered + CANARY_MEMORY + 5)
        assert failure.startswith("no answer for 65 s: connecting failed: ")


@asynchronous
async def test_a_request_that_is_refused_is_a_failure(tmp_path: Path) -> None:
    async with mailserver(tmp_path, mail={"policy": request_policy(request_min_pow=1e9)}) as (
        server,
        _,
    ):
        canary = Canary(server)
        await canary.sing()
        failure = canary.failure(time.monotonic())
        assert failure.startswith("no canary was answered: a request failed: ")
        assert "PoW" in failure


@asynchronous
async def test_an_archive_that_cannot_be_read_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path) as (server, _):
        canary = Canary(server)
        assert server.store is not None

        async def page(*arguments: Any, **named: Any) -> Page:
            raise ArchiveError("gone")

        monkeypatch.setattr(server.store.pages, "read", page)
        await canary.sing()
        assert "the archive could not be read" in canary.failure(time.monotonic())


@asynchronous
async def test_an_archive_that_never_answers_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CANARY_TIMEOUT", 0.2)
    async with mailserver(tmp_path) as (server, _):
        canary = Canary(server)
        assert server.store is not None

        async def page(*arguments: Any, **named: Any) -> Page:
            await asyncio.Event().wait()
            raise AssertionError("not reached")

        monkeypatch.setattr(server.store.pages, "read", page)
        await canary.sing()
        assert canary.failure(time.monotonic()).endswith("failed: TimeoutError")


@asynchronous
async def test_a_full_house_lets_the_canary_in_and_does_not_count_it(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"maxpeers": 1}) as (server, enode):
        await Puppet.ready(enode)
        health = Health(server)
        health.start()
        try:
            await until_answered(server, health)
        finally:
            await health.close()
        assert server.counters["connections_refused_full"] == 0


@asynchronous
async def test_trust_and_tasks_end_with_the_health(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        health = Health(server)
        before = asyncio.all_tasks()
        health.start()
        assert health.canary.node_id in server.node.admission.trusted
        await health.close()
        assert health.canary.node_id not in server.node.admission.trusted
        assert asyncio.all_tasks() == before


# -- the pages ----------------------------------------------------------------------------------


@asynchronous
async def test_all_is_well(tmp_path: Path) -> None:
    async with pages(tmp_path) as here:
        await until_answered(here.server, here.reporter.health)
        for path in ("/live", "/ready", "/health"):
            assert await here.get(path) == (200, {"ok": True, "failing": []})


@asynchronous
async def test_health_follows_the_archive(tmp_path: Path) -> None:
    async with pages(tmp_path) as here:
        await until_answered(here.server, here.reporter.health)
        assert here.server.store is not None
        here.server.store.disk_problem = "the disk is full"
        status, body = await here.get("/health")
        assert (status, body["ok"]) == (503, False)
        [problem] = body["failing"]
        assert (problem["check"], problem["reason"]) == ("archive", "the disk is full")
        assert problem["seconds"] >= 0
        assert (await here.get("/ready"))[0] == (await here.get("/live"))[0] == 200
        here.server.store.disk_problem = ""
        assert await here.failing() == {}


@asynchronous
async def test_damage_is_an_error_of_the_request_a_counter_and_bad_health(tmp_path: Path) -> None:
    async with pages(tmp_path) as here:
        store = here.server.store
        assert store is not None
        await until_answered(here.server, here.reporter.health)
        done = asyncio.Event()
        store.put(batch_of(make(100)), done.set)
        await done.wait()
        with (Path(store.archive.path) / "data.mdb").open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(8192)
            file.write(b"\xff" * (size - 8192))
        with pytest.raises(ArchiveDamaged, match="is damaged; restore a backup"):
            await store.pages.read(Query(0, 2**32 - 1), b"", limit=1000, max_bytes=100_000)
        assert here.server.counters["archive_damaged"] == 1
        assert "is damaged; restore a backup" in (await here.failing())["archive"]


@asynchronous
async def test_a_problem_ages_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path) as (server, _):
        health = Health(server)
        clock = 1000.0
        monkeypatch.setattr(health_module, "time", SimpleNamespace(monotonic=lambda: clock))
        assert server.store is not None
        server.store.disk_problem = "the disk is full"
        assert {p.check: p.seconds for p in health.problems()} == {"archive": 0, "canary": 0}
        clock += 7
        assert {p.check: p.seconds for p in health.problems()} == {"archive": 7, "canary": 7}
        server.store.disk_problem = ""
        assert [p.check for p in health.problems()] == ["canary"]
        server.store.disk_problem = "again"
        assert {p.check: p.seconds for p in health.problems()} == {"archive": 0, "canary": 7}


@asynchronous
async def test_health_is_red_when_no_canary_gets_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "CANARY_INTERVAL", 0.01)
    monkeypatch.setattr(health_module, "CANARY_MEMORY", 0.0)
    async with pages(tmp_path) as here:
        await until_answered(here.server, here.reporter.health)
        assert here.server.node._acceptors
        here.server.node._acceptors[0].close()
        await eventually(lambda: here.server.counters["canaries_failed"] > 0)
        assert "connecting failed" in (await here.failing())["canary"]


@asynchronous
async def test_ready_when_connections_are_taken(tmp_path: Path) -> None:
    async with pages(tmp_path) as here:
        assert (await here.get("/ready"))[0] == 200
        here.server.node.listening = None
        status, body = await here.get("/ready")
        assert status == 503
        assert [problem["check"] for problem in body["failing"]] == ["listening"]
        assert (await here.get("/live"))[0] == 200


@asynchronous
async def test_a_loop_that_was_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "WATCH_INTERVAL", 0.01)
    async with pages(tmp_path) as here:
        await until_answered(here.server, here.reporter.health)
        monkeypatch.setattr(health_module, "MAX_LAG", -1.0)
        waited = sum(here.reporter.health.lag.counts)
        await eventually(lambda: sum(here.reporter.health.lag.counts) > waited + 1)
        assert (await here.failing())["event loop"].startswith("event loop blocked for ")
        monkeypatch.setattr(health_module, "LAG_MEMORY", -1.0)
        assert await here.failing() == {}


@asynchronous
async def test_reading_is_all_that_can_be_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with pages(tmp_path) as here:
        async with here.http.post("/health", data=b"x") as response:
            assert response.status == 405
        async with here.http.get("/nothing") as response:
            assert response.status == 404
        async with here.http.head("/live") as response:
            assert response.status == 200
            assert await response.read() == b""
        assert not [record for record in caplog.records if record.name == "aiohttp.access"]


@asynchronous
async def test_gaps_are_told_and_are_no_failure(tmp_path: Path) -> None:
    async with pages(tmp_path) as probed:
        server = probed.server
        assert server.store is not None
        path = tmp_path / "gaps.json"
        alive = int(time.time()) - 3600
        path.write_text(json.dumps({"since": alive, "alive": alive, "gaps": []}))
        watch = GapWatch(server, server.store, path)
        await watch.start()
        gaps = server.gaps
        assert gaps is not None
        await eventually(lambda: probed.reporter.health.canary.failure(time.monotonic()) == "")
        status, body = await probed.get("/health")
        assert (status, body["ok"]) == (200, True)
        [lacking] = body["lacking"]
        assert lacking["to"] - lacking["from"] >= 3600
        assert lacking["reason"] == "the server did not run"
        async with probed.http.get("/metrics") as response:
            text = await response.text()
        assert "wakumail_archive_gaps 1.0" in text
        assert f"wakumail_archive_gap_seconds {float(gaps.seconds)}" in text
        gaps.fill(lacking["from"], lacking["to"])
        assert "lacking" not in (await probed.get("/health"))[1]
        server.counters.add("envelopes_shed", 5)
        await watch.close()
        assert "took no writes" in path.read_text()


@asynchronous
async def test_a_disk_that_is_nearly_full_is_told_and_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_module, "HEALTH_TIMEOUT", PATIENCE)
    async with pages(tmp_path) as probed:
        await eventually(lambda: probed.reporter.health.canary.failure(time.monotonic()) == "")
        monkeypatch.setattr(outlook, "LOW_ROOM", 0)
        assert "warnings" not in (await probed.get("/health"))[1]
        monkeypatch.setattr(outlook, "LOW_ROOM", 1 << 62)
        status, body = await probed.get("/health")
        assert (status, body["ok"], body["failing"]) == (200, True, [])
        [warning] = body["warnings"]
        assert warning["check"] == "disk"
        assert re.fullmatch(r"\S+ \wB are left for envelopes, and .+", warning["reason"])
        assert "warnings" not in (await probed.get("/ready"))[1]


def test_a_server_tells_when_it_did_not_run(tmp_path: Path) -> None:
    """A real one, killed: its last sign of life is what counts."""
    path = tmp_path / "data" / "gaps.json"
    with ServerProcess(tmp_path / "data"):
        pass
    content = json.loads(path.read_text())
    assert content["gaps"] == []
    path.write_text(json.dumps(content | {"alive": content["alive"] - 3600}))
    with ServerProcess(tmp_path / "data"):
        pass
    [[lower, upper, _]] = json.loads(path.read_text())["gaps"]
    assert upper - lower >= 3600
