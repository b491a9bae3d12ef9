"""The publisher and the intake, between a log that the test plays and a real archive."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.archive_model import START, batch_of, envelope
from tests.support.patience import asynchronous, eventually, turns
from wakumail.archive.archive import Archive
from wakumail.archive.durability import Durability
from wakumail.archive.results import LogPlace
from wakumail.archive.retention import KEEP_EVERYTHING
from wakumail.counters import Counters
from wakumail.ops.cluster.intake import Intake
from wakumail.ops.cluster.log import Acknowledged, Log, LogMessage
from wakumail.ops.cluster.log_errors import LogUnavailable
from wakumail.ops.cluster.log_message import message_id, pack
from wakumail.ops.cluster.log_reader import LogReader
from wakumail.ops.cluster.logged_store import LoggedStore
from wakumail.ops.cluster.publisher import Publisher
from wakumail.waku.envelope import Batch, Verdict, parse

PLACE = LogPlace("fleet", 1, 0)


class PlayedLog:
    """Messages wait until the test acknowledges them, in any order."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[bytes, asyncio.Future[Acknowledged]]] = {}
        self.tries = 0
        self.name = PLACE.name
        self.read_by_all: list[LogMessage] = []
        self.left_out: list[LogMessage] = []

    async def publish(self, message: bytes, message_id: str) -> Acknowledged:
        self.tries += 1
        answer: asyncio.Future[Acknowledged] = asyncio.get_running_loop().create_future()
        self.waiting[message_id] = message, answer
        return await answer

    def acknowledge(self, batch: Batch, sequence: int, *, duplicate: bool = False) -> None:
        _, answer = self.waiting.pop(message_id(pack([batch.stream()])))
        answer.set_result(Acknowledged(sequence, duplicate))

    async def read(self, first: int, *, limit: int, max_bytes: int) -> list[LogMessage]:
        """One server: it leaves out all but `read_by_all`."""
        return [message for message in self.read_by_all if message.sequence >= first]

    async def read_from_leader(self, sequence: int) -> LogMessage | None:
        """The leader: it has `left_out` too."""
        found = (*self.read_by_all, *self.left_out)
        return next((message for message in found if message.sequence == sequence), None)

    async def ask(self, action: str) -> dict[str, Any]:
        sequences = [message.sequence for message in (*self.read_by_all, *self.left_out)]
        return {"state": {"first_seq": min(sequences), "last_seq": max(sequences)}}

    def refuse(self, batch: Batch, reason: str = "no majority") -> None:
        _, answer = self.waiting.pop(message_id(pack([batch.stream()])))
        answer.set_exception(LogUnavailable(reason))


class Rig:
    """A host between a played log and its archive."""

    def __init__(self, path: Path) -> None:
        self.counters = counters = Counters()
        self.log = PlayedLog()
        self.archive = Archive(path)
        self.store = LoggedStore(
            self.archive, counters, durability=Durability.COMMIT, retention=KEEP_EVERYTHING
        )
        self.live: list[Batch] = []
        self.intake = Intake(self.store, PLACE, counters, self.live.append)
        self.publisher = self.store.publisher = Publisher(
            cast(Log, self.log),
            counters,
            self.intake.acknowledged,
            lambda sequence: sequence <= self.intake.order.head,
        )
        self.publisher.go(on=True)
        self.reported: list[str] = []

    def put(self, name: str, batch: Batch) -> None:
        self.store.put(batch, lambda: self.reported.append(name))

    async def sent(self, *batches: Batch) -> None:
        ids = {message_id(pack([batch.stream()])) for batch in batches}
        await eventually(lambda: self.log.waiting.keys() >= ids)

    def read(self, sequence: int, batch: Batch, age: float = 0.0) -> None:
        message = log_message(sequence, batch, age)
        self.intake.read(message, self.intake.envelopes(message))

    @property
    def stored(self) -> tuple[int, int]:
        """Envelopes of the archive, and its place."""
        place = self.archive.log_place()
        return self.archive.stat().envelopes, 0 if place is None else place.sequence


def log_message(sequence: int, batch: Batch, age: float = 0.0) -> LogMessage:
    """A message of the log, as it is read."""
    data = pack([batch.stream()])
    return LogMessage(sequence, message_id(data), time.time() - age, data)


@asynccontextmanager
async def rig(path: Path) -> AsyncIterator[Rig]:
    made = Rig(path)
    try:
        yield made
    finally:
        await made.publisher.close()
        await made.store.close()


def some(first: int, count: int = 3) -> Batch:
    return batch_of([envelope(START + n, b"topi", n) for n in range(first, first + count)])


def duplicates_of(batch: Batch) -> Batch:
    """A batch in which nothing is accepted."""
    return parse(batch.raw, max_envelope=1)


async def begin(here: Rig, *batches: Batch) -> None:
    """Put batches so that each is a message of its own."""
    for number, batch in enumerate(batches):
        here.put("abcdef"[number], batch)
        await here.sent(batch)


@asynchronous
async def test_nothing_is_stored_before_the_log_has_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        one = some(0)
        await begin(here, one)
        assert here.stored == (0, 0)
        assert here.store.awaited_bytes == one.memory
        here.log.acknowledge(one, 1)
        await eventually(lambda: here.reported)
        assert here.stored == (3, 1)
        assert here.store.awaited_bytes == here.store.queued_bytes == 0


@asynchronous
async def test_a_message_waits_for_none_of_others_but_the_place_does(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        one = some(0)
        await begin(here, one)
        here.log.acknowledge(one, 2)
        await eventually(lambda: here.reported)
        assert here.stored == (3, 0)
        other = some(10)
        here.read(1, other)
        await eventually(lambda: here.live)
        assert here.stored == (6, 2)
        assert [each.rlp for each in here.live[0]] == [each.rlp for each in other]


@asynchronous
async def test_old_envelopes_are_not_relayed(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        here.read(1, some(0), age=3600)
        await eventually(lambda: here.stored == (3, 1))
        await eventually(lambda: not here.store.queued_bytes)
        assert not here.live


@asynchronous
async def test_batches_are_reported_in_their_order(tmp_path: Path) -> None:
    """The first message comes to the log last: a duplicate behind it may be one of it."""
    async with rig(tmp_path) as here:
        one, two = some(0), some(10)
        await begin(here, one, two)
        here.put("c", duplicates_of(one))
        here.log.acknowledge(two, 1)
        await eventually(lambda: here.stored == (3, 1))
        assert here.reported == []
        here.log.refuse(one)
        await eventually(lambda: here.log.tries == 3)
        here.log.acknowledge(one, 2)
        await eventually(lambda: len(here.reported) == 3)
        assert here.reported == ["a", "b", "c"]
        assert here.stored == (6, 2)
        assert here.store.awaited_bytes == 0


@asynchronous
async def test_the_first_reason_of_a_log_that_takes_nothing_is_kept(tmp_path: Path) -> None:
    """Servers whose disk is full say so once. Later there is no leader, and nobody answers."""
    batch = some(0)
    async with rig(tmp_path) as here:
        await begin(here, batch)
        here.log.refuse(batch, "insufficient resources")
        await eventually(lambda: here.log.tries == 2)
        here.log.refuse(batch, "nobody answers")
        await eventually(lambda: here.log.tries == 3)
        assert here.publisher.failure == "insufficient resources"
        here.log.acknowledge(batch, 1)
        await eventually(lambda: not here.publisher.waits)
        assert here.publisher.failure == ""


@asynchronous
async def test_a_message_that_is_read_is_acknowledged(tmp_path: Path) -> None:
    """Its acknowledgement was lost with a leader."""
    async with rig(tmp_path) as here:
        one = some(0)
        await begin(here, one)
        data = pack([one.stream()])
        assert here.publisher.recognise(message_id(data), 1)
        await eventually(lambda: here.reported)
        assert here.stored == (3, 1)
        here.log.acknowledge(one, 1, duplicate=True)
        await eventually(lambda: not here.log.waiting)
        assert here.reported == ["a"]


@asynchronous
async def test_what_a_server_leaves_out_before_our_own_message_is_asked_for(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        own, other = some(0), some(10)
        await begin(here, own)
        here.log.acknowledge(own, 2)
        await eventually(lambda: here.reported)
        here.log.read_by_all = [log_message(2, own)]
        here.log.left_out = [log_message(1, other)]
        reader = LogReader(cast(Log, here.log), here.intake, here.publisher, here.counters)
        reading = asyncio.create_task(reader.run())
        await eventually(lambda: here.stored == (6, 2))
        reading.cancel()


@asynchronous
async def test_a_log_that_counts_anew_gets_nothing_more(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        here.read(1, some(20))
        one = some(0)
        await begin(here, one)
        here.log.acknowledge(one, 1)
        await turns()
        two = some(10)
        here.put("b", two)
        await eventually(lambda: here.stored == (3, 1))
        assert not here.log.waiting
        here.publisher.go(on=True)
        await here.sent(one, two)
        assert here.reported == []


@asynchronous
async def test_the_place_stays_before_a_hole(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        here.read(1, some(0))
        with pytest.raises(ValueError, match="does not follow"):
            here.read(3, some(10))
        here.intake.leave_out(2)
        here.read(3, some(10))
        await eventually(lambda: here.stored == (6, 1))
        here.read(2, some(20))
        await eventually(lambda: here.stored == (9, 3))


@asynchronous
async def test_a_message_that_is_no_batch_moves_the_place(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        strange = LogMessage(1, "", time.time(), b"\2not of this version")
        here.intake.read(strange, here.intake.envelopes(strange))
        await eventually(lambda: here.stored == (0, 1))
        here.intake.leave_out(2)
        here.intake.fill(2, 2)
        await eventually(lambda: here.stored == (0, 2))


@asynchronous
async def test_a_large_batch_is_stored_message_by_message(tmp_path: Path) -> None:
    async with rig(tmp_path) as here:
        large = batch_of([envelope(START + n, b"topi", n, 600_000) for n in range(3)])
        here.put("a", large)
        await eventually(lambda: len(here.log.waiting) == 3)
        answers = [answer for _, answer in here.log.waiting.values()]
        for sequence in (3, 1, 2):
            assert here.reported == []
            answers[sequence - 1].set_result(Acknowledged(sequence, False))
        await eventually(lambda: here.reported)
        assert here.stored == (3, 3)


def test_duplicates_have_nothing_accepted() -> None:
    none = duplicates_of(some(0))
    assert none.accepted == 0
    assert none.verdict(0) is Verdict.TOO_LARGE
