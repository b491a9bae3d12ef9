"""The drill: backup under load, the host is lost, the backup is restored as the same node."""

import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import call, call_json
from tests.support.envelopes import dump, make
from tests.support.full_tmpfs import fill, free, small_tmpfs
from tests.support.patience import until
from tests.support.processes import Server, run
from wakumail.archive.archive import Archive
from wakumail.devp2p.enode import Enode
from wakumail.waku.envelope import Envelope

TOPICS = [b"lost"]
BATCH = 200
DAY = 86400


class Load(threading.Thread):
    """Posts one batch after another until it is stopped or the server is gone."""

    def __init__(self, enode: str) -> None:
        super().__init__()
        self.confirmed: list[Envelope] = []
        self._enode = enode
        self._stopped = threading.Event()

    def run(self) -> None:
        """Post; a batch counts once all of it is confirmed."""
        number = 0
        while not self._stopped.is_set():
            number += 1
            batch = make(BATCH, TOPICS, seed=number)
            try:
                run("post", self._enode, "--dump", "-", stdin=dump(batch))
            except AssertionError:  # the server is gone
                return
            self.confirmed += batch

    def stop(self) -> None:
        """Finish the batch that is under way."""
        self._stopped.set()
        self.join()


@contextmanager
def load(enode: str) -> Iterator[Load]:
    """Load a server; after a kill the thread ends by itself."""
    thread = Load(enode)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


def more_than(load: Load, count: int) -> None:
    """Wait until more envelopes are confirmed."""
    until(lambda: len(load.confirmed) > count or not load.is_alive())
    assert load.is_alive()


def hashes(datadir: Path) -> set[bytes]:
    """The hashes of all envelopes of an archive, which must be sound."""
    assert call_json("archive", "verify", "--datadir", datadir)["problems"] == []
    with Archive(datadir / "archive", readonly=True) as archive:
        items, _ = archive.arrived(0, limit=10**6)
    return {items[at + 4 : at + 36] for at in range(0, len(items), 36)}


def test_a_lost_host_is_restored_elsewhere_as_the_same_node(tmp_path: Path) -> None:
    host, to, elsewhere = tmp_path / "host", tmp_path / "backup", tmp_path / "elsewhere"
    back_up = ("archive", "backup", "--datadir", host, "--identity", to)
    for days in (1, 2):
        old = make(BATCH, TOPICS, seed=-days, created=int(time.time()) - days * DAY)
        call("archive", "import", "--datadir", host, stdin=dump(old))
    with Server(host, "--min-pow", "0") as server:
        (host / "static-nodes.json").write_text("[]")
        with load(server.enode) as running:
            more_than(running, 0)
            call(*back_up)
            before = list(running.confirmed)
            more_than(running, len(before) + BATCH)
            # While the first node runs, there is no second one.
            call("archive", "restore", to, "--datadir", tmp_path / "twin")
            port = Enode.parse(server.enode).port
            for workers in (1, 2):
                settings = ("--config", tmp_path / "twin" / "settings.toml", "--workers", workers)
                second = Server(tmp_path / "twin", *settings)
                second.launch()
                assert second.end() == 1
                told = second.log.read_text()
                assert told.count(f"still answers at 127.0.0.1:{port}") == workers
            # The next two backups copy what arrived since, though envelopes were pruned.
            for age in ("36h", "12h"):
                call("archive", "prune", "--datadir", host, "--before", age)
                before = list(running.confirmed)
                assert b"copied; the archive has" in call(*back_up)
            server.kill()
        shutil.rmtree(host)
    kept = hashes(to)
    call("archive", "restore", to, "--datadir", elsewhere)
    for name in ("nodekey", "enr", "static-nodes.json", "settings.toml", "gaps.json"):
        assert stat.S_IMODE((elsewhere / name).stat().st_mode) == 0o600
    assert hashes(elsewhere) == kept
    assert {each.hash for each in before} <= kept
    assert not {each.hash for each in old} & kept
    flags = ("--config", elsewhere / "settings.toml", "--min-pow", "0", "--port", port)
    with Server(elsewhere, *flags) as restored:
        assert restored.enode == server.enode
        answer = call("request", restored.enode, "--topic", TOPICS[0].hex(), "--all", "--json")
        assert answer.count(b'"hash"') == len(kept)
        call("post", restored.enode, "--dump", "-", stdin=dump(make(1, TOPICS, seed=10**6)))
        # The restored host goes on with the same backup.
        call("archive", "backup", "--datadir", elsewhere, "--identity", to)
    assert not (elsewhere / "restored.json").exists()
    assert hashes(to) == hashes(elsewhere)


def test_a_full_disk_under_a_backup_leaves_the_former_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    call("archive", "import", "--datadir", source, stdin=dump(make(2000, TOPICS, seed=1)))
    with small_tmpfs(tmp_path) as disk:
        to = disk / "backup"
        back_up = ("archive", "backup", "--datadir", source, to)
        call(*back_up)
        former = hashes(to)
        call("archive", "import", "--datadir", source, stdin=dump(make(2000, TOPICS, seed=2)))
        fill(disk)
        call(*back_up, check=1)
        call("archive", "backup", "--datadir", source, disk / "new", check=1)
        assert hashes(to) >= former
        free(disk)
        call(*back_up)
        assert hashes(to) == hashes(source)
