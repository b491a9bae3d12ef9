"""kill -9 and a full disk lose nothing that was confirmed, and nothing is confirmed early."""

import asyncio
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.support.envelopes import dump, make, newest_first
from tests.support.patience import eventually
from tests.support.processes import Server, run, run_json
from wakumail.archive import writer_thread
from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.durability import Durability
from wakumail.cli.serve import serve
from wakumail.errors import PeerGone
from wakumail.mail.client import connect
from wakumail.ops.config.layers import Loaded
from wakumail.ops.config.settings import Settings
from wakumail.ops.log_writer import LogWriter
from wakumail.waku.envelope import Envelope

TOPICS = [b"top" + bytes([number]) for number in range(3)]
KILLS = {Durability.COMMIT: 50, Durability.INTERVAL: 10}
INTERVAL = 0.05
"""Seconds between two commits; with the default the test would mostly wait for them."""
BATCH = 20
FIRST_KILL = 3


def serve_in_child(path: Path, durability: Durability, stdout: Connection) -> None:
    """Run the server of `wakumail serve`, without the time that starting Python takes."""
    os.dup2(stdout.fileno(), 1)
    writer_thread.COMMIT_INTERVAL = INTERVAL
    settings = Settings(datadir=path, host="127.0.0.1", port=0, min_pow=0.0, durability=durability)
    asyncio.run(serve(settings, Datadir(path), LogWriter(2), lambda: Loaded(settings, {})))


@pytest.fixture(scope="module")
def prepared() -> ForkServerContext:
    """Makes processes in which everything is imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


async def post_until_killed(
    enode: str, batches: list[list[Envelope]], victim: int
) -> list[Envelope]:
    """Post three batches at a time until the server dies at a random moment; the confirmed ones."""
    confirmed: list[Envelope] = []
    kill_at = random.randrange(FIRST_KILL, len(batches))

    async def post(number: int) -> None:
        if number == kill_at:
            for _ in range(random.randrange(30)):
                await asyncio.sleep(0)
            os.kill(victim, signal.SIGKILL)
        await peer.post([envelope.rlp for envelope in batches[number]])
        confirmed.extend(batches[number])

    async with connect(enode) as peer:
        for first in range(0, len(batches), 3):
            numbers = range(first, min(first + 3, len(batches)))
            results = await asyncio.gather(*map(post, numbers), return_exceptions=True)
            for result in results:
                assert result is None or isinstance(result, PeerGone), result
            if any(results):
                break
    return confirmed


@pytest.mark.parametrize("durability", Durability)
def test_kill_9_loses_nothing_that_was_confirmed(
    tmp_path: Path, prepared: ForkServerContext, durability: Durability
) -> None:
    confirmed: list[Envelope] = []
    for kill in range(KILLS[durability]):
        receiver, stdout = prepared.Pipe(duplex=False)
        child = prepared.Process(target=serve_in_child, args=(tmp_path, durability, stdout))
        child.start()
        stdout.close()
        enode = os.read(receiver.fileno(), 1000).decode().strip()
        assert child.pid is not None
        envelopes = make(12 * BATCH, TOPICS, seed=kill)
        batches = [envelopes[start : start + BATCH] for start in range(0, len(envelopes), BATCH)]
        confirmed += asyncio.run(post_until_killed(enode, batches, child.pid))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        child.close()
        receiver.close()
    with Archive(tmp_path / "archive", readonly=True) as archive:
        assert len(confirmed) >= BATCH
        assert all(archive.contains(e.created, e.hash) for e in confirmed)


CALLS = "write,writev,sendmsg,sendto,pwrite64,pwritev,fdatasync,fsync"
SYNC = re.compile(r"fdatasync\(\d+<[^>]*data\.mdb>\) += 0|fdatasync resumed>\) += 0")
META_PAGE = re.compile(r"(pwrite64|write)\(\d+<[^>]*data\.mdb>")
TO_SOCKET = re.compile(r"(write|writev|sendmsg|sendto)\(\d+<TCP")


def test_the_sync_returns_before_the_confirmation_goes_out(tmp_path: Path) -> None:
    """The system calls of the server in their order: the data file's sync, then the socket.

    LMDB writes the page that makes a commit valid last, through a descriptor opened with O_DSYNC.
    """
    if shutil.which("strace") is None:
        assert "CI" not in os.environ, "strace is required in CI"
        pytest.skip("needs strace")
    trace = tmp_path / "trace"
    strace = f"strace -D -f -yy -s 0 -e trace={CALLS} -o {trace}".split()
    with Server(tmp_path / "data", "--min-pow", "0", wrapper=strace) as server:
        before = len(trace.read_text().splitlines())
        result = run_json("post", server.enode, "--dump", "-", stdin=dump(make(50, TOPICS)))
        assert result["confirmed"] == 50
        server.stop()
    asyncio.run(eventually(lambda: "+++ exited with 0 +++" in trace.read_text()))
    calls = trace.read_text().splitlines()[before:]
    (sync,) = (n for n, call in enumerate(calls) if SYNC.search(call))
    meta = next(n for n, call in enumerate(calls) if n > sync and META_PAGE.search(call))
    # Ack, hello and status went out before the first confirmation; a ping may follow.
    to_socket = [n for n, call in enumerate(calls) if TO_SOCKET.search(call)]
    assert [n for n in to_socket if n < sync], calls
    confirmed = next(n for n in to_socket if n > sync)
    assert sync < meta < confirmed


def test_a_full_disk_pauses_and_resumes(tmp_path: Path) -> None:
    """With a quota on the server's files: envelopes that do not fit wait, reading goes on."""
    server = Server(tmp_path / "data", "--min-pow", "0")
    first, second = make(200, TOPICS, seed=1), make(4000, TOPICS, seed=2)

    async def post() -> None:
        async with connect(server.enode) as peer:
            await peer.post([envelope.rlp for envelope in first])
            quota = (tmp_path / "data" / "archive" / "data.mdb").stat().st_size + (64 << 10)
            unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (quota, -1))
            waiting = asyncio.create_task(peer.post([envelope.rlp for envelope in second]))
            await eventually(lambda: "the disk is full" in server.log.read_text())
            got = await asyncio.to_thread(history, server)
            assert got == dump(newest_first(first))
            assert not waiting.done()
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
            assert (await waiting).confirmed == len(second)

    with server:
        asyncio.run(post())
        assert history(server) == dump(newest_first(first + second))
        assert "takes writes again" in server.log.read_text()
        assert server.stop() == 0


def history(server: Server) -> bytes:
    """All envelopes of the last hour, as a dump."""
    return run("request", server.enode, "--bloom", "full", "--from", "1h", "--all", "--out", "-")
