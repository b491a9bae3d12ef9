"""A real server whose clock jumps ahead, and takes posts of that time, deletes nothing."""

import asyncio
import time
from pathlib import Path
from urllib.request import urlopen

from tests.support.archive_model import batch_of
from tests.support.envelopes import make
from tests.support.faults import build, faults
from tests.support.independent import check_sound
from tests.support.networks import free_port
from tests.support.patience import PATIENCE, until
from tests.support.processes import Server
from tests.support.scraped import Scraped
from wakumail.archive.archive import Archive
from wakumail.mail.client import connect

TOPICS = [b"topi"]
DAY = 86400
JUMP = 62 * DAY
KEPT = 20 * 20


def test_posts_under_a_clock_that_jumped_cost_no_history(tmp_path: Path) -> None:
    now, port = int(time.time()), free_port()
    archive = tmp_path / "data" / "archive"
    archive.mkdir(parents=True)
    with Archive(archive) as filled:
        days = [make(20, TOPICS, seed=day, created=now - 100 - day * DAY) for day in range(20)]
        filled.append([batch_of(day) for day in days])
    posts = [envelope.rlp for envelope in make(12, TOPICS, seed=99, created=now + JUMP)]

    def held() -> int:
        with Archive(archive, readonly=True) as archived:
            return archived.stat().envelopes

    def doubts() -> float:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as page:
            return Scraped(page.read().decode()).value("wakumail_clock_doubted_total")

    async def post() -> int:
        async with connect(server.enode) as peer:
            return (await peer.post(posts)).confirmed

    def looks_again() -> None:
        before = doubts()
        until(lambda: doubts() > before or held() < KEPT)
        assert held() == KEPT + len(posts)

    with faults(build(tmp_path), tmp_path) as host:
        flags = ("--min-pow", "0", "--metrics", "--metrics.port", port)
        with Server(tmp_path / "data", *flags, environment=host.environment) as server:
            host.jump(JUMP)
            assert asyncio.run(post()) == len(posts)
            looks_again()
            server.kill()
            server.start()
            looks_again()
            host.jump(0)
            until(lambda: "the clock is right" in server.log.read_text())
            assert held() == KEPT + len(posts)
            assert server.stop() == 0
    assert check_sound(archive) == KEPT + len(posts)
