"""Events that signals set."""

import asyncio
import signal

STOP = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask to stop."""


def set_by(event: asyncio.Event, *signals: signal.Signals) -> asyncio.Event:
    """Let each of these signals set the event, on the running loop. Returns it.

    One that has come while it was blocked (wakumail/__main__.py) sets it now.
    """
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, event.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    return event
