"""Against what others wrote: see interop/README.md."""

import fcntl
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.support.commands import call, call_json
from tests.support.discovering import discovering, known
from tests.support.discovery import node_key, record_of
from tests.support.envelopes import TTL, dump, make, newest_first
from tests.support.patience import PATIENCE, asynchronous, eventually, until
from tests.support.processes import Server
from tests.support.reconciling import CoarseItems, Item, make_items, pack
from tests.support.tools import tool
from tests.vectors import DISCOVERY
from wakumail.base.keccak import keccak256
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import node_id
from wakumail.mail.request import Form
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.items import Items
from wakumail.mail.sync.message_reader import MAX_MESSAGE
from wakumail.mail.sync.reply import MIN_FRAME_LIMIT
from wakumail.mail.sync.responder import answer
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal

INTEROP = Path(__file__).parents[1] / "interop"
TOPICS = [bytes([number, 7, 7, number]) for number in range(3)]
POSTED_BY_CLIENT = 1302


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with the packages of the scripts at hand."""
    path, npm = tool("node"), tool("npm")
    with (INTEROP / "package-lock.json").open() as one_at_a_time:  # of those that test in parallel
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        installed = INTEROP / "node_modules" / ".package-lock.json"  # npm writes it last
        wanted = (INTEROP / "package-lock.json").stat().st_mtime
        if not installed.exists() or installed.stat().st_mtime < wanted:
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
    result = call_json("post", mailserver, "--dump", "-", stdin=dump(envelopes))
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
    assert call_json("archive", "stat", "--datadir", datadir)["envelopes"] == POSTED_BY_CLIENT
    assert "peers_disconnected_them: 2\n" in server.log.read_text()


def test_the_packages_of_the_successor_read_our_history(node: str, tmp_path: Path) -> None:
    """Over HTTP, from the leading worker: its hashes are theirs, and its payloads open."""
    key = bytes(range(32))
    created = int(time.time()) - 60
    sealed = [
        make_envelope(created + n + TTL, TTL, TOPICS[n % 3], seal_text(f"message {n}", key), 0)
        for n in range(30)
    ]
    datadir = tmp_path / "data"
    call("archive", "import", "--datadir", datadir, stdin=dump([*sealed, *make(5, TOPICS)]))
    with Server(datadir, "--workers", 2, "--store", "--store.port", 0) as server:
        pattern = r"history on (http://127.0.0.1:\d+/store/v3/messages)"
        [url] = until(lambda: re.findall(pattern, server.log.read_text()))
        reader = subprocess.run(
            [node, INTEROP / "history.mjs", url, key.hex()],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert reader.returncode == 0, reader.stderr
        assert server.stop() == 0
    assert [json.loads(line) for line in reader.stdout.splitlines()] == [
        f"message {n}" for n in range(30)
    ]
    assert reader.stderr.endswith("5 pages\n")
    assert "rest_requests: 5\n" in server.log.read_text()


def seal_text(text: str, key: bytes) -> bytes:
    return seal(text.encode(), key=key, random=os.urandom)


@pytest.mark.parametrize("form", [Form.R1, Form.R3, Form.R5])
def test_our_client_follows_their_pages(
    mailserver: str, posted: list[Envelope], form: Form, tmp_path: Path
) -> None:
    chosen = [flag for topic in TOPICS[:2] for flag in ("--topic", topic.hex())]
    out = tmp_path / "dump"
    flags = ["--form", form.name, "--limit", 30, "--all", "--from", "1h", "--out", out]
    result = call_json("request", mailserver, *chosen, *flags)
    wanted = newest_first([e for e in posted if e.topic in TOPICS[:2]])
    assert out.read_bytes() == dump(wanted)
    assert [each["hash"] for each in result.pop("unopened")] == [e.hash.hex() for e in wanted]
    assert result == {
        "envelopes": 50,
        "foreign": 0,
        "pages": 2,
        "last_hash": wanted[-1].hash.hex(),
        "cursor": "",
        "messages": [],
    }


@pytest.mark.parametrize("form", [Form.R3, Form.R5])
def test_their_ecies_opens_our_requests(
    mailserver: str, posted: list[Envelope], form: Form
) -> None:
    flags = ["--topic", TOPICS[0].hex(), "--form", form.name, "--asymmetric", "--from", "1h"]
    assert call_json("request", mailserver, *flags)["envelopes"] == 25


def test_our_canary(mailserver: str) -> None:
    result = call_json("canary", mailserver)
    assert result["ok"] is True
    assert result["client_id"].startswith("ethereumjs-devp2p/")


def test_our_canary_tells_their_error(mailserver: str) -> None:
    result = call_json("canary", mailserver, "--password", "wrong", check=1)
    assert (result["ok"], result["step"]) == (False, "request")
    assert "sealed for somebody else" in result["reason"]


@pytest.fixture(scope="module")
def initiator(node: str) -> Iterator[subprocess.Popen[str]]:
    """The reconciliation of nostr-tools, one conversation after another."""
    script = INTEROP / "negentropy.mjs"
    pipe = subprocess.PIPE
    with subprocess.Popen([node, script], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


DAY = make_items("interop", range(1_700_000_000, 1_700_086_400, 17))
SECOND = make_items("interop", [1_700_000_000] * 3000)


def in_memory(items: list[Item]) -> Items:
    return ItemSet(pack(items))


RECONCILED = {
    "both-empty": ([], []),
    "one-empty": ([], DAY),
    "other-empty": (DAY, []),
    "equal": (DAY, DAY),
    "few": (DAY[:31], DAY[5:40]),
    "hour-lost": (DAY[:2000] + DAY[2212:], DAY),
    "scattered": (DAY[::2] + DAY[1:3000:2], DAY[3:]),
    "one-second": (SECOND[7:], SECOND[:-7]),
    "disjoint": (DAY[::2], DAY[1::2]),
    "last-second": (make_items("last", [2**31 - 2] * 40), make_items("last", [2**31 - 2] * 43)),
}
"""The items of the initiator and those of the responder. It encodes times, plus 1, in 31 bits."""


@pytest.mark.parametrize("frame_limit", [MIN_FRAME_LIMIT, MAX_MESSAGE])
@pytest.mark.parametrize("hold", [in_memory, CoarseItems])
@pytest.mark.parametrize("case", RECONCILED)
def test_their_initiator_and_our_responder(
    initiator: subprocess.Popen[str],
    case: str,
    hold: Callable[[list[Item]], Items],
    frame_limit: int,
) -> None:
    theirs, ours = RECONCILED[case]
    held = hold(ours)
    assert initiator.stdin is not None
    assert initiator.stdout is not None
    begin = {"items": [(time, id_.hex()) for time, id_ in theirs], "frameLimit": frame_limit}
    line = json.dumps(begin)
    while True:
        initiator.stdin.write(line + "\n")
        initiator.stdin.flush()
        said = initiator.stdout.readline()
        if not said.startswith("61"):
            break
        line = answer(bytes.fromhex(said), held, frame_limit=frame_limit).hex()
    found = json.loads(said)
    assert sorted(found["have"]) == sorted(id_.hex() for _, id_ in {*theirs} - {*ours})
    assert sorted(found["need"]) == sorted(id_.hex() for _, id_ in {*ours} - {*theirs})


# -- discovery -----------------------------------------------------------------------------------


@contextmanager
def their_discovery(node: str, *bootnode: str) -> Iterator[tuple[Enode, set[bytes]]]:
    """The enode of their node, and the node ids that it has found, which grow."""
    command = [node, str(INTEROP / "discovery.mjs"), *bootnode]
    found: set[bytes] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        enode = Enode.parse(process.stdout.readline().strip())

        def read(lines: IO[str]) -> None:
            found.update(bytes.fromhex(line) for line in lines)

        reader = threading.Thread(target=read, args=(process.stdout,))
        reader.start()
        try:
            yield enode, found
        finally:
            process.kill()
            reader.join()


@asynchronous
async def _ours_and_theirs_meet(node: str, tmp_path: Path) -> None:
    async with discovering(node_key("one"), tmp_path / "1") as (one, enode, _):
        with their_discovery(node, str(enode)) as (theirs, found):
            # They find us, and through us another one of ours; that one starts from them.
            async with discovering(node_key("two"), tmp_path / "2", theirs) as (two, other, _):
                await eventually(lambda: theirs.node_id in known(one) & known(two))
                await eventually(lambda: {enode.node_id, other.node_id} <= found)
                await eventually(lambda: enode.node_id in known(two))
                await eventually(lambda: other.node_id in known(one))


def test_their_discovery_and_ours_find_each_other(node: str, tmp_path: Path) -> None:
    _ours_and_theirs_meet(node, tmp_path)


def test_their_records_and_ours(node: str) -> None:
    """@chainsafe/enr reads ours, and we read theirs."""
    key = node_key("records")
    ours = [str(record_of(key, (f"10.0.0.{n}", 30303 + n), n, waku=[1, 1])) for n in range(1, 5)]
    forged = ours[0][:20] + ("A" if ours[0][20] != "A" else "B") + ours[0][21:]
    vectors = [each["enr"] for each in DISCOVERY["nodes"]]
    secrets = [node_key(f"record {n}") for n in range(5)]
    make = [
        {"key": s.secret.hex(), "seq": n + 1, "ip": f"192.0.2.{n}", "tcp": 1000 + n, "udp": 2000}
        for n, s in enumerate(secrets)
    ]
    asked = json.dumps({"read": [*ours, *vectors, forged], "make": make})
    done = subprocess.run(
        [node, INTEROP / "enr.mjs"], input=asked, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["read"].pop() is None
    for text, read in zip((*ours, *vectors), answer["read"], strict=True):
        record = Enr.parse(text)
        assert read["node_id_hash"] == keccak256(record.node_id).hex()
        assert read["seq"] == record.seq
        assert str(record.ip) in (read["ip"], read["ip6"])
        if str(record.ip) == read["ip"]:
            assert (read["tcp"], read["udp"]) == (record.tcp, record.udp)
    for secret, wanted, text in zip(secrets, make, answer["made"], strict=True):
        record = Enr.parse(text)
        assert record.node_id == node_id(secret.public_key)
        assert [record.seq, str(record.ip), record.tcp, record.udp] == [
            wanted[name] for name in ("seq", "ip", "tcp", "udp")
        ]
