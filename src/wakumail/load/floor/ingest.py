"""The floor of ingest: frames opened, envelopes judged, rows committed, packets confirmed.

One step after the other, in compiled code for a whole read: no pool, no events, no threads.
"""

import tempfile
import time
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.commit_queue import MAX_COMMIT_BYTES
from wakumail.base.rlp import join_list
from wakumail.load.clients.sender import WRITE_SIZE, SenderLoad
from wakumail.load.floor.wire import Wire, message_id
from wakumail.waku.confirmations import encode_batch_ack, encode_message_response
from wakumail.waku.envelope import Batch, Rules, judge_packets
from wakumail.waku.packets import Code

MAX_PACKET = 10 << 20
RULES = Rules(min_pow=0.0, min_pow_large=0.0, max_envelope=MAX_PACKET)


def ingest_floor(load: SenderLoad, directory: Path) -> float:
    """Seconds of CPU for each envelope of this load, into an archive that is made in `directory`.

    The confirmations are sent for each read, so each is two packets and no call of its own.
    """
    with tempfile.TemporaryDirectory(dir=directory) as name, Wire() as wire:
        writes = make_writes(load, wire)
        with Archive(name) as archive:
            floor = IngestFloor(wire, archive, confirming=load.confirmed)
            for write in writes:
                floor.take(write)
            floor.commit()
    return wire.cpu / load.count


def make_writes(load: SenderLoad, wire: Wire) -> list[bytes]:
    """The frames of all packets, as many in one write as a sender puts there."""
    writes = [bytearray()]
    for batch in load.live.batches(load.count, load.batch, RULES.min_pow):
        writes[-1] += wire.frame(Code.MESSAGES, join_list(batch))
        if len(writes[-1]) >= WRITE_SIZE:
            writes.append(bytearray())
    return [bytes(write) for write in writes]


class IngestFloor:
    """The steps, and the batches that wait for the next commit."""

    def __init__(self, wire: Wire, archive: Archive, *, confirming: bool) -> None:
        self._wire = wire
        self._archive = archive
        self._confirming = confirming
        self._prefix = message_id(Code.MESSAGES)
        self._waiting: list[Batch] = []
        self._waiting_bytes = 0

    def take(self, write: bytes) -> None:
        """Send these frames from the far end, and do all that they ask of the near end."""
        rest = memoryview(write)
        while rest or self._wire.unread:
            rest = self._wire.write(rest)
            self._wire.begin()
            self._wire.receive()
            self._judge()
            self._wire.send()
            self._wire.end()
            self._wire.drain()
            if self._waiting_bytes >= MAX_COMMIT_BYTES:
                self.commit()

    def commit(self) -> None:
        """Commit what waits: as much as the server's writer takes at most."""
        self._wire.begin()
        self._archive.append(self._waiting)
        self._wire.end()
        self._waiting, self._waiting_bytes = [], 0

    def _judge(self) -> None:
        now = int(time.time())
        while payloads := self._wire.reader.next_payloads(
            self._prefix, MAX_PACKET, compressed=True
        ):
            batch = judge_packets(*payloads, RULES, now, confirming=self._confirming)
            self._waiting.append(batch)
            self._waiting_bytes += batch.memory
            for batch_hash, errors in batch.confirmations:
                self._wire.add(Code.MESSAGE_RESPONSE, encode_message_response(batch_hash, errors))
                self._wire.add(Code.BATCH_ACK, encode_batch_ack(batch_hash))
