"""Archives read and joined by commands: lines of JSON, the examples that read them, merge."""

import importlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.archive_damage import break_envelope
from tests.support.commands import call, call_json
from tests.support.envelopes import TTL, dump, make, newest_first
from tests.support.patience import PATIENCE
from wakumail.devp2p.keys import PrivateKey, generate, node_id
from wakumail.waku.envelope import Envelope, make_envelope, parse_stream
from wakumail.waku.message import seal, symmetric_key
from wakumail.waku.topics import public_chat_topic

PAGE = Path(__file__).parents[2] / "docs" / "reading.md"
TOPICS = [b"tpc" + bytes([number]) for number in range(3)]
CHAT = "status"
NOW = int(time.time())
WRITER = generate(os.urandom)
RECEIVER = generate(os.urandom)


def message(created: int, payload: bytes, *, topic: bytes, **sealing: Any) -> Envelope:
    data = seal(payload, random=os.urandom, **sealing)
    return make_envelope(created + TTL, TTL, topic, data, 7)


@pytest.fixture(scope="module")
def envelopes() -> list[Envelope]:
    """Those of a chat, one for a receiver, and others that nobody here opens."""
    chat: dict[str, Any] = {"topic": public_chat_topic(CHAT), "key": symmetric_key(CHAT)}
    told = [message(NOW - 7200 + n, f"line {n}".encode(), sign_with=WRITER, **chat) for n in (0, 1)]
    told.append(message(NOW - 100, b"\xff\xfe", **chat))
    secret = message(NOW - 50, b"psst", topic=TOPICS[0], key=RECEIVER.public_key)
    return [*told, secret, *make(40, TOPICS)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, envelopes: list[Envelope]) -> Path:
    datadir = tmp_path_factory.mktemp("filled") / "data"
    call("archive", "import", "--datadir", datadir, stdin=dump(envelopes))
    return datadir


def lines(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_line_has_all_fields(filled: Path, envelopes: list[Envelope]) -> None:
    told = lines(call("archive", "export", "--datadir", filled, "--json"))
    told.sort(key=lambda each: (each["created"], each["hash"]))
    wanted = newest_first(envelopes)[::-1]
    assert told == [
        {
            "created": envelope.created,
            "topic": envelope.topic.hex(),
            "hash": envelope.hash.hex(),
            "size": len(envelope.rlp),
            "expiry": envelope.expiry,
            "ttl": envelope.ttl,
            "nonce": envelope.nonce,
            "pow": envelope.pow,
            "data": envelope.data.hex(),
        }
        for envelope in wanted
    ]
    rebuilt = [
        make_envelope(e["expiry"], e["ttl"], bytes.fromhex(e["topic"]), bytes.fromhex(e["data"]), n)
        for e in told
        for n in [e["nonce"]]
    ]
    assert rebuilt == wanted


def test_a_choice_is_told_oldest_first(filled: Path, envelopes: list[Envelope]) -> None:
    chosen = ["--topic", TOPICS[1].hex(), "--from", "1h"]
    told = lines(call("archive", "export", "--datadir", filled, "--json", *chosen))
    wanted = [e for e in newest_first(envelopes)[::-1] if e.topic == TOPICS[1]]
    assert [each["hash"] for each in told] == [each.hash.hex() for each in wanted]


def test_a_chat_chooses_its_topic_for_a_dump_too(filled: Path, envelopes: list[Envelope]) -> None:
    dump = call("archive", "export", "--datadir", filled, "--chat", CHAT)
    topic = public_chat_topic(CHAT)
    assert dump == b"".join(e.rlp for e in newest_first(envelopes)[::-1] if e.topic == topic)


def test_a_chat_is_opened(filled: Path) -> None:
    told = lines(call("archive", "export", "--datadir", filled, "--json", "--chat", CHAT))
    assert {each["topic"] for each in told} == {public_chat_topic(CHAT).hex()}
    assert [each["text"] for each in told] == ["line 0", "line 1", None]
    assert [each["payload"] for each in told] == [b"line 0".hex(), b"line 1".hex(), "fffe"]
    signer = node_id(WRITER.public_key).hex()
    assert [each["signer"] for each in told] == [signer, signer, None]
    assert all(len(each["padding"]) for each in told)


def test_each_line_has_the_same_fields(filled: Path, tmp_path: Path) -> None:
    """With keys of several kinds, and envelopes that none of them opens."""
    (tmp_path / "private").write_text(private_digits(RECEIVER))
    (tmp_path / "key").write_text(symmetric_key(CHAT).hex())
    keys = ["--private-key-file", tmp_path / "private", "--message-key-file", tmp_path / "key"]
    told = lines(call("archive", "export", "--datadir", filled, "--json", *keys))
    assert len(told) == 44
    assert len({tuple(each) for each in told}) == 1
    [secret] = [each for each in told if each["recipient"]]
    assert secret["recipient"] == node_id(RECEIVER.public_key).hex()
    assert secret["text"] == "psst"
    assert sum(each["payload"] is not None for each in told) == 4


def private_digits(key: PrivateKey) -> str:
    return str(key.to_hex())


def test_every_line_is_json(tmp_path: Path) -> None:
    """A ttl of 0 makes the PoW infinite, for which JSON has no number."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    call(
        "archive",
        "import",
        "--datadir",
        tmp_path,
        stdin=dump([make_envelope(NOW, 0, b"zero", b"x", 7)]),
    )
    line = call("archive", "export", "--datadir", tmp_path, "--json")
    assert json.loads(line, parse_constant=refuse)["pow"] is None


def test_damage_is_told_with_its_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    envelopes = make(5, TOPICS)
    call("archive", "import", "--datadir", tmp_path / "a", stdin=dump(envelopes))
    break_envelope(tmp_path / "a", envelopes[2])
    told = "1 damaged envelope left out; wakumail archive verify tells more"
    merging = ("archive", "merge", tmp_path / "a", "--datadir", tmp_path / "b", "--json")
    [source] = json.loads(call(*merging, check=1))["sources"]
    assert source == {"from": str(tmp_path / "a"), "stored": 4, "duplicates": 0, "damaged": 1}
    assert f"wakumail archive: {tmp_path / 'a'}: {told}" in capsys.readouterr().err
    sound = call("archive", "export", "--datadir", tmp_path / "b", "--from", "0")
    for chosen in (
        [],
        ["--from", "0"],
        [each for topic in TOPICS for each in ("--topic", topic.hex())],
    ):
        command = ["archive", "export", "--datadir", tmp_path / "a", *chosen]
        exported = call(*command, check=1)
        assert f"4 envelopes exported\nwakumail archive: {told}" in capsys.readouterr().err
        assert sorted(split_stream(exported)) == sorted(split_stream(sound))
        assert len(lines(call(*command, "--json", check=1))) == 4


def split_stream(stream: bytes) -> list[bytes]:
    return [each.rlp for each in parse_stream(stream, final=True)[0]]


def test_keys_are_for_lines_of_json(filled: Path) -> None:
    call("archive", "export", "--datadir", filled, "--message-password", CHAT, check=2)


# -- the examples of the page -------------------------------------------------------------------


def example(language: str) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


def lack(name: str) -> None:
    """Skip, for a tool is not installed; CI has them all."""
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    pytest.skip(f"{name} is not installed")


def module(name: str) -> Any:
    """A package that only CI has to have."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return lack(name)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, filled: Path) -> Path:
    """A folder with the files that the commands of the page make."""
    folder = tmp_path_factory.mktemp("exported")
    commands = re.findall(r"^    \$ wakumail (archive export .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        *words, file = command.replace("--datadir data", f"--datadir {filled}").split()
        call(*words, folder / file)
    return folder


def test_the_example_of_jq(exported: Path) -> None:
    if shutil.which("jq") is None:
        lack("jq")
    done = subprocess.run(
        ["sh", "-c", example("sh")], cwd=exported, capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    times = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 7200 + n)) for n in (0, 1)]
    assert done.stdout.decode().splitlines() == [f"{at} line {n}" for n, at in enumerate(times)]


def test_the_example_of_duckdb(
    exported: Path, envelopes: list[Envelope], monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = module("duckdb")
    monkeypatch.chdir(exported)
    rows = duckdb.sql(example("sql")).fetchall()
    expected: dict[tuple[str, str], list[int]] = {}
    for envelope in envelopes:
        day = time.strftime("%Y-%m-%d", time.gmtime(envelope.created))
        counted = expected.setdefault((day, envelope.topic.hex()), [0, 0])
        counted[0] += 1
        counted[1] += len(envelope.rlp)
    found = {(f"{day:%Y-%m-%d}", topic): [count, size] for day, topic, count, size in rows}
    assert found == expected


def test_the_example_of_pandas(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module("pandas")
    monkeypatch.chdir(exported)
    names: dict[str, Any] = {}
    exec(example("py"), names)  # the page is ours
    hours = names["hours"]
    assert hours["messages"].sum() == 2
    assert set(hours["writers"]) == {1}


# -- merge --------------------------------------------------------------------------------------


def test_archives_are_merged(tmp_path: Path) -> None:
    """An envelope that several have is stored once; the sources are as they were."""
    envelopes = make(90, TOPICS)
    for name, part in (("a", envelopes[:60]), ("b", envelopes[30:]), ("into", envelopes[:10])):
        call("archive", "import", "--datadir", tmp_path / name, stdin=dump(part))
    sources = [tmp_path / "a", tmp_path / "b"]
    told = call_json("archive", "merge", *sources, "--datadir", tmp_path / "into")
    assert told == {
        "sources": [
            {"from": str(tmp_path / "a"), "stored": 50, "duplicates": 10, "damaged": 0},
            {"from": str(tmp_path / "b"), "stored": 30, "duplicates": 30, "damaged": 0},
        ]
    }
    merged = call("archive", "export", "--datadir", tmp_path / "into", "--from", "0")
    assert merged == dump(newest_first(envelopes)[::-1])
    source = call("archive", "export", "--datadir", tmp_path / "a", "--from", "0")
    assert source == dump(newest_first(envelopes[:60])[::-1])
    verified = call_json("archive", "verify", "--datadir", tmp_path / "into")
    assert (verified["envelopes"], verified["count"]) == (90, 0)
    again = call("archive", "merge", *sources, "--datadir", tmp_path / "new").decode()
    assert again == (
        f"{tmp_path / 'a'}: 60 envelopes stored, 0 already there\n"
        f"{tmp_path / 'b'}: 30 envelopes stored, 30 already there\n"
    )


def test_nothing_is_merged_from_what_is_no_archive(tmp_path: Path) -> None:
    call("archive", "import", "--datadir", tmp_path / "a", stdin=dump(make(5, TOPICS)))
    for wrong in (tmp_path / "absent", tmp_path / "a"):
        into = tmp_path / "a" if wrong == tmp_path / "a" else tmp_path / "into"
        call("archive", "merge", tmp_path / "a", wrong, "--datadir", into, check=1)
    assert not (tmp_path / "into").exists()
