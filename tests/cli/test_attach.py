"""`wakumail attach`: one call, lines of calls, subscriptions, over every transport."""

import asyncio
import errno
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.patience import PATIENCE, eventually
from tests.support.processes import WAKUMAIL, take_signals
from tests.support.rpc_callers import access_with
from tests.support.rpc_methods import Methods, notify
from wakumail.cli.attach import read_line, read_param
from wakumail.cli.command_line import main
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.ipc import IpcEndpoint

TOKEN = "0123456789abcdef" * 2


class Node:
    """A server of test methods in a thread, on a Unix socket, HTTP and WebSocket."""

    def __init__(self, datadir: Path) -> None:
        self.datadir = datadir
        self.token = datadir / "token"
        self.token.write_text(TOKEN)
        self.methods: Methods
        self.address: str
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()))

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(PATIENCE)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.methods = Methods()
        dispatcher, counters = self.methods.dispatcher, self.methods.counters
        ipc = IpcEndpoint(self.datadir / "wakumail.ipc", dispatcher, counters)
        access = access_with(token=TOKEN)
        http = HttpEndpoint("127.0.0.1", 0, access, counters, http=dispatcher, websocket=dispatcher)
        await ipc.start()
        await http.start()
        self.address = "{}:{}".format(*http.address)
        self._started.set()
        await self._stop.wait()
        await ipc.close()
        await http.close()

    def notify(self, *results: Any) -> None:
        """Notify the only subscriber."""

        async def run() -> None:
            await eventually(lambda: len(self.methods.sessions) == 1)
            for result in results:
                notify(self.methods.sessions[0], result)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE)

    def flags(self, transport: str) -> list[str]:
        """The options of `attach` for a transport."""
        if transport == "ipc":
            return ["--ipcpath", str(self.datadir / "wakumail.ipc")]
        if transport == "datadir":
            return ["--datadir", str(self.datadir)]
        return ["--url", f"{transport}://{self.address}", "--token-file", str(self.token)]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("node"))
    node.start()
    yield node
    node.stop()


TRANSPORTS = ["ipc", "datadir", "http", "ws"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_call(node: Node, transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", *node.flags(transport), "test_echo", '{"a": [1]}']) == 0
    assert capsys.readouterr().out == '{\n  "a": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_one_call_for_a_machine(
    node: Node, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attach", *node.flags(transport), "--json", "test_subtract", "5", "-2"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == {"jsonrpc": "2.0", "id": 1, "result": 7}
    assert out.count("\n") == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_error(node: Node, transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", *node.flags(transport), "test_refuse"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", 'wakumail attach: not like this (-32602): {"like": "that"}\n')
    assert main(["attach", *node.flags(transport), "--json", "test_reject"]) == 1
    assert json.loads(capsys.readouterr().out)["error"] == {"code": -32000, "message": "no room"}


def test_an_error_cannot_steer_the_terminal(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", *node.flags("ipc"), "\x1b[2J"]) == 1
    assert capsys.readouterr().err == (
        "wakumail attach: the method ?[2J does not exist/is not available (-32601)\n"
    )
    assert main(["attach", *node.flags("ipc"), "test_echo", "\x1b[2J\u2603"]) == 0
    assert capsys.readouterr().out == '"\\u001b[2J\\u2603"\n'


def test_lines(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '\ufeff\n\ufefftest_echo {"a": "b c"}\n\n  test_subtract 5 3\ntest_none\ntest_echo last'
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["attach", *node.flags("ipc"), "--json"]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a.get("result") for a in answers] == [{"a": "b c"}, 2, None, "last"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("test_echo 1\n"))
    assert main(["attach", *node.flags("ipc")]) == 0


def test_a_prompt(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["test_echo 1", " ", "test_echo [2]"])
    prompts = []

    def type_line(prompt: str) -> str:
        prompts.append(prompt)
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_line)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["attach", *node.flags("ipc")]) == 0
    assert capsys.readouterr().out == "1\n[\n  2\n]\n"
    assert prompts == ["> "] * 4


@pytest.mark.parametrize("transport", ["ipc", "ws"])
@pytest.mark.parametrize("flag", [[], ["--json"]], ids=["person", "machine"])
def test_a_subscription_prints_until_it_is_interrupted(
    node: Node, transport: str, flag: list[str]
) -> None:
    node.methods.sessions.clear()
    command = [*WAKUMAIL, "attach", *node.flags(transport), *flag, "test_subscribe"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=take_signals
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        answer = json.loads(process.stdout.readline())
        node.notify("a", "b")
        shown = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0, process.stderr.read()
        assert process.stderr.read() == b""
    if flag:
        assert answer["result"] == "1"
        assert [n["params"]["result"] for n in shown] == ["a", "b"]
    else:
        assert [answer, *shown] == ["1", "a", "b"]


def test_a_subscription_over_http_is_refused(
    node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attach", *node.flags("http"), "test_subscribe", "1"]) == 1
    assert "notifications not supported" in capsys.readouterr().err


def test_a_token_that_is_wrong(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("x" * 20)
    for flags in ([], ["--token-file", str(wrong)]):
        for scheme in ("http", "ws"):
            url = f"{scheme}://{node.address}"
            assert main(["attach", "--url", url, *flags, "test_echo", "1"]) == 1
            assert "401" in capsys.readouterr().err


def test_without_options_the_node_of_the_settings_is_called(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `archive` and `browse` take its data directory."""
    monkeypatch.setenv("WAKUMAIL_DATADIR", str(node.datadir))
    assert main(["attach", "test_echo", "1"]) == 0
    monkeypatch.setenv("WAKUMAIL_DATADIR", str(tmp_path / "other"))
    settings = tmp_path / "wakumail.toml"
    settings.write_text(f'ipcpath = "{node.datadir}/wakumail.ipc"\n')
    monkeypatch.setenv("WAKUMAIL_CONFIG", str(settings))
    assert main(["attach", "test_echo", "2"]) == 0
    assert capsys.readouterr().out == "1\n2\n"
    settings.write_text("ipcpath = 1\n")
    with pytest.raises(SystemExit, match="2"):
        main(["attach", "test_echo", "3"])
    assert "ipcpath: a string is expected" in capsys.readouterr().err


def test_nobody_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", "--datadir", str(tmp_path), "test_echo", "1"]) == 1
    assert capsys.readouterr().err == (
        f"wakumail attach: {tmp_path}/wakumail.ipc: No such file or directory; does the node run,"
        " and is --datadir or --ipcpath that of the node?\n"
    )
    for scheme in ("http", "ws"):
        assert main(["attach", "--url", f"{scheme}://127.0.0.1:1", "test_echo", "1"]) == 1
        assert capsys.readouterr().err == (
            f"wakumail attach: {scheme}://127.0.0.1:1: Connection refused;"
            " does the node serve this URL?\n"
        )


def test_the_socket_of_another_user(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, as whom tests may run, is let in everywhere: so the system's answer is made up."""

    async def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(asyncio, "open_unix_connection", refuse)
    assert main(["attach", "--datadir", str(node.datadir), "test_echo", "1"]) == 1
    assert capsys.readouterr().err == (
        f"wakumail attach: {node.datadir}/wakumail.ipc: Permission denied;"
        " only the user of the node, and root, may call it there\n"
    )


def test_an_answer_without_end(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.rpc.url_client.MAX_ANSWER", 1000)
    assert main(["attach", *node.flags("http"), "test_echo", "x" * 2000]) == 1
    told = f"http://{node.address}: an answer of more than 1000 bytes"
    assert capsys.readouterr().err == f"wakumail attach: {told}\n"


@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_node_that_does_not_answer_is_given_up(
    scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["attach", "--url", url, "--timeout", "0.1", "test_echo", "1"]) == 1
    assert capsys.readouterr().err == f"wakumail attach: {url}: no answer in 0.1 s\n"


def test_a_url_without_a_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attach", "--url", "http://", "test_echo", "1"]) == 1
    assert "http://" in capsys.readouterr().err


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_a_node_without_tls(node: Node, scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{scheme}://{node.address}"
    assert main(["attach", "--url", url, "test_echo", "1"]) == 1
    assert f"wakumail attach: {url}: no TLS connection: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--token-file", "x"],
        ["--url", "http://x", "--ipcpath", "y"],
        ["--url"],
        ["--url", "nonsense", "test_echo"],
        ["--url", "ftp://127.0.0.1", "test_echo"],
        ["--timeout", "0", "test_echo"],
    ],
    ids=["token", "two places", "no URL", "no scheme", "another scheme", "no time"],
)
def test_wrong_usage(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["attach", *flags])
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ('{"a": 1}', {"a": 1}),
        ("[1, 2]", [1, 2]),
        ("", ""),
        ("text", "text"),
        ("two words", "two words"),
        ("0x12", "0x12"),
        ("00000000", "00000000"),
        ("NaN", "NaN"),
        ("1e999", "1e999"),
        ("1 2", "1 2"),
        ("{", "{"),
        ("[" * 100_000, "[" * 100_000),
        ("1" * 5000, "1" * 5000),
        ("enode://ab@127.0.0.1:1", "enode://ab@127.0.0.1:1"),
    ],
)
def test_parameters_are_json_or_strings(text: str, value: Any) -> None:
    assert read_param(text) == value


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("m", ["m"]),
        (" m \n", ["m"]),
        ("m 1  2", ["m", 1, 2]),
        ('m "a b" c', ["m", "a b", "c"]),
        ('m {"a": [1, "} {"]} {}', ["m", {"a": [1, "} {"]}, {}]),
        ("m 0x12 12", ["m", "0x12", 12]),
        ('m {"a" 1}', ["m", '{"a"', "1}"]),
        ("m truee true", ["m", "truee", True]),
        ("1 1", ["1", 1]),
        (f"m {'[' * 100_000}", ["m", "[" * 100_000]),
    ],
)
def test_lines_are_words_and_json(line: str, words: list[Any]) -> None:
    assert read_line(line) == words
