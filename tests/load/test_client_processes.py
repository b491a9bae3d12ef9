"""Client processes end without a word, whenever the bench closes their pipe or Ctrl-C comes."""

import os
import signal

import pytest

from tests.support.patience import PATIENCE
from tests.support.scripted import nobody
from wakumail.load.clients.idle_client import IdleLoad
from wakumail.load.clients.processes import ClientProcess
from wakumail.load.clients.role import LoadFailed


@pytest.fixture
def client(capfd: pytest.CaptureFixture[str]) -> ClientProcess:
    return ClientProcess()


def test_an_answer_that_nobody_reads(
    client: ClientProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    """As those of the other clients of a case in which one has failed."""
    client.send_command("open", IdleLoad(1, 1.0), nobody())
    assert client._pipe.poll(PATIENCE)
    client.ask_to_end()
    client.end(PATIENCE)
    assert client._process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_ctrl_c_before_and_after_the_first_command(
    client: ClientProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    """It comes to the whole group; the bench ends its clients then."""
    assert client._process.pid is not None
    os.kill(client._process.pid, signal.SIGINT)
    client.send_command("open", IdleLoad(1, 1.0), nobody())
    with pytest.raises(LoadFailed, match="refused"):
        client.await_answer()
    os.kill(client._process.pid, signal.SIGINT)
    client.ask_to_end()
    client.end(PATIENCE)
    assert client._process.exitcode == 0
    assert capfd.readouterr().err == ""
