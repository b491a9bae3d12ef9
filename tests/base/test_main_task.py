"""The work of a whole command: a signal at any time ends it, and nothing else is told."""

import asyncio
import gc
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

from wakumail.base.main_task import END_SIGNALS, run_main
from wakumail.cli.interruption import interrupt_on_signals


@pytest.fixture(autouse=True)
def interrupted_by_signals() -> Iterator[None]:
    """As in a command, even if the tests run where a shell ignores some."""
    before = [(number, signal.signal(number, signal.SIG_DFL)) for number in END_SIGNALS]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupt_on_signals()
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", END_SIGNALS)
def test_a_signal_at_any_step_of_the_start(
    number: signal.Signals, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At each call within the start of a loop, one after the other: until `main` has begun."""
    begun = False

    async def main() -> None:
        nonlocal begun
        begun = sys.getprofile() is not None
        sys.setprofile(None)
        await asyncio.Event().wait()

    gc.collect()
    gc.freeze()  # the collections of each step need not look at the rest of the run
    for step in itertools.count(1):
        calls = itertools.count(1)

        def signalled(frame: FrameType, event: str, argument: Any) -> None:
            if next(calls) == step:  # noqa: B023 - it is done with before the next step
                sys.setprofile(None)
                signal.raise_signal(number)  # for this thread: in a command, no other takes any

        def run_signalled() -> None:
            sys.setprofile(signalled)
            run_main(main)

        with pytest.raises(KeyboardInterrupt):
            run_signalled()
        gc.collect()  # what was left behind half made says so
        if begun:
            break
    assert step > 20
    assert (capfd.readouterr().err, caplog.messages) == ("", [])


SIGNALS_WITHIN_THE_IMPORT = """
import asyncio, itertools, os, signal, sys
from wakumail.base.main_task import run_main

signal.signal(signal.SIGINT, signal.default_int_handler)
for step in range(10):
    calls = itertools.count()

    def signalled(frame, event, argument):
        code = frame.f_code
        if code.co_filename == "<frozen importlib._bootstrap>" and code.co_name == "release":
            if next(calls) == step:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)

    if os.fork():
        assert os.wait()[1] == 0, step
        continue
    sys.setprofile(signalled)
    try:
        run_main(asyncio.sleep, 3600)
    except KeyboardInterrupt:
        import uvloop
        os._exit(0)
"""


def test_a_signal_within_the_import_of_the_loop() -> None:
    """At each call within the release of a lock, which Python then left locked for ever."""
    script = [sys.executable, "-c", SIGNALS_WITHIN_THE_IMPORT]
    assert subprocess.run(script, capture_output=True, check=False).stderr == b""


def test_a_result_and_an_error() -> None:
    async def double(number: int, *, negative: bool = False) -> int:
        if negative:
            raise ValueError("negative")
        return 2 * number

    assert run_main(double, 4) == 8
    with pytest.raises(ValueError, match="negative"):
        run_main(double, 4, negative=True)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
