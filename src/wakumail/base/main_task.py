"""A coroutine as the work of a whole command, which signals may end at any time."""

import signal
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from wakumail.base.held_signals import signals_held

P = ParamSpec("P")
T = TypeVar("T")

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that end a command: see wakumail.cli.interruption."""


def run_main(main: Callable[P, Coroutine[Any, Any, T]], *arguments: P.args, **named: P.kwargs) -> T:
    """Run `main` to its end on a loop of its own; KeyboardInterrupt, once it has cleared up.

    Signals that come while the loop is imported and made wait until `main` begins. Python would
    raise what their handlers raise within the import, whose locks then stay locked, or within the
    loop's own set-up, and tell stderr of a loop that is half made, of a task that was destroyed or
    of a coroutine that nobody awaited. That holds if other threads, as that of the log, were
    started with END_SIGNALS held.
    """
    with signals_held(END_SIGNALS) as before:
        import uvloop  # takes long to import

        async def begun() -> T:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return await main(*arguments, **named)

        return uvloop.run(begun())
