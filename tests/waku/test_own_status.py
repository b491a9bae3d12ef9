"""Our own status: the updates that peers get, and the time for which old rules hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.envelopes import make, rules_with
from tests.support.statuses import options
from wakumail.base.rlp import join_list
from wakumail.waku.bloom import FULL_BLOOM, bloom_of
from wakumail.waku.envelope import LARGE_ENVELOPE, Verdict, judge
from wakumail.waku.interest import Interest
from wakumail.waku.own_status import TOLERANCE, OwnStatus
from wakumail.waku.packets import PeerSettings, RateLimits, StatusOptions

NOW = 1_700_000_000
OURS, OTHERS = b"ours", b"\xff\xfe\xfd\xff"
ANY_POW = rules_with(min_pow=0.0, min_pow_large=0.0)


def verdicts(own: OwnStatus, topic: bytes = OURS) -> set[Verdict]:
    packet = join_list([envelope.rlp for envelope in make(4, [topic], created=NOW)])
    batch = judge(packet, own.rules, NOW)
    return {batch.verdict(number) for number in range(len(batch))}


# -- what peers are told -----------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(before=options, after=options)
def test_an_update_brings_peers_from_the_old_status_to_the_new(
    before: StatusOptions, after: StatusOptions
) -> None:
    own = OwnStatus(before, ANY_POW)
    own.change(after, ANY_POW)
    assert own.options == after
    changed = own.changes_since(before)
    heard = PeerSettings().updated(before)
    if changed is not None:
        assert changed != StatusOptions()
        heard = heard.updated(changed)
    assert heard == PeerSettings().updated(after)


@settings(max_examples=100, deadline=None)
@given(before=options, after=options)
def test_what_has_not_changed_is_not_sent(before: StatusOptions, after: StatusOptions) -> None:
    changed = OwnStatus(after, ANY_POW).changes_since(before)
    old, new = PeerSettings().updated(before), PeerSettings().updated(after)
    assert (changed is None) == (old == new)
    if changed is None:
        return
    assert (changed.interest is not None) == (old.interest != new.interest)
    for name in ("pow", "light", "confirmations", "packet_rate_limits", "bytes_rate_limits"):
        assert (getattr(changed, name) is not None) == (getattr(old, name) != getattr(new, name))


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (StatusOptions(), StatusOptions(pow=0.001, light=False, bloom=FULL_BLOOM), None),
        (StatusOptions(pow=0.002), StatusOptions(pow=0.5), StatusOptions(pow=0.5)),
        (
            StatusOptions(pow=0.5, topic_interest=(OURS,)),
            StatusOptions(pow=0.5),
            StatusOptions(bloom=FULL_BLOOM),
        ),
        (
            StatusOptions(bloom=FULL_BLOOM),
            StatusOptions(bloom=FULL_BLOOM, topic_interest=()),
            StatusOptions(topic_interest=()),
        ),
        (
            StatusOptions(packet_rate_limits=RateLimits(1, 2, 3)),
            StatusOptions(),
            StatusOptions(packet_rate_limits=RateLimits(0, 0, 0)),
        ),
    ],
    ids=["nothing", "PoW", "no more interest", "interest", "no more limits"],
)
def test_changes(before: StatusOptions, after: StatusOptions, changed: StatusOptions) -> None:
    own = OwnStatus(before, ANY_POW)
    assert own.changes_since(before) is None
    own.change(after, ANY_POW)
    assert own.changes_since(before) == changed
    own.change(before, ANY_POW)
    assert own.changes_since(before) is None


# -- tolerance ---------------------------------------------------------------------------------


def test_tolerance_is_that_of_status_go() -> None:
    assert TOLERANCE == 10.0


def test_a_raised_pow_holds_when_peers_had_time_to_hear_of_it() -> None:
    own = OwnStatus(StatusOptions(), ANY_POW)
    own.change(StatusOptions(pow=1e9), rules_with(min_pow=1e9, min_pow_large=1e9))
    assert verdicts(own) == {Verdict.ACCEPTED}
    own.settle()
    assert verdicts(own) == {Verdict.LOW_POW}


def test_a_raised_pow_of_large_envelopes_waits_too() -> None:
    own = OwnStatus(StatusOptions(), ANY_POW)
    own.change(StatusOptions(), rules_with(min_pow=0.0, min_pow_large=1e9))
    large = make(1, [OURS], created=NOW, size=4 * LARGE_ENVELOPE)[0].rlp
    assert len(large) >= LARGE_ENVELOPE
    assert judge(join_list([large]), own.rules, NOW).verdict(0) is Verdict.ACCEPTED
    own.settle()
    assert judge(join_list([large]), own.rules, NOW).verdict(0) is Verdict.LOW_POW


def test_a_lowered_pow_holds_at_once() -> None:
    own = OwnStatus(StatusOptions(), rules_with(min_pow=1e9))
    own.change(StatusOptions(pow=0.0), ANY_POW)
    assert verdicts(own) == {Verdict.ACCEPTED}


@pytest.mark.parametrize(
    "interest", [Interest(topics=[OURS]), Interest(bloom=bloom_of([OURS]))], ids=["topics", "bloom"]
)
def test_a_new_interest_holds_beside_the_old_one_for_a_while(interest: Interest) -> None:
    own = OwnStatus(
        StatusOptions(),
        rules_with(min_pow=0.0, min_pow_large=0.0, interest=Interest(topics=[OTHERS])),
    )
    own.change(StatusOptions(), rules_with(min_pow=0.0, min_pow_large=0.0, interest=interest))
    assert verdicts(own, OURS) == verdicts(own, OTHERS) == {Verdict.ACCEPTED}
    own.settle()
    assert verdicts(own, OURS) == {Verdict.ACCEPTED}
    assert verdicts(own, OTHERS) == {Verdict.UNWANTED_TOPIC}


def test_a_smaller_envelope_size_holds_after_a_while() -> None:
    small = rules_with(min_pow=0.0, min_pow_large=0.0, max_envelope=10)
    own = OwnStatus(StatusOptions(), ANY_POW)
    own.change(StatusOptions(), small)
    assert own.changes_since(StatusOptions()) is None
    assert verdicts(own) == {Verdict.ACCEPTED}
    own.settle()
    assert verdicts(own) == {Verdict.TOO_LARGE}


@given(st.permutations([0.1, 0.2, 0.3]))
@settings(max_examples=10, deadline=None)
def test_after_several_changes_the_last_one_settles(values: list[float]) -> None:
    own = OwnStatus(StatusOptions(), rules_with(min_pow=0.4))
    for value in values:
        own.change(StatusOptions(pow=value), rules_with(min_pow=value))
    assert own.rules.min_pow == 0.1
    own.settle()
    assert own.rules.min_pow == values[-1]
