"""Discovery as a prober meets it, beyond the cases of go-ethereum: proofs, forgery, floods."""

from dataclasses import replace

import pytest

from tests.support.discovery import (
    UNIX,
    MemoryNetwork,
    MemoryNode,
    Prober,
    node_key,
    only_pings,
    pongs,
    record_of,
)
from wakumail.base.rlp import encode
from wakumail.devp2p.discovery import questions
from wakumail.devp2p.discovery.datagram_budget import BURST_FROM_ADDRESS, BURST_FROM_STRANGERS
from wakumail.devp2p.discovery.discv4_packets import (
    Datagram,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Ping,
    Told,
    seal,
)
from wakumail.devp2p.discovery.endpoint_proofs import PROOF_TIME
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.keys import node_id

PUBLIC = "203.0.113.9"


# -- proofs --------------------------------------------------------------------------------------


def test_a_proof_holds_twelve_hours(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    network.run(PROOF_TIME - 60)
    prober.got = []
    prober.send(node, FindNode(bytes(64), prober.expiration))
    assert [b for b in prober.answers() if isinstance(b, Neighbors)]
    network.run(60)
    prober.got = []
    prober.send(node, FindNode(bytes(64), prober.expiration))
    assert only_pings(prober.answers())


def test_a_pong_signed_by_another_node_proves_nothing(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.send(node, prober.ping_for(node))
    network.run(0.1)
    (ping,) = [d for d in prober.got if isinstance(d.body, Ping)]
    other = Prober(network, "other", prober.address)
    other.send(node, prober.pong_for(node, ping.hash))
    network.run(0.1)
    assert not node.known
    assert node.counts["discovery_unsolicited"] == 1


def test_a_pong_from_another_address_proves_nothing(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.send(node, prober.ping_for(node))
    network.run(0.1)
    (ping,) = [d for d in prober.got if isinstance(d.body, Ping)]
    other = Prober(network, "prober", ("127.0.0.1", 40405))
    other.send(node, prober.pong_for(node, ping.hash))
    network.run(0.1)
    assert not node.known


def test_nothing_is_sent_to_an_address_that_a_ping_only_names(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    victim = Prober(network, "victim", ("127.0.0.7", 5000))
    prober.send(node, replace(prober.ping_for(node), sender=victim.endpoint))
    assert prober.answers()
    assert not victim.got


# -- answers of a prober -------------------------------------------------------------------------


def being_asked(network: MemoryNetwork, node: MemoryNode, prober: Prober) -> list[Datagram]:
    """The findnodes that a node sends a prober which is its bootnode."""
    bootnode = MemoryNode(network, "prober", prober.address)
    node.start(bootnode)
    network.run(0.05)
    (ping,) = [d for d in prober.got if isinstance(d.body, Ping)]
    prober.send(node, prober.pong_for(node, ping.hash))
    network.run(questions.PING_BACK_TIME + 0.05)
    return [d for d in prober.got if isinstance(d.body, FindNode)]


def told(name: str, ip: str, port: int = 30303) -> Told:
    return Told(UdpEndpoint(ip, port, port), node_id(node_key(name).public_key))


def test_only_fit_nodes_are_taken_from_neighbors(network: MemoryNetwork, node: MemoryNode) -> None:
    """From a public node: no loopback, no private network, no reserved port, not ourselves."""
    prober = Prober(network, "prober", (PUBLIC, 40404))
    assert being_asked(network, node, prober)
    good = Prober(network, "good", ("198.51.100.7", 30303))
    own = Prober(network, "node", ("198.51.100.8", 30303))
    unfit = [
        told("loopback", "127.0.0.9"),
        told("private", "192.168.7.7"),
        told("private6", "fd00::7"),
        told("local", "fe80::7"),
        told("nowhere", "0.0.0.0"),
        told("many", "224.0.0.1"),
        told("all", "255.255.255.255"),
        told("dns", "198.51.100.9", 53),
        told("forbidden", "127.6.6.6"),
        told("no-port", "198.51.100.9", 0),
    ]
    probers = [Prober(network, "any", t.endpoint.address) for t in unfit]
    nodes = (*unfit, Told(own.endpoint, node.id), told("good", "198.51.100.7"))
    prober.send(node, Neighbors(nodes[:6], prober.expiration))
    prober.send(node, Neighbors(nodes[6:], prober.expiration))
    network.run(1.0)
    assert good.got
    assert not own.got
    assert not any(p.got for p in probers)
    assert node.counts["discovery_neighbors_unfit"] == len(unfit)


def test_a_private_node_may_tell_of_private_nodes_only_to_private_ones(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    public = Prober(network, "public", (PUBLIC, 40404))
    public.bond(node)
    for asker, expected in ((prober, {prober.id, public.id}), (public, {public.id})):
        asker.send(node, FindNode(bytes(64), prober.expiration))
        answers = [b for b in asker.answers() if isinstance(b, Neighbors)]
        assert {t.node_id for answer in answers for t in answer.nodes} == expected


def test_of_a_thousand_neighbors_sixteen_are_looked_at(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    assert being_asked(network, node, prober)
    for start in range(0, 1000, 10):
        nodes = tuple(told(f"n{start + n}", "127.0.0.9", 10_000 + start + n) for n in range(10))
        prober.send(node, Neighbors(nodes, prober.expiration))
    before = node.counts["discovery_pings_sent"]
    network.run(3.0)
    assert node.counts["discovery_neighbors_excess"] == 1
    assert node.counts["discovery_unsolicited"] == 98
    assert node.counts["discovery_pings_sent"] - before <= 16 + 3
    assert node.known == {prober.id}


def test_forged_answers_cost_a_few_signatures(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    assert being_asked(network, node, prober)
    other = Prober(network, "other", prober.address)
    for _ in range(100):
        other.send(node, Neighbors((told("x", "127.0.0.9"),), prober.expiration))
    network.run(0.1)
    assert node.counts["discovery_unsolicited"] == 100
    prober.send(node, Neighbors((told("x", "127.0.0.9"),), prober.expiration))
    network.run(0.1)
    assert node.counts["discovery_unsolicited"] == 101, "the question is used up"


def test_neighbors_of_another_node_are_not_taken(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    assert being_asked(network, node, prober)
    other = Prober(network, "other", prober.address)
    other.send(node, Neighbors((told("x", "127.0.0.9"),), prober.expiration))
    network.run(0.1)
    assert node.counts["discovery_unsolicited"] == 1


def test_a_record_is_asked_for_if_one_is_told_of(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    network.run(5.0)
    assert not [d for d in prober.got if isinstance(d.body, EnrRequest)]
    record = record_of(prober.key, prober.address, seq=7, waku=[1, 1])
    for foreign in (
        record_of(node_key("other"), prober.address, seq=8).encoded,
        record.encoded[:-1] + b"\x02",
        encode([bytes(300)]),
        b"\xc0",
    ):
        prober.send(node, EnrResponse(asked_for_record(network, node, prober), foreign))
        network.run(0.1)
        assert not any(contact.record for contact in node.discv4.table)
    prober.send(node, EnrResponse(asked_for_record(network, node, prober), record.encoded))
    network.run(0.1)
    (contact,) = node.discv4.table
    assert contact.record == record
    assert node.found[-1] is contact
    assert node.counts["enr_malformed"] == 2
    assert node.counts["enr_forged"] == node.counts["enr_too_large"] == 1


def asked_for_record(network: MemoryNetwork, node: MemoryNode, prober: Prober) -> bytes:
    """The hash of the request for the record that a prober tells of."""
    prober.got = []
    prober.send(node, replace(prober.ping_for(node), enr_seq=7))
    while True:
        network.run(0.1)
        for datagram in prober.got:
            if isinstance(datagram.body, EnrRequest):
                return datagram.hash


def test_who_changes_its_record_all_the_time_is_asked_now_and_then(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    for seq in range(100):
        prober.send(node, replace(prober.ping_for(node), enr_seq=1000 + seq))
        network.run(0.05)
    network.run(3.0)
    requests = [d for d in prober.got if isinstance(d.body, EnrRequest)]
    assert 1 <= len(requests) <= 6


def test_many_pings_while_one_of_ours_is_open_are_joined(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    for _ in range(250):
        prober.send(node, prober.ping_for(node))
    network.run(0.1)
    (ping,) = [d for d in prober.got if isinstance(d.body, Ping)]
    assert len(pongs([d.body for d in prober.got])) == 250
    prober.send(node, prober.pong_for(node, ping.hash))
    network.run(0.1)
    assert node.known == {prober.id}


def test_a_record_that_nobody_asked_for_is_not_looked_at(node: MemoryNode, prober: Prober) -> None:
    prober.bond(node)
    record = record_of(prober.key, prober.address, seq=7)
    prober.send(node, EnrResponse(bytes(32), record.encoded))
    assert not prober.answers()
    assert node.counts["discovery_unsolicited"] == 1


# -- clocks, addresses and floods ----------------------------------------------------------------


@pytest.mark.parametrize(("late", "answered"), [(19, True), (21, False), (-999, True)])
def test_a_clock_may_be_twenty_seconds_late(
    node: MemoryNode, prober: Prober, late: int, answered: bool
) -> None:
    prober.send(node, replace(prober.ping_for(node), expiration=UNIX - late + 20))
    assert bool(pongs(prober.answers(0.0 if not answered else 0.3))) == answered


@pytest.mark.parametrize("expiration", [1 << 32, (1 << 64) - 1])
def test_the_year_2106_is_a_year(node: MemoryNode, prober: Prober, expiration: int) -> None:
    prober.send(node, replace(prober.ping_for(node), expiration=expiration))
    assert pongs(prober.answers())


def test_addresses_that_we_have_nothing_to_do_with_get_no_answer(
    network: MemoryNetwork, node: MemoryNode
) -> None:
    prober = Prober(network, "prober", ("127.6.6.6", 1))
    prober.send(node, prober.ping_for(node))
    assert not prober.answers()
    assert node.counts["discovery_restricted"] == 1


def test_our_own_datagrams_are_not_answered(network: MemoryNetwork, node: MemoryNode) -> None:
    """As a network sends them back that is configured to."""
    mirror = Prober(network, "node", ("127.0.0.1", 40404))
    mirror.send(node, mirror.ping_for(node))
    assert not mirror.answers()
    assert node.counts["discovery_self"] == 1


def test_a_flood_from_one_address_costs_a_budget(node: MemoryNode, prober: Prober) -> None:
    raw = seal(prober.key, prober.ping_for(node)).raw
    for _ in range(2000):
        node.discv4.receive(raw, prober.address, 0.0)
    over = node.counts["discovery_over_address_budget"], node.counts["discovery_over_total_budget"]
    assert sum(over) >= 2000 - BURST_FROM_ADDRESS
    assert over[0] == 2000 - BURST_FROM_ADDRESS
    assert node.counts["discovery_pongs_sent"] <= BURST_FROM_STRANGERS


def test_a_flood_from_made_up_addresses_costs_a_budget_and_leaves_those_we_know(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    stranger = Prober(network, "stranger", ("127.9.9.9", 9))
    raw = seal(stranger.key, stranger.ping_for(node)).raw
    for number in range(20_000):
        ip = f"198.18.{number >> 8}.{number & 255}"
        node.discv4.receive(raw, (ip, 30303), network.now)
    assert node.counts["discovery_pongs_sent"] <= BURST_FROM_STRANGERS + 2
    assert node.counts["discovery_over_total_budget"] >= 20_000 - BURST_FROM_STRANGERS
    assert node.counts["discovery_pings_sent"] <= questions.MAX_PENDING + 1
    prober.send(node, FindNode(bytes(64), prober.expiration))
    assert [b for b in prober.answers() if isinstance(b, Neighbors)]


# -- networks ------------------------------------------------------------------------------------


def test_twenty_nodes_find_each_other_from_one_bootnode(network: MemoryNetwork) -> None:
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(20)]
    for each in nodes:
        each.start(nodes[0])
    network.run(10.0)
    everybody = {each.id for each in nodes}
    assert [len(each.known) for each in nodes] == [19] * 20
    assert all(each.known == everybody - {each.id} for each in nodes)
    assert all(contact.record for each in nodes for contact in each.discv4.table)


def test_a_node_that_moves_is_found_again(network: MemoryNetwork) -> None:
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(12)]
    for each in nodes:
        each.start(nodes[0])
    network.run(30.0)
    network.remove(nodes[5])
    moved = network.add("node 5", ("127.0.0.5", 31000))
    moved.start(nodes[0])
    network.run(10.0)
    for each in nodes:
        if each is not nodes[5]:
            contact = each.discv4.table.get(moved.id)
            assert contact is not None
            assert contact.endpoint == UdpEndpoint("127.0.0.5", 31000, 31000)


def test_a_changed_record_is_fetched_again(network: MemoryNetwork) -> None:
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(4)]
    for each in nodes:
        each.start(nodes[0])
    network.run(10.0)
    record = record_of(nodes[1].key, nodes[1].address, seq=2, waku=[1, 1])
    nodes[1].discv4.announce(record, network.now)
    network.run(5.0)
    for each in (nodes[0], *nodes[2:]):
        contact = each.discv4.table.get(nodes[1].id)
        assert contact is not None
        assert contact.record == record


def test_dead_nodes_leave_the_table(network: MemoryNetwork) -> None:
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(6)]
    for each in nodes:
        each.start(nodes[0])
    network.run(10.0)
    for each in nodes[3:]:
        network.remove(each)
    network.run(600.0)
    alive = {each.id for each in nodes[:3]}
    assert [each.known for each in nodes[:3]] == [alive - {each.id} for each in nodes[:3]]


def test_lost_datagrams_delay_and_do_not_prevent(network: MemoryNetwork) -> None:
    lost = iter(range(1 << 30))
    network.loses = lambda _from, _to: next(lost) % 9 == 0
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(10)]
    for each in nodes:
        each.start(nodes[0])
    network.run(120.0)
    assert min(len(each.known) for each in nodes) >= 8


def test_a_node_starts_from_those_of_its_last_run(network: MemoryNetwork) -> None:
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(3)]
    nodes[0].discv4.start([nodes[1].contact], network.now)
    nodes[1].discv4.start([nodes[2].contact], network.now)
    network.run(10.0)
    assert nodes[0].known == {nodes[1].id, nodes[2].id}


def test_a_node_alone_asks_rarely(network: MemoryNetwork, node: MemoryNode) -> None:
    """Bootnodes that are dead are pinged more and more rarely."""
    prober = Prober(network, "dead", ("127.0.0.2", 30303))
    bootnode = MemoryNode(network, "dead", prober.address)
    node.start(bootnode)
    network.run(3600.0)
    assert 60 <= len(prober.got) <= 4 * 70


def test_pongs_tell_our_address(network: MemoryNetwork) -> None:
    nodes = [network.add(f"node {n}", ("127.0.0.1", 30303 + n)) for n in range(3)]
    for each in nodes:
        each.start(nodes[0])
    network.run(5.0)
    assert {(contact.node_id, ip) for contact, ip in nodes[0].told} == {
        (each.id, "127.0.0.1") for each in nodes[1:]
    }
