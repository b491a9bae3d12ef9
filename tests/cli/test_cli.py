"""What holds for every command: how its options are read, and how it says what went wrong."""

import argparse
from collections.abc import Iterator
from errno import ENOENT, ENOSPC

import pytest

from wakumail.cli import main, parser
from wakumail.errors import PeerGone, reason


def parsers(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands and their actions."""
    yield of
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action.choices.values():
                yield from parsers(choice)


def test_no_option_is_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert not [each.prog for each in parsers(parser()) if each.allow_abbrev]
    with pytest.raises(SystemExit) as ended:
        main(["archive", "stat", "--data", "anywhere"])
    assert ended.value.code == 2
    assert "required: --datadir" in capsys.readouterr().err


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
