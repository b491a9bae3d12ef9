"""The archive commands in processes of their own, some beside a server."""

import array
import fcntl
import gzip
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.support.archive_damage import break_envelope, flip_data
from tests.support.archive_model import put_row
from tests.support.commands import attempt, call, call_json
from tests.support.envelopes import dump, make, newest_first
from tests.support.patience import until
from tests.support.processes import WAKUMAIL, Server
from wakumail.archive.archive import Archive
from wakumail.cli.command_line import main
from wakumail.waku.envelope import Envelope, parse_stream

TOPICS = [b"tpc" + bytes([number]) for number in range(4)]
DAY = 86400
NOW = int(time.time())


@pytest.fixture(scope="module")
def envelopes() -> list[Envelope]:
    """Three days of envelopes."""
    return [
        envelope
        for day in range(3)
        for envelope in make(400, TOPICS, created=NOW - day * DAY, spread=3600, seed=day)
    ]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, envelopes: list[Envelope]) -> Path:
    """A data directory that tests only read."""
    datadir = tmp_path_factory.mktemp("filled") / "data"
    result = call_json("archive", "import", "--datadir", datadir, stdin=dump(envelopes))
    assert result == {"stored": 1200, "duplicates": 0, "malformed": 0, "misplaced": 0}
    return datadir


@pytest.fixture
def own(tmp_path: Path, envelopes: list[Envelope]) -> Path:
    """A data directory for this test alone."""
    call("archive", "import", "--datadir", tmp_path / "data", stdin=dump(envelopes))
    return tmp_path / "data"


def test_the_data_directory_is_by_default_that_of_serve(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "wakumail.toml"
    config.write_text(f'datadir = "{filled}"')
    monkeypatch.chdir(tmp_path)
    call("archive", "stat", check=1)
    assert "data/archive" in capfd.readouterr().err
    monkeypatch.setenv("WAKUMAIL_CONFIG", str(config))
    assert call_json("archive", "stat")["envelopes"] == 1200
    call("archive", "backup", tmp_path / "backup")
    monkeypatch.setenv("WAKUMAIL_DATADIR", str(tmp_path / "restored"))
    call("archive", "restore", tmp_path / "backup")
    assert call_json("archive", "stat")["envelopes"] == 1200
    config.write_text("datadirectory = 1")
    call("archive", "stat", check=2)
    assert "unknown key 'datadirectory'" in capfd.readouterr().err


def test_export_tells_its_count(filled: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call("archive", "export", "--datadir", filled)
    assert capfd.readouterr().err == "1,200 envelopes exported\n"
    call("archive", "export", "--datadir", filled, "--topic", TOPICS[0].hex())
    assert capfd.readouterr().err == "300 envelopes exported\n"


def test_a_place_past_the_end_is_an_error(
    filled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "dump"
    call("archive", "export", "--datadir", filled, file)
    size = file.stat().st_size
    flags = ("--datadir", tmp_path / "data", file, "--after")
    call("archive", "import", *flags, size.to_bytes(8, "big").hex())
    capfd.readouterr()
    call("archive", "import", *flags, (size + 1).to_bytes(8, "big").hex(), check=1)
    assert f"is past the end: {file} has {size} bytes" in capfd.readouterr().err
    call("archive", "export", "--datadir", filled, "--after", f"{1200:016x}")
    call("archive", "export", "--datadir", filled, "--after", f"{1201:016x}", check=1)
    assert f"is past the end: the last place is {1200:016x}" in capfd.readouterr().err


def test_stat_has_a_line_for_each_day(filled: Path) -> None:
    result = call_json("archive", "stat", "--datadir", filled)
    assert result["envelopes"] == 1200
    assert sum(day["envelopes"] for day in result["days"]) == 1200
    text = call("archive", "stat", "--datadir", filled).decode()
    assert len([line for line in text.splitlines() if "█" in line]) == len(result["days"])


def test_stat_tells_when_the_disk_is_full(own: Path) -> None:
    flags = ["archive", "stat", "--datadir", own]
    kept, never = call_json(*flags), call_json(*flags, "--retention", 0)
    assert kept["size"] == (own / "archive" / "data.mdb").stat().st_size
    assert (kept["full"], kept["full_in"]) == ("never: as much is deleted as arrives", None)
    assert never["full"] != kept["full"]
    room = never["free_bytes"] + never["disk_free"]
    assert never["full_in"] == pytest.approx(room / never["daily_growth"] * DAY)
    text = call(*flags).decode()
    assert "\nfull        never: as much is deleted as arrives\n" in text
    assert "\nbounds      --retention 30 --max-size 0\n" in text
    assert "wakumail archive compact" not in text
    pruned = call("archive", "prune", "--datadir", own, "--before", NOW - DAY + 7200).decode()
    for told in (pruned, call(*flags).decode()):
        assert "stop the server and run `wakumail archive compact`" in told


def test_export_chooses_by_time_and_topic(filled: Path, envelopes: list[Envelope]) -> None:
    chosen = ["--from", NOW - 2 * DAY - 7200, "--to", NOW - DAY, "--topic", TOPICS[1].hex()]
    exported = call("archive", "export", "--datadir", filled, *chosen)
    wanted = [
        e
        for e in envelopes
        if NOW - 2 * DAY - 7200 <= e.created <= NOW - DAY and e.topic == TOPICS[1]
    ]
    assert exported == dump(newest_first(wanted)[::-1])
    assert len(wanted) > 150


def test_what_is_no_envelope_is_left_out_and_counted(
    tmp_path: Path, envelopes: list[Envelope]
) -> None:
    bad = b"\xc3\x01\x02\x03"
    data = dump(envelopes[:10]) + bad + dump(envelopes[10:20]) + bad
    file = tmp_path / "dump"
    file.write_bytes(data)
    command = ["archive", "import", "--datadir", tmp_path / "data", file]
    result = call_json(*command, check=1)
    assert result == {"stored": 20, "duplicates": 0, "malformed": 2, "misplaced": 0}
    file.write_bytes(data + b"\xf8\xff")
    told = b"0 envelopes stored, 20 already there\n"
    assert call(*command, check=1).startswith(told)  # the totals up to the failure
    file.write_bytes(b"no dump at all" * 100)
    told = b"0 envelopes stored, 0 already there\nleft out: 1,400 that are not envelopes"
    assert call(*command, check=1).startswith(told)


def test_a_cut_dump_is_told_wherever_it_is_cut(tmp_path: Path) -> None:
    envelopes = make(3, TOPICS, size=10)
    whole = dump(envelopes)
    ends = {len(dump(envelopes[:count])) for count in range(1, 4)}
    file = tmp_path / "dump"
    flags = ["archive", "import", "--datadir", str(tmp_path / "data"), str(file)]
    for size in range(len(whole) + 1):
        file.write_bytes(whole[:size])
        assert main(flags) == (0 if size in ends else 1), size


def test_a_pipe_whose_writer_dies_is_told(tmp_path: Path) -> None:
    whole = dump(make(200, TOPICS))
    dying_words = f"os.write(1, bytes.fromhex({whole.hex()!r})[:-10])"
    writer = f"import os; {dying_words}; os.kill(os.getpid(), 9)"
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as dying:
        command = [*WAKUMAIL, "archive", "import", "--datadir", str(tmp_path / "data")]
        done = subprocess.run(command, stdin=dying.stdout, capture_output=True, text=True)
    assert done.returncode == 1
    assert "an envelope cut short" in done.stderr
    assert "199 envelopes stored" in done.stdout


def queued(pipe: int) -> int:
    """Bytes in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def sleeps(pid: int) -> bool:
    """True if a process waits for something."""
    return "\nState:\tS" in Path(f"/proc/{pid}/status").read_text()


def test_a_pipe_that_does_not_block_is_read_to_its_end(tmp_path: Path) -> None:
    envelopes = make(50, TOPICS)
    end, other = os.pipe()
    os.set_blocking(end, False)
    command = [*WAKUMAIL, "archive", "import", "--datadir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=end, stdout=subprocess.PIPE, text=True) as importing:
        os.write(other, dump(envelopes[:20]))
        until(lambda: not queued(end) and sleeps(importing.pid))
        os.write(other, dump(envelopes[20:]))
        os.close(other)
        os.close(end)
        assert importing.stdout is not None
        assert "50 envelopes stored" in importing.stdout.read()
    assert importing.returncode == 0


def test_an_empty_source_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A command whose dump we read may have failed before its first envelope."""
    assert attempt("archive", "import", "--datadir", tmp_path / "data")[0] == 1
    assert "the source is empty" in capfd.readouterr().err


DUMP = dump(make(50, TOPICS))


@pytest.mark.parametrize("by", ["file", "stdin"])
@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(b"", id="empty"),
        pytest.param(DUMP[:-7], id="cut in an envelope"),
        pytest.param(DUMP + b"\n", id="a line feed behind it"),
        pytest.param(DUMP + b"\xff" * 20, id="garbage behind it"),
        pytest.param(DUMP + bytes(5000), id="zeros behind it"),
        pytest.param(DUMP[: len(DUMP) // 2] + bytes(len(DUMP) // 2), id="zeros at the end"),
        pytest.param(DUMP[:2000] + bytes(512) + DUMP[2512:], id="zeros in an envelope"),
        pytest.param(bytes(5000), id="zeros"),
        pytest.param(gzip.compress(DUMP), id="gzip"),
        pytest.param(b'{"hash":"0x00"}\n' * 20, id="lines of JSON"),
    ],
)
def test_a_damaged_dump_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], damaged: bytes, by: str
) -> None:
    command = ["archive", "import", "--datadir", tmp_path / "data"]
    file = tmp_path / "dump"
    file.write_bytes(damaged)
    code, said = attempt(*command, file) if by == "file" else attempt(*command, stdin=damaged)
    assert code == 1
    assert b"left out: " in said or "wakumail archive: " in capfd.readouterr().err


@pytest.mark.parametrize("by", ["file", "stdin"])
def test_a_place_to_resume_from(tmp_path: Path, capfd: pytest.CaptureFixture[str], by: str) -> None:
    """The end of a dump is a place, where a run may have been interrupted. One past it is none."""
    file = tmp_path / "dump"
    file.write_bytes(DUMP)
    for past, code, said in ((0, 0, "nothing is behind"), (1, 1, "is past the end")):
        place = (len(DUMP) + past).to_bytes(8, "big").hex()
        command = ["archive", "import", "--datadir", tmp_path / "data", "--after", place]
        source = ([file], b"") if by == "file" else ([], DUMP)
        assert attempt(*command, *source[0], stdin=source[1])[0] == code
        assert said in capfd.readouterr().err


def test_an_interrupted_import_goes_on(tmp_path: Path) -> None:
    """The place that a cut-off run prints is the one that --after resumes at."""
    envelopes = make(12_000, TOPICS, spread=DAY, size=500)
    whole = dump(envelopes)
    file = tmp_path / "dump"
    half = len(dump(envelopes[:9000]))
    file.write_bytes(whole[:half] + b"\xbf" + b"\xff" * 8 + whole[half:])
    command = [*WAKUMAIL, "archive", "import", "--datadir", str(tmp_path / "data"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "an envelope cut short" in done.stderr
    (place,) = re.findall(r"resume with --after (\w+)", done.stderr)
    stored = call_json("archive", "stat", "--datadir", tmp_path / "data")["envelopes"]
    assert stored == 9000
    file.write_bytes(whole)
    flags = ["--datadir", tmp_path / "data", file, "--after", place]
    assert call_json("archive", "import", *flags)["stored"] == len(envelopes) - stored


def test_an_interrupted_export_goes_on(filled: Path, tmp_path: Path) -> None:
    """The same when the reader stops; and an existing file is not overwritten."""
    exported = call("archive", "export", "--datadir", filled)
    place = (700).to_bytes(8, "big").hex()
    file = tmp_path / "dump"
    call("archive", "export", "--datadir", filled, file, "--after", place)
    rest = file.read_bytes()
    assert exported.endswith(rest)
    assert len(parse_stream(rest, final=True)[0]) == 500
    call("archive", "export", "--datadir", filled, file, "--after", place, check=1)
    assert file.read_bytes() == rest


def test_an_export_that_fills_the_disk_goes_on(
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The place that it prints is behind the envelopes in the file, and no others."""
    monkeypatch.setattr("wakumail.archive.arrivals.RUN_BYTES", 50_000)
    with Archive(filled / "archive", readonly=True) as archive:
        first, sequence = archive.follow(0, max_bytes=50_000)
        second, _ = archive.follow(sequence, max_bytes=50_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(first + second) - 100, limits[1]))
    try:
        command = ["archive", "export", "--datadir", str(filled), str(tmp_path / "dump")]
        assert main(command) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = f"resume with --after {sequence.to_bytes(8, 'big').hex()}\n"
    assert capsys.readouterr().err.startswith(told)
    assert (tmp_path / "dump").read_bytes() == (first + second)[:-100]


def test_an_export_does_not_write_over_a_file(filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "dump"
    file.write_text("precious")
    command = ["archive", "export", "--datadir", filled, file]
    call(*command, check=1)
    assert file.read_text() == "precious"
    call(*command, "--force")
    assert file.read_bytes() == call(*command[:-1])


def test_an_export_goes_to_an_empty_file_or_a_device(filled: Path, tmp_path: Path) -> None:
    empty = tmp_path / "dump"
    empty.touch()
    for target in (empty, "/dev/null"):
        call("archive", "export", "--datadir", filled, target)
    assert empty.read_bytes() == call("archive", "export", "--datadir", filled)


def test_a_file_of_the_name_of_stdout_is_in_nobodys_way(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("precious")
    exported = call("archive", "export", "--datadir", filled)
    assert call("archive", "export", "--datadir", filled, "-") == exported != b""
    assert Path("-").read_text() == "precious"


def test_nothing_is_made_where_there_is_no_archive(tmp_path: Path) -> None:
    for action in ("stat", "export", "verify", "compact"):
        call("archive", action, "--datadir", tmp_path / "typo", check=1)
    call("archive", "prune", "--datadir", tmp_path / "typo", "--before", "1d", check=1)
    call("archive", "verify", "--datadir", tmp_path / "typo", "--pages", check=1)
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    "command",
    [
        "archive prune --before 1d",
        "archive verify --pages",
        "archive compact",
        "cluster adopt --cluster nats://127.0.0.1:1",
    ],
)
def test_a_directory_without_an_archive_stays_as_it_is(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is another one than was meant, so nothing in it was pruned or checked."""
    monkeypatch.setenv("WAKUMAIL_DATADIR", str(tmp_path))
    call(*command.split(), check=1)
    assert f"{tmp_path}/archive/data.mdb: No such file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_prune_by_age(own: Path) -> None:
    pruned = call_json("archive", "prune", "--datadir", own, "--before", NOW - DAY - 3600)
    assert pruned == {"pruned": 400}
    assert call_json("archive", "stat", "--datadir", own)["envelopes"] == 800
    assert call_json("archive", "verify", "--datadir", own)["problems"] == []


def test_prune_by_size(tmp_path: Path) -> None:
    flags = ["--datadir", tmp_path / "data"]
    call("archive", "import", *flags, stdin=dump(make(12_000, TOPICS, spread=DAY)))
    size = call_json("archive", "stat", *flags)["file_bytes"] // 2
    call("archive", "prune", *flags, "--max-size", 0, check=2)  # that would delete everything
    pruned = call_json("archive", "prune", *flags, "--max-size", size)["pruned"]
    result = call_json("archive", "stat", *flags)
    assert result["file_bytes"] <= size
    assert result["envelopes"] == 12_000 - pruned > 2000


def test_compact_gives_space_back(own: Path, envelopes: list[Envelope]) -> None:
    file = own / "archive" / "data.mdb"
    call("archive", "prune", "--datadir", own, "--before", NOW - DAY + 7200)
    before = file.stat().st_size
    call("archive", "compact", "--datadir", own)
    assert file.stat().st_size < 0.7 * before
    assert file.stat().st_mode & 0o777 == 0o600
    assert call_json("archive", "verify", "--datadir", own)["problems"] == []
    left = call_json("archive", "stat", "--datadir", own)["envelopes"]
    again = call_json("archive", "import", "--datadir", own, stdin=dump(envelopes))
    assert again["duplicates"] == left


def test_backup_beside_a_server_and_no_compaction(tmp_path: Path) -> None:
    posted = make(300, TOPICS)
    with Server(tmp_path / "data", "--min-pow", "0") as server:
        call("post", server.enode, "--dump", "-", stdin=dump(posted))
        call("archive", "backup", "--datadir", server.datadir, tmp_path / "copy")
        call("archive", "compact", "--datadir", server.datadir, check=1)
        assert call_json("archive", "verify", "--datadir", server.datadir)["envelopes"] == 300
    restored = tmp_path / "restored"
    call("archive", "restore", tmp_path / "copy", "--datadir", restored)
    assert call("archive", "export", "--datadir", restored) == call(
        "archive", "export", "--datadir", server.datadir
    )
    assert call_json("archive", "verify", "--datadir", restored, "--pages") == {
        "envelopes": 300,
        "count": 0,
        "problems": [],
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_restores_is_for_the_owner_of_the_directory(own: Path, tmp_path: Path) -> None:
    call("archive", "backup", "--datadir", own, tmp_path / "copy")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    shutil.chown(theirs, "nobody")
    hint = b"chown -R USER: "
    assert hint + bytes(ours) in call("archive", "restore", tmp_path / "copy", "--datadir", ours)
    assert hint not in call("archive", "restore", tmp_path / "copy", "--datadir", theirs)
    assert {path.owner() for path in theirs.rglob("*")} == {"nobody"}
    call("archive", "compact", "--datadir", theirs)
    call("archive", "stat", "--datadir", theirs)
    assert {path.owner() for path in theirs.rglob("*")} == {"nobody"}


def test_a_damaged_backup_is_not_restored(
    own: Path, envelopes: list[Envelope], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call("archive", "backup", "--datadir", own, tmp_path / "copy")
    one = envelopes[0]
    key = one.created.to_bytes(4, "big") + one.hash[:16]
    put_row(tmp_path / "copy" / "archive", "times", key, b"else" + bytes(6))
    restored = tmp_path / "restored"
    call("archive", "restore", tmp_path / "copy", "--datadir", restored, check=1)
    assert f"{tmp_path / 'copy'} is damaged: " in capfd.readouterr().err
    assert [file.name for file in restored.iterdir()] == ["writers"]


def test_a_damaged_archive_does_not_replace_a_sound_backup(
    own: Path, envelopes: list[Envelope], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call("archive", "backup", "--datadir", own, tmp_path / "copy")
    late = make(1, [b"late"])
    call("archive", "import", "--datadir", own, stdin=dump(late))
    flip_data(own, envelopes[0])
    break_envelope(own, late[0])
    call("archive", "backup", "--datadir", own, tmp_path / "copy", check=1)
    assert "the former backup is left as it is" in capfd.readouterr().err
    verified = call_json("archive", "verify", "--datadir", tmp_path / "copy")
    assert (verified["envelopes"], verified["count"]) == (len(envelopes), 0)


def test_verify_finds_damage(own: Path, envelopes: list[Envelope]) -> None:
    one = envelopes[0]
    key = one.created.to_bytes(4, "big") + one.hash[:16]
    put_row(own / "archive", "times", key, b"else" + bytes(6))
    result = call_json("archive", "verify", "--datadir", own, check=1)
    assert result["problems"]


def test_verify_tells_of_damaged_pages_whatever_comes_after(own: Path) -> None:
    """The file no longer opens: what --pages found is told all the same."""
    with (own / "archive" / "data.mdb").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    out = call("archive", "verify", "--datadir", own, "--pages", check=1).decode().splitlines()
    assert len(out) > 2
    assert "is damaged" in out[-2]
    assert out[-1].startswith("0 envelopes verified, ")
    result = call_json("archive", "verify", "--datadir", own, "--pages", check=1)
    assert result["problems"] == out[:-1]
    assert result["count"] >= len(result["problems"])


KILLED_WHILE_COPYING = """
import os, signal, sys
from wakumail.archive.archive import Archive
from wakumail.cli import archive, archive_backup
from wakumail.cli.command_line import main

def copy(source, target):
    Archive(source, readonly=True).copy(target / "whole")
    os.rename(target / "whole" / "data.mdb", target / "unfinished.abcdef")
    os.kill(os.getpid(), signal.SIGKILL)

archive.copy = archive_backup.copy = copy
main(sys.argv[1:])
"""


def test_what_a_killed_compaction_or_backup_left_is_swept_up(own: Path, tmp_path: Path) -> None:
    def kill(*arguments: object) -> None:
        command = [sys.executable, "-c", KILLED_WHILE_COPYING, "archive", *map(str, arguments)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    copying = own / "archive" / "copying.data.mdb"
    kill("compact", "--datadir", own)
    assert copying.is_dir()
    kill("compact", "--datadir", own)
    call("archive", "compact", "--datadir", own)
    assert not copying.exists()
    kill("compact", "--datadir", own)
    assert copying.is_dir()
    with Server(own):
        assert not copying.exists()
    to = tmp_path / "copy"
    kill("backup", "--datadir", own, to)
    assert (to / "copying.data.mdb").is_dir()
    call("archive", "restore", to, "--datadir", tmp_path / "restored", check=1)
    (to / ".backup.json.unfinished").touch()  # as if killed in the middle of that
    call("archive", "backup", "--datadir", own, to)
    left = sorted(file.name for file in to.rglob("*"))
    assert left == ["archive", "backup.json", "data.mdb", "gaps.json", "writers"]
