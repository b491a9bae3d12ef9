"""Our own node record, whose sequence number survives restarts (EIP-778)."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wakumail.base.edited_file import read_edited
from wakumail.base.whole_file import replace_file
from wakumail.devp2p.enr import Enr, Value, signed_values
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.errors import reason

log = logging.getLogger(__name__)

WAKU_RECORD_VERSION = 1
"""The version in the key `waku` of our record."""


def waku_value(*, is_mailserver: bool) -> list[Value]:
    """The value of a record under the key `waku`."""
    return [WAKU_RECORD_VERSION, int(is_mailserver)]


class OwnRecord:
    """The record of this node, signed anew when something changes.

    The last one is kept in a file. The number of a new one is greater than the last, and at least
    the time in milliseconds: a file that is lost does not make it fall.
    """

    def __init__(
        self, path: Path | None, key: PrivateKey, clock: Callable[[], float] = time.time
    ) -> None:
        """`path` is the file; None keeps the record in memory only. `clock` is Unix seconds."""
        self._path = path
        self._key = key
        self._clock = clock
        self.last = None if path is None else kept_record(path, node_id(key.public_key))
        """The record as it was last signed; None before the first one of a key."""

    def sign(self, values: Mapping[bytes, Value]) -> Enr:
        """The record with these values: the last one, if they are the same."""
        last_seq = 0
        if self.last is not None:
            if self.last.values == signed_values(self._key, values):
                return self.last
            last_seq = self.last.seq
        self.last = Enr.make(self._key, max(last_seq + 1, int(self._clock() * 1000)), values)
        self._keep(self.last)
        return self.last

    def _keep(self, record: Enr) -> None:
        """Replace the file as a whole. If that fails, the next start takes a greater number."""
        if self._path is None:
            return
        try:
            replace_file(self._path, f"{record}\n".encode())
        except OSError as error:
            log.warning("%s: the node record is not kept: %s", self._path, reason(error))


def kept_record(path: Path, identity: bytes) -> Enr | None:
    """The record of a node id (64 bytes) in a file; None if there is none, or it is another's."""
    try:
        record = Enr.parse(read_edited(path, pipe=False))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s holds no node record, and is made anew: %s", path, reason(error))
        return None
    return record if record.node_id == identity else None
