"""A peer that breaks the rules: its session ends with a named reason, and nothing is stored."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.envelopes import make
from tests.support.patience import PATIENCE, asynchronous, eventually, turns
from tests.support.syncing import ALL_TOPICS, NOW, End, ids_in, two_ends
from wakumail.base import rlp
from wakumail.base.rlp import join_list
from wakumail.errors import ProtocolError
from wakumail.mail.sync import debts, session
from wakumail.mail.sync.items import Run
from wakumail.mail.sync.packed import by_runs
from wakumail.mail.sync.packets import (
    CODES,
    MAX_ITEMS,
    Close,
    Code,
    Ending,
    Envelopes,
    Found,
    Offer,
    Open,
    Packet,
    Reconcile,
    Seek,
    Status,
    Stored,
    SyncMalformed,
    Want,
    decode,
)
from wakumail.waku.envelope import Envelope

OLD = NOW - 86_400
ENVELOPES = make(10, [b"topi"], created=OLD)
FOREIGN = make(2, [b"topi"], seed=2, created=OLD)
GREETING = Status(0, NOW, ALL_TOPICS, 0.0, 1 << 20)
ITEM = OLD.to_bytes(4, "big") + bytes(32)


def items_of(envelopes: list[Envelope]) -> bytes:
    return b"".join(each.created.to_bytes(4, "big") + each.hash for each in envelopes)


def packet_of(envelopes: list[Envelope]) -> bytes:
    return join_list([each.rlp for each in envelopes])


@asynccontextmanager
async def victim(tmp_path: Path, *, greets: bool = True) -> AsyncIterator[End]:
    """A side whose peer is the test: it does nothing by itself."""
    async with two_ends(tmp_path) as (alice, mallory):
        mallory.receive = lambda code, data: None  # type: ignore[method-assign]
        alice.session.open()
        if greets:
            say(alice, GREETING)
        yield alice


def say(end: End, packet: Packet) -> None:
    end.receive(CODES[type(packet)], packet.encode())


async def assert_ended(end: End, counter: str) -> None:
    await eventually(lambda: end.faults)
    assert [fault.counter for fault in end.faults] == [counter]
    await turns()
    assert ids_in(end.archive) == []
    assert not end.taken


async def wanting(end: End) -> Want:
    """Offer all envelopes; the want that comes back."""
    say(end, Offer(1, arrived=False, items=items_of(ENVELOPES)))
    return await end.until_sent(Want)


@pytest.mark.parametrize(
    "packet",
    [Open(1, 0, NOW, b"\x61"), Want(1, ITEM), Close(1, 0, ""), Envelopes(1, True, b"\xc0")],
    ids=lambda packet: type(packet).__name__,
)
@asynchronous
async def test_a_packet_before_the_status(tmp_path: Path, packet: Packet) -> None:
    async with victim(tmp_path, greets=False) as alice:
        say(alice, packet)
        await assert_ended(alice, "sync_before_status")


UNASKED: list[tuple[Callable[[int], Packet], str]] = [
    (lambda want: Envelopes(want + 1, True, packet_of(ENVELOPES)), "sync_envelopes_unasked"),
    (lambda want: Envelopes(want, True, packet_of(FOREIGN)), "sync_envelopes_unasked"),
    (lambda want: Envelopes(want, True, packet_of(ENVELOPES[:3] + FOREIGN)),
     "sync_envelopes_unasked"),
    (lambda want: Envelopes(want, False, packet_of(ENVELOPES + ENVELOPES[:1])),
     "sync_envelopes_unasked"),
    (lambda want: Envelopes(want, True, packet_of(ENVELOPES[:1] * 10)), "sync_envelopes_unasked"),
    (lambda want: Envelopes(want, True, packet_of(ENVELOPES * 400)), "sync_malformed"),
    (lambda want: Envelopes(want, True, b"\xc1\x80"), "sync_malformed"),
    (lambda want: Offer(2, arrived=False, items=ITEM * 2), "sync_malformed"),
    (lambda want: Found(want, ITEM), "sync_envelopes_unasked"),
    (lambda want: Stored(7, (), 0), "sync_stored_unasked"),
]  # fmt: skip


@pytest.mark.parametrize(("lie", "counter"), UNASKED)
@asynchronous
async def test_what_was_not_asked_for(
    tmp_path: Path, lie: Callable[[int], Packet], counter: str
) -> None:
    async with victim(tmp_path) as alice:
        want = await wanting(alice)
        say(alice, lie(want.want))
        await assert_ended(alice, counter)


@asynchronous
async def test_one_that_comes_again(tmp_path: Path) -> None:
    """It is stored and counted once."""
    async with victim(tmp_path) as alice:
        want = await wanting(alice)
        say(alice, Envelopes(want.want, False, packet_of(ENVELOPES[:2])))
        await eventually(lambda: len(ids_in(alice.archive)) == 2)
        say(alice, Envelopes(want.want, True, packet_of(ENVELOPES[1:])))
        assert [fault.counter for fault in alice.faults] == ["sync_envelopes_unasked"]
        await turns()
        assert len(ids_in(alice.archive)) == sum(map(len, alice.taken)) == 2


@pytest.mark.parametrize(
    "items", [ITEM * 2, bytes(3) + b"\x09" + ITEM[4:], (NOW + 1).to_bytes(4, "big") + ITEM[4:]]
)
@asynchronous
async def test_an_item_that_is_found_twice_or_at_another_time(tmp_path: Path, items: bytes) -> None:
    async with victim(tmp_path) as alice:
        ids = ITEM[4:] + b"\1" * 32
        locating = asyncio.create_task(alice.session._taker.locate(by_runs([Run(10, NOW, ids)])))
        seek = await alice.until_sent(Seek)
        say(alice, Found(seek.want, items))
        await assert_ended(alice, "sync_envelopes_unasked")
        locating.cancel()


@asynchronous
async def test_nothing_is_taken_where_nothing_was_wanted(tmp_path: Path) -> None:
    async with victim(tmp_path) as alice:
        say(alice, Envelopes(1, True, packet_of(ENVELOPES)))
        await assert_ended(alice, "sync_envelopes_unasked")


@asynchronous
async def test_more_wants_than_may_be_unanswered(tmp_path: Path) -> None:
    async with victim(tmp_path) as alice:
        for number in range(1, 6):
            say(alice, Want(number, ITEM * MAX_ITEMS))
        await assert_ended(alice, "sync_wants_excess")


@asynchronous
async def test_more_offers_than_may_be_unanswered(tmp_path: Path) -> None:
    async with victim(tmp_path) as alice:
        for number in range(1, 6):
            say(alice, Offer(number, arrived=True, items=ITEM))
        await assert_ended(alice, "sync_offers_excess")


@asynchronous
async def test_more_messages_than_may_be_unanswered(tmp_path: Path) -> None:
    async with victim(tmp_path) as alice:
        say(alice, Open(2, 0, NOW, b"\x61"))
        say(alice, Reconcile(2, b"\x61"))
        await assert_ended(alice, "sync_messages_excess")


@asynchronous
async def test_a_round_that_was_given_up_makes_room_for_the_next(tmp_path: Path) -> None:
    async with victim(tmp_path) as alice:
        say(alice, Open(2, 0, NOW, b"\x61"))
        say(alice, Open(4, 0, NOW, b"\x61"))
        await eventually(lambda: Reconcile(4, b"\x61") in alice.sent)
        assert not alice.faults
        for number in (6, 8, 10):
            say(alice, Open(number, 0, NOW, b"\x61"))
        await assert_ended(alice, "sync_messages_excess")


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (b"", "negentropy_empty"),
        (b"\x00", "negentropy_version_invalid"),
        (b"\x61\x00\x00\x03", "negentropy_mode_unknown"),
        (b"\x61\x05", "negentropy_truncated"),
    ],
)
@asynchronous
async def test_messages_that_break_the_rules(tmp_path: Path, message: bytes, counter: str) -> None:
    async with victim(tmp_path) as alice:
        say(alice, Open(2, 0, NOW, message))
        await assert_ended(alice, counter)


@asynchronous
async def test_an_answer_that_breaks_the_rules(tmp_path: Path) -> None:
    async with victim(tmp_path) as alice:
        await alice.until_sent(Open)
        say(alice, Reconcile(1, b"\x61\x05"))
        await assert_ended(alice, "negentropy_truncated")
        assert any(isinstance(p, Close) and p.code == Ending.UNREADABLE for p in alice.sent)


@pytest.mark.parametrize("owed", ["status", "reconcile", "envelopes", "stored"])
@asynchronous
async def test_silence(tmp_path: Path, owed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round is opened, an item is offered by us or to us, and no answer comes."""
    monkeypatch.setattr(session, "WATCH_INTERVAL", 0.01)
    async with victim(tmp_path, greets=owed != "status") as alice:
        if owed != "status":
            await alice.until_sent(Open)
        if owed in ("envelopes", "stored"):
            say(alice, Reconcile(1, b"\x61"))
        if owed == "envelopes":
            await wanting(alice)
        if owed == "stored":
            offering = asyncio.create_task(alice.session._offerer.offer(items_of(ENVELOPES)))
            await alice.until_sent(Offer)
        monkeypatch.setattr(debts, "ANSWER_TIMEOUT", 0.0)  # all until here was in time
        await assert_ended(alice, "sync_unanswered")
        if owed == "stored":
            offering.cancel()


@pytest.mark.parametrize(
    ("refused", "stored"),
    [
        ([], 11),
        ([ENVELOPES[0].hash], 10),
        ([ENVELOPES[0].hash] * 2, 0),
        ([FOREIGN[0].hash], 0),
        ([each.hash for each in ENVELOPES + FOREIGN], 0),
    ],
)
@asynchronous
async def test_more_is_stored_than_was_offered(
    tmp_path: Path, refused: list[bytes], stored: int
) -> None:
    async with victim(tmp_path) as alice:
        offering = asyncio.create_task(alice.session._offerer.offer(items_of(ENVELOPES)))
        offer = await alice.until_sent(Offer)
        say(alice, Stored(offer.offer, tuple((each, 1) for each in refused), stored))
        await assert_ended(alice, "sync_stored_unasked")
        offering.cancel()


@asynchronous
async def test_more_is_stored_than_was_fetched(tmp_path: Path) -> None:
    """Three are fetched; that they are stored is believed once."""
    async with victim(tmp_path) as alice:
        alice.add(ENVELOPES)
        offerer = alice.session._offerer
        offering = asyncio.create_task(offerer.offer(items_of(ENVELOPES)))
        await alice.until_sent(Offer)
        say(alice, Want(1, items_of(ENVELOPES[:3])))
        await alice.until_sent(Envelopes)
        say(alice, Stored(1, (), 3))
        assert await offering == 3
        offering = asyncio.create_task(offerer.offer(items_of(ENVELOPES[:3])))
        await eventually(lambda: offerer.owed)
        say(alice, Stored(2, (), 1))
        assert [fault.counter for fault in alice.faults] == ["sync_stored_unasked"]
        offering.cancel()


REPEATED: list[tuple[Callable[[int], Packet], bool, str]] = [
    (lambda _: GREETING, False, "sync_unanswered"),
    (lambda number: Open(2 * number, 0, NOW, b"\x61"), True, "sync_unanswered"),
    (lambda _: Reconcile(99, b"\x61"), False, "sync_unanswered"),
    (lambda _: Close(99, Ending.EQUAL, ""), False, "sync_unanswered"),
    (lambda number: Want(number, ITEM), True, "sync_unanswered"),
    (lambda number: Seek(number, (Run(0, NOW, bytes(32)),)), True, "sync_unanswered"),
    (lambda number: Seek(number, (Run(0, NOW, bytes(32)),), True), True, "sync_unanswered"),
    (lambda number: Offer(number, False, b"\xff" * 36), True, "sync_unanswered"),
    (lambda _: Envelopes(1, False, b"\xc0"), False, "sync_malformed"),
    (lambda _: Found(1, b""), False, "sync_envelopes_unasked"),
    (lambda _: Stored(1, (), 0), False, "sync_stored_unasked"),
]  # fmt: skip


@pytest.mark.parametrize(("packet", "is_answered", "counter"), REPEATED)
@asynchronous
async def test_a_packet_without_end(
    tmp_path: Path,
    packet: Callable[[int], Packet],
    is_answered: bool,
    counter: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each ends the session, for it is no step of what is owed: at once, or a while later.

    is_answered: the peer waits for the answer to each.
    """
    monkeypatch.setattr(session, "WATCH_INTERVAL", 0.01)
    async with victim(tmp_path) as alice:
        await alice.until_sent(Open)
        await wanting(alice)
        monkeypatch.setattr(debts, "STEP_TIMEOUT", 0.1)
        async with asyncio.timeout(PATIENCE):
            for number in count(2):
                alice.sent.clear()
                say(alice, packet(number))
                await asyncio.sleep(0)
                if is_answered and not alice.faults:
                    await eventually(lambda: alice.faults or alice.sent)
                if alice.faults:
                    break
        await assert_ended(alice, counter)


def test_each_packet_is_read_as_it_was_written() -> None:
    for packet in (
        GREETING,
        Status(1, 2, bytes(32), 0.002, 3),
        Open(1, 0, 2**32, b"\x61"),
        Reconcile(3, b"message"),
        Want(4, ITEM * MAX_ITEMS),
        Seek(5, (Run(0, 2**32 - 1, bytes(64)), Run(7, 7, bytes(32))), locates=True),
        Found(6, b""),
        Found(6, ITEM),
        Envelopes(7, False, packet_of(ENVELOPES)),
        Offer(8, arrived=True, items=ITEM),
        Stored(9, ((bytes(32), 3),), 4),
        Close(10, Ending.EQUAL, "text"),
    ):
        encoded = packet.encode()
        assert decode(CODES[type(packet)], encoded) == packet
        longer = join_list([*rlp.split_list(encoded), b"\x01", b"\xc0"])
        assert decode(CODES[type(packet)], longer) == packet
    assert decode(10, b"anything") is None


MALFORMED: list[tuple[Code, object]] = [
    (Code.STATUS, [0, NOW, bytes(31), 0, 1]),
    (Code.STATUS, [0, NOW, bytes(32), 0x7FF0000000000000, 1]),
    (Code.OPEN, [1, 5, 5, b"\x61"]),
    (Code.OPEN, [1, 0, 2**32 + 1, b"\x61"]),
    (Code.OPEN, [1, 0, 5]),
    (Code.RECONCILE, [1, [b"\x61"]]),
    (Code.WANT, [1, b""]),
    (Code.WANT, [1, ITEM[:-1]]),
    (Code.WANT, [1, ITEM * (MAX_ITEMS + 1)]),
    (Code.SEEK, [1, [], 0]),
    (Code.SEEK, [1, [[5, 4, bytes(32)]], 0]),
    (Code.SEEK, [1, [[0, 2**32, bytes(32)]], 0]),
    (Code.SEEK, [1, [[0, 1, bytes(31)]], 0]),
    (Code.SEEK, [1, [[0, 1, bytes(32) * MAX_ITEMS], [0, 1, bytes(32)]], 0]),
    (Code.SEEK, [1, [[0, 1, bytes(32)]], 2]),
    (Code.OFFER, [1, 0, b""]),
    (Code.OFFER, [1, 2, ITEM]),
    (Code.STORED, [1, [[bytes(31), 1]], 0]),
    (Code.STORED, [1, [[bytes(32), 1]] * (MAX_ITEMS + 1), 0]),
    (Code.ENVELOPES, [1, 2, []]),
    (Code.ENVELOPES, [1, 0]),
    (Code.CLOSE, [1, 256, b""]),
]


@pytest.mark.parametrize(("code", "content"), MALFORMED)
def test_packets_that_are_none(code: Code, content: object) -> None:
    with pytest.raises(SyncMalformed):
        decode(code, rlp.encode(content))  # type: ignore[arg-type]


@given(st.integers(0, 12), st.binary(max_size=300))
def test_any_bytes(code: int, data: bytes) -> None:
    with suppress(SyncMalformed):
        decode(code, data)


def test_breaches_end_connections() -> None:
    assert issubclass(SyncMalformed, ProtocolError)
