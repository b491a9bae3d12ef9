"""The watch tells of what was dropped, and notes no time that the archive speaks against."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.archive_model import DAY, START, batch_of, envelope
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import mailserver
from wakumail.archive import retention
from wakumail.archive.gaps import RELAY_TIME, last_trusted
from wakumail.archive.retention import SHOWING, Retention
from wakumail.ops import gap_watch as module
from wakumail.ops.gap_watch import GapWatch

NOW = START + 40 * DAY
AWAY = 3600
"""Seconds that the server did not run before NOW."""
JUMP = 62 * DAY


@pytest.mark.parametrize("looks", [1, 5, 1 << 30])
@asynchronous
async def test_shedding_is_told_twice(
    looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Envelopes are dropped before each of some looks, or before all until the server stops."""
    monkeypatch.setattr(module, "STAMP_INTERVAL", 0.001)
    async with mailserver(tmp_path) as (server, _):
        assert server.store is not None
        watch = GapWatch(server, server.store, tmp_path / "gaps.json")
        await watch.start()
        gaps = server.gaps
        assert gaps is not None
        stamps: list[int] = []

        def stamp(now: int, _trusted: int) -> None:
            stamps.append(now)
            if len(stamps) <= looks:
                server.counters.add("envelopes_shed", 3)

        monkeypatch.setattr(gaps, "stamp", stamp)
        await eventually(lambda: len(stamps) > min(looks, 5) + 1)
        await watch.close()
    dropped = 3 * min(looks, len(stamps) - 1)  # the last were dropped behind the last look
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == "envelopes are dropped unconfirmed: too many wait for the disk"
    assert caplog.messages[1].startswith(f"{dropped} envelopes dropped unconfirmed in ")
    assert len(gaps.known) == 1


class Host:
    """A server with a retention, on a machine whose clocks a test sets."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.wall = float(NOW)
        self.monotonic = 50.0
        self.watch: GapWatch
        clock = SimpleNamespace(time=lambda: self.wall, monotonic=lambda: self.monotonic)
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(retention, "time", clock)
        stamp = {"since": START, "alive": NOW - AWAY, "gaps": []}
        (path / "gaps.json").write_text(json.dumps(stamp))

    @asynccontextmanager
    async def running(self, *, envelopes: int = SHOWING) -> AsyncIterator[None]:
        """Run until it is killed; its archive has `envelopes` from before it was away."""
        async with mailserver(self.path) as (server, _):
            assert server.store is not None
            self.archive = server.store.archive
            server.store.retain(Retention(seconds=30 * DAY, max_size=0, sort_days=False))
            self.arrive(NOW - AWAY, envelopes)
            self.watch = GapWatch(server, server.store, self.path / "gaps.json")
            await self.watch._look()
            yield

    async def run(self, seconds: float = 10.0, *, jump: float = 0.0) -> list[tuple[int, int]]:
        """Let the clock jump and time pass with two looks; return the gaps that are on disk."""
        self.wall += jump
        for _ in range(2):
            self.wall += seconds / 2
            self.monotonic += seconds / 2
            await self.watch._look()
        return self.gaps

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """The gaps on disk, without their reasons."""
        return [(lower, upper) for lower, upper, _ in self._kept()["gaps"]]

    @property
    def alive(self) -> int:
        """Unix seconds of the last sign of life on disk."""
        return int(self._kept()["alive"])

    def arrive(self, created: float, count: int = SHOWING) -> None:
        """Archive envelopes of one creation time."""
        first = self.archive.stat().next_sequence
        new = [envelope(int(created), b"live", first + each) for each in range(count)]
        self.archive.append([batch_of(new)])

    def _kept(self) -> dict[str, Any]:
        kept: dict[str, Any] = json.loads((self.path / "gaps.json").read_text())
        return kept


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


ABSENCE = [(NOW - AWAY - RELAY_TIME, NOW)]


@asynchronous
async def test_a_clock_that_jumps_ahead_takes_no_gap_away(host: Host) -> None:
    async with host.running():
        assert await host.run() == ABSENCE
        assert await host.run(20, jump=JUMP) == ABSENCE
        assert host.alive == NOW + 30
        assert await host.run(20, jump=-JUMP) == ABSENCE
        assert host.alive == NOW + 50
        # A month and a day later the time that it lacks is kept no more.
        host.wall += 31 * DAY
        host.monotonic += 31 * DAY
        host.arrive(host.wall)
        assert await host.run() == []


@asynchronous
async def test_envelopes_that_a_wrong_clock_takes_let_it_take_no_gap_away(host: Host) -> None:
    async with host.running():
        await host.run()
        host.arrive(NOW + 400 * DAY)
        assert await host.run(20, jump=JUMP) == ABSENCE
        host.arrive(host.wall)
        [gap] = await host.run(20)
        assert gap[0] == ABSENCE[0][0]
    assert last_trusted(host.path / "gaps.json") == NOW - AWAY + 50, "for the next start"
    async with host.running():
        await host.run(20)
    assert last_trusted(host.path / "gaps.json") == NOW - AWAY + 70


@asynchronous
async def test_a_clock_that_jumps_back_takes_no_gap_away(host: Host) -> None:
    async with host.running():
        host.arrive(NOW)
        assert await host.run() == ABSENCE
        assert await host.run(20, jump=-DAY) == ABSENCE
        assert host.alive == NOW + 30
        assert await host.run(20, jump=DAY) == ABSENCE
        assert host.alive == NOW + 50


@asynchronous
async def test_killed_while_the_clock_was_ahead(host: Host) -> None:
    async with host.running():
        await host.run(200)
        await host.run(20, jump=JUMP)
    host.wall += 3600 - JUMP
    async with host.running():
        assert host.gaps == [*ABSENCE, (NOW + 220 - RELAY_TIME, NOW + 3820)]


@asynchronous
async def test_a_clock_that_is_ahead_at_the_start_tells_no_time_to_come(host: Host) -> None:
    host.wall += JUMP
    async with host.running():
        assert host.gaps == [(NOW - AWAY - RELAY_TIME, NOW + JUMP)]
        [gap] = await host.run(20, jump=-JUMP)
        assert gap == (NOW - AWAY - RELAY_TIME, NOW + 10)
        assert host.alive == NOW + 20


@asynchronous
async def test_started_and_killed_with_the_clock_ahead(host: Host) -> None:
    host.wall += JUMP
    async with host.running():
        pass
    host.wall -= JUMP
    async with host.running():
        assert host.gaps == ABSENCE
        assert host.alive == NOW


@asynchronous
async def test_a_clock_that_was_behind_at_the_start_hides_no_absence(host: Host) -> None:
    """A machine without a clock of its own sets it some time after the start."""
    host.wall -= DAY
    async with host.running():
        assert host.gaps == []
        assert await host.run(20, jump=DAY) == []
        host.arrive(host.wall)
        [gap] = await host.run()
        assert gap[0] <= NOW - AWAY
        assert NOW <= gap[1] <= NOW + 25


@asynchronous
async def test_a_first_start_with_the_clock_ahead(host: Host) -> None:
    (host.path / "gaps.json").unlink()
    host.wall += JUMP
    async with host.running(envelopes=0):
        assert host.alive == NOW + JUMP
        host.arrive(NOW + 10)
        assert await host.run(20, jump=-JUMP) == []
        assert host.alive == NOW + 20
        assert host._kept()["since"] <= NOW + 20


@asynchronous
async def test_envelopes_of_a_time_to_come_take_no_gap_away(host: Host) -> None:
    """Those of an import are of any time."""
    async with host.running():
        host.arrive(NOW + JUMP)
        assert await host.run() == ABSENCE
        assert host.alive == NOW + 10
