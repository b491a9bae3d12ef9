"""Archives of real servers that are made equal."""

import asyncio
import json
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count as count_from
from pathlib import Path

from tests.support.commands import call, call_json
from tests.support.envelopes import dump, make
from tests.support.networks import free_port
from tests.support.patience import asynchronous, until
from tests.support.processes import WAKUMAIL, health, run, run_json
from tests.support.sync_servers import SyncServer, are_equal, check_all_sound
from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.base.rlp import join_list
from wakumail.mail.client import connect
from wakumail.waku.envelope import Envelope, parse

TOPICS = [b"topi", b"else"]
DAY = 86_400
DAYS_AGO = int(time.time()) - 2 * DAY
KILLS = 5


def test_what_came_while_a_server_was_down(tmp_path: Path) -> None:
    """The case that operators report: B, a peer of A, is stopped while 500 envelopes come to A."""
    a, b = SyncServer(tmp_path / "a", 1), SyncServer(tmp_path / "b", 2)
    a.sync_with(b)
    b.sync_with(a)
    expired = make(400, TOPICS, seed=2, created=int(time.time()) - DAY, spread=DAY)
    with a:
        with b:
            post(a, make(500, TOPICS, seed=1, created=int(time.time()), spread=5))
            until(lambda: are_equal((a, b), 500))
            assert b.stop() == 0
        post(a, make(100, TOPICS, seed=3, created=int(time.time()), spread=5))
        imported(a, expired)
        with b:
            until(lambda: are_equal((a, b), 1000))
            until(lambda: "both archives have the same now" in b.log.read_text())
            assert b.stop() == 0
        assert a.stop() == 0
    check_all_sound((a, b), 1000)


def test_the_workers_of_a_server(tmp_path: Path) -> None:
    """One of them syncs; the gap that all of them had ends, whichever it was."""
    port = free_port()
    often = ("--sync-interval", 1)
    a = SyncServer(tmp_path / "a", 1, *often)
    b = SyncServer(tmp_path / "b", 2, "--workers", 2, "--metrics", "--metrics.port", port, *often)
    a.sync_with(b)
    b.sync_with(a)
    envelopes = make(300, TOPICS, created=int(time.time()) - DAY, spread=DAY)
    imported(a, envelopes)
    imported(b, envelopes[:100])
    # One that ended a while ago: a round does not wait for it to settle.
    now = int(time.time())
    gap = (now - 2 * DAY, now - 3600, "a disk was full")
    noted = {"since": now - 3 * DAY, "alive": now, "gaps": [gap]}
    Datadir(b.datadir).gaps.write_text(json.dumps(noted))
    with a, b:
        until(lambda: are_equal((a, b), 300))
        until(lambda: "lacking" not in health(port))
        (peer,) = json.loads(run("attach", "--datadir", b.datadir, "admin_syncPeers"))
        assert peer["connected"]
        # The worker makes them that has the peer.
        assert run_json("sync", a.enode, "--datadir", b.datadir)["equal"]
        assert "wakumail_sync_seconds_since_equal{" in scrape(port)
        assert b.stop() == 0
        assert a.stop() == 0
    kept = json.loads(Datadir(b.datadir).gaps.read_text())
    assert (kept["since"], kept["gaps"]) == (noted["since"], [])
    check_all_sound((a, b), 300)


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        return str(page.read().decode())


def test_the_command(tmp_path: Path) -> None:
    """Beside a running server and without one: what differs by the hour, then nothing."""
    a, b = SyncServer(tmp_path / "a", 1), SyncServer(tmp_path / "b", 2)
    b.sync_with(a)
    hour = int(time.time()) // 3600 * 3600 - DAY
    common, only_a, only_b = (
        make(count, TOPICS, seed=seed, created=hour - 1 + offset, spread=3600)
        for seed, count, offset in ((1, 50, 0), (2, 30, 0), (3, 20, 3600))
    )
    imported(a, common + only_a)
    imported(b, common + only_b)
    own = ("--datadir", a.datadir, "--nodekeyhex", "01" * 32, "--min-pow", 0)
    with b:
        result = call_json("sync", b.enode, *own, "--dry-run")
        assert (result["had"], result["needed"], result["equal"]) == (30, 20, False)
        assert result["hours"] == [
            {"hour": hour - 3600, "had": 30, "needed": 0},
            {"hour": hour, "had": 0, "needed": 20},
        ]
        assert lacking(a) > DAY - 3600
        result = call_json("sync", b.enode, *own, "--from", hour)
        assert (result["stored"], result["given"], result["equal"]) == (20, 0, True)
        assert lacking(a) < 7200
        table = call("sync", b.enode, *own, "--dry-run").decode().splitlines()
        assert [line.split()[-2:] for line in table[1:]] == [["30", "0"], ["30", "0"]]
        with a:
            text = run("sync", b.enode, "--datadir", a.datadir).decode()
            assert "\nboth archives have the same" in text
            assert are_equal((a, b), 100)
            (peer,) = json.loads(run("attach", "--datadir", b.datadir, "admin_syncPeers"))
            assert peer["sent"] == 20
            assert peer["stored"] >= 30  # both sides may make a round at the same time
            assert peer["secondsSinceEqual"] >= 0
    check_all_sound((a, b), 100)


def lacking(server: SyncServer) -> int:
    """Seconds of which the archive is known to lack envelopes."""
    gaps = json.loads(Datadir(server.datadir).gaps.read_text())["gaps"]
    return sum(upper - lower + 1 for lower, upper, _ in gaps)


def test_a_server_that_does_not_list_us(tmp_path: Path) -> None:
    a, b = SyncServer(tmp_path / "a", 1), SyncServer(tmp_path / "b", 2)
    with b:
        done = subprocess.run(
            [*WAKUMAIL, "sync", b.enode, "--datadir", str(a.datadir), "--nodekeyhex", "01" * 32],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "does not offer to sync" in done.stderr


def test_kill_9_in_the_middle_of_a_sync(tmp_path: Path) -> None:
    """Nothing is lost, nothing is there twice, and the last run ends equal."""
    a, b = SyncServer(tmp_path / "a", 1), SyncServer(tmp_path / "b", 2)
    a.sync_with(b)
    b.sync_with(a)
    held: set[bytes] = set()
    total = 0
    with a:
        for kill in range(KILLS):
            more = make(6000, TOPICS, seed=kill, created=DAYS_AGO, spread=DAY, size=100)
            append(a, more)
            total += len(more)
            b.start()
            until(partial(has_more, b, len(held)))
            b.kill()
            now = b.has()
            assert held < now
            held = now
        with b:
            until(lambda: are_equal((a, b), total))
            assert b.stop() == 0
        assert a.stop() == 0
    check_all_sound((a, b), total)


@asynchronous
async def test_a_ring_of_which_each_is_down_for_a_while(tmp_path: Path) -> None:
    ring = [SyncServer(tmp_path / name, number) for number, name in enumerate("abc", 1)]
    for server in ring:
        server.sync_with(*(other for other in ring if other is not server))
    seeds = count_from(1)
    with ExitStack() as ending:
        for server in ring:
            server.launch()
            ending.callback(server.kill)
        for server in ring:
            server.await_enode()
        posted = 0
        for victim in ring:
            assert victim.stop() == 0
            for server in ring:
                if server is not victim:
                    # What has expired no relay brings to the victim.
                    expired = make(100, TOPICS, seed=next(seeds), created=DAYS_AGO, spread=DAY)
                    append(server, expired)
                    live = make(50, TOPICS, seed=next(seeds), spread=5)
                    async with connect(server.enode) as peer:
                        await peer.post([envelope.rlp for envelope in live])
                    posted += len(expired) + len(live)
            victim.start()
        await asyncio.to_thread(until, lambda: are_equal(ring, posted))
        for server in ring:
            assert server.stop() == 0
    check_all_sound(ring, posted)


def append(server: SyncServer, envelopes: Sequence[Envelope]) -> None:
    """Put envelopes into its archive, as an import does, while it runs."""
    with Archive(server.archive) as archive:
        archive.append([parse(join_list([envelope.rlp for envelope in envelopes]))])


def has_more(server: SyncServer, before: int) -> bool:
    """True if its archive has grown."""
    return server.count() > before


def imported(server: SyncServer, envelopes: Sequence[Envelope]) -> None:
    call("archive", "import", "--datadir", server.datadir, "-", stdin=dump(envelopes))


def post(server: SyncServer, envelopes: Sequence[Envelope]) -> None:
    result = call_json("post", server.enode, "--dump", "-", stdin=dump(envelopes))
    assert result["confirmed"] == len(envelopes)
