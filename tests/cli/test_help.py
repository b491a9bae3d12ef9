"""The help of each command: its groups, its examples, and its look."""

import io
import logging
import re
import shlex
from pathlib import Path

import pytest

from tests.support.connections import BOB_ID
from tests.support.dns_lists import url
from tests.support.parsers import parsers, subcommands
from wakumail.base.colours import has_colours
from wakumail.cli.command_line import parser
from wakumail.cli.examples import EXAMPLES
from wakumail.cli.help import coloured_help
from wakumail.cli.setting_groups import GROUPS, group_of
from wakumail.ops import logs
from wakumail.ops.config.settings import SETTINGS

NAMES = {
    "$ENODE": f"enode://{BOB_ID.hex()}@192.0.2.7:30303",
    "$ENODE2": f"enode://{BOB_ID.hex()}@192.0.2.8:30303",
    "$ENRTREE": str(url("nodes.example.org")),
}


COMMANDS = {
    each.prog.removeprefix("wakumail "): each for each in parsers(parser()) if not subcommands(each)
}


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == set(COMMANDS), "each has an entry in EXAMPLES of cli/examples.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_can_be_typed_in(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.key").write_text("01" * 32)
    Path("nodes.json").write_text("[]")
    for purpose, words in EXAMPLES[name]:
        assert words.startswith(name), purpose
        given = [NAMES.get(word, word) for word in shlex.split(words.partition(" | ")[0])]
        assert parser().parse_args(given).run
    told = COMMANDS[name].format_help()
    assert all(f"  # {purpose}\n  wakumail {words}\n" in told for purpose, words in EXAMPLES[name])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_tells_the_purpose(name: str) -> None:
    assert COMMANDS[name].description


def test_every_data_directory_is_that_of_the_server_unless_it_is_named() -> None:
    """`dns sign` alone works without any."""
    texts = {
        name: action.help
        for name, command in COMMANDS.items()
        for action in command._actions
        if "--datadir" in action.option_strings and name != "dns sign"
    }
    of_settings = COMMANDS["serve"]._option_string_actions["--datadir"].help
    others = {name: text for name, text in texts.items() if text != of_settings}
    assert others
    assert {text and text.partition(" (")[2] for text in others.values()} == {
        "default: that of `wakumail serve`)"
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_no_wall(name: str) -> None:
    """The usage is short, and so is each group of options."""
    assert len(COMMANDS[name].format_usage().splitlines()) <= 10
    for group in COMMANDS[name]._action_groups:
        assert len(group._group_actions) <= 15, group.title


def test_every_setting_is_in_one_group() -> None:
    for setting in SETTINGS:
        names = {setting.field, setting.name.partition(".")[0]}
        assert sum(bool(members & names) for members in GROUPS.values()) == 1, setting.name
        assert group_of(setting) in GROUPS


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert has_colours(Terminal())
    assert not has_colours(io.StringIO())
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert not has_colours(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # counts as not set: no-color.org
    assert has_colours(Terminal())


@pytest.mark.parametrize("name", COMMANDS)
def test_colours_change_no_letter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    plain, terminal = io.StringIO(), Terminal()
    COMMANDS[name].print_help(plain)
    COMMANDS[name].print_help(terminal)
    assert "\x1b" not in plain.getvalue()
    assert re.sub(r"\x1b\[\d+m", "", terminal.getvalue()) == plain.getvalue()
    assert terminal.getvalue().count("\x1b[1m") >= 2


def test_what_is_coloured() -> None:
    text = "usage: x [-h]\n\noptions:\n  --http.port PORT  a port, low-cost\n    serve   runs\n"
    assert coloured_help(text) == (
        "\x1b[1musage:\x1b[0m x [\x1b[36m-h\x1b[0m]\n\n\x1b[1moptions:\x1b[0m\n"
        "  \x1b[36m--http.port\x1b[0m PORT  a port, low-cost\n    \x1b[36mserve\x1b[0m   runs\n"
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_levels_of_logs_are_coloured(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal() if terminal else io.StringIO())
    form = logs.formatter(log_json=False, worker=2)
    lines = [
        form.format(logging.LogRecord("x", level, "x", 1, "a WARNING", (), None))
        for level in (logging.INFO, logging.WARNING)
    ]
    assert lines[0].endswith("Z INFO    worker 2: a WARNING")
    level = "\x1b[33mWARNING\x1b[0m" if terminal else "WARNING"
    assert lines[1].endswith(f"Z {level} worker 2: a WARNING")
