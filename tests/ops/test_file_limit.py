"""The limit of open files."""

import resource
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.processes import WAKUMAIL, Server
from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.ops.config.settings import Settings
from wakumail.ops.file_limit import (
    MAX_FILES,
    MIN_FILES,
    TooFewFiles,
    raise_file_limit,
    share_files,
    warn_of_file_limit,
)
from wakumail.rpc.stream import MAX_SESSIONS

INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "asked"),
    [
        (1024, 4096, (4096, 4096)),
        (4096, 4096, None),
        (1024, INFINITY, (MAX_FILES, INFINITY)),
        (INFINITY, INFINITY, None),
        (1024, 2 * MAX_FILES, (MAX_FILES, 2 * MAX_FILES)),
        (2 * MAX_FILES, 2 * MAX_FILES, None),
        (10, MIN_FILES, (MIN_FILES, MIN_FILES)),
    ],
)
def test_the_soft_limit_becomes_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, asked: tuple[int, int] | None
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    raise_file_limit()
    assert limits == ([] if asked is None else [asked])


def test_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (MIN_FILES - 1, MIN_FILES - 1))
    with pytest.raises(TooFewFiles, match=f"only {MIN_FILES - 1} files"):
        raise_file_limit()


def test_files_are_kept_for_the_operator(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(http=True, metrics=True)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8192, 8192))
    assert share_files(settings) == (8192 - MIN_FILES - 3 * MAX_SESSIONS, MAX_SESSIONS)
    warn_of_file_limit(settings)
    assert not caplog.records
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert share_files(settings) == (768, 64)
    warn_of_file_limit(settings)
    assert len(caplog.records) == 1
    assert "1024 files may be open (ulimit -n), but 7496 may be needed" in caplog.text
    assert "5000 peers (--maxpeers), 0 dialed ones" in caplog.text


def test_dialed_nodes_need_files_beside_maxpeers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (
        Enode(keys.node_id(keys.private_key(bytes([number]) * 32).public_key), "127.0.0.1", 1, 1)
        for number in (1, 2)
    )
    settings = Settings(static_nodes=(first,), sync_peers=(first, second), mindial=700)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (7900, 7900))
    warn_of_file_limit(settings)
    assert "but 7942 may be needed: 5000 peers (--maxpeers), 702 dialed ones" in caplog.text


def under(limit: str) -> tuple[str, ...]:
    """The command line that runs a command under a limit."""
    return ("sh", "-c", f'ulimit {limit} && exec "$@"', "sh")


def test_a_server_that_may_open_nothing_says_so_in_one_line(tmp_path: Path) -> None:
    command = [*under("-n 12"), *WAKUMAIL, "serve", "--datadir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (1, ""), shlex.join(command)
    assert done.stderr.splitlines() == [
        f"wakumail serve: only 12 files may be open (ulimit -n), but {MIN_FILES} have to be"
    ]


def test_a_server_starts_with_as_many_as_it_says(tmp_path: Path) -> None:
    with Server(tmp_path / "data", "--http", "--http.port", "0", wrapper=under(f"-n {MIN_FILES}")):
        pass


def test_a_server_raises_its_limit(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Server(tmp_path / "data", wrapper=under("-S -n 100")) as server:
        raised = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert raised[0] == min(hard, MAX_FILES)
