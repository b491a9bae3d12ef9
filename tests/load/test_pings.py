"""Clients of the bench answer pings while they prepare and wait: servers drop silent peers."""

import asyncio
import os
import select
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.patience import PATIENCE, asynchronous, eventually
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
from wakumail.node.node import Node
from wakumail.waku.confirmations import NO_ERRORS

CURIOUS = {"ping_interval": 0.1, "idle_timeout": PATIENCE}

COUNT = 4 * PATIENCE
"""Envelopes that a sender makes, with a quarter of a second at most for each."""


@dataclass(frozen=True, slots=True)
class SlowTraffic(LiveTraffic):
    """Envelopes that take long to make, as those with much PoW do, until a byte is in a FIFO."""

    fifo: str = ""

    def batches(self, count: int, size: int, min_pow: float) -> Iterator[list[bytes]]:
        fifo = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)
        try:
            for batch in LiveTraffic.batches(self, count, size, min_pow):
                select.select([fifo], [], [], 0.25)
                yield batch
        finally:
            os.close(fifo)


async def hears(link: Link) -> None:
    """Wait until bytes come from a peer: pongs, if it has nothing to send."""
    connection = link.peer.connection
    before = connection._heard
    await eventually(lambda: connection._heard > before)


async def answered(node: Node, connections: int) -> None:
    """Wait until each connection has answered pings, and once more."""
    await eventually(lambda: len(node.links) == connections)
    links = list(node.links.values())
    await eventually(lambda: all(link.ready for link in links))
    for _ in range(2):
        await asyncio.gather(*map(hears, links))


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
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    load = SenderLoad(SlowTraffic(topics=1, fifo=str(fifo)), COUNT, connections=2, batch=1)
    others: list[Load] = [IdleLoad(3, seconds=0.1), EnvelopeListenerLoad(2, COUNT)]
    async with mailserver(tmp_path, connection=CURIOUS) as (server, enode):
        sending = asyncio.create_task(asyncio.to_thread(send, enode, load, others))
        await answered(server.node, 3 + 2 + 2)
        prepared = os.open(fifo, os.O_RDWR)
        os.write(prepared, b"\n")
        sent, _, heard = await sending
        os.close(prepared)
    assert sent.tally.envelopes == COUNT
    assert heard.tally.envelopes == 2 * COUNT


@asynchronous
async def test_a_reader_that_waits_answers_pings() -> None:
    specs = [RequestSpec(0, 1, topics=(b"abcd",))]
    ready = threading.Event()

    def wait_and_ask(enode: Enode) -> Outcome:
        load = HistoryReaderLoad(specs, seconds=0.0, count=1)
        with ClientPool() as pool, pool.open([load], enode) as reader:
            assert ready.wait(PATIENCE)
            reader.prepare()
            (outcome,) = reader.run()
            return outcome

    async with scripted(complete, connection=CURIOUS) as server:
        asking = asyncio.create_task(asyncio.to_thread(wait_and_ask, server.enode))
        await answered(server.node, 1)
        ready.set()
        outcome = await asking
    assert len(outcome.tally.seconds) == 1


@asynchronous
async def test_a_sender_answers_pings_while_it_waits_for_confirmations() -> None:
    batches: list[tuple[Link, bytes]] = []

    def note(link: Link, batch_hash: bytes) -> None:
        batches.append((link, batch_hash))

    async with scripted(on_batch=note, connection=CURIOUS) as server:
        load = SenderLoad(LiveTraffic(), 10)
        sending = asyncio.create_task(asyncio.to_thread(send, server.enode, load))
        await eventually(lambda: batches)
        await answered(server.node, 1)
        ((link, batch_hash),) = batches
        link.peer.confirm([(batch_hash, NO_ERRORS)])
        link.outbox.flush()
        (sent,) = await sending
        assert sent.tally.envelopes == 10
