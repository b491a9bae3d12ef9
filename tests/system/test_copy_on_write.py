"""A full copy-on-write file system: the server degrades there as on any other full disk."""

import asyncio
from pathlib import Path

import pytest

from tests.support.btrfs import btrfs
from tests.support.envelopes import dump, make, newest_first
from tests.support.independent import check_sound
from tests.support.networks import free_port
from tests.support.patience import eventually
from tests.support.processes import Server, failing, run, run_json
from wakumail.errors import PeerGone
from wakumail.mail.client import connect

TOPICS = [b"top" + bytes([number]) for number in range(3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_copy_on_write_disk_pauses_and_resumes(tmp_path: Path, workers: int) -> None:
    first, second, third = (make(200, TOPICS, seed=seed) for seed in (1, 2, 3))
    port = free_port()

    def history(server: Server) -> bytes:
        return run(
            "request", server.enode, "--bloom", "full", "--from", "1h", "--all", "--out", "-"
        )

    with btrfs(tmp_path) as disk:
        flags = ("--min-pow", "0", "--workers", workers, "--metrics", "--metrics.port", port)
        server = Server(disk.path / "data", *flags)
        server.log = tmp_path / "server.log"

        async def fill() -> None:
            async with connect(server.enode) as peer:
                assert (await peer.post([each.rlp for each in first])).confirmed == len(first)
                disk.fill()
                waiting = asyncio.create_task(peer.post([each.rlp for each in second]))
                await eventually(lambda: "the disk is full" in server.log.read_text())
                assert await asyncio.to_thread(history, server) == dump(newest_first(first))
                reasons = [each["reason"] for each in await asyncio.to_thread(failing, port)]
                assert any("the disk is full" in reason for reason in reasons)
                stat = run_json("archive", "stat", "--datadir", server.datadir)
                assert stat["envelopes"] == len(first)
                assert not waiting.done()
                server.kill()
                with pytest.raises(PeerGone):
                    await waiting

        async def free() -> None:
            async with connect(server.enode) as peer:
                waiting = asyncio.create_task(peer.post([each.rlp for each in third]))
                failures = server.log.read_text().count("the disk is full")
                await eventually(
                    lambda: server.log.read_text().count("the disk is full") > failures
                )
                assert await asyncio.to_thread(history, server) == dump(newest_first(first))
                assert not waiting.done()
                disk.free()
                assert (await waiting).confirmed == len(third)

        with server:
            asyncio.run(fill())
            server.start()  # on the full disk
            asyncio.run(free())
            assert history(server) == dump(newest_first(first + third))
            log = server.log.read_text()
            assert "takes writes again" in log
            assert "died" not in log
            assert server.stop() == 0
        assert check_sound(server.datadir / "archive") == len(first + third)
