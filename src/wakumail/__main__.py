"""The `wakumail` command, and `python -m wakumail`: what comes before all other imports."""

import gc
import signal
import sys


def main() -> int:
    """Run the command of this process; answers its exit code.

    Its imports take a fifth of a second. Python may drop an exception that a signal raises in them,
    and the command would run on. So SIGINT has the system's action and ends the process at once. A
    server is not ended by a SIGHUP either: it is blocked until the server can read its settings
    again.

    No garbage is looked for before the command runs, and none at its end: imports make next to
    none, and the looks were a third of the time of a command that does little.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["serve"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])

    gc.disable()  # until the command runs

    from wakumail.cli import command_line

    try:
        return command_line.main()
    finally:
        gc.freeze()  # Python would look through all of it, several times


if __name__ == "__main__":
    sys.exit(main())
