"""Signals that end a command: each lets it clear up, and then ends it with 1."""

import signal
from types import FrameType

from wakumail.base.main_task import END_SIGNALS


def interrupt_on_signals() -> None:
    """Let each of END_SIGNALS raise KeyboardInterrupt, except where it is ignored, as by nohup.

    Otherwise a command would leave its children, its folders and half a file behind.
    """
    for number in END_SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            handler = signal.default_int_handler if number == signal.SIGINT else _interrupt
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore further signals: the rest takes only seconds."""
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Do as SIGINT does, at which asyncio cancels the main task; it may be ignored."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(number, frame)
    else:
        raise KeyboardInterrupt
