"""Writes share/: a man page, and completions for bash, zsh and fish, made from the parser.

`make wheels` runs it. An sdist carries what it writes, and wheels install it below their prefix.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab

from wakumail.cli.command_line import parser
from wakumail.version import VERSION

ROOT = Path(__file__).resolve().parents[1]

COMPLETIONS = {
    "bash": "bash-completion/completions/wakumail",
    "zsh": "zsh/site-functions/_wakumail",
    "fish": "fish/vendor_completions.d/wakumail.fish",
}
"""The file of each shell, named as the shell looks for it."""

PAGE = "man/man1/wakumail.1"

COMPLETED = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "PATH": shtab.FILE, "FROM": shtab.FILE}
"""The arguments that a shell completes with the names of files, by their placeholders."""

END = {
    "EXIT STATUS": "0 done; 1 failed, or done in part; 2 wrong usage.",
    "ENVIRONMENT": (
        "WAKUMAIL_CONFIG names the file of settings. WAKUMAIL_ and the name of a setting in "
        "capitals, with _ for each dot and dash, sets it. NO_COLOR turns colours off."
    ),
    "FILES": (
        "The service has its settings in /etc/wakumail/wakumail.toml, its archive, node key and "
        "socket in /var/lib/wakumail."
    ),
    "SEE ALSO": "systemctl(1), journalctl(1)",
}
"""The sections behind the commands."""


def commands(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A command, and its actions."""
    yield of
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def escaped(text: str) -> str:
    """A text that troff prints as it is."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").split("\n")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in lines)


def verbatim(text: str) -> list[str]:
    """A text whose lines stay as they are."""
    return [".nf", escaped(text.strip("\n")), ".fi"]


def entry(action: argparse.Action) -> list[str]:
    """An argument and its explanation."""
    formatter = argparse.HelpFormatter("wakumail")
    names = escaped(formatter._format_action_invocation(action))
    return [".TP", f"\\fB{names}\\fR", escaped(formatter._expand_help(action))]


def section(command: argparse.ArgumentParser) -> list[str]:
    """The section of a command: usage, arguments in their groups, examples."""
    usage = command.format_usage().removeprefix("usage: ").replace("\n       ", "\n")
    lines = [f".SS {escaped(command.prog)}", *verbatim(usage), ".PP"]
    lines += [escaped(command.description or "")]
    for group in command._action_groups:
        shown = [
            each for each in group._group_actions if each.help not in (None, argparse.SUPPRESS)
        ]
        if shown:
            lines += [".PP", f"\\fI{escaped(str(group.title))}\\fR"]
            lines += [line for each in shown for line in entry(each)]
    if command.epilog:
        lines += [".PP", *verbatim(command.epilog)]
    return lines


def man_page(of: argparse.ArgumentParser) -> str:
    """The page of the whole command line."""
    about = escaped(str(of.description))
    lines = [f'.TH WAKUMAIL 1 "" "wakumail {VERSION}" "User Commands"']
    lines += [".SH NAME", f"wakumail \\- {about[0].lower()}{about[1:].rstrip('.')}"]
    lines += [
        ".SH SYNOPSIS",
        "\\fBwakumail\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...",
        ".SH COMMANDS",
    ]
    for command in commands(of):
        lines += section(command)
    for title, text in END.items():
        lines += [f".SH {title}", escaped(text)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write all files below the directory that is named, by default share/."""
    os.environ["COLUMNS"] = "80"  # argparse would ask the terminal
    target = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "share"
    of = parser()
    texts = {PAGE: man_page(of)}
    for command in commands(of):
        for action in command._actions:
            if action.metavar in COMPLETED:
                action.complete = COMPLETED[action.metavar]  # type: ignore[attr-defined]
    for shell, path in COMPLETIONS.items():
        texts[path] = shtab.complete(of, shell)
    for path, text in texts.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)


main()
