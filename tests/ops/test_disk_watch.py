"""The log tells before the disk is full, once a day, and when there is room again."""

import logging
import time
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import mailserver
from wakumail.archive import outlook
from wakumail.archive.store import Store
from wakumail.ops import disk_watch
from wakumail.ops.disk_watch import DiskWatch


@asynchronous
async def test_a_warning_is_logged_once_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, disk_watch.__name__)
    monkeypatch.setattr(outlook, "LOW_ROOM", 0)
    async with mailserver(tmp_path) as (server, _):
        assert server.store is not None
        watch = DiskWatch(server.store)
        await watch.look()
        assert caplog.messages == []
        monkeypatch.setattr(outlook, "LOW_ROOM", 1 << 62)
        await watch.look()
        await watch.look()
        [warning] = caplog.messages
        assert "are left for envelopes" in warning
        monkeypatch.setattr(disk_watch, "REPEAT_INTERVAL", 0.0)
        await watch.look()
        assert caplog.messages == [warning] * 2
        monkeypatch.setattr(outlook, "LOW_ROOM", 0)
        await watch.look()
        await watch.look()
        assert caplog.messages[2:] == ["the disk has room for the archive again"]


@asynchronous
async def test_a_disk_that_cannot_be_asked_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def fail(*_: object) -> None:
        looks.append(time.monotonic())
        raise OSError

    monkeypatch.setattr(disk_watch, "LOOK_INTERVAL", 0.0)
    monkeypatch.setattr(disk_watch, "look_at", fail)
    async with mailserver(tmp_path) as (server, _):
        assert isinstance(server.store, Store)
        watch = DiskWatch(server.store)
        watch.start()
        await eventually(lambda: len(looks) > 3)
        await watch.close()
