"""The man page and the completions name every command and option, and shells complete with them."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.parsers import parsers, subcommands
from tests.support.tools import tool
from wakumail.cli.command_line import parser

SHARE = Path(__file__).parents[2] / ".ci" / "share.py"

BASH_COMPLETES = """
source "$1"
function=$(complete -p wakumail | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
while IFS= read -r line; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    $function wakumail "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
    echo "${COMPREPLY[@]}"
done
"""
"""Reads command lines from stdin, and prints what bash offers for the last word of each."""


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory share/, made from the parser as it is now."""
    made = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, SHARE, made], check=True)
    return made


def options(of: argparse.ArgumentParser) -> set[str]:
    """The options that the help of a command shows."""
    shown = (action for action in of._actions if action.help != argparse.SUPPRESS)
    return {option for action in shown for option in action.option_strings}


COMMANDS = list(parsers(parser()))


def bash_offers(share: Path, *lines: str) -> list[list[str]]:
    """The words that bash offers for the last word of each line."""
    file = str(share / "bash-completion/completions/wakumail")
    bash = ["bash", "--norc", "-c", BASH_COMPLETES, "bash", file]
    text = "".join(f"{line}\n" for line in lines)
    told = subprocess.run(bash, input=text, capture_output=True, text=True, check=True, cwd=share)
    assert "not found" not in told.stderr
    return [line.split() for line in told.stdout.splitlines()]


def test_bash_offers_every_command_and_option(share: Path) -> None:
    offered = bash_offers(share, *(f"{command.prog} -" for command in COMMANDS))
    assert [set(words) for words in offered] == [options(command) for command in COMMANDS]
    parents = [command for command in COMMANDS if subcommands(command)]
    offered = bash_offers(share, *(f"{command.prog} " for command in parents))
    names = [list(subcommands(command)) for command in parents]
    assert offered == names


def test_bash_completes_the_beginning_of_a_word(share: Path) -> None:
    lines = [
        "wakumail arch",
        "wakumail archive im",
        "wakumail serve --http.p",
        "wakumail serve --datadir m",
    ]
    assert bash_offers(share, *lines) == [["archive"], ["import"], ["--http.port"], ["man"]]


def test_fish_completes(share: Path) -> None:
    script = "source $argv[1]; complete --do-complete 'wakumail archive im'; "
    script += "complete --do-complete 'wakumail serve --http.p'"
    file = str(share / "fish/vendor_completions.d/wakumail.fish")
    fish = [tool("fish"), "--no-config", "-c", script, file]
    told = subprocess.run(fish, capture_output=True, text=True, check=True).stdout
    assert [line.split("\t")[0] for line in told.splitlines()] == ["import", "--http.port"]


def test_zsh_knows_every_option(share: Path) -> None:
    file = share / "zsh/site-functions/_wakumail"
    subprocess.run([tool("zsh"), "-n", file], check=True)
    assert file.read_text().startswith("#compdef wakumail\n")
    for command in COMMANDS:
        assert options(command) <= set(re.findall(r"(--?[\w.-]+)", file.read_text()))


def test_the_page_tells_every_command_and_option(share: Path) -> None:
    page = share / "man/man1/wakumail.1"
    sections = re.split(r"^\.S[SH] (.*)$", page.read_text().replace("\\-", "-"), flags=re.MULTILINE)
    told = dict(zip(sections[1::2], sections[2::2], strict=True))
    for command in COMMANDS:
        named = {
            option
            for line in re.findall(r"^\\fB(-.*)\\fR$", told[command.prog], re.MULTILINE)
            for option in re.findall(r"(?:^|, )(-[\w.-]+)", line)
        }
        assert named == options(command), command.prog
        if command.epilog:
            assert command.epilog.splitlines()[2] in told[command.prog]
    lint = [tool("mandoc"), "-T", "lint", "-W", "error", str(page)]
    assert subprocess.run(lint, capture_output=True, text=True, check=False).stdout == ""
