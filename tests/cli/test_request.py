"""`wakumail post` and `wakumail request` against real servers."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dns_lists import key, record, tree, url
from tests.support.dns_server import TxtServer
from tests.support.envelopes import dump, make
from tests.support.patience import asynchronous
from tests.support.processes import WAKUMAIL, Server
from tests.support.scripted import archive_of, complete, nobody, packet, several, silent
from wakumail.base.text import MAX_TEXT, utc
from wakumail.cli.command_line import main, parser
from wakumail.cli.printing import entry, line, message_entry
from wakumail.devp2p.dns_tree import DnsTree
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import generate, node_id
from wakumail.errors import AnswerTimeout
from wakumail.mail.listed_mailservers import NoMailserverListed
from wakumail.mail.mailservers import NoMailserver
from wakumail.mail.request import Request
from wakumail.node.link import Link
from wakumail.node.messages import PowNotReached, ReceivedMessage
from wakumail.node.node_key import load_node_key, load_or_create_node_key
from wakumail.waku.completion import Completion, CompletionForm
from wakumail.waku.envelope import make_envelope, parse_stream
from wakumail.waku.message import symmetric_key
from wakumail.waku.topics import public_chat_topic

Wakumail = Callable[..., str]
ENVELOPE = make(1, [b"topi"], created=1_000_000_000)[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server") / "data", "--min-pow", "0") as server:
        yield server


@pytest.fixture
def wakumail(capsys: pytest.CaptureFixture[str]) -> Wakumail:
    """Runs a command in this process; returns its stdout."""

    def run(*arguments: object, code: int = 0) -> str:
        words = [str(argument) for argument in arguments]
        parsed = parser(words[:1]).parse_args(words)
        assert parsed.run(parsed) == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def chat() -> str:
    """The name of a chat that no other test uses."""
    return f"chat {os.urandom(4).hex()}"


def messages(output: str) -> list[Any]:
    """The messages of a JSON result."""
    return list(json.loads(output)["messages"])


def test_a_public_chat(server: Server, wakumail: Wakumail, chat: str) -> None:
    sent = wakumail("post", server.enode, "--chat", chat, "--payload", "good morning")
    assert sent == "1 envelope sent, 1 confirmed\n"
    got = wakumail("request", server.enode, "--chat", chat)
    topic = public_chat_topic(chat).hex()
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ {topic} [0-9a-f]{{64}} \d+ unsigned good morning\n",
        got,
    )
    [message] = messages(wakumail("request", server.enode, "--chat", chat, "--json"))
    assert (message["text"], message["signer"], message["topic"]) == ("good morning", None, topic)
    assert message["payload"] == b"good morning".hex()


def test_signed_messages(server: Server, wakumail: Wakumail, chat: str, tmp_path: Path) -> None:
    signer = load_or_create_node_key(tmp_path / "signer", os.urandom)
    flags = ["--chat", chat, "--payload", "it is me", "--sign-with", tmp_path / "signer"]
    wakumail("post", server.enode, *flags)
    identity = node_id(signer.public_key).hex()
    assert f" {identity[:16]}… it is me\n" in wakumail("request", server.enode, "--chat", chat)
    [message] = messages(wakumail("request", server.enode, "--chat", chat, "--json"))
    assert message["signer"] == identity


def test_every_kind_of_key(server: Server, wakumail: Wakumail, tmp_path: Path) -> None:
    topic = os.urandom(4).hex()
    receiver = load_or_create_node_key(tmp_path / "receiver", os.urandom)
    (tmp_path / "payload").write_bytes(b"\xff\0")
    for recipient in (
        ["--password", "one", "--payload", "first"],
        ["--password", "two", "--payload", "second"],
        ["--public-key", node_id(receiver.public_key).hex(), "--payload", "third"],
        ["--public-key", f"0x04{node_id(receiver.public_key).hex()}", "--payload", "fourth"],
        ["--password", "nobody's", "--payload-file", tmp_path / "payload"],
    ):
        wakumail("post", server.enode, "--topic", topic, *recipient)
    (tmp_path / "two").write_text(symmetric_key("two").hex() + "\r\n")
    opening = ["--message-password", "one", "--message-key-file", tmp_path / "two"]
    opening += ["--private-key-file", tmp_path / "receiver"]

    lines = wakumail("request", server.enode, "--topic", topic, *opening).splitlines()
    assert sorted(line.split()[5:] for line in lines) == [
        [],
        *(["first"], ["fourth"], ["second"], ["third"]),
    ]

    result = json.loads(wakumail("request", server.enode, "--topic", topic, *opening, "--json"))
    texts = {message["text"] for message in result["messages"]}
    assert texts == {"first", "second", "third", "fourth"}
    assert result["envelopes"] == 5
    [unopened] = result["unopened"]
    assert unopened.keys() == {"created", "topic", "hash", "size"}

    out = tmp_path / "dump"
    lines = wakumail("request", server.enode, "--topic", topic, *opening, "--out", out).splitlines()
    assert sorted(line.split()[5] for line in lines) == ["first", "fourth", "second", "third"]
    assert len(parse_stream(out.read_bytes(), final=True)[0]) == 5

    result = json.loads(wakumail("request", server.enode, "--topic", topic, "--json"))
    totals = {"envelopes", "foreign", "pages", "last_hash", "cursor"}
    assert result.keys() == totals | {"messages", "unopened"}
    assert (len(result["messages"]), len(result["unopened"])) == (0, 5)

    with pytest.raises(FileExistsError, match="--force"):
        wakumail("request", server.enode, "--topic", topic, "--out", out)
    wakumail("request", server.enode, "--topic", topic, "--out", out, "--force", "--limit", 1)
    assert len(parse_stream(out.read_bytes(), final=True)[0]) == 1
    with pytest.raises(ConnectionRefusedError):
        wakumail("request", nobody(), "--topic", topic, "--out", out, "--force")
    assert len(parse_stream(out.read_bytes(), final=True)[0]) == 1


def test_several_mailservers(server: Server, wakumail: Wakumail, chat: str, tmp_path: Path) -> None:
    wakumail("post", server.enode, "--chat", chat, "--payload", "found")
    (tmp_path / "more").write_text(json.dumps([server.enode]))
    for flags in ([], ["--fastest"], ["--all", "--from", "3d"]):
        both = [nobody(), "--mailservers", tmp_path / "more", "--chat", chat, *flags]
        result = json.loads(wakumail("request", *both, "--json"))
        assert [message["text"] for message in result["messages"]] == ["found"]
        assert result["mailserver"] == server.enode


@pytest.fixture
def listed(server: Server) -> Iterator[TxtServer]:
    """A name server with a list of two mailservers, one of which nobody runs, and a node."""
    own = load_node_key(server.datadir / "nodekey")
    port = Enode.parse(server.enode).port
    running = Enr.make(own, 1, {b"ip": bytes([127, 0, 0, 1]), b"tcp": port, b"waku": [1, 1]})
    records = [running, record(1, mailserver=True), record(2), *map(record, range(3, 30))]
    with TxtServer(DnsTree(key("list.example"), "list.example", 1, records).texts) as dns:
        yield dns


@pytest.mark.parametrize("flags", [[], ["--fastest"], ["--all", "--from", "3d"], ["--merge"]])
def test_the_mailservers_of_a_list(
    server: Server, listed: TxtServer, wakumail: Wakumail, chat: str, flags: list[str]
) -> None:
    wakumail("post", server.enode, "--chat", chat, "--payload", "found")
    of = ["request", url("list.example"), "--dns-server", listed.at]
    result = json.loads(wakumail(*of, "--chat", chat, *flags, "--json"))
    assert [message["text"] for message in result["messages"]] == ["found"]
    answered = (
        [each["mailserver"] for each in result["mailservers"] if not each["error"]]
        if "--merge" in flags
        else [result["mailserver"]]
    )
    assert [Enode.parse(each).node_id for each in answered] == [Enode.parse(server.enode).node_id]


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        ("nodes.example", "enrtree://.*@nodes.example$"),
        ("gone.example", "gone.example: the DNS has no such name"),
        ("bad.example", "bad.example: .* no root"),
    ],
)
def test_a_list_without_a_mailserver(
    listed: TxtServer, wakumail: Wakumail, domain: str, why: str
) -> None:
    listed.texts |= tree("nodes.example", range(3)).texts | {"bad.example": "text"}
    with pytest.raises(NoMailserverListed, match=why):
        wakumail("request", url(domain), "--dns-server", listed.at, "--chat", "any")


def test_a_mailserver_without_an_address_is_none(listed: TxtServer, wakumail: Wakumail) -> None:
    nowhere = [Enr.make(key(number), 1, {b"waku": [1, 1]}) for number in range(3)]
    listed.texts |= DnsTree(key("list.example"), "list.example", 1, nowhere).texts
    with pytest.raises(NoMailserverListed):
        wakumail("request", url("list.example"), "--dns-server", listed.at, "--chat", "any")


def test_no_mailserver_answers(wakumail: Wakumail) -> None:
    with pytest.raises(NoMailserver, match=r"127\.0\.0\.1:1: .*; 127\.0\.0\.1:1: "):
        wakumail("request", nobody(), nobody(), "--chat", "any")


def test_refused_envelopes(server: Server, wakumail: Wakumail, tmp_path: Path) -> None:
    early = make(1, [b"topi"], created=int(time.time()) + 600)
    (tmp_path / "early").write_bytes(dump(early))
    told = wakumail("post", server.enode, "--dump", tmp_path / "early", code=1)
    assert told.startswith("1 envelope sent, 0 confirmed\nrefused: ")


def test_withheld_envelopes(server: Server, wakumail: Wakumail, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(dump([ENVELOPE]))
    command = ["post", server.enode, "--dump", tmp_path / "old"]
    told = wakumail(*command, code=1)
    assert told == "0 envelopes sent, 0 confirmed\nwithheld: expired envelope\n"
    result = json.loads(wakumail(*command, "--json", code=1))
    assert result["withheld"] == [{"hash": ENVELOPE.hash.hex(), "reason": "expired envelope"}]


def test_a_node_that_confirms_nothing(wakumail: Wakumail, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(dump(make(2, [b"topi"])))
    with Server(tmp_path / "data", "--min-pow", "0", "--no-confirmations") as server:
        command = ["post", server.enode, "--dump", tmp_path / "dump"]
        assert wakumail(*command, code=1) == "2 envelopes sent, 0 confirmed\n"
        assert wakumail(*command, "--unconfirmed") == "2 envelopes sent, 0 confirmed\n"


def test_a_dump_that_is_none(server: Server, wakumail: Wakumail, tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("no dump at all")
    told = wakumail("post", server.enode, "--dump", tmp_path / "dump", code=1)
    assert told == "0 envelopes sent, 0 confirmed\n"


def test_a_canary_gives_up_when_it_is_told_to(wakumail: Wakumail) -> None:
    with silent() as enode:
        told = wakumail("canary", enode, "--timeout", 0.05, code=1)
    assert told == "failed at connect: not connected within 0.05 s\n"


def test_who_cannot_be_reached_is_named(wakumail: Wakumail) -> None:
    told = wakumail("canary", nobody(), code=1)
    assert told == "failed at connect: 127.0.0.1:1: Connection refused\n"


@pytest.mark.parametrize("words", ["request ENODE --bloom full", "post ENODE --chat x --payload x"])
def test_who_is_given_up_is_named(wakumail: Wakumail, words: str) -> None:
    with silent() as enode:
        command = words.replace("ENODE", str(enode)).split()
        with pytest.raises(AnswerTimeout) as caught:
            wakumail(*command, "--timeout", 0.05)
        assert str(caught.value) == f"{enode.address}: not connected within 0.05 s"


def test_the_work_is_given_up(wakumail: Wakumail) -> None:
    flags = ["--chat", "any", "--payload", "x", "--pow", 1e12, "--pow-time", 0]
    with pytest.raises(PowNotReached):
        wakumail("post", nobody(), *flags)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("request --chat x", "give at least one ENODE"),
        ("request ENODE", "--topic or --chat, or a --bloom"),
        ("request ENODE --chat x --timeout 0", "more than 0"),
        ("canary ENODE --timeout 0", "more than 0"),
        ("request ENODE --chat x --limit 1001", "from 1 to 1000"),
        ("request ENODE ENODE --chat x --cursor 00", "needs a single ENODE"),
        (f"request {url('list.example')} --chat x --cursor 00", "needs a single ENODE"),
        ("request enrtree://x --chat x", "a DNS list looks like enrtree://"),
        ("request ENODE --chat x --dns-server name", "is no name server"),
        ("request ENODE --chat x --json --out -", "both write to stdout"),
        ("request --mailservers FILE --chat x", "FILE: "),
        ("request ENODE --chat x --from 2h --to 3h", "--from is later than --to"),
        ("post ENODE --payload x", "needs --chat, or --topic and"),
        ("post ENODE --payload x --topic 01020304", "needs --chat, or --topic and"),
        ("post ENODE --payload x --password x", "needs --chat, or --topic and"),
        ("post ENODE --payload x --chat x --topic 01020304", "leave out --topic"),
        ("post ENODE --payload x --chat x --password x", "not allowed with"),
        ("post ENODE --payload x --chat x --ttl 9", "at least 10"),
        ("post ENODE --payload x --topic 01020304 --public-key 0x05", "a public key is 128"),
        (f"post ENODE --payload x --topic 01020304 --public-key {'ff' * 64}", "a public key is"),
        (f"post ENODE --payload x --topic 01020304 --public-key 05{'01' * 64}", "that begin with"),
        ("post ENODE --dump x --topic 01020304", "--topic is for a payload"),
        ("post ENODE --dump x --chat x", "--chat is for a payload"),
        ("post ENODE --dump x --password x", "--password is for a payload"),
        ("post ENODE --dump x --public-key KEY", "--public-key is for a payload"),
        ("post ENODE --dump x --sign-with x", "--sign-with is for a payload"),
        ("post ENODE --dump x --ttl 50", "--ttl is for a payload"),
    ],
)
def test_wrong_usage(
    wakumail: Wakumail, capsys: pytest.CaptureFixture[str], arguments: str, text: str
) -> None:
    written = arguments.replace("ENODE", str(nobody())).replace("KEY", nobody().node_id.hex())
    with pytest.raises(SystemExit) as ended:
        wakumail(*written.split())
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", '["enode://"]', "[1]", "[" * 100_000, "\xff", ""])
def test_a_list_of_mailservers_that_is_none(
    wakumail: Wakumail, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "list"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(SystemExit):
        wakumail("request", "--mailservers", file, "--chat", "x")
    assert f"{file}: " in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--message-key-file", "--private-key-file"])
@pytest.mark.parametrize("content", ["", "ab", "zz" * 32, "ab" * 33, "ab" * 10_000])
def test_key_files_that_hold_none(
    wakumail: Wakumail, tmp_path: Path, flag: str, content: str
) -> None:
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"{file} holds no ") as refused:
        wakumail("request", nobody(), "--chat", "x", flag, file)
    assert not content or content not in str(refused.value)
    with pytest.raises(FileNotFoundError):
        wakumail("request", nobody(), "--chat", "x", flag, tmp_path / "nowhere")


def test_lines() -> None:
    end = f"746f7069 {ENVELOPE.hash.hex()} {len(ENVELOPE.rlp)}"
    assert line(ENVELOPE, None) == f"{utc(ENVELOPE.created)} {end}"
    assert utc(1_000_000_000) == "2001-09-09T01:46:40Z"


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"two\nlines\x1b[2J", "two?lines?[2J"),
        ("grüß dich".encode(), "grüß dich"),
        (b"x" * 5000, "x" * MAX_TEXT),
        (b"\xff\0", "0xff00"),
        (b"\xff" * 65, "0x" + "ff" * 64 + "…"),
        (b"", ""),
    ],
)
def test_what_a_message_says_does_not_steer_the_terminal(payload: bytes, shown: str) -> None:
    message = ReceivedMessage(ENVELOPE, payload, b"", None, None)
    assert line(ENVELOPE, message) == f"{line(ENVELOPE, None)} unsigned {shown}"


def test_entries() -> None:
    signer = generate(os.urandom).public_key
    binary = message_entry(ReceivedMessage(ENVELOPE, b"\xff", b"", signer, None))
    assert binary == entry(ENVELOPE) | {
        "signer": node_id(signer),
        "payload": b"\xff",
        "text": None,
    }
    text = message_entry(ReceivedMessage(ENVELOPE, b"two\nlines", b"", None, None))
    assert (text["signer"], text["text"]) == (None, "two\nlines")


def test_merge(
    tmp_path: Path,
    server: Server,
    wakumail: Wakumail,
    chat: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each of two mailservers has what the other lacks; a third is not there."""
    texts = ["one", "two", "three"]
    absent = nobody()
    with Server(tmp_path / "other", "--min-pow", "0") as other:
        wakumail("post", server.enode, "--chat", chat, "--payload", texts[0])
        for text in texts[1:]:
            wakumail("post", other.enode, "--chat", chat, "--payload", text)
        enodes = (server.enode, other.enode, absent)
        flags = ("--chat", chat, "--merge")
        result = json.loads(wakumail("request", *enodes, *flags, "--json"))
        assert main(["request", *map(str, enodes), *flags]) == 0
    shown, told = capsys.readouterr()
    addresses = [Enode.parse(str(enode)).address for enode in enodes]
    outcomes = ["lacks 2", "lacks 1", "failed: Connection refused"]
    for address, outcome in zip(addresses, outcomes, strict=True):
        assert f"\n{address} {outcome}\n" in told
    assert sorted(message["text"] for message in result["messages"]) == sorted(texts)
    assert sorted(text.split()[-1] for text in shown.splitlines()) == sorted(texts)
    assert result["envelopes"] == 3
    parts = result["mailservers"]
    assert [part["lacking"] for part in parts] == [2, 1, 0]
    assert [sum(part["lacking_by_hour"].values()) for part in parts] == [2, 1, 0]
    assert [part["error"] is None for part in parts] == [True, True, False]


@pytest.mark.parametrize("flags", [(), ("--fastest",)])
def test_merge_needs_several(
    server: Server, wakumail: Wakumail, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    enodes = [server.enode, nobody()] if flags else [server.enode]
    with pytest.raises(SystemExit) as usage:
        wakumail("request", *enodes, "--merge", "--bloom", "full", *flags)
    assert usage.value.code == 2
    assert "--merge" in capsys.readouterr().err


@asynchronous
async def test_a_mailserver_without_end() -> None:
    """One new envelope a page. Alone it is an error; beside another, that one's envelopes come."""
    now = int(time.time())

    def one_by_one(link: Link, request: Request) -> None:
        created = now - 60 - len(both[0].requests)
        link.peer.deliver_history(packet([make_envelope(created + 50, 50, b"topi", b"x", 0)]))
        complete(link, request, os.urandom(36))

    flags = ("--topic", b"topi".hex(), "--from", "1h", "--json")
    older = make(3, [b"topi"], created=now - 1800)
    async with several(one_by_one, archive_of(older)) as both:
        first, second = (str(server.enode) for server in both)
        for words in ((first, second, "--all"), (first, second, "--merge")):
            code, shown, told = await requested(*words, *flags)
            found = {each["hash"] for each in json.loads(shown)["unopened"]}
            assert {envelope.hash.hex() for envelope in older} <= found
            assert (code, f"{both[0].enode.address}: 100 pages in a row" in told) == (0, True)
        code, _, told = await requested(first, "--all", *flags)
    assert (code, "100 pages in a row" in told) == (1, True)


@pytest.mark.parametrize("form", ["--json", "--limit=3"])
@asynchronous
async def test_pages_that_came_before_a_failure_are_told(form: str) -> None:
    """With --json nothing was printed, and without it neither the number nor the cursor."""
    envelopes = make(3, [b"topi"], created=int(time.time()) - 600)

    def once(link: Link, request: Request) -> None:
        if request.cursor:
            link.peer.complete_history(
                Completion(request.request_id, error="no more today").encode(CompletionForm.BYTES)
            )
        else:
            link.peer.deliver_history(packet(envelopes))
            complete(link, request, bytes(36))

    async with several(once) as (server,):
        flags = ("--topic", b"topi".hex(), "--from", "1h", "--all", form)
        code, shown, told = await requested(str(server.enode), *flags)
    assert code == 1
    assert "no more today" in told
    if form == "--json":
        result = json.loads(shown)
        assert (result["envelopes"], result["pages"]) == (3, 1)
        assert result["cursor"] == bytes(36).hex()
    else:
        assert f"3 envelopes in 1 page; more with --cursor {bytes(36).hex()}" in told


async def requested(*words: str) -> tuple[int | None, bytes, str]:
    """The exit code, the output and the errors of `wakumail request` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *WAKUMAIL, "request", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    shown, told = await process.communicate()
    return process.returncode, shown, told.decode()
