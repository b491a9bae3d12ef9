"""Requests over sockets to a real server whose archive is damaged."""

import asyncio
import contextlib
import random
import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.archive_model import DAY, START
from tests.support.envelopes import make
from tests.support.networks import free_port
from tests.support.processes import Server, failing
from wakumail.mail.answer import HistoryPage, RequestRefused, Wanted
from wakumail.mail.client import MailPeer, connect

FLAGS = ("--retention", "0", "--min-pow", "0", "--metrics", "--metrics.port")


@dataclass
class Outcome:
    """A server on a damaged file, by the answers that it gave."""

    refused_to_start: str = ""
    """The last line of its log if it did not start."""
    answered: int = 0
    failed: int = 0
    """Requests that were answered with an error."""
    damage_told: bool = False
    """True if /health named the damage at the end."""
    damage_counted: int = 0
    """The counter `archive_damaged` when it stopped."""


async def ask_once(peer: MailPeer, source: random.Random) -> HistoryPage:
    """One request of any kind: topics or blooms, some days or all, a page from anywhere."""
    lower = START + source.randrange(4 * DAY)
    everything = source.random() < 0.2
    with_topics = source.random() < 0.5
    topics = [bytes([0, 0, 0, source.randrange(24)]) for _ in range(source.randrange(1, 5))]
    bloom = source.choice([b"\xff" * 64, source.randbytes(64)])
    wanted = Wanted(
        0 if everything else lower,
        START + 5 * DAY if everything else lower + source.randrange(2 * DAY),
        tuple(topics) if with_topics else (),
        b"" if with_topics else bloom,
        limit=source.randrange(1, 500),
    )
    page = await peer.request(wanted)
    for _ in range(source.randrange(3)):
        if page.cursor:
            page = await peer.request(wanted, page.cursor)
    return page


async def ask_many(server: Server, port: int, seed: int, count: int, outcome: Outcome) -> None:
    """Ask, while envelopes wait that the damage may refuse; then look at health and counters."""
    source = random.Random(seed)
    async with connect(server.enode) as peer:
        posting = asyncio.create_task(peer.post([each.rlp for each in make(20, [b"live"])]))
        for _ in range(count):
            try:
                await ask_once(peer, source)
                outcome.answered += 1
            except RequestRefused:
                outcome.failed += 1
        posting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await posting
    problems = await asyncio.to_thread(failing, port)
    outcome.damage_told = any("damaged" in problem["reason"] for problem in problems)


def ask_server(datadir: Path, seed: int, count: int) -> Outcome:
    """Start a server on a data directory and ask it. AssertionError if it dies of that."""
    outcome = Outcome()
    port = free_port()
    server = Server(datadir, *FLAGS, port)
    server.log = datadir.parent / f"{datadir.name}.{seed}.log"
    server.launch()
    assert server.process.stdout is not None
    server.enode = server.process.stdout.readline().strip()
    try:
        if server.enode:
            asyncio.run(ask_many(server, port, seed, count, outcome))
            assert server.process.poll() is None
            assert server.stop() in (0, 1)
        else:
            assert server.process.wait() == 1
            outcome.refused_to_start = server.log.read_text().splitlines()[-1]
    finally:
        if server.process.poll() is None:
            server.kill()
        server.process.stdout.close()
    log = server.log.read_text()
    assert "Traceback" not in log
    counted = re.findall(r"archive_damaged: (\d+)", log)
    outcome.damage_counted = int(counted[-1]) if counted else 0
    return outcome
