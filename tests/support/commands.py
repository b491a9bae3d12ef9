"""Commands in this process: what a command does is the same in one of its own, and takes longer."""

import io
import json
import sys
from tempfile import TemporaryFile
from typing import Any

import pytest

from wakumail.cli.command_line import main


def attempt(*arguments: object, stdin: bytes = b"") -> tuple[int, bytes]:
    """Run one command to its end; returns its exit code and stdout. Both streams are files."""
    with (
        TemporaryFile() as given,
        TemporaryFile() as taken,
        pytest.MonkeyPatch.context() as patch,
    ):
        given.write(stdin)
        given.seek(0)
        reader, writer = io.TextIOWrapper(given), io.TextIOWrapper(taken)
        patch.setattr(sys, "stdin", reader)
        patch.setattr(sys, "stdout", writer)
        try:
            code = main([*map(str, arguments)])
        except SystemExit as end:  # argparse has told a mistake
            code = end.code if isinstance(end.code, int) else 1
        finally:
            reader.detach()
            writer.detach()  # this writes what is left
        taken.seek(0)
        return code, taken.read()


def call(*arguments: object, stdin: bytes = b"", check: int = 0) -> bytes:
    """Run one command to its end; returns its stdout."""
    code, stdout = attempt(*arguments, stdin=stdin)
    assert code == check
    return stdout


def call_json(*arguments: object, stdin: bytes = b"", check: int = 0) -> dict[str, Any]:
    """Run one command with --json; returns its object."""
    result = json.loads(call(*arguments, "--json", stdin=stdin, check=check))
    assert isinstance(result, dict)
    return result
