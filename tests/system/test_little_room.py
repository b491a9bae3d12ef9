"""A disk that is full soon: the page, /health and the metrics say so before and when it happens."""

import asyncio
import json
import re
import resource
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.envelopes import make
from tests.support.networks import free_port
from tests.support.patience import PATIENCE, until
from tests.support.processes import Server
from tests.support.scraped import Scraped
from wakumail.mail.client import connect

ROOM = 1 << 20
"""Bytes that the file may still grow by: less than what comes."""


class Told:
    """The words of the server on itself at one moment."""

    def __init__(self, port: int) -> None:
        def get(path: str) -> str:
            url = f"http://127.0.0.1:{port}{path}"
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return str(answer.read().decode())

        try:
            self.health: dict[str, Any] = json.loads(get("/health"))
        except urllib.error.HTTPError as error:
            self.health = json.load(error)
        page = get("/")
        state = re.search(r"<h1.*</span> (.+)</h1>", page)
        assert state is not None
        self.state = state[1]
        reasons = re.search(r'<ul class="reasons">(.*)</ul></div>', page)
        assert reasons is not None
        self.reasons = reasons[1]
        metrics = Scraped(get("/metrics"))
        self.room = metrics.value("wakumail_archive_disk_free_bytes")
        self.failing = metrics.value("wakumail_check_failing", check="archive")

    def agrees(self, state: str, check: str) -> bool:
        """True if page and /health tell the same: they were not asked at the same moment."""
        named = {each["check"] for each in self.health["failing"]}
        named |= {each["check"] for each in self.health.get("warnings", ())}
        right = self.state == state and self.health["ok"] == (state != "Failing")
        return right and (check in named if check else not named)


def test_it_is_told_before_the_disk_is_full(tmp_path: Path) -> None:
    """The limit of a file's size stands for the disk: for the server it is as full."""
    port = free_port()

    def told(state: str, check: str = "") -> Told:
        seen: list[Told] = []

        def look() -> bool:
            seen.append(Told(port))
            return seen[-1].agrees(state, check)

        until(look)
        return seen[-1]

    async def fill(server: Server) -> None:
        def limit(size: int) -> None:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, -1))

        file = server.datadir / "archive" / "data.mdb"
        healthy = await asyncio.to_thread(told, "Healthy")
        assert healthy.room > 256 << 20

        limit(file.stat().st_size + ROOM)
        warned = await asyncio.to_thread(told, "Needs attention", "disk")
        assert warned.room == ROOM
        assert "1.0 MB are left for envelopes" in warned.reasons

        async with connect(server.enode) as peer:
            # Made now, not when the module is read: they live for a minute.
            envelopes = [each.rlp for each in make(2000, [b"abcd"], size=1000)]
            waiting = asyncio.create_task(peer.post(envelopes))
            failed = await asyncio.to_thread(told, "Failing", "archive")
            assert "the disk is full" in failed.reasons
            assert failed.failing == 1
            limit(-1)
            assert (await waiting).confirmed == len(envelopes)
        await asyncio.to_thread(told, "Healthy")

    with Server(tmp_path / "data", "--min-pow", "0", "--metrics", "--metrics.port", port) as server:
        asyncio.run(fill(server))
        assert server.stop() == 0
