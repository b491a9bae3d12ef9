"""Two sides that sync in memory, each with an archive of its own."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.envelopes import make, rules_with
from tests.support.patience import asynchronous, eventually, turns
from tests.support.syncing import NOW, End, ids_in, open_both, two_ends
from wakumail.errors import ArchiveDamaged, PeerGone
from wakumail.mail.sync import desk, follower, offers, respondent
from wakumail.mail.sync import round as rounds
from wakumail.mail.sync.agreement import TOPICS_DIFFER
from wakumail.mail.sync.driver import ROUNDS_AT_ONCE
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.packets import (
    Close,
    Ending,
    Offer,
    Open,
    Packet,
    Reconcile,
    Refusal,
    Seek,
    Status,
    Stored,
    Want,
)
from wakumail.mail.sync.round import RoundFailed
from wakumail.mail.sync.session import SyncStopped
from wakumail.mail.sync.window import HORIZON_SLACK, SETTLING, topics_digest
from wakumail.waku.envelope import Envelope, make_envelope

OLD = NOW - 86_400
ENVELOPES = make(3000, [b"topi", b"else"], created=OLD, spread=50_000)


async def made_equal(alice: End, bob: End) -> None:
    await eventually(lambda: (alice.equal and bob.equal) or alice.faults or bob.faults)
    assert ids_in(alice.archive) == ids_in(bob.archive)
    assert not alice.faults
    assert not bob.faults


@pytest.mark.parametrize(
    ("of_alice", "of_bob"),
    [
        ([], []),
        ([0], []),
        ([], [0]),
        (range(3000), range(3000)),
        (range(3000), []),
        ([], range(3000)),
        (range(0, 3000, 2), range(1, 3000, 2)),
        (range(2900), range(100, 3000)),
    ],
    ids=lambda numbers: f"{len(numbers)}",
)
@asynchronous
async def test_both_have_the_same(tmp_path: Path, of_alice: list[int], of_bob: list[int]) -> None:
    async with two_ends(tmp_path) as (alice, bob):
        alice.add(ENVELOPES[index] for index in of_alice)
        bob.add(ENVELOPES[index] for index in of_bob)
        open_both(alice, bob)
        await made_equal(alice, bob)
        missing = set(of_bob) - set(of_alice), set(of_alice) - set(of_bob)
        assert (alice.tally.stored, bob.tally.stored) == tuple(map(len, missing))
        assert (alice.tally.needed, alice.tally.had) == tuple(map(len, missing))
        assert (bob.tally.sent, alice.tally.sent) == tuple(map(len, missing))
        assert set(ids_in(alice.archive)) == {
            ENVELOPES[index].hash for index in {*of_alice, *of_bob}
        }
        assert alice.equal[-1] == bob.equal[-1] == Window(0, NOW - SETTLING)
        await eventually(lambda: alice.tally.bytes_sent == bob.tally.bytes_received)
        assert sum(batch.accepted for batch in alice.taken) == len(missing[0])


@asynchronous
async def test_an_equal_round_costs_some_hundred_bytes(tmp_path: Path) -> None:
    async with two_ends(tmp_path) as (alice, bob):
        alice.add(ENVELOPES)
        bob.add(ENVELOPES)
        open_both(alice, bob)
        await made_equal(alice, bob)
        assert [type(packet) for packet in alice.sent[1:]] == [Open, Close]
        assert alice.tally.bytes_sent + bob.tally.bytes_sent < 1000


# -- what is not moved ----------------------------------------------------------------------------


@asynchronous
async def test_refused_envelopes_are_not_moved_again(tmp_path: Path) -> None:
    """Bob asks for work that no envelope has; Alice keeps hers, and offers them once."""
    strict = rules_with(min_pow=1e9, min_pow_large=1e9)
    async with two_ends(tmp_path, bob={"rules": strict}) as (alice, bob):
        alice.add(ENVELOPES[:100])
        bob.add(ENVELOPES[90:110])
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        assert ids_in(alice.archive) == sorted_ids(ENVELOPES[:110])
        assert ids_in(bob.archive) == sorted_ids(ENVELOPES[90:110])
        assert bob.tally.refused == {Refusal.LOW_POW: 90}
        sent = len([packet for packet in bob.sent if isinstance(packet, Want)])
        outcome = await alice.session.make_round()
        assert (outcome.had, outcome.given, outcome.agreed) == (90, 0, True)
        assert len([packet for packet in bob.sent if isinstance(packet, Want)]) == sent


@asynchronous
async def test_what_we_refuse_is_wanted_once(tmp_path: Path) -> None:
    strict = rules_with(max_envelope=10)
    async with two_ends(tmp_path, alice={"rules": strict}) as (alice, bob):
        bob.add(ENVELOPES[:50])
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        assert alice.tally.refused == {Refusal.TOO_LARGE: 50}
        asked = len([packet for packet in alice.sent if isinstance(packet, Seek)])
        outcome = await alice.session.make_round()
        assert (outcome.needed, outcome.stored, outcome.agreed) == (50, 0, True)
        assert len([packet for packet in alice.sent if isinstance(packet, Seek)]) == asked
        assert ids_in(alice.archive) == []


@asynchronous
async def test_the_later_horizon_bounds_the_window(tmp_path: Path) -> None:
    horizon = OLD - 25_000
    async with two_ends(tmp_path, bob={"horizon": horizon}) as (alice, bob):
        alice.add(ENVELOPES)
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        (window,) = set(alice.equal)
        assert window.first % 60 == 0
        assert 0 <= window.first - horizon - HORIZON_SLACK < 60
        within = [each for each in ENVELOPES if window.first <= each.created]
        assert 0 < len(within) < len(ENVELOPES)
        assert ids_in(bob.archive) == sorted_ids(within)


@asynchronous
async def test_what_is_older_than_the_horizon_is_never_taken(tmp_path: Path) -> None:
    """A peer that offers what we have pruned: nothing of it comes back."""
    async with two_ends(tmp_path, alice={"horizon": NOW - 10}) as (alice, bob):
        bob.add(ENVELOPES[:5])
        open_both(alice, bob)
        await eventually(lambda: alice.tally.problem)
        assert alice.tally.problem == "no time is kept by both"
        items = packed(ENVELOPES[:5])
        bob.wire.send(Offer(77, arrived=False, items=items))
        await alice.until_sent(Stored)
        assert alice.sent[-1] == Stored(77, (), 0)
        assert ids_in(alice.archive) == []


@asynchronous
async def test_different_topics_are_told(tmp_path: Path) -> None:
    other = topics_digest((b"topi",))
    async with two_ends(tmp_path, bob={"topics": other}) as (alice, bob):
        alice.add(ENVELOPES[:10])
        open_both(alice, bob)
        await eventually(lambda: alice.tally.problem and bob.tally.problem)
        assert alice.tally.problem == bob.tally.problem == TOPICS_DIFFER
        alice.wire.send(Open(1, 0, NOW, b"\x61"))
        await eventually(lambda: len(bob.sent) > 1)
        assert bob.sent[1:] == [Close(1, Ending.TOPICS_DIFFER, TOPICS_DIFFER)]
        with pytest.raises(RoundFailed, match="different topics"):
            await alice.session.make_round()
        assert not alice.equal


@pytest.mark.parametrize("damaged", ["alice", "bob"])
@asynchronous
async def test_sums_that_do_not_fit_the_rows(
    tmp_path: Path, damaged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No round is made by them. The session stays, and what arrives is told and stored."""
    monkeypatch.setattr(follower, "LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(offers, "RELAY_TIME", 0.01)
    async with two_ends(tmp_path) as (alice, bob):
        side = alice if damaged == "alice" else bob

        def damage(work: object) -> asyncio.Future[bytes]:
            failed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            failed.set_exception(ArchiveDamaged("the sums do not fit"))
            return failed

        monkeypatch.setattr(side.side.desk, "reconcile", damage)
        open_both(alice, bob)
        await eventually(lambda: alice.tally.problem)
        assert "damaged" in alice.tally.problem or "do not fit" in alice.tally.problem
        assert alice.tally.rounds_failed == 1
        alice.add(ENVELOPES[:10])
        await eventually(lambda: len(ids_in(bob.archive)) == 10)
        assert not alice.equal
        assert not alice.faults
        assert not bob.faults


@asynchronous
async def test_the_last_second_of_all_stays_where_it_is(tmp_path: Path) -> None:
    wrapped = make_envelope(0, 1, b"topi", b"", 0)
    assert wrapped.created == 2**32 - 1
    async with two_ends(tmp_path) as (alice, bob):
        alice.add([wrapped])
        open_both(alice, bob)
        await made_equal_but(alice, bob, {wrapped.hash})
        bob.wire.send(Offer(5, arrived=False, items=packed([wrapped])))
        await alice.until_sent(Stored)
        assert not alice.taken


@asynchronous
async def test_thousands_of_one_second(tmp_path: Path) -> None:
    crowd = make(5000, [b"topi"], created=OLD, spread=1)
    async with two_ends(tmp_path) as (alice, bob):
        alice.add(crowd[:4990])
        bob.add(crowd[10:])
        open_both(alice, bob)
        await made_equal(alice, bob)
        assert ids_in(bob.archive) == sorted_ids(crowd)
        assert (alice.tally.needed, alice.tally.had) == (10, 10)


@asynchronous
async def test_pruned_while_it_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envelopes that are gone when wanted are left out; the round after it finds both equal."""
    async with two_ends(tmp_path) as (alice, bob):
        bob.add(ENVELOPES)

        find = bob.side.desk.find

        async def prune_first(wanted: Want | Seek) -> bytes:
            while bob.archive.prune(OLD + 86_400, limit=100_000).more:
                pass
            return await find(wanted)

        monkeypatch.setattr(bob.side.desk, "find", prune_first)
        open_both(alice, bob)
        await made_equal(alice, bob)
        assert ids_in(alice.archive) == ids_in(bob.archive) == []


@asynchronous
async def test_a_seek_that_looks_at_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids that it does not find are gone for this round, and found again in the next."""
    monkeypatch.setattr(desk, "MAX_SEEK_ROWS", 5000)
    async with two_ends(tmp_path) as (alice, bob):
        alice.add(each for index, each in enumerate(ENVELOPES) if index % 30)
        bob.add(ENVELOPES)
        open_both(alice, bob)
        await made_equal(alice, bob)
        assert len(ids_in(alice.archive)) == len(ENVELOPES)
        assert alice.tally.needed > alice.tally.stored == len(ENVELOPES) // 30


@asynchronous
async def test_a_peer_that_tells_of_envelopes_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round finds as much as a round may, all of it is gone, and the rounds have an end."""
    monkeypatch.setattr(rounds, "MAX_MOVED", 10)
    async with two_ends(tmp_path) as (alice, bob):
        alice.side = replace(alice.side, sync_interval=0.0)
        alice.session = alice.make_session(drives=True)
        bob.add(ENVELOPES[:300])

        async def find_none(wanted: Want | Seek) -> bytes:
            return b""

        monkeypatch.setattr(bob.side.desk, "find", find_none)
        open_both(alice, bob)
        outcome = await alice.session.make_round()
        assert (outcome.agreed, outcome.full, outcome.stored) == (False, True, 0)
        assert outcome.gone == outcome.needed
        opened = len([packet for packet in alice.sent if isinstance(packet, Open)])
        assert opened == 1 + ROUNDS_AT_ONCE


# -- on demand ------------------------------------------------------------------------------------


@asynchronous
async def test_a_comparison_moves_nothing(tmp_path: Path) -> None:
    async with two_ends(tmp_path) as (alice, bob):
        alice.side = replace(alice.side, sync_interval=0.0)
        alice.session = alice.make_session(drives=True)
        alice.add(ENVELOPES[:1000])
        bob.add(ENVELOPES[500:])
        open_both(alice, bob)
        outcome = await alice.session.make_round(moves=False)
        assert (outcome.had, outcome.needed, outcome.agreed) == (500, 2000, False)
        by_hour = outcome.hours
        for column, envelopes in enumerate((ENVELOPES[:500], ENVELOPES[1000:])):
            expected = Counter(each.created // 3600 * 3600 for each in envelopes)
            assert {hour: row[column] for hour, row in by_hour.items() if row[column]} == expected
        assert ids_in(alice.archive) == sorted_ids(ENVELOPES[:1000])
        part = Window(OLD - 7200, OLD - 3600)
        outcome = await alice.session.make_round(part)
        assert outcome.agreed
        assert outcome.window == part
        expected_had = [each for each in ENVELOPES[:500] if part.first <= each.created < part.end]
        assert outcome.given == len(expected_had) > 0


@asynchronous
async def test_either_side_may_make_a_round(tmp_path: Path) -> None:
    async with two_ends(tmp_path) as (alice, bob):
        open_both(alice, bob)
        await made_equal(alice, bob)
        alice.add(ENVELOPES[:100])
        bob.add(ENVELOPES[50:150])
        outcomes = await asyncio.gather(alice.session.make_round(), bob.session.make_round())
        assert all(outcome.agreed for outcome in outcomes)
        assert ids_in(alice.archive) == ids_in(bob.archive) == sorted_ids(ENVELOPES[:150])


@pytest.mark.parametrize("of", ["alice", "bob"])
@asynchronous
async def test_an_error_of_ours_ends_the_session(tmp_path: Path, of: str) -> None:
    """Neither side is left waiting."""
    async with two_ends(tmp_path) as (alice, bob):
        alice.side = replace(alice.side, sync_interval=0.0)
        alice.session = alice.make_session(drives=True)
        open_both(alice, bob)
        await alice.session.make_round()

        async def fail(_work: object) -> None:
            raise ValueError("what nobody foresaw")

        broken = {"alice": alice, "bob": bob}[of]
        broken.side.desk.reconcile = fail  # type: ignore[assignment,method-assign]
        making = asyncio.create_task(alice.session.make_round())
        await eventually(lambda: broken.faults)
        assert isinstance(broken.faults[0], SyncStopped)
        alice.session.close()
        with pytest.raises((ValueError, PeerGone)):
            await making


@asynchronous
async def test_a_round_ends_with_the_connection(tmp_path: Path) -> None:
    async with two_ends(tmp_path) as (alice, _bob):
        alice.session.open()
        making = asyncio.create_task(alice.session.make_round())
        await turns()
        alice.session.close()
        with pytest.raises(PeerGone):
            await making


@asynchronous
async def test_more_than_a_round_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAX_MOVED", 300)
    async with two_ends(tmp_path) as (alice, bob):
        alice.add(ENVELOPES[:2000])
        bob.add(ENVELOPES[1000:])
        open_both(alice, bob)
        await made_equal(alice, bob)
        assert ids_in(alice.archive) == sorted_ids(ENVELOPES)


@asynchronous
async def test_both_sides_log_what_a_round_has_moved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with two_ends(tmp_path) as (alice, bob):
            alice.add(ENVELOPES[:30])
            bob.add(ENVELOPES[30:50])
            open_both(alice, bob)
            await made_equal(alice, bob)
    told = {each.getMessage() for each in caplog.records if "taken" in each.getMessage()}
    assert told == {
        f"sync with the other: {taken} envelopes taken, {given} given, 0 refused here"
        for taken, given in ((20, 30), (30, 20))
    }


@asynchronous
async def test_envelopes_move_while_the_round_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for no more while many are on their way."""
    monkeypatch.setattr(respondent, "MESSAGE_BYTES", 4096)
    monkeypatch.setattr(rounds, "MAX_FOUND", 300)
    ahead = []

    async with two_ends(tmp_path) as (alice, bob):
        bob.add(ENVELOPES)
        send = alice.wire.send

        def look(packet: Packet) -> None:
            if isinstance(packet, Reconcile):
                ahead.append(alice.tally.needed - alice.tally.stored)
            send(packet)

        monkeypatch.setattr(alice.wire, "send", look)
        open_both(alice, bob)
        await made_equal(alice, bob)
        assert [type(packet) for packet in alice.sent].count(Open) == 2
        assert 0 < max(ahead) <= 300
        assert alice.tally.stored == alice.tally.needed == len(ENVELOPES)


# -- following ------------------------------------------------------------------------------------


@asynchronous
async def test_what_arrives_late_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(offers, "RELAY_TIME", 0.01)
    async with two_ends(tmp_path) as (alice, bob):
        open_both(alice, bob)
        await made_equal(alice, bob)
        alice.add(ENVELOPES[:1000])
        bob.add(ENVELOPES[900:1100])
        await eventually(lambda: len(ids_in(alice.archive)) == len(ids_in(bob.archive)) == 1100)
        assert alice.tally.rounds == 1
        offered = [
            packet for end in (alice, bob) for packet in end.sent if isinstance(packet, Offer)
        ]
        told = sum(len(packet.items) for packet in offered) // 36
        alice.add(ENVELOPES[2000:2001])
        await eventually(lambda: len(ids_in(bob.archive)) == 1101)
        # What came from the other side is not told back.
        assert 1100 <= told <= 1200


@pytest.mark.parametrize("of", ["alice", "bob"])
@asynchronous
async def test_no_round_comes_before_both_followers_know_where_they_begin(
    tmp_path: Path, of: str
) -> None:
    async with two_ends(tmp_path) as (alice, bob):
        late, early = (alice, bob) if of == "alice" else (bob, alice)
        desk, may_go, asked = late.side.desk, asyncio.Event(), asyncio.Event()
        next_sequence = desk.next_sequence

        async def wait() -> int:
            asked.set()
            await may_go.wait()
            return await next_sequence()

        desk.next_sequence = wait  # type: ignore[assignment,method-assign]
        open_both(alice, bob)
        making = asyncio.create_task(alice.session.make_round())
        await asked.wait()
        await eventually(lambda: early.sent)
        await turns()
        assert not late.sent
        assert [type(packet) for packet in early.sent] == [Status]
        may_go.set()
        await making
        await made_equal(alice, bob)


def sorted_ids(envelopes: Iterable[Envelope]) -> list[bytes]:
    return [each.hash for each in sorted(envelopes, key=lambda each: (each.created, each.hash))]


def packed(envelopes: Iterable[Envelope]) -> bytes:
    return b"".join(each.created.to_bytes(4, "big") + each.hash for each in envelopes)


async def made_equal_but(alice: End, bob: End, only_alice: set[bytes]) -> None:
    await eventually(lambda: alice.equal and bob.equal)
    assert set(ids_in(alice.archive)) - set(ids_in(bob.archive)) == only_alice
