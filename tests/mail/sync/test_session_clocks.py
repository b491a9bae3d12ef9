"""Two sides that sync in memory, whose clocks differ or jump."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.mail.sync.test_session import ENVELOPES, OLD, sorted_ids
from tests.support.envelopes import make
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.syncing import NOW, ids_in, open_both, two_ends
from wakumail.mail.sync import session
from wakumail.mail.sync.packets import Refusal, Seek, Want
from wakumail.mail.sync.round import RoundFailed
from wakumail.mail.sync.taker import Taken
from wakumail.mail.sync.window import SETTLING


@pytest.mark.parametrize("drift", [3600, -3600])
@asynchronous
async def test_the_earlier_clock_bounds_the_window(
    tmp_path: Path, drift: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with two_ends(tmp_path, bob={"now": NOW + drift}) as (alice, bob):
        alice.add(make(20, [b"topi"], created=NOW - 20, spread=10))
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        assert alice.equal[-1].end == NOW + min(drift, 0) - SETTLING
        assert len(ids_in(bob.archive)) == (20 if drift > 0 else 0)
        way = "ahead of" if drift > 0 else "behind"
        assert f"the clock of the other is 3600 s {way} ours" in caplog.text


JUMP = 62 * 86400


@asynchronous
async def test_a_peer_whose_clock_has_jumped_is_synced_with_once_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WATCH_INTERVAL", 0.01)
    async with two_ends(tmp_path, bob={"horizon": OLD - 86400}) as (alice, bob):
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        right = bob.status
        bob.status = right._replace(horizon=right.horizon + JUMP, now=NOW + JUMP)
        await eventually(lambda: alice.session._agreement.peer == bob.status)
        with pytest.raises(RoundFailed, match="no time is kept by both"):
            await alice.session.make_round()
        bob.status = right
        await eventually(lambda: alice.session._agreement.peer == right)
        alice.add(ENVELOPES)
        assert (await alice.session.make_round()).agreed
        assert ids_in(bob.archive) == sorted_ids(ENVELOPES)


@asynchronous
async def test_a_peer_that_keeps_all_tells_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WATCH_INTERVAL", 0.01)
    async with two_ends(tmp_path) as (alice, bob):
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        for jump in (-JUMP, 0):
            bob.status = bob.status._replace(now=NOW + jump)
            await eventually(lambda: alice.session._agreement.peer == bob.status)


@asynchronous
async def test_a_status_that_came_while_our_clock_was_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WATCH_INTERVAL", 0.01)
    async with two_ends(tmp_path) as (alice, bob):
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        right, alice.status = alice.status, alice.status._replace(now=NOW + JUMP)
        bob.status = bob.status._replace(horizon=OLD - 86400)
        await eventually(lambda: alice.session._agreement.peer == bob.status)
        alice.status = right
        alice.add(ENVELOPES)
        assert (await alice.session.make_round()).agreed
        assert ids_in(bob.archive) == sorted_ids(ENVELOPES)


@asynchronous
async def test_what_a_clock_that_had_jumped_refused_is_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envelopes were on their way as the clock of their taker jumped back."""
    monkeypatch.setattr(session, "WATCH_INTERVAL", PATIENCE)
    async with two_ends(tmp_path) as (alice, bob):
        open_both(alice, bob)
        await eventually(lambda: alice.equal)
        alice.add(ENVELOPES)
        right = bob.status
        take = bob.session._taker.take

        async def take_behind(wants: Iterable[tuple[Want | Seek, bytes]]) -> Taken:
            bob.status = right._replace(now=OLD - 86400)
            return await take(wants)

        with monkeypatch.context() as patched:
            patched.setattr(bob.session._taker, "take", take_behind)
            await alice.session.make_round()
        assert bob.tally.refused[Refusal.OUTSIDE_WINDOW] > 0
        bob.status = right
        assert (await alice.session.make_round()).agreed
        assert ids_in(bob.archive) == sorted_ids(ENVELOPES)
