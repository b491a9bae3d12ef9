"""Commands that are ended by a signal clear up: real processes."""

import os
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, until
from tests.support.processes import WAKUMAIL, take_signals
from tests.support.scripted import nobody
from wakumail.devp2p.keys import generate

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def started(temporary: Path, *words: object) -> subprocess.Popen[bytes]:
    """A command whose temporary files are in a folder."""
    return subprocess.Popen(
        ["env", f"TMPDIR={temporary}", *WAKUMAIL, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=take_signals,
    )


@pytest.mark.parametrize("number", SIGNALS)
def test_a_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "cluster", "demo") as demo:
        until(lambda: list(tmp_path.glob("*/*")))
        demo.send_signal(number)
        _, told = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, told) == (1, b"")
    assert not list(tmp_path.iterdir())


def test_who_asks_nodes_for_their_records_has_no_files(tmp_path: Path) -> None:
    """Whatever ends it."""
    (tmp_path / "key").write_text(generate(os.urandom).secret.hex())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.settimeout(PATIENCE)
        node.bind(("127.0.0.1", 0))
        asked = replace(nobody(), port=node.getsockname()[1], discport=node.getsockname()[1])
        words = ("--domain", "nodes.example", "--key", tmp_path / "key", asked)
        with started(temporary, "dns", "sign", *words) as signing:
            assert node.recv(2000)
            signing.kill()
            signing.communicate(timeout=PATIENCE)
    assert not list(temporary.iterdir())
