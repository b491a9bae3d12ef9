"""Against peers that others wrote: RLPx and devp2p of @ethereumjs/devp2p (interop/README.md)."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.envelopes import dump, make, newest_first
from tests.support.patience import PATIENCE
from tests.support.processes import Server, run_json
from wakumail.mail.request import Form
from wakumail.waku.envelope import Envelope

INTEROP = Path(__file__).parents[1] / "interop"
TOPICS = [bytes([number, 7, 7, number]) for number in range(3)]
POSTED_BY_CLIENT = 3002


def tool(name: str) -> str:
    """The path of a tool that only CI has to have."""
    if path := shutil.which(name):
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with the packages of the scripts at hand."""
    path, npm = tool("node"), tool("npm")
    with (INTEROP / "package-lock.json").open() as one_at_a_time:  # of those that test in parallel
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        if not (INTEROP / "node_modules" / ".package-lock.json").exists():  # npm writes it last
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts"], cwd=INTEROP, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return path


@pytest.fixture(scope="module")
def mailserver(node: str) -> Iterator[str]:
    """The enode URL of their mailserver."""
    script = INTEROP / "mailserver.mjs"
    with subprocess.Popen([node, script], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            enode = process.stdout.readline().strip()
            assert enode.startswith("enode://")
            yield enode
        finally:
            process.kill()


@pytest.fixture(scope="module")
def posted(mailserver: str) -> list[Envelope]:
    """Envelopes that our client has posted to their mailserver."""
    envelopes = make(75, TOPICS)
    result = run_json("post", mailserver, "--dump", "-", stdin=dump(envelopes))
    assert result == {
        "sent": 75,
        "confirmed": 75,
        "unconfirmed": 0,
        "errors": [],
        "withheld": [],
        "left_out": 0,
    }
    return envelopes


def test_their_client_and_our_mailserver(node: str, tmp_path: Path) -> None:
    datadir = tmp_path / "data"
    with Server(datadir, "--min-pow", "0") as server:
        client = subprocess.run(
            [node, INTEROP / "client.mjs", server.enode],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert client.returncode == 0, client.stderr
        assert server.stop() == 0
    assert run_json("archive", "stat", "--datadir", datadir)["envelopes"] == POSTED_BY_CLIENT
    assert "peers_disconnected_them: 2\n" in server.log.read_text()


@pytest.mark.parametrize("form", [Form.R1, Form.R3, Form.R5])
def test_our_client_follows_their_pages(
    mailserver: str, posted: list[Envelope], form: Form, tmp_path: Path
) -> None:
    chosen = [flag for topic in TOPICS[:2] for flag in ("--topic", topic.hex())]
    out = tmp_path / "dump"
    flags = ["--form", form.name, "--limit", 30, "--all", "--from", "1h", "--out", out]
    result = run_json("request", mailserver, *chosen, *flags)
    wanted = newest_first([e for e in posted if e.topic in TOPICS[:2]])
    assert out.read_bytes() == dump(wanted)
    assert result == {
        "envelopes": 50,
        "foreign": 0,
        "pages": 2,
        "last_hash": wanted[-1].hash.hex(),
        "cursor": "",
    }


@pytest.mark.parametrize("form", [Form.R3, Form.R5])
def test_their_ecies_opens_our_requests(
    mailserver: str, posted: list[Envelope], form: Form
) -> None:
    flags = ["--topic", TOPICS[0].hex(), "--form", form.name, "--asymmetric", "--from", "1h"]
    assert run_json("request", mailserver, *flags)["envelopes"] == 25


def test_our_canary(mailserver: str) -> None:
    result = run_json("canary", mailserver)
    assert result["ok"] is True
    assert result["client_id"].startswith("ethereumjs-devp2p/")


def test_our_canary_tells_their_error(mailserver: str) -> None:
    result = run_json("canary", mailserver, "--password", "wrong", check=1)
    assert (result["ok"], result["step"]) == (False, "request")
    assert "sealed for somebody else" in result["reason"]
