"""Events that signals set."""

import asyncio
import signal

STOP = (signal.SIGTERM, signal.SIGINT)
"""The signals that ask to stop."""


def set_by(event: asyncio.Event, *signals: signal.Signals) -> asyncio.Event:
    """Let each of these signals set the event, on the running loop. Returns it."""
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, event.set)
    return event
