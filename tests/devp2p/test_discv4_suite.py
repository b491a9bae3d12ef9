"""The cases of go-ethereum's test suite for discovery v4 (cmd/devp2p/internal/v4test)."""

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
)
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import encode
from wakumail.devp2p.discovery.discv4_packets import (
    Body,
    EnrRequest,
    EnrResponse,
    FindNode,
    Neighbors,
    Ping,
    Pong,
    Told,
)
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.keys import node_id, sign

NOWHERE = UdpEndpoint("192.0.2.0", 0, 0)


@pytest.mark.parametrize("wrong", [{}, {"recipient": NOWHERE}, {"sender": NOWHERE}])
@pytest.mark.parametrize("junk", [False, True])
def test_a_ping_is_answered(
    node: MemoryNode, prober: Prober, wrong: dict[str, UdpEndpoint], junk: bool
) -> None:
    """Whatever it says of its sender and recipient, and whatever follows (EIP-8)."""
    ping = replace(prober.ping_for(node), **wrong)  # type: ignore[arg-type]
    if junk:
        digest = send_content(prober, node, ping, [*ping.fields(), b"junk", [1, [2]]], bytes(200))
    else:
        digest = prober.send(node, ping)
    (pong,) = pongs(prober.answers())
    assert pong.ping_hash == digest
    assert pong.recipient.address == prober.address
    assert UNIX < pong.expiration < UNIX + 60
    assert pong.enr_seq == 1


def send_content(
    prober: Prober, node: MemoryNode, body: Body, fields: object, more: bytes = b""
) -> bytes:
    """Send a list of any fields as a datagram of the type of `body`; its hash."""
    content = bytes([body.type]) + encode(fields) + more  # type: ignore[arg-type]
    rest = sign(prober.key, keccak256(content)) + content
    prober.send_raw(node, keccak256(rest) + rest)
    return keccak256(rest)


def test_an_expired_ping_is_not_answered(node: MemoryNode, prober: Prober) -> None:
    prober.send(node, replace(prober.ping_for(node), expiration=UNIX - 60))
    assert not prober.answers()
    assert node.counts["discovery_expired"] == 1


def test_a_datagram_of_another_type_is_not_answered(node: MemoryNode, prober: Prober) -> None:
    """A ping that says it is a pong, or something unknown."""
    ping = prober.ping_for(node)
    for number in (2, 99):
        content = bytes([number]) + encode(ping.fields())
        rest = sign(prober.key, keccak256(content)) + content
        prober.send_raw(node, keccak256(rest) + rest)
    assert not prober.answers()
    assert node.counts["discovery_malformed"] == node.counts["discovery_type_unknown"] == 1


def test_a_wrong_sender_in_a_ping_after_the_proof_changes_nothing(
    node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    digest = prober.send(node, replace(prober.ping_for(node), sender=NOWHERE))
    answers = prober.answers()
    assert [pong.ping_hash for pong in pongs(answers)] == [digest]
    assert len(answers) == 1, "neither a ping nor a request for a record"


def test_the_record_is_sent_to_whom_has_proven_its_address(
    node: MemoryNode, prober: Prober
) -> None:
    prober.bond(node)
    request = prober.send(node, EnrRequest(prober.expiration))
    (answer,) = prober.answers()
    assert isinstance(answer, EnrResponse)
    assert answer.request_hash == request
    assert answer.verified(node.id).seq == 1


@pytest.mark.parametrize("body", [FindNode(bytes(64), UNIX + 20), EnrRequest(UNIX + 20)])
def test_nothing_is_sent_without_a_proof(node: MemoryNode, prober: Prober, body: Body) -> None:
    prober.send(node, body)
    prober.send(node, prober.ping_for(node))
    prober.send(node, body)
    assert not [b for b in prober.answers() if not isinstance(b, Ping | Pong)]
    assert node.counts["discovery_unproven"] == 2


def test_a_findnode_is_answered(node: MemoryNode, prober: Prober) -> None:
    prober.bond(node)
    prober.send(node, FindNode(bytes(64), prober.expiration))
    (answer,) = prober.answers()
    assert isinstance(answer, Neighbors)
    assert [told.node_id for told in answer.nodes] == [prober.id]


def test_neighbors_that_nobody_asked_for_are_not_told_on(node: MemoryNode, prober: Prober) -> None:
    prober.bond(node)
    fake = node_id(node_key("fake").public_key)
    told = Told(UdpEndpoint("127.0.0.9", 4000, 4000), fake)
    prober.send(node, Neighbors((told,), prober.expiration))
    assert not prober.answers()
    prober.send(node, FindNode(fake, prober.expiration))
    (answer,) = prober.answers()
    assert isinstance(answer, Neighbors)
    assert fake not in [told.node_id for told in answer.nodes]
    assert node.counts["discovery_unsolicited"] == 1


def test_an_expired_findnode_is_not_answered(node: MemoryNode, prober: Prober) -> None:
    prober.bond(node)
    prober.send(node, FindNode(bytes(64), UNIX - 10))
    prober.send(node, EnrRequest(UNIX - 10))
    assert only_pings(prober.answers())
    assert node.counts["discovery_expired"] == 2


def test_a_pong_with_another_hash_proves_nothing(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    prober.send(node, prober.ping_for(node))
    network.run(0.1)
    assert [d for d in prober.got if isinstance(d.body, Ping)]
    prober.send(node, prober.pong_for(node, bytes(32)))
    prober.send(node, FindNode(bytes(64), prober.expiration))
    assert not [b for b in prober.answers() if isinstance(b, Neighbors)]
    assert node.counts["discovery_unsolicited"] == node.counts["discovery_unproven"] == 1


def test_a_proof_is_for_one_address(
    network: MemoryNetwork, node: MemoryNode, prober: Prober
) -> None:
    """127.0.0.2 sends what 127.0.0.1 has proven."""
    prober.bond(node)
    other = Prober(network, "prober", ("127.0.0.2", 40404))
    other.send(node, FindNode(bytes(64), prober.expiration))
    assert only_pings(other.answers())
    assert only_pings(prober.answers())
