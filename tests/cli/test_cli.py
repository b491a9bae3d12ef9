"""All commands: how options are read and errors are told, and what is imported."""

import argparse
import logging
import subprocess
import sys
from errno import ENOENT, ENOSPC

import pytest

from tests.support.commands import attempt
from tests.support.parsers import parsers
from tests.support.patience import PATIENCE
from wakumail.base.text import in_bytes, in_time, utc
from wakumail.cli.command_line import COMMANDS, main, parser
from wakumail.cli.options import parse_time
from wakumail.errors import PeerGone, reason
from wakumail.ops.logs import iso_time


def test_no_option_is_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert not [each.prog for each in parsers(parser()) if each.allow_abbrev]
    assert main(["archive", "stat", "--data", "anywhere"]) == 2
    assert "unrecognized arguments: --data anywhere" in capsys.readouterr().err


PROBE = """
import atexit, sys
from wakumail.cli.command_line import main

def tell():
    compiled = [m for m in sys.modules.values() if str(getattr(m, "__file__", "")).endswith(".so")]
    own = [m.__name__ for m in compiled if m.__name__.startswith("wakumail.")]
    print(*own, *(name for name in sys.argv[2:] if name in sys.modules), file=sys.stderr)

atexit.register(tell)
main(sys.argv[1:2])
"""
"""Runs a command; prints on stderr the compiled and the named modules that it has loaded."""

HEAVY = ("aiohttp", "coincurve", "cryptography", "prometheus_client", "tqdm", "uvloop")


@pytest.mark.parametrize("word", ["--help", "--version", "nonsense"])
def test_no_command_is_imported_that_is_not_chosen(word: str) -> None:
    command = [sys.executable, "-c", PROBE, word, *HEAVY]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == (2 if word == "nonsense" else 0)
    assert ran.stderr.splitlines()[-1] == ""


GARBAGE = """
import atexit, gc, io, sys
from wakumail.__main__ import main

class Stdout(io.StringIO):
    def write(self, text):
        print("in a command:", gc.isenabled(), gc.get_freeze_count() > 0, file=sys.stderr)
        return len(text)

sys.stdout = Stdout()
sys.argv[1:] = ["config", "show"]
atexit.register(lambda: print("at the end:", len(gc.get_objects()), file=sys.stderr))
main()
"""


def test_garbage_is_looked_for_within_a_command_and_not_around_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", GARBAGE], capture_output=True, text=True, check=True
    )
    first, *_, last = ran.stderr.splitlines()
    assert first == "in a command: True True"
    assert last.startswith("at the end: ")
    assert int(last.rpartition(" ")[2]) < 1000


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The help is the same with and without the modules of the commands."""
    with pytest.raises(SystemExit):
        parser(()).parse_args(["--help"])
    told = capsys.readouterr().out
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert told == capsys.readouterr().out
    assert all(f" {name} " in told for name in COMMANDS)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(ENOENT, "No such file or directory", "x"), "x: No such file or directory"),
        (OSError(ENOENT, "gone", "x", None, "y"), "[Errno 2] gone: 'x' -> 'y'"),
        (FileExistsError("x is there already"), "x is there already"),
        (PeerGone("the peer has closed"), "the peer has closed"),
        (TimeoutError(), "no answer in time"),
        (ValueError(), "ValueError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_told_in_words(error: Exception, text: str) -> None:
    assert reason(error) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("4294967295", 2**32 - 1),
        ("2026-11-29T14:00:00Z", 1_795_960_800),
        ("2026-11-29T15:00:00+01:00", 1_795_960_800),
        ("2026-11-29T14:00:00", 1_795_960_800),
        ("2026-11-29 14:00", 1_795_960_800),
        ("2026-11-29", 1_795_910_400),
        (utc(1_795_960_800), 1_795_960_800),
        (iso_time(logging.makeLogRecord({"created": 1_795_960_800.25})), 1_795_960_800),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


def test_sizes_and_durations_have_a_unit() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9951: "10 kB"}
    sizes |= {999_600: "1.0 MB", 3_140_000_000: "3.1 GB", 10**16: "10,000 TB"}
    assert {size: in_bytes(size) for size in sizes} == sizes
    times = {0.00123: "1.2 ms", 0.85: "850 ms", 0.9999: "1.0 s", 9.96: "10 s", 119: "119 s"}
    times |= {120: "2.0 min", 7199: "120 min", 7200: "2.0 h", 300_000: "3.5 days"}
    assert {seconds: in_time(seconds) for seconds in times} == times


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "-1", "4294967296", "1969-12-31", "2107-01-01", "24hours", "²", "1e9"),
        *("²h", "99999d", f"{'9' * 5000}d"),
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"no Unix seconds|1970"):
        parse_time(text)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("cluster status --cluster nats://a:secret@b:99999", "it is not nats://HOST:PORT"),
        ("cluster status --cluster nats://a --cluster-name a/b", "'a/b' is not 1 to 64 letters"),
        ("cluster init --cluster nats://a --keep-days 1e9", "1e9 is not from 0 to 10000"),
        ("cluster demo --rounds 0", "0 is not from 1 to 1000"),
        ("cluster demo --directory EMPTY", "it is empty"),
        ("archive backup EMPTY", "it is empty"),
        ("archive restore EMPTY", "it is empty"),
        ("archive merge EMPTY", "it is empty"),
    ],
)
def test_the_reason_why_a_value_is_wrong_is_told(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty name of a directory is no name of the working directory."""
    assert attempt(*(word.replace("EMPTY", "") for word in words.split()))[0] == 2
    stderr = capsys.readouterr().err
    assert told in stderr
    assert "secret" not in stderr


def test_a_mistake_is_one_line_that_says_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["request", "--limit", "x"], ["archive", "prune"], ["no"], []):
        with pytest.raises(SystemExit) as usage:
            parser(words[:1]).parse_args(words)
        assert usage.value.code == 2
        [told] = capsys.readouterr().err.splitlines()
        assert told.startswith("wakumail")
        assert told.endswith("--help")


def test_a_wrong_setting_is_told_in_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as usage:
        main(["serve", "--port", "x"])
    assert usage.value.code == 2
    told = "wakumail serve: --port: 'x' is not a whole number; see wakumail serve --help\n"
    assert capsys.readouterr().err == told


def test_an_unknown_option_is_one_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--metrics-port", "1"]) == 2
    told = "wakumail serve: unrecognized arguments: --metrics-port 1; see wakumail serve --help\n"
    assert capsys.readouterr().err == told
