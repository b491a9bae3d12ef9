"""Two sides that sync in memory, each with an archive of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.support.envelopes import rules_with
from tests.support.patience import eventually
from wakumail.archive.archive import Archive
from wakumail.archive.durability import Durability
from wakumail.archive.retention import KEEP_EVERYTHING
from wakumail.archive.store import Store
from wakumail.base.rlp import join_list
from wakumail.counters import Counters
from wakumail.errors import PeerGone, ProtocolError
from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.packets import CODES, Packet, Status
from wakumail.mail.sync.remembered import Remembered
from wakumail.mail.sync.session import Session
from wakumail.mail.sync.side import Side
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.window import topics_digest
from wakumail.mail.sync.wire import Wire
from wakumail.waku.envelope import Batch, Envelope, Rules, parse

P = TypeVar("P")

NOW = 1_700_000_000
ALL_TOPICS = topics_digest(())
ANY = rules_with(min_pow=0.0, min_pow_large=0.0)


def batch_of(envelopes: Iterable[Envelope]) -> Batch:
    return parse(join_list([envelope.rlp for envelope in envelopes]))


def ids_in(archive: Archive) -> list[bytes]:
    """The ids of all envelopes, in the order of the archive."""
    with archive.items() as items:
        packed = items.ids((0, b""), (1 << 33, b""), 1 << 20)
    return [packed[at + 4 : at + 36] for at in range(0, len(packed), 36)]


class PipeWire(Wire):
    """An end of a connection in memory: packets reach the other side in the loop's next round."""

    def __init__(self, end: "End") -> None:
        self._end = end
        self.faults: list[ProtocolError] = []

    def send(self, packet: Packet) -> None:
        end, data = self._end, packet.encode()
        end.sent.append(packet)
        end.tally.bytes_sent += len(data)
        asyncio.get_running_loop().call_soon(end.other.receive, CODES[type(packet)], data)

    async def drain(self) -> None:
        if self.faults:
            raise PeerGone("the connection ended")

    def fail(self, error: ProtocolError) -> None:
        self.faults.append(error)
        self._end.session.close()
        self._end.other.session.close()


class End:
    """One side: an archive, and a session with the other side."""

    def __init__(self, path: Path, status: Status, rules: Rules) -> None:
        self.archive = Archive(path, sync=False)
        self.store = Store(
            self.archive, Counters(), durability=Durability.COMMIT, retention=KEEP_EVERYTHING
        )
        self.tally = Tally()
        self.wire = PipeWire(self)
        self.sent: list[Packet] = []
        self.taken: list[Batch] = []
        self.equal: list[Window] = []
        self.faults: list[ProtocolError] = []
        self.other: End
        self.status = status
        self.side = Side(
            desk=Desk(self.archive),
            store=self.store,
            status=lambda: self.status,
            rules=lambda: rules,
            refused=Remembered(),
            on_equal=self.equal.append,
            sync_interval=3600.0,
            sync_window=0,
        )
        self.session = self.make_session(drives=False)

    async def until_sent(self, kind: type[P]) -> P:
        """Wait for a packet of this kind; the first that was sent."""
        return (await eventually(lambda: [each for each in self.sent if isinstance(each, kind)]))[0]

    def make_session(self, *, drives: bool) -> Session:
        return Session(
            "the other",
            self.wire,
            self.side,
            self.tally,
            drives=drives,
            on_batch=self.taken.append,
            on_fault=self.faults.append,
        )

    def receive(self, code: int, data: bytes) -> None:
        if not self.wire.faults and not self.other.wire.faults:
            try:
                self.session.received(code, data)
            except ProtocolError as error:
                self.faults.append(error)
                self.wire.fail(error)

    def add(self, envelopes: Iterable[Envelope]) -> None:
        """Archive envelopes."""
        self.archive.append([batch_of(envelopes)])

    async def close(self) -> None:
        self.session.close()
        self.side.desk.close()
        await self.store.close()


@asynccontextmanager
async def two_ends(
    tmp_path: Path, *, alice: dict[str, Any] | None = None, bob: dict[str, Any] | None = None
) -> AsyncIterator[tuple[End, End]]:
    """Two sides whose sessions are not open yet; Alice drives."""
    ends = []
    for name, changes in (("alice", alice or {}), ("bob", bob or {})):
        rules = changes.pop("rules", ANY)
        status = Status(0, NOW, ALL_TOPICS, 0.0, 1 << 20)._replace(**changes)
        ends.append(End(tmp_path / name, status, rules))
    ends[0].other, ends[1].other = ends[1], ends[0]
    ends[0].session = ends[0].make_session(drives=True)
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            await end.close()


def open_both(alice: End, bob: End) -> None:
    """Open the sessions."""
    alice.session.open()
    bob.session.open()
