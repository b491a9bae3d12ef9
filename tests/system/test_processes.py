"""Real processes over real sockets: a request gets the envelopes that a post has sent."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import call, call_json
from tests.support.envelopes import dump, make, newest_first
from tests.support.patience import until
from tests.support.processes import Server, failing, run, run_json
from wakumail.base.free_ports import free_ports
from wakumail.errors import PeerGone
from wakumail.mail.client import connect
from wakumail.mail.request import Form
from wakumail.waku.envelope import Envelope, parse_stream

TOPICS = [bytes([number, 7, 7, number]) for number in range(5)]


@pytest.fixture(scope="module")
def posted() -> list[Envelope]:
    return make(1500, TOPICS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, posted: list[Envelope]) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data", "--min-pow", "0") as server:
        result = run_json("post", server.enode, "--dump", "-", stdin=dump(posted))
        assert result == {
            "sent": 1500,
            "confirmed": 1500,
            "unconfirmed": 0,
            "errors": [],
            "withheld": [],
            "left_out": 0,
        }
        yield server


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("limit", [1000, 77])
def test_every_form_gets_the_same_back(
    server: Server, posted: list[Envelope], form: Form, limit: int, tmp_path: Path
) -> None:
    chosen = [flag for topic in TOPICS[:2] for flag in ("--topic", topic.hex())]
    out = tmp_path / "dump"
    flags = ["--form", form.name, "--limit", limit, "--all", "--from", "1h", "--out", out]
    result = call_json("request", server.enode, *chosen, *flags)
    wanted = newest_first([e for e in posted if e.topic in TOPICS[:2]])
    assert out.read_bytes() == dump(wanted)
    assert result["envelopes"] == 600
    assert result["pages"] == -(-600 // limit)
    assert result["cursor"] == ""
    assert result["last_hash"] == wanted[-1].hash.hex()


@pytest.mark.parametrize("form", [Form.R3, Form.R4, Form.R5, Form.R6, Form.R7])
def test_asymmetric_requests(server: Server, form: Form) -> None:
    topic = ("--topic", TOPICS[0].hex())
    result = call_json(
        "request", server.enode, *topic, "--form", form.name, "--asymmetric", "--from", "1h"
    )
    assert result["envelopes"] == 300


def test_full_bloom_and_one_page(server: Server, posted: list[Envelope]) -> None:
    first = call("request", server.enode, "--bloom", "full", "--limit", 10, "--out", "-")
    assert first == dump(newest_first(posted)[:10])
    page = call_json("request", server.enode, "--bloom", "full", "--limit", 10)
    flags = ["--limit", 10, "--cursor", page["cursor"], "--out", "-"]
    second = call("request", server.enode, "--bloom", "full", *flags)
    assert second == dump(newest_first(posted)[10:20])


def test_wrong_password_is_told(server: Server) -> None:
    flags = ["--topic", TOPICS[0].hex(), "--password", "wrong"]
    call("request", server.enode, *flags, check=1)


def test_canary(server: Server) -> None:
    assert call_json("canary", server.enode)["ok"] is True


def test_canary_says_what_is_wrong(server: Server) -> None:
    nobody = server.enode.rpartition(":")[0] + ":1"
    result = call_json("canary", nobody, check=1)
    assert (result["ok"], result["step"]) == (False, "connect")
    result = call_json("canary", server.enode, "--password", "wrong", check=1)
    assert (result["ok"], result["step"]) == (False, "request")
    assert "no key" in result["reason"]


def test_post_seals_and_mines(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        flags = ["--topic", "01020304", "--password", "secret", "--payload", "hello"]
        assert run_json("post", server.enode, *flags)["confirmed"] == 1
        result = run_json("request", server.enode, "--topic", "01020304", "--from", "1h")
        assert result["envelopes"] == 1


def test_export_and_import(server: Server, posted: list[Envelope], tmp_path: Path) -> None:
    exported = call("archive", "export", "--datadir", server.datadir)
    result = call_json("archive", "import", "--datadir", tmp_path / "copy", stdin=exported)
    assert (result["stored"], result["duplicates"]) == (1500, 0)
    assert call("archive", "export", "--datadir", tmp_path / "copy") == exported
    assert call_json("archive", "stat", "--datadir", tmp_path / "copy")["envelopes"] == 1500
    again = call_json("archive", "import", "--datadir", tmp_path / "copy", stdin=dump(posted))
    assert (again["stored"], again["duplicates"]) == (0, 1500)


def test_a_restart_keeps_node_key_and_envelopes(tmp_path: Path) -> None:
    envelopes = make(50, TOPICS)
    server = Server(tmp_path / "data", "--min-pow", "0")
    with server:
        run("post", server.enode, "--dump", "-", stdin=dump(envelopes))
        before = server.enode.partition("@")[0]
        assert server.stop() == 0
        server.start()
        assert server.enode.partition("@")[0] == before
        got = run("request", server.enode, "--bloom", "full", "--from", "1h", "--out", "-")
        assert got == dump(newest_first(envelopes))
    assert (tmp_path / "data" / "nodekey").stat().st_mode & 0o777 == 0o600


def test_what_was_confirmed_survives_kill_9(tmp_path: Path) -> None:
    """The server dies in a stream of posts; every confirmed envelope is stored."""
    server = Server(tmp_path / "data", "--min-pow", "0")
    envelopes = make(20_000, TOPICS, size=100)

    async def post_until_killed() -> int:
        confirmed = 0
        async with connect(server.enode) as peer:
            for start in range(0, len(envelopes), 100):
                group = [envelope.rlp for envelope in envelopes[start : start + 100]]
                try:
                    confirmed += (await peer.post(group)).confirmed
                except PeerGone:
                    break
                if confirmed == 3000:
                    killer = asyncio.create_task(asyncio.to_thread(server.kill))
        await killer
        return confirmed

    with server:
        confirmed = asyncio.run(post_until_killed())
        assert 3000 <= confirmed < len(envelopes)
        server.start()
        got = run("request", server.enode, "--bloom", "full", "--from", "1h", "--all", "--out", "-")
    batch, _ = parse_stream(got, final=True)
    kept = {envelope.hash for envelope in batch}
    assert {e.hash for e in envelopes[:confirmed]} <= kept <= {e.hash for e in envelopes}


def reload(server: Server, config: Path, text: str) -> str:
    """The lines of the log that a new file leads to."""
    before = len(server.log.read_text())
    config.write_text(text)
    server.process.send_signal(signal.SIGHUP)
    told = re.compile("(?s).*settings (were|stay).*\n")
    found = until(lambda: told.fullmatch(server.log.read_text()[before:]))
    return str(found and found[0])


def test_a_hangup_reads_the_settings_again(tmp_path: Path) -> None:
    config = tmp_path / "wakumail.toml"
    config.write_text('password = "old"\nmin_pow = 0')
    with Server(tmp_path / "data", "--config", config) as server:
        run("canary", server.enode, "--password", "old")
        assert "unknown key 'passwort'" in reload(server, config, 'passwort = "new"')
        run("canary", server.enode, "--password", "old")
        told = reload(server, config, 'password = "new"\nrelay_memory = 2_000_000')
        assert "a restart is needed for --relay-memory" in told
        assert "changed: --password, --min-pow" in told
        run("canary", server.enode, "--password", "new")
        run("canary", server.enode, "--password", "old", check=1)
        assert server.stop() == 0
        assert "reloads_failed: 1" in server.log.read_text()


def test_two_servers_do_not_share_a_datadir(server: Server) -> None:
    flags = ["--datadir", server.datadir, "--port", 0]
    assert run("serve", *flags, check=1) == b""


@pytest.mark.parametrize(
    "flags",
    [
        ["--password-file", "/nowhere"],
        ["--asymkey-file", "/nowhere"],
        ["--host", "192.0.2.1"],
    ],
)
def test_a_start_that_fails_ends(tmp_path: Path, flags: list[str]) -> None:
    assert run("serve", "--datadir", tmp_path / "data", "--port", 0, *flags, check=1) == b""


def without(directory: Path, *modules: str) -> dict[str, str]:
    """The environment of a Python that has none of these modules."""
    directory.mkdir()
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in modules)]
    (directory / "sitecustomize.py").write_text("\n".join(lines))
    return os.environ | {"PYTHONPATH": str(directory)}


def test_a_host_alone_imports_nothing_of_a_cluster(tmp_path: Path) -> None:
    alone = without(tmp_path / "alone", "nats", "wakumail.ops.cluster")
    (port,) = free_ports(1)
    flags = ("--min-pow", 0, "--metrics", "--metrics.port", port)
    with Server(tmp_path / "data", *flags, environment=alone) as server:
        assert call_json("canary", server.enode)["ok"] is True
        assert failing(port) == []
        assert server.stop() == 0
    at = ("--cluster", "nats://127.0.0.1:1", "--cluster-name", "fleet")
    member = Server(tmp_path / "data", *at, environment=without(tmp_path / "bare", "nats"))
    with pytest.raises(AssertionError, match="a cluster needs nats-py"):
        member.start()


def test_a_port_in_use_and_one_that_is_none(server: Server, tmp_path: Path) -> None:
    port = server.enode.rpartition(":")[2]
    flags = ["--datadir", tmp_path / "data", "--host", "127.0.0.1"]
    run("serve", *flags, "--port", port, check=1)
    run("serve", *flags, "--port", 99999, check=2)
    run("serve", *flags, "--nodekeyhex", "zz", check=2)


def test_keys(tmp_path: Path) -> None:
    file = tmp_path / "key"
    made = call_json("key", "new", file)
    assert call_json("key", "show", file) == made
    assert call("key", "show", file).decode().strip() == made["node_id"]
    call("key", "new", file, check=1)
    call("key", "show", tmp_path / "nowhere", check=1)
    with Server(tmp_path / "data", "--nodekey", file) as server:
        assert server.enode.startswith(f"enode://{made['node_id']}@127.0.0.1:")
