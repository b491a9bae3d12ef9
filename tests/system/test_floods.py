"""Floods: a peer that sends as fast as it can costs bounded memory, and holds up no other."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pytest

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, build, messages
from tests.support.hostile import (
    ALL,
    MIB,
    Flooded,
    Hostile,
    Served,
    bulk,
    flooded,
    tiny,
)
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Mailserver, Puppet, mailserver
from tests.support.relaying import link_of
from wakumail.base import rlp
from wakumail.node.filters import Filter
from wakumail.node.relay import REOFFER_INTERVAL
from wakumail.waku.allowance import UNASKED_ENVELOPES, UPDATE_BURST, UPDATE_OVERHEAD
from wakumail.waku.bloom import bloom_of
from wakumail.waku.envelope import make_envelope, parse
from wakumail.waku.packets import MAX_REQUEST_SIZE, MAX_TOPIC_INTEREST, Code, StatusOptions

POOL = 16 * MIB


@contextmanager
def growth(server: Flooded, most: int) -> Iterator[None]:
    """The memory grows by `most` bytes at most while the peers are connected."""
    before = server.memory
    yield
    grown = server.memory - before
    assert grown < most, f"{grown / MIB:.1f} MiB"


# -- envelopes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("readers", [0, 3])
@asynchronous
async def test_far_more_than_the_pool_holds(tmp_path: Path, readers: int) -> None:
    async with flooded(tmp_path / "data", "--relay-memory", POOL, "--no-mailserver") as server:
        served = await Served.connect(server.address, archive=False)
        await served.check()
        with growth(server, POOL + 24 * MIB):
            reading = [
                asyncio.ensure_future((await Hostile.enter(server.address, ALL)).read_all())
                for _ in range(readers)
            ]
            floods = {
                await Hostile.enter(server.address): bulk(topic) for topic in (b"one.", b"two.")
            }
            await served.amid(floods, 2 * POOL)
        for reader in reading:
            assert not reader.done()
            reader.cancel()


@asynchronous
async def test_far_more_than_the_disk_takes_at_once(tmp_path: Path) -> None:
    """Envelopes that wait for the disk are bounded (here to 4 MiB); then nothing more is read."""
    async with flooded(tmp_path / "data", "--relay-memory", POOL) as server:
        served = await Served.connect(server.address)
        await served.check()
        with growth(server, POOL + 40 * MIB):
            floods = {
                await Hostile.enter(server.address): bulk(topic)
                for topic in (b"one.", b"two.", b"ten.")
            }
            await served.amid(floods, 32 * MIB)


@asynchronous
async def test_ten_mebibytes_of_tiny_envelopes(tmp_path: Path) -> None:
    packets = [tiny(65_536, start=number << 16) for number in range(3)]
    too_many = rlp.join_list([b"\xc9\x80\x80\x84abcd\x80\x80"] * MIB)
    async with flooded(tmp_path / "data", "--relay-memory", POOL) as server:
        served = await Served.connect(server.address)
        with growth(server, 160 * MIB):
            hostile = await Hostile.enter(server.address)
            await served.during(hostile.pour([*packets, *repeat(too_many, 10)]))


@asynchronous
async def test_duplicates(tmp_path: Path) -> None:
    """Each costs a hash and a look-up. None is kept, archived or relayed a second time."""
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        envelopes = make(20, TOPICS)
        listener = await Puppet.ready(enode, options=ALL)
        first, second = await Hostile.enter(enode), await Hostile.enter(enode)
        await first.pour([messages(envelopes)])
        await eventually(lambda: server.counters["envelopes_archived"] == 20)
        memory = server.relay.pool.memory
        many = list(repeat(messages(envelopes), 1000))
        marks = await served.during(first.pour(many), second.pour(many))
        await eventually(lambda: server.counters["envelopes_duplicate"] == 20 * 2000)
        await eventually(lambda: server.counters["envelopes_archived"] == 20 + marks)
        assert server.counters["envelopes_archived_before"] == 0
        assert server.relay.pool.memory < memory + marks * 1000
        got = [e.hash for e in await relayed(listener, 20 + marks)]
        assert len(set(got)) == len(got) == 20 + marks


async def relayed(puppet: Puppet, count: int) -> list[Any]:
    """At least `count` envelopes that come in Messages packets."""
    envelopes: list[Any] = []
    while len(envelopes) < count:
        envelopes += parse(await puppet.packet(Code.MESSAGES))
    return envelopes


@asynchronous
async def test_times_at_the_ends(tmp_path: Path, unix_time: int) -> None:
    """Each time has its verdict. Envelopes that never expire are evicted when the pool is full."""
    last, now = 0xFFFFFFFF, unix_time
    cases = {
        "accepted": [(last, last - now), (last, last), (now + 50, now + 50), (now - 5, 100)],
        "from_future": [(now + 50, last), (last, 1), (last, last - now - 100), (0, 1)],
        "expired": [(now - 15, 100)],
        "very_old": [(now - 50, 10), (now - 50, now - 50), (1, 1), (0, last)],
        "ttl_zero": [(last, 0), (now, 0), (0, 0)],
    }
    async with mailserver(tmp_path, relay_memory=100_000) as (server, enode):
        served = await Served.connect(enode)
        hostile = await Hostile.enter(enode)
        for times in cases.values():
            envelopes = [make_envelope(*pair, b"time", b"", n) for n, pair in enumerate(times)]
            await hostile.pour([messages(envelopes)])
        count = sum(map(len, cases.values()))
        await eventually(lambda: server.counters["envelopes_received"] == count)
        for verdict, times in cases.items():
            if verdict != "accepted":
                assert server.counters[f"envelopes_{verdict}"] == len(times), verdict
        assert server.relay.pool.envelopes == len(cases["accepted"])
        endless = [make_envelope(last, last - now, b"ever", b"", n) for n in range(2000)]
        await hostile.pour([messages(endless)])
        await eventually(lambda: server.counters["envelopes_received"] == count + 2000)
        await served.check()
        assert server.relay.pool.memory < 200_000
        assert server.relay.pool.evicted > 1000


# -- wishes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("topics", [0, MAX_TOPIC_INTEREST])
@asynchronous
async def test_a_flood_of_status_updates_ends(tmp_path: Path, topics: int) -> None:
    interest = tuple(number.to_bytes(4) for number in range(topics))
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        hostile = await Hostile.enter(enode)
        updates = [
            payload
            for requirement in (0.5, 0.25)
            for _, payload in hostile.dialect.encode_update(
                StatusOptions(pow=requirement, topic_interest=interest)
            )
        ]
        enough = 3 * UPDATE_BURST // (UPDATE_OVERHEAD + len(updates[0]))
        flood = chain.from_iterable(repeat(updates, enough))
        await served.during(hostile.pour(flood, Code.STATUS_UPDATE))
        await eventually(lambda: server.counters["status_update_flood"] == 1)


class WatchedPool:
    """The pool of a relay, with a list of the slots whose wishes were set."""

    def __init__(self, server: Mailserver) -> None:
        self._pool = server.relay._outgoing
        self.set: list[int] = []
        server.relay._outgoing = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def set_interest(self, slot: int, *wishes: Any) -> None:
        self.set.append(slot)
        self._pool.set_interest(slot, *wishes)


@asynchronous
async def test_blooms_that_flap(tmp_path: Path) -> None:
    """However often the wishes change, the live envelopes are offered again once in a while."""
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        feeder, hostile = await Hostile.enter(enode), await Hostile.enter(enode)
        await feeder.pour([tiny(50_000, topic=b"live")])
        await served.check()
        pool = WatchedPool(server)
        started = time.monotonic()
        wanted = bloom_of([b"live"])
        blooms = [StatusOptions(bloom=bloom) for bloom in (bytes(64), bloom_of([b"none"]))]
        updates = [hostile.dialect.encode_update(options)[0][1] for options in blooms]
        flood = chain.from_iterable(repeat(updates, 400))
        await served.during(hostile.pour(flood, Code.STATUS_UPDATE))
        hostile.update(StatusOptions(bloom=wanted))
        assert len(await relayed(hostile, 50_000)) == 50_000
        elapsed = time.monotonic() - started
        assert 1 <= len(pool.set) <= 1 + elapsed / REOFFER_INTERVAL


@asynchronous
async def test_ten_thousand_topics_of_many_peers(tmp_path: Path) -> None:
    topics = tuple(number.to_bytes(4) for number in range(MAX_TOPIC_INTEREST))
    many = StatusOptions(pow=0.0, topic_interest=topics)
    async with flooded(tmp_path / "data") as server:
        served = await Served.connect(server.address)
        peers = [await Hostile.enter(server.address, many) for _ in range(10)]
        with growth(server, 60 * 128 << 10):
            peers += [await Hostile.enter(server.address, many) for _ in range(60)]
            await served.check()


# -- readers --------------------------------------------------------------------------------------


@asynchronous
async def test_many_that_never_read(tmp_path: Path) -> None:
    """They leave little unread, however much there is for them."""
    async with flooded(tmp_path / "data", "--relay-memory", POOL, "--no-mailserver") as server:
        served = await Served.connect(server.address, archive=False)
        await served.check()
        deaf = [(await Hostile.enter(server.address, ALL)).deaf() for _ in range(10)]
        with growth(server, POOL + len(deaf) * 2 * MIB + 24 * MIB):
            await served.amid({await Hostile.enter(server.address): bulk()}, 2 * POOL)


@asynchronous
async def test_one_byte_at_a_time_is_not_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        slow = (await Hostile.enter(enode, ALL)).deaf()
        await served.amid({await Hostile.enter(enode): bulk(size=200_000)}, 16 * MIB)
        monkeypatch.setattr("wakumail.node.outbox.WRITE_TIMEOUT", 0.5)
        link_of(server, slow).pause_writing()  # its time begins anew
        read = 0

        def is_given_up() -> bool:
            nonlocal read
            read += slow.take_bytes(1)
            return server.counters["connections_stalled"] == 1

        await eventually(is_given_up)
        assert read > 0
        await served.check()


@asynchronous
async def test_who_reads_fast_does_not_have_the_loop_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One peer is sent packets no longer than a turn lasts."""
    monkeypatch.setattr("wakumail.node.relay.TURN_TIME", 0.0)
    async with mailserver(tmp_path) as (server, enode):
        await (await Hostile.enter(enode)).pour(islice(bulk(), 80))
        await eventually(lambda: server.counters["envelopes_archived"] == 80)
        await Hostile.enter(enode, ALL)
        before, most = server.counters["packets_relayed"], 0
        while server.counters["packets_relayed"] < 3:
            await asyncio.sleep(0)
            most = max(most, server.counters["packets_relayed"] - before)
            before = server.counters["packets_relayed"]
        assert most == 1


# -- history --------------------------------------------------------------------------------------


@asynchronous
async def test_a_storm_of_requests(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        hostile = await Hostile.enter(enode)
        await hostile.pour([messages(make(200, TOPICS, seed=seed)) for seed in range(10)])
        await eventually(lambda: server.counters["envelopes_archived"] == 2000)
        requests = [build(bloom=b"\xff" * 64, lower=number)[0] for number in range(20)]
        storm = [(await Hostile.enter(enode)).deaf() for _ in range(4)]
        floods = [each.pour(requests * 25, Code.P2P_REQUEST) for each in storm]
        await served.during(*floods)
        assert server.history is not None
        assert all(
            len(waiting) <= server.history.config.max_waiting
            for waiting in server.history._waiting.values()
        )
        assert server.counters["requests_too_many_waiting"] > 0


@asynchronous
async def test_large_requests_do_not_wait(tmp_path: Path) -> None:
    """They are refused at once, not when their turn comes, for the peers read no answers."""
    async with flooded(tmp_path / "data", "--no-confirmations") as server:
        served = await Served.connect(server.address)
        await served.amid({await Hostile.enter(server.address): bulk()}, 12 * MIB)
        request = build(bloom=b"\xff" * 64)[0]
        large = bytes(10 * MIB)
        assert len(large) > MAX_REQUEST_SIZE
        with growth(server, 64 * MIB):
            deaf = [(await Hostile.enter(server.address)).deaf() for _ in range(3)]
            for hostile in deaf:
                await hostile.pour(repeat(request, 3), Code.P2P_REQUEST)
            pouring = (hostile.pour(repeat(large, 8), Code.P2P_REQUEST) for hostile in deaf)
            await served.during(*pouring)


@asynchronous
async def test_history_that_nobody_asked_for(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        served = await Served.connect(enode)
        server.filters.install(Filter((b"hist",), bytes(32), allow_p2p=True), lambda _: None)
        packets = [tiny(1000, start=1000 * n, topic=b"hist") for n in range(30)]
        hostile = await Hostile.enter(enode)
        await served.during(hostile.pour(packets, Code.P2P_MESSAGE))
        await eventually(lambda: server.counters["packets_unasked"] == 30)
        assert server.counters["history_received"] == 0
        trusted = await Hostile.enter(enode)
        (link,) = (link for link in server.node.links.values() if link.port == trusted.port)
        server.node.admission.trust(link.node_id)
        await served.during(trusted.pour(packets, Code.P2P_MESSAGE))
        await eventually(lambda: server.counters["history_unasked_excess"] >= 19)
        assert 0 < server.counters["history_received"] <= UNASKED_ENVELOPES + 1000
        counters = server.counters
        await eventually(lambda: counters["envelopes_archived"] == counters["envelopes_received"])
