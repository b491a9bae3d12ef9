from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.base.keccak import keccak256
from wakumail.devp2p.discovery.lookup import MAX_ASKED, MAX_AT_ONCE, MAX_HEARD_OF, Lookup
from wakumail.devp2p.discovery.table import (
    BUCKET_SIZE,
    MAX_IN_BUCKET,
    MAX_IN_TABLE,
    MAX_SILENCES,
    MAX_SPARES,
    Contact,
    Table,
    closest,
    key_of,
)
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint

OWN = bytes(64)


def contact(number: int, ip: str = "127.0.0.1") -> Contact:
    """A contact of some id, all on this machine unless told otherwise."""
    return Contact(number.to_bytes(64, "big"), UdpEndpoint(ip, 2000 + number % 60000, 0))


def bits(node_id: bytes) -> int:
    """The bucket of a node id."""
    return (key_of(node_id) ^ key_of(OWN)).bit_length()


def in_bucket(distance: int, count: int) -> list[int]:
    """Numbers whose contacts lie in one bucket."""
    found = (n for n in range(1, 1 << 20) if bits(n.to_bytes(64, "big")) == distance)
    return [next(found) for _ in range(count)]


def test_a_full_bucket_keeps_spares_and_who_answers_stays() -> None:
    table = Table(OWN)
    numbers = in_bucket(256, BUCKET_SIZE + MAX_SPARES + 5)
    assert [table.hear_from(contact(n)) for n in numbers] == (
        [True] * BUCKET_SIZE + [False] * (MAX_SPARES + 5)
    )
    assert {c.node_id for c in table} == {contact(n).node_id for n in numbers[:BUCKET_SIZE]}
    for n in numbers[:BUCKET_SIZE]:
        for _ in range(MAX_SILENCES - 1):
            table.silent(contact(n))
    assert len(table) == BUCKET_SIZE
    assert table.hear_from(contact(numbers[0]))
    for n in numbers[: BUCKET_SIZE + MAX_SPARES]:
        table.silent(contact(n))
    # The spares that were heard of last took the places; the oldest ones were forgotten.
    assert contact(numbers[0]).node_id in {c.node_id for c in table}
    assert len(table) == 1 + MAX_SPARES


def test_the_one_not_heard_of_longest_is_pinged() -> None:
    table = Table(OWN)
    assert table.oldest(7) is None
    one, two = in_bucket(256, 2)
    table.hear_from(contact(one))
    table.hear_from(contact(two))
    table.hear_from(contact(one))
    oldest = table.oldest(12345)
    assert oldest is not None
    assert oldest.node_id == contact(two).node_id


def test_a_subnet_has_few_places() -> None:
    table = Table(OWN)
    heard = [table.hear_from(contact(n, f"203.0.113.{n % 250}")) for n in range(1, 500)]
    assert sum(heard) == len(table) == MAX_IN_TABLE
    by_bucket: dict[int, int] = {}
    for each in table:
        by_bucket[bits(each.node_id)] = by_bucket.get(bits(each.node_id), 0) + 1
    assert max(by_bucket.values()) == MAX_IN_BUCKET
    assert table.hear_from(contact(1000, "198.51.100.1"))
    first = next(iter(table))
    table.remove(first.node_id)
    assert table.hear_from(first), "the place is free again"


def test_a_subnet_of_ipv6_is_48_bits_and_private_networks_have_no_limit() -> None:
    table = Table(OWN)
    for n in range(1, 200):
        table.hear_from(contact(n, f"2001:db8:1:{n:x}::1"))
    assert len(table) == MAX_IN_TABLE
    before = len(table)
    for n in range(200, 220):
        table.hear_from(contact(n, f"10.0.0.{n}"))
    assert len(table) > before + MAX_IN_BUCKET


def test_a_node_that_moves_keeps_one_place() -> None:
    table = Table(OWN)
    table.hear_from(contact(1, "203.0.113.1"))
    moved = Contact(contact(1).node_id, UdpEndpoint("203.0.113.2", 9999, 5))
    assert table.hear_from(moved)
    (listed,) = table
    assert listed.endpoint == moved.endpoint
    table.silent(contact(1, "203.0.113.1"))
    assert not listed.silences, "the silence of the old address does not count"


def test_we_are_not_in_our_own_table() -> None:
    assert not Table(OWN).hear_from(Contact(OWN, UdpEndpoint("127.0.0.1", 1, 1)))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400), st.integers(0, 3)), max_size=300))
@settings(max_examples=60, deadline=None)
def test_the_limits_hold_whatever_comes(steps: list[tuple[int, int, int]]) -> None:
    table = Table(OWN)
    ips = ["127.0.0.1", "203.0.113.9", "203.0.113.8", "198.51.100.1"]
    for step, number, where in steps:
        each = contact(number, ips[where])
        if step == 0:
            table.silent(each)
        elif step == 1:
            table.remove(each.node_id)
        else:
            table.hear_from(each)
        listed = list(table)
        assert len(table) == len(listed) == len({c.node_id for c in listed})
        subnets = [c.endpoint.ip.rpartition(".")[0] for c in listed]
        assert subnets.count("203.0.113") <= MAX_IN_TABLE
        key = key_of(each.node_id)
        nearest = table.closest(key)
        assert nearest == sorted(listed, key=lambda c: c.key ^ key)[:BUCKET_SIZE]


# -- lookups -------------------------------------------------------------------------------------

TARGET = b"\x07" * 64


def closeness(each: Contact) -> int:
    return int.from_bytes(keccak256(each.node_id), "big") ^ key_of(TARGET)


@given(st.integers(1, 300), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_a_lookup_finds_the_closest_of_a_network(size: int, random: object) -> None:
    """Every node of the network knows a few others, and the next one around a ring."""
    nodes = [contact(n) for n in range(1, size + 1)]
    knows = {
        node.node_id: [*closest(iter(nodes), node.key, 8), nodes[(index + 1) % size]]
        for index, node in enumerate(nodes)
    }
    lookup = Lookup(TARGET, key_of(TARGET), nodes[:1], OWN)
    asking: list[Contact] = []
    asked = 0
    while not lookup.done:
        while (each := lookup.ask()) is not None:
            asking.append(each)
            asked += 1
        assert 0 < len(asking) <= MAX_AT_ONCE
        each = asking.pop(0)
        lookup.hear_of(knows[each.node_id])
        lookup.end(each, answered=True)
    assert asked <= size
    if size <= BUCKET_SIZE:
        assert {c.node_id for c in lookup.found} == {c.node_id for c in nodes}
    assert lookup.found == sorted(lookup.answered.values(), key=closeness)[:BUCKET_SIZE]


def test_a_lookup_ends_if_nobody_answers() -> None:
    lookup = Lookup(TARGET, key_of(TARGET), map(contact, range(1, 30)), OWN)
    while not lookup.done:
        each = lookup.ask()
        assert each is not None
        lookup.end(each, answered=False)
    assert not lookup.found


def test_a_lookup_ends_if_somebody_makes_up_closer_and_closer_nodes() -> None:
    nodes = sorted(map(contact, range(1, 3000)), key=closeness, reverse=True)
    lookup = Lookup(TARGET, key_of(TARGET), nodes[:1], OWN)
    asked = 0
    while not lookup.done:
        each = lookup.ask()
        assert each is not None
        asked += 1
        at = nodes.index(each)
        lookup.hear_of(nodes[at : at + 16])
        lookup.end(each, answered=True)
    assert asked == MAX_ASKED


def test_a_lookup_remembers_a_bounded_number_of_nodes_and_never_ourselves() -> None:
    lookup = Lookup(OWN, key_of(OWN), [Contact(OWN, UdpEndpoint("127.0.0.1", 1, 1))], OWN)
    assert lookup.done
    lookup.hear_of(map(contact, range(1, 2000)))
    assert len(lookup._heard_of) == MAX_HEARD_OF
