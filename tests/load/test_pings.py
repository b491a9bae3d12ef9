"""Clients of the bench answer pings while they prepare and wait: servers drop silent peers."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import asynchronous
from tests.support.puppet import mailserver
from tests.support.scripted import complete, scripted
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.envelope_listener import EnvelopeListenerLoad
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.clients.idle_client import IdleLoad
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import Load, Outcome
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import RequestSpec
from wakumail.node.link import Link
from wakumail.waku.confirmations import NO_ERRORS

IMPATIENT = {"ping_interval": 0.5, "idle_timeout": 3.0}
"""A client may take a second to notice a ping."""

BATCHES = 10
PREPARING = 4.5
"""Seconds in which a sender prepares."""


@dataclass(frozen=True, slots=True)
class SlowTraffic(LiveTraffic):
    """Envelopes that take long to make, as those with much PoW do."""

    def batches(self, count: int, size: int, min_pow: float) -> Iterator[list[bytes]]:
        for batch in LiveTraffic.batches(self, count, size, min_pow):
            time.sleep(PREPARING / BATCHES)
            yield batch


def send(enode: Enode, load: SenderLoad, others: Sequence[Load] = ()) -> list[Outcome]:
    """Prepare and run a sender. The others wait meanwhile, then run beside it."""
    with (
        ClientPool() as pool,
        pool.open(others, enode) as waiting,
        pool.open([load], enode) as sender,
    ):
        sender.prepare()
        waiting.start()
        return [*sender.run(), *waiting.finish()]


@asynchronous
async def test_clients_answer_pings_while_one_prepares(tmp_path: Path) -> None:
    count = 10 * BATCHES
    load = SenderLoad(SlowTraffic(topics=1), count, connections=2, batch=10)
    others: list[Load] = [IdleLoad(3, seconds=0.1), EnvelopeListenerLoad(2, count)]
    async with mailserver(tmp_path, connection=IMPATIENT) as (_, enode):
        sent, _, heard = await asyncio.to_thread(send, enode, load, others)
    assert sent.tally.envelopes == count
    assert heard.tally.envelopes == 2 * count


@asynchronous
async def test_a_reader_that_waits_answers_pings() -> None:
    specs = [RequestSpec(0, 1, topics=(b"abcd",))]

    def wait_and_ask(enode: Enode) -> Outcome:
        load = HistoryReaderLoad(specs, seconds=0.0, count=1)
        with ClientPool() as pool, pool.open([load], enode) as reader:
            time.sleep(PREPARING)
            reader.prepare()
            (outcome,) = reader.run()
            return outcome

    async with scripted(complete, connection=IMPATIENT) as server:
        outcome = await asyncio.to_thread(wait_and_ask, server.enode)
    assert len(outcome.tally.seconds) == 1


@asynchronous
async def test_a_sender_answers_pings_while_it_waits_for_confirmations() -> None:
    def confirm(link: Link, batch_hash: bytes) -> None:
        link.peer.confirm([(batch_hash, NO_ERRORS)])
        link.outbox.flush()

    def confirm_late(link: Link, batch_hash: bytes) -> None:
        asyncio.get_running_loop().call_later(PREPARING, confirm, link, batch_hash)

    async with scripted(on_batch=confirm_late, connection=IMPATIENT) as server:
        (sent,) = await asyncio.to_thread(send, server.enode, SenderLoad(LiveTraffic(), 10))
        assert sent.tally.envelopes == 10
