"""The number of files and sockets that this process may have open."""

import logging
import resource
from typing import NamedTuple

from wakumail.errors import WakumailError
from wakumail.node.acceptor import MAX_PARKED
from wakumail.ops.config.settings import Settings
from wakumail.rpc.stream import MAX_SESSIONS

log = logging.getLogger(__name__)

MIN_FILES = 64
"""Files that a server has open before the first peer comes, with some to spare."""

MAX_FILES = 1 << 20
"""The limit that is set if the system has none."""


class TooFewFiles(WakumailError):
    """The system lets this process open fewer files than it needs."""

    counter = "too_few_files"


def raise_file_limit() -> None:
    """Raise the soft limit (`ulimit -n`) to the hard one; TooFewFiles if that is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < MIN_FILES:
        raise TooFewFiles(f"only {most} files may be open (ulimit -n), but {MIN_FILES} have to be")


class FileShare(NamedTuple):
    """The files that peers and the operator's callers may have open."""

    max_descriptor: int
    """Peers have descriptors below it."""
    callers: int
    """Connections of each listener for the API and the metrics."""


def share_files(settings: Settings) -> FileShare:
    """Keep files for the operator that peers cannot use up: a quarter of them at most."""
    limit, wanted = file_limit(), MIN_FILES + MAX_SESSIONS * listeners(settings)
    kept = min(wanted, limit // 4)
    # The server's own files were opened before the first peer came: few are opened later.
    callers = (kept - kept // 4) // listeners(settings)
    return FileShare(limit - kept, MAX_SESSIONS if kept == wanted else max(1, callers))


def warn_of_file_limit(settings: Settings) -> None:
    """Log a warning if peers and callers may have more files than the system lets us open."""
    limit, callers = file_limit(), MAX_SESSIONS * listeners(settings)
    named = settings.static_nodes + settings.trusted_nodes + settings.sync_peers
    dialed = settings.mindial + len(set(named))  # they do not count among --maxpeers
    peers, handshakes = settings.maxpeers, settings.max_handshakes
    needed = peers + dialed + handshakes + MAX_PARKED + callers + MIN_FILES
    if needed > limit:
        log.warning(
            "%d files may be open (ulimit -n), but %d may be needed: %d peers (--maxpeers), %d "
            "dialed ones, %d handshakes (--max-handshakes), %d callers that wait, %d connections "
            "of the API and the metrics, %d others. Beyond %d no peer is accepted",
            *(limit, needed, peers, dialed, handshakes, MAX_PARKED, callers),
            *(MIN_FILES, share_files(settings).max_descriptor),
        )


def listeners(settings: Settings) -> int:
    """The number of listeners for the API and the metrics, with the Unix socket."""
    return 1 + settings.http + settings.ws + settings.store + settings.metrics


def file_limit() -> int:
    """The number of files that this process may open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_FILES if soft == resource.RLIM_INFINITY else soft
