"""The shared roster: a table in memory of all peers of all workers.

Each worker writes to its own part and reads the others, under one lock of the system, which
releases it if its holder dies. A dead worker leaves records, complete or not, in its own part only;
the supervisor clears it.

header   magic 8, parts u32, records of a part u32
part     records in use u32, guests u32, then the records
record   node id 64, zeros if unused; host 32, padded with zeros, empty if the peer is no guest
"""

import mmap
import os
import struct
from collections import Counter
from collections.abc import Callable

from wakumail.devp2p.keys import NODE_ID_SIZE
from wakumail.errors import WakumailError
from wakumail.node.roster import Entry
from wakumail.ops.workers.shared import ProcessLock

MAGIC = b"wakumai2"
"""Names this layout and that of the judgements beside it. A worker of another version must write to
neither."""

REGISTRY_HEADER = struct.Struct("=8sII")
PART = struct.Struct("=II")
RECORD = struct.Struct(f"={NODE_ID_SIZE}s32s")
EXTRA_RECORDS = 1024
"""Records of a part for peers that are no guests: dialed and trusted ones."""

NO_HOST = bytes(32)

LOCK_BYTE, COMMIT_BYTE = 0, 1
"""The bytes of the table that the two locks are on."""

MAX_RECORDS = 1 << 20
"""Most records of a part: more than the connections that a process may have."""


class RegistryUnknown(WakumailError):
    """The table of peers that workers share is of another version of wakumail."""

    counter = "registry_unknown"


class Registry:
    """The table, in an unnamed file."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        magic, self.parts, self.records = REGISTRY_HEADER.unpack(
            os.pread(descriptor, REGISTRY_HEADER.size, 0)
        )
        if magic != MAGIC:
            raise RegistryUnknown("the supervisor is of another version: restart the whole server")
        # A lock belongs to an open file description, and the workers inherit one: open another.
        self._locks = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        self.lock = ProcessLock(self._locks, LOCK_BYTE)
        """The lock of the table: held for microseconds, for every peer that comes or goes."""
        self.commit_lock = ProcessLock(self._locks, COMMIT_BYTE)
        """Held for a commit. A commit that waits for LMDB's own lock does not grow any more; one
        that waits for this lock takes along all envelopes that arrive meanwhile."""
        self._part_size = PART.size + self.records * RECORD.size
        self._map = mmap.mmap(descriptor, REGISTRY_HEADER.size + self.parts * self._part_size)

    @classmethod
    def create(cls, parts: int, maxpeers: int) -> "Registry":
        """An empty table for `parts` workers and `maxpeers` guests in all."""
        records = min(maxpeers + EXTRA_RECORDS, MAX_RECORDS)
        descriptor = os.memfd_create("wakumail-peers")
        part_size = PART.size + records * RECORD.size
        os.truncate(descriptor, REGISTRY_HEADER.size + parts * part_size)
        os.pwrite(descriptor, REGISTRY_HEADER.pack(MAGIC, parts, records), 0)
        return cls(descriptor)

    def close(self) -> None:
        """Release the memory."""
        self._map.close()
        os.close(self._locks)
        os.close(self.descriptor)

    def clear(self, part: int) -> None:
        """Forget the peers of a worker that is gone."""
        with self.lock:
            used, _ = self.head(part)
            self.set_head(part, 0, 0)
            start = self._start(part)
            size = min(used, self.records) * RECORD.size
            self._map[start : start + size] = bytes(size)

    def head(self, part: int) -> tuple[int, int]:
        """The records in use, or once in use, and the guests of a part."""
        used, guests = PART.unpack_from(self._map, self._start(part) - PART.size)
        return used, guests

    def set_head(self, part: int, used: int, guests: int) -> None:
        """Set the numbers of `head`."""
        PART.pack_into(self._map, self._start(part) - PART.size, used, guests)

    def write(self, part: int, record: int, node_id: bytes, host: str) -> None:
        """Write a record; empty arguments clear it."""
        start = self._start(part) + record * RECORD.size
        RECORD.pack_into(self._map, start, node_id, host.encode())

    def has(self, part: int, node_id: bytes) -> bool:
        """True if a worker has this peer. It searches a copy, many times faster than the map."""
        records = self._records(part)
        found = records.find(node_id)
        while found % RECORD.size and found >= 0:
            found = records.find(node_id, found + 1)
        return found >= 0

    def hosts(self) -> Counter[str]:
        """The number of guests of each host, of all workers together."""
        with self.lock:
            records = b"".join(self._records(part) for part in range(self.parts))
        counts = Counter(host for _, host in RECORD.iter_unpack(records))
        del counts[NO_HOST]
        return Counter({host.rstrip(b"\0").decode(): count for host, count in counts.items()})

    def guests(self) -> int:
        """The number of guests of all workers together."""
        guests: int = sum(self.head(part)[1] for part in range(self.parts))
        return guests

    def _records(self, part: int) -> bytes:
        """A copy of the records in use."""
        start = self._start(part)
        used, _ = self.head(part)
        return self._map[start : start + used * RECORD.size]

    def _start(self, part: int) -> int:
        start: int = REGISTRY_HEADER.size + part * self._part_size + PART.size
        return start


class SharedRoster:
    """One worker's view of the roster; a peer of another worker that comes calls `on_elsewhere`."""

    def __init__(
        self, registry: Registry, part: int, on_elsewhere: Callable[[bytes], None]
    ) -> None:
        self._registry = registry
        self._part = part
        self._on_elsewhere = on_elsewhere
        self._records: dict[bytes, int] = {}
        self._guests: set[bytes] = set()
        self._free: list[int] = []
        self._used = 0

    def enter(self, node_id: bytes, host: str, limit: int | None) -> Entry:
        """Take a peer in (see Roster); without a `limit` it still needs a free record."""
        registry = self._registry
        with registry.lock:
            others = (part for part in range(registry.parts) if part != self._part)
            if any(registry.has(part, node_id) for part in others):
                entry = Entry.DUPLICATE
            elif self._is_full(limit):
                entry = Entry.FULL
            else:
                entry = Entry.DONE
                self._record(node_id, None if limit is None else host)
        if entry is Entry.DUPLICATE:
            self._on_elsewhere(node_id)
        return entry

    def leave(self, node_id: bytes) -> None:
        """Remove a peer."""
        with self._registry.lock:
            record = self._records.pop(node_id)
            self._free.append(record)
            self._guests.discard(node_id)
            self._registry.write(self._part, record, b"", "")
            self._publish()

    def set_guest(self, node_id: bytes, host: str | None) -> None:
        """Count a peer as a guest of `host`, or as none if that is None."""
        with self._registry.lock:
            self._write(node_id, host)

    def hosts(self) -> Counter[str]:
        """The number of guests of each host, of all workers together."""
        return self._registry.hosts()

    def _is_full(self, limit: int | None) -> bool:
        if not self._free and self._used == self._registry.records:
            return True
        return limit is not None and self._registry.guests() >= limit

    def _record(self, node_id: bytes, host: str | None) -> None:
        if not self._free:
            self._free.append(self._used)
            self._used += 1
        self._records[node_id] = self._free.pop()
        self._write(node_id, host)

    def _write(self, node_id: bytes, host: str | None) -> None:
        if host is None:
            self._guests.discard(node_id)
        else:
            self._guests.add(node_id)
        self._registry.write(self._part, self._records[node_id], node_id, host or "")
        self._publish()

    def _publish(self) -> None:
        self._registry.set_head(self._part, self._used, len(self._guests))
