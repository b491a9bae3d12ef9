"""`wakumail sync`: what cannot be synced is told; the rest is in tests/system/test_sync.py."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.discovery import node_key
from tests.support.envelopes import make
from tests.support.patience import asynchronous
from tests.support.puppet import mailserver
from tests.support.scripted import Scripted, scripted
from tests.support.syncing import ALL_TOPICS, batch_of
from wakumail.archive.archive import Archive
from wakumail.base.rlp import join_list
from wakumail.cli.command_line import main
from wakumail.cli.sync import sync
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id
from wakumail.devp2p.packets import SYNC, WAKU
from wakumail.errors import DisconnectReason
from wakumail.mail.sync import debts, session
from wakumail.mail.sync import round as rounds
from wakumail.mail.sync.packets import (
    CODES,
    Close,
    Envelopes,
    Offer,
    Open,
    Packet,
    Reconcile,
    Seek,
    Status,
    Stored,
    decode,
)
from wakumail.node.link import Link
from wakumail.ops.config.settings import Settings
from wakumail.rpc.client import CallFailed
from wakumail.rpc.jsonrpc import RpcError, Session
from wakumail.rpc.methods.sync import SyncMethods
from wakumail.waku.peer_events import PeerEvent, Ready, SyncReceived

ENODE = str(Enode(node_id(node_key("cli").public_key), "192.0.2.7", 30303, 30303))


def test_a_node_without_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", ENODE, "--datadir", str(tmp_path / "data"), "--no-mailserver"]) == 1
    told = capsys.readouterr().err
    assert told == "wakumail sync: no mailserver: there is no archive to sync\n"
    assert not (tmp_path / "data").exists()


def test_a_key_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before the archive is open: its writer would keep the process from ending."""
    key = tmp_path / "nowhere" / "nodekey"
    words = ["sync", ENODE, "--datadir", str(tmp_path / "data"), "--nodekey", str(key)]
    assert main(words) == 1
    assert f"{key.parent}: No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "data" / "archive").exists()


def test_a_mistyped_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made: no server can list a key that is new."""
    data = tmp_path / "dtaa"
    assert main(["sync", ENODE, "--datadir", str(data)]) == 1
    told = f"{data}/nodekey: no such file; is --datadir that of the server"
    assert told in capsys.readouterr().err
    assert not data.exists()


def test_a_dry_run_without_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert (
        main(["sync", ENODE, "--datadir", str(data), "--nodekeyhex", "01" * 32, "--dry-run"]) == 1
    )
    told = f"{data}/archive: no such archive; there is nothing to compare"
    assert told in capsys.readouterr().err
    assert not data.exists()


def test_a_data_directory_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", ENODE, "--datadir", str(tmp_path)]) == 1
    assert f"{tmp_path}/nodekey: no such file" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "writers"}


# -- servers that do not keep to the rules --------------------------------------------------------

KEY = node_key("cli")
OLD = int(time.time()) - 86_400
Act = Callable[["Hostile", Link, Packet], None]


@pytest.fixture(autouse=True)
def _own_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets the heap of its process, which is that of the tests here."""
    monkeypatch.setattr("wakumail.cli.sync.keep_freed", lambda: None)
    monkeypatch.setattr("wakumail.cli.sync.collect_rarely", lambda: None)


class Hostile(Scripted):
    """A server that greets, and then does what the test says at each packet of ours."""

    def __init__(self, act: Act) -> None:
        super().__init__(None, None)
        self._act = act

    def on_event(self, link: Link, event: PeerEvent) -> None:
        super().on_event(link, event)
        match event:
            case Ready():
                self.say(link, Status(0, int(time.time()), ALL_TOPICS, 0.0, 1 << 20))
            case SyncReceived(code, data):
                packet = decode(code, data)
                assert packet is not None
                self._act(self, link, packet)

    def say(self, link: Link, packet: Packet) -> None:
        link.peer.send_sync(CODES[type(packet)], packet.encode())
        link.outbox.flush()


def hang_up(server: Hostile, link: Link, packet: Packet) -> None:
    if isinstance(packet, Open):
        link.disconnect(DisconnectReason.REQUESTED)


def say_nothing(server: Hostile, link: Link, packet: Packet) -> None:
    pass


def babble(server: Hostile, link: Link, packet: Packet) -> None:
    """Another packet every 10 ms."""
    server.say(link, Close(99, 0, ""))
    if link in server.links:
        asyncio.get_running_loop().call_later(0.01, babble, server, link, packet)


def send_too_much(server: Hostile, link: Link, packet: Packet) -> None:
    if isinstance(packet, Open):
        server.say(link, Reconcile(packet.round, b"\x61" * (9 << 20)))


def tell_many(server: Hostile, link: Link, packet: Packet) -> None:
    """Twenty ids in each round, of envelopes that are gone when they are wanted."""
    match packet:
        case Open(number) | Reconcile(number):
            ids = b"".join(bytes([n]) * 32 for n in range(20))
            message = b"\x61\x00\x00\x02" + bytes([20]) + ids
            server.say(link, Reconcile(number, message if isinstance(packet, Open) else b"\x61"))
        case Seek(number):
            server.say(link, Envelopes(number, True, b"\xc0"))
        case Offer(number):
            server.say(link, Stored(number, (), 0))


def tell_lies(server: Hostile, link: Link, packet: Packet) -> None:
    """As `tell_many`, but what comes is none of it."""
    if isinstance(packet, Seek):
        server.say(link, Envelopes(packet.want, True, join_list([make(1, [b"topi"])[0].rlp])))
    else:
        tell_many(server, link, packet)


FAILURES: list[tuple[Act, str]] = [
    (hang_up, "the connection ended during the round"),
    (say_nothing, "no answer for 0 s"),
    (babble, "no step of an answer for 0 s"),
    (send_too_much, "a message of 9437184 bytes"),
    (tell_lies, "an envelope that was not asked for, came twice, or has another hash"),
]


@pytest.mark.parametrize("with_server", [False, True])
@pytest.mark.parametrize(("act", "told"), FAILURES)
@asynchronous
async def test_a_server_that_breaks_the_rules(
    tmp_path: Path, act: Act, told: str, with_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends, and tells the reason; with a server, it is the one who tells it."""
    monkeypatch.setattr(session, "WATCH_INTERVAL", 0.01)
    if act is say_nothing:
        monkeypatch.setattr(debts, "ANSWER_TIMEOUT", 0.3)
    if act is babble:
        monkeypatch.setattr(debts, "STEP_TIMEOUT", 0.3)
    with pytest.raises((CallFailed, RpcError)) as failed:
        await synced(tmp_path, act, with_server=with_server)
    assert told in str(failed.value)


@pytest.mark.parametrize("with_server", [False, True])
@asynchronous
async def test_a_server_that_tells_of_envelopes_without_end(
    tmp_path: Path, with_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MAX_MOVED", 10)
    outcome = await synced(tmp_path, tell_many, with_server=with_server)
    assert not outcome["equal"]
    assert not outcome["complete"]
    assert outcome["gone"] == outcome["needed"] > 0
    assert outcome["stored"] == outcome["given"] == 0


async def synced(tmp_path: Path, act: Act, *, with_server: bool) -> dict[str, Any]:
    """The outcome of a sync with a hostile server, in a process of its own or by our server."""
    connection = {"capabilities": (*WAKU, SYNC)}
    async with scripted(server=Hostile(act), connection=connection) as hostile:
        if with_server:
            async with mailserver(tmp_path) as (server, enode):
                server.store.archive.append([batch_of(make(5, [b"topi"], created=OLD))])
                hostile.node.admission.syncing.add(enode.node_id)
                return await SyncMethods(server).sync(Session(), str(hostile.enode), {})
        hostile.node.admission.syncing.add(node_id(KEY.public_key))
        archive = tmp_path / "archive"
        archive.mkdir()
        with Archive(archive) as opened:
            opened.append([batch_of(make(5, [b"topi"], created=OLD))])
        settings = Settings(datadir=tmp_path, nodekeyhex=KEY.secret.hex())
        return await sync(settings, hostile.enode, {"dryRun": False})
