"""Each example is run as its docstring says, against real mailservers."""

import ast
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import call
from tests.support.networks import free_port
from tests.support.patience import PATIENCE
from tests.support.processes import Server

EXAMPLES = Path(__file__).parents[2] / "examples"
CHAT = "a-chat"


def command(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *map(str, arguments)]


def example(name: str, *arguments: object, code: int = 0) -> tuple[list[str], str]:
    """Run an example to its end; answers the lines of stdout, and stderr."""
    done = subprocess.run(
        command(name, *arguments), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == code, done.stderr
    return done.stdout.splitlines(), done.stderr


def post(server: Server, text: str) -> None:
    call("post", server.enode, "--chat", CHAT, "--payload", text)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "data") as server:
        yield server


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_import_what_is_public(path: Path) -> None:
    """They import wakumail itself and the standard library, and each is run in this file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.module == "wakumail" or node.module in ("collections.abc",)
    assert f'"{path.name}"' in Path(__file__).read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_tell_their_usage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in ([], ["--help"]):
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
        assert f"\n    .venv/bin/python examples/{path.name} " in str(end.value)


def test_post_and_history(server: Server) -> None:
    (posted,), _ = example("post.py", server.enode, CHAT, "hello \x1b[2J")
    assert posted.startswith("on disk: ")
    post(server, "there")
    shown, _ = example("history.py", server.enode, CHAT)
    assert sorted(line.split("'")[1] for line in shown) == ["hello \\x1b[2J", "there"]


def test_post_says_why_it_failed(server: Server) -> None:
    server.kill()
    _, error = example("post.py", server.enode, CHAT, "hello", code=1)
    assert "ConnectionRefusedError" in error


def test_failover(tmp_path: Path, server: Server) -> None:
    """The first mailserver is down, and then both."""
    post(server, "hello")
    with Server(tmp_path / "other") as other:
        other.kill()
        shown, warning = example("failover.py", CHAT, other.enode, server.enode)
        assert shown == ["1 messages, and 0 sealed with another key", f"answered by {server.enode}"]
        assert "connection refused" in warning.lower()
        server.kill()
        _, error = example("failover.py", CHAT, other.enode, server.enode, code=1)
        assert "no mailserver has answered to the end" in error


def test_follow(tmp_path: Path) -> None:
    """Earlier and later messages come, each once, over a restart of the mailserver."""
    texts = [f"number {n}" for n in range(6)]
    with Server(tmp_path / "data", "--port", free_port()) as server:
        for text in texts[:2]:
            post(server, text)
        with subprocess.Popen(
            command("follow.py", server.enode, CHAT, 0.2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as following:
            try:
                assert following.stdout is not None
                assert following.stderr is not None
                shown = [following.stdout.readline() for _ in range(2)]
                post(server, texts[2])
                shown.append(following.stdout.readline())
                server.stop()
                assert "asking again" in following.stderr.readline()
                server.start()
                for text in texts[3:]:
                    post(server, text)
                    shown.append(following.stdout.readline())
            finally:
                following.terminate()
            shown += following.stdout.readlines()
    found = [line.split("'")[1] for line in shown]
    # Messages of one second come in the order of their hashes.
    assert sorted(found[:2]) + found[2:] == texts
