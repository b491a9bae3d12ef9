"""Our limits for peers, and the limits of peers for us."""

import ipaddress
from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.archive_model import batch_of
from wakumail.waku.envelope import Batch, make_envelope
from wakumail.waku.packets import NO_LIMITS, PeerSettings, RateLimits
from wakumail.waku.rate_limits import (
    LINE_INTERVAL,
    IncomingLimits,
    OutgoingLimits,
    TrafficExcess,
    Turn,
    Whitelist,
    host_of,
)

ALICE, BOB = b"a" * 64, b"b" * 64
HERE, THERE = "192.0.2.1", "192.0.2.2"
MAX_PACKET = 1000


class Limited:
    """IncomingLimits, and their counters."""

    def __init__(self, **choices: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.limits = IncomingLimits(
            choices.get("packets", NO_LIMITS),
            choices.get("sizes", NO_LIMITS),
            tolerance=choices.get("tolerance", 0),
            max_packet=MAX_PACKET,
            whitelist=choices.get("whitelist", Whitelist()),
            count=self._add,
        )

    def _add(self, name: str) -> None:
        if name != "packets_limited":
            self.counts[name] += 1

    def taken(
        self, node_id: bytes = ALICE, address: str = HERE, size: int = 1, at: float = 0.0
    ) -> bool:
        try:
            self.limits.check(node_id, address, size, at)
        except TrafficExcess:
            return False
        return True


def of_topics(*topics: bytes, size: int = 0) -> Batch:
    """An envelope of each topic, with `size` bytes of data."""
    return batch_of(make_envelope(2**31, 50, topic, bytes(size), 0) for topic in topics)


def test_without_limits_all_is_taken() -> None:
    limited = Limited()
    assert all(limited.taken(size=1 << 30) for _ in range(1000))
    assert not limited.limits.by_topic


def test_packets_of_a_peer() -> None:
    limited = Limited(packets=RateLimits(0, 2, 0))
    assert [limited.taken() for _ in range(3)] == [True, True, False]
    assert limited.taken(BOB)
    assert limited.taken(at=0.5)
    assert limited.counts == {"rate_limit_packets_peer": 1}


def test_packets_of_an_address_are_those_of_all_its_peers() -> None:
    limited = Limited(packets=RateLimits(2, 0, 0))
    assert limited.taken(ALICE)
    assert limited.taken(BOB)
    assert not limited.taken(b"c" * 64)
    assert limited.taken(ALICE, THERE)
    assert limited.counts == {"rate_limit_packets_ip": 1}


def test_an_ipv6_network_is_one_host() -> None:
    assert host_of("2001:db8:1:2:3:4:5:6") == host_of("2001:db8:1:2::7") == "2001:db8:1:2::/64"
    assert host_of("2001:db8:1:3::7") != host_of("2001:db8:1:2::7")
    assert host_of(HERE) == HERE
    limited = Limited(packets=RateLimits(1, 0, 0))
    assert limited.taken(address="2001:db8::1")
    assert not limited.taken(address="2001:db8::2")


@pytest.mark.parametrize(("limit", "name"), [((5, 0, 0), "ip"), ((0, 5, 0), "peer")])
def test_bytes(limit: tuple[int, int, int], name: str) -> None:
    limited = Limited(sizes=RateLimits(*limit))
    assert limited.taken(size=MAX_PACKET), "one packet is always taken"
    assert not limited.taken(size=1)
    assert limited.taken(size=5, at=1.0)
    assert not limited.taken(size=1, at=1.0)
    assert limited.counts == {f"rate_limit_bytes_{name}": 2}


def test_topics_of_a_peer() -> None:
    limited = Limited(packets=RateLimits(0, 0, 3), sizes=RateLimits(0, 0, 2 * MAX_PACKET))
    assert limited.limits.by_topic
    limited.limits.check_topics(ALICE, HERE, of_topics(b"aaaa", b"bbbb", b"aaaa", b"aaaa"), 0.0)
    with pytest.raises(TrafficExcess, match="rate_limit_packets_topic"):
        limited.limits.check_topics(ALICE, HERE, of_topics(b"aaaa"), 0.0)
    with pytest.raises(TrafficExcess, match="rate_limit_bytes_topic"):
        limited.limits.check_topics(ALICE, HERE, of_topics(b"bbbb", size=2 * MAX_PACKET), 0.0)
    limited.limits.check_topics(BOB, HERE, of_topics(*[b"aaaa"] * 3), 0.0)
    assert limited.counts == {"rate_limit_packets_topic": 1, "rate_limit_bytes_topic": 1}


def test_what_is_tolerated_is_taken_and_earned_back_slowly() -> None:
    limited = Limited(packets=RateLimits(0, 1, 0), tolerance=3)
    assert [limited.taken() for _ in range(5)] == [True, True, True, True, False]
    assert limited.counts["rate_limit_packets_peer"] == 4
    assert limited.taken(at=10.0)
    assert limited.taken(at=10.0), "one of three after ten seconds"
    assert not limited.taken(at=10.0)


@pytest.mark.parametrize(
    "whitelist",
    [
        Whitelist((ALICE,)),
        Whitelist((), (ipaddress.ip_network("192.0.2.0/31"),)),
    ],
)
def test_the_whitelist(whitelist: Whitelist) -> None:
    limited = Limited(packets=RateLimits(1, 1, 1), whitelist=whitelist)
    assert all(limited.taken() for _ in range(10))
    for _ in range(10):
        limited.limits.check_topics(ALICE, HERE, of_topics(*[b"aaaa"] * 10), 0.0)
    assert [limited.taken(BOB, "198.51.100.1") for _ in range(2)] == [True, False]
    assert not limited.counts["rate_limit_packets_topic"]


def settings(packets: RateLimits = NO_LIMITS, sizes: RateLimits = NO_LIMITS) -> PeerSettings:
    return PeerSettings(packet_rate_limits=packets, bytes_rate_limits=sizes)


def seconds_left(limits: OutgoingLimits, now: float, size: int = 0) -> float:
    """The seconds that a sender waits who is alone, and then gives up."""
    turn = Turn()
    seconds = limits.ask(turn, now, size)
    limits.leave(turn)
    return seconds


def test_who_advertises_no_limits_is_sent_any_amount() -> None:
    limits = OutgoingLimits(settings(), 0.0)
    for _ in range(100):
        assert seconds_left(limits, 0.0) == 0
        limits.spend(1 << 20)
    assert limits.burst is None


@pytest.mark.parametrize(
    "advertised", [RateLimits(2, 9, 0), RateLimits(9, 2, 0), RateLimits(0, 2, 0)]
)
def test_the_lower_limit_of_packets_is_kept(advertised: RateLimits) -> None:
    limits = OutgoingLimits(settings(packets=advertised), 0.0)
    for _ in range(2):
        assert seconds_left(limits, 0.0) == 0
        limits.spend(1)
    assert seconds_left(limits, 0.25) == 0.25
    assert seconds_left(limits, 0.5) == 0


def test_a_packet_over_the_limit_of_bytes_is_paid_for_later() -> None:
    limits = OutgoingLimits(settings(sizes=RateLimits(0, 100, 0)), 0.0)
    assert limits.burst == 100
    assert seconds_left(limits, 0.0) == 0
    limits.spend(300)
    assert seconds_left(limits, 0.0) == 2
    assert seconds_left(limits, 0.5) == 1.5
    assert seconds_left(limits, 2.0) == 0


def test_a_packet_waits_until_the_limit_of_bytes_has_room_for_it() -> None:
    """One larger than a second's bytes waits for all of them."""
    limits = OutgoingLimits(settings(sizes=RateLimits(0, 100, 0)), 0.0)
    limits.spend(60)
    assert seconds_left(limits, 0.0, 40) == 0
    assert seconds_left(limits, 0.0, 65) == 0.25
    assert seconds_left(limits, 0.0, 1000) == pytest.approx(0.6)


def test_a_packet_is_paid_for_when_it_is_sent() -> None:
    """Charged at the next look, one of long ago left no room for a large one."""
    limits = OutgoingLimits(settings(sizes=RateLimits(0, 100, 0)), 0.0)
    assert seconds_left(limits, 0.0) == 0
    limits.spend(40)
    assert seconds_left(limits, 0.25, 100) == pytest.approx(0.15)
    assert seconds_left(limits, 10.0, 100) == 0


def test_the_limits_of_other_settings_differ() -> None:
    limits = OutgoingLimits(settings(RateLimits(0, 4, 0)), 0.0)
    assert not limits.differ(settings(RateLimits(9, 4, 7)))
    assert limits.differ(settings(RateLimits(0, 5, 0)))
    assert limits.differ(settings(RateLimits(0, 4, 0), RateLimits(0, 1, 0)))


def test_both_limits_are_waited_for() -> None:
    limits = OutgoingLimits(settings(RateLimits(0, 1, 0), RateLimits(0, 100, 0)), 0.0)
    limits.spend(300)
    assert seconds_left(limits, 0.0) == 2
    limits = OutgoingLimits(settings(RateLimits(0, 1, 0), RateLimits(0, 100, 0)), 0.0)
    limits.spend(50)
    assert seconds_left(limits, 0.0) == 1


@given(
    st.sampled_from([settings(RateLimits(0, 1, 0)), settings(RateLimits(0, 30, 0))])
    | st.builds(lambda rate: settings(sizes=RateLimits(0, rate, 0)), st.integers(50, 5000)),
    st.lists(st.integers(1, 3000), min_size=2, max_size=5),
)
def test_senders_take_turns(told: PeerSettings, sizes: list[int]) -> None:
    """Each sends as often as the others, if all always want to; a small packet overtakes none."""
    limits = OutgoingLimits(told, 0.0)
    turns = [Turn() for _ in sizes]
    sent: list[int] = []
    now = 0.0
    while len(sent) < 20 * len(sizes):
        waits = []
        for number, turn in enumerate(turns):
            if delay := limits.ask(turn, now, sizes[number]):
                waits.append(delay)
            else:
                limits.spend(sizes[number])
                sent.append(number)
        now += max(1e-6, min(waits, default=0.0))
    assert {sent.count(number) for number in range(len(sizes))} <= {19, 20, 21}


def test_a_sender_that_is_not_the_first_leaves_room_for_those_before() -> None:
    limits = OutgoingLimits(settings(sizes=RateLimits(0, 100, 0)), 0.0)
    limits.spend(60)
    large, small, smaller = Turn(), Turn(), Turn()
    assert limits.ask(large, 0.0, 50) == pytest.approx(0.1)
    assert limits.ask(small, 0.0, 20) == LINE_INTERVAL
    assert limits.ask(smaller, 0.5, 10) == 0, "there are 90 bytes"
    limits.spend(10)
    assert not limits.has_room(0.5, 1)


def test_the_next_in_line_is_woken_and_all_when_the_peer_is_gone() -> None:
    limits = OutgoingLimits(settings(RateLimits(0, 1, 0)), 0.0)
    limits.spend(1)
    woken: list[int] = []
    turns = [Turn(partial(woken.append, number)) for number in range(3)]
    assert all(limits.ask(turn, 0.0, 1) for turn in turns)
    limits.leave(turns[1])
    assert woken == []
    limits.leave(turns[0])
    assert woken == [2]
    replaced = OutgoingLimits(settings(RateLimits(0, 2, 0)), 0.0, limits)
    replaced.wake_all()
    assert woken == [2, 2]
    lifted = OutgoingLimits(settings(), 0.0, replaced)
    assert lifted.ask(turns[2], 0.0, 1) == 0
    assert lifted.first is None
