"""Discovery over real sockets."""

import ipaddress
import json
import os
import socket
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.support.discovering import discovering, is_at, known
from tests.support.discovery import node_key, record_of
from tests.support.patience import asynchronous, eventually
from wakumail.counters import Counters
from wakumail.devp2p.discovery.discv4_packets import Datagram, Ping, Pong, seal
from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id
from wakumail.node import discovery as discovery_module
from wakumail.node.contacts_file import read_contacts, write_contacts
from wakumail.node.discovery import Discovery, DiscoveryConfig


@asynchronous
async def test_twenty_nodes_find_each_other_from_one_bootnode(tmp_path: Path) -> None:
    async with AsyncExitStack() as running:
        nodes: list[tuple[Discovery, Enode]] = []
        for number in range(20):
            node = discovering(
                node_key(f"node {number}"), tmp_path / f"{number}", *(e for _, e in nodes[:1])
            )
            discovery, enode, _ = await running.enter_async_context(node)
            nodes.append((discovery, enode))
        everybody = {enode.node_id for _, enode in nodes}
        await eventually(
            lambda: all(known(each) == everybody - {enode.node_id} for each, enode in nodes)
        )
        await eventually(lambda: all(c.speaks_waku for each, _ in nodes for c in each.candidates()))
        others = {enode for _, enode in nodes} - {nodes[3][1]}
        # A node that answers late on a busy machine is no candidate until it does.
        await eventually(lambda: {each.enode for each in nodes[3][0].candidates()} == others)


@asynchronous
async def test_a_node_that_moves_is_found_again(tmp_path: Path) -> None:
    keys = [node_key(f"node {number}") for number in range(4)]
    async with (
        discovering(keys[0], tmp_path / "0") as (one, enode, _),
        discovering(keys[1], tmp_path / "1", enode) as (two, _, _),
    ):
        async with discovering(keys[2], tmp_path / "2", enode) as (_, before, _):
            await eventually(lambda: before.node_id in known(one) & known(two))
        # It starts again from the nodes that it knew, without a bootnode.
        async with discovering(keys[2], tmp_path / "2") as (_, after, _):
            assert after.port != before.port
            for each in (one, two):
                await eventually(partial(is_at, each, after))


@asynchronous
async def test_ipv6_and_ipv4_meet_on_one_socket(tmp_path: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this system has no IPv6")
    async with discovering(node_key("both"), tmp_path / "0", host="::") as (both, enode, _):
        over_ipv4 = Enode(enode.node_id, "127.0.0.1", enode.port, enode.port)
        async with (
            discovering(node_key("four"), tmp_path / "1", over_ipv4) as (four, _, _),
            discovering(node_key("six"), tmp_path / "2", enode, host="::1") as (six, _, _),
        ):
            await eventually(lambda: len(both.table) == 2)
            assert {contact.endpoint.ip for contact in both.table} == {"127.0.0.1", "::1"}
            await eventually(lambda: len(four.table) and len(six.table))


@asynchronous
async def test_a_name_of_a_bootnode_is_resolved(tmp_path: Path) -> None:
    async with discovering(node_key("one"), tmp_path / "0") as (_, enode, _):
        named = Enode(enode.node_id, "localhost", enode.port, enode.port)
        missing = Enode(enode.node_id, "no-such-host.invalid", 1, 1)
        deaf = Enode(enode.node_id, "127.0.0.1", enode.port, 0)
        async with discovering(node_key("two"), tmp_path / "1", missing, deaf, named) as (
            two,
            _,
            _,
        ):
            await eventually(lambda: known(two) == {enode.node_id})


@asynchronous
async def test_who_is_in_no_network_of_ours_gets_no_answer(tmp_path: Path) -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"),)
    async with discovering(node_key("one"), tmp_path / "0", netrestrict=networks) as (one, _, _):
        assert not one._allows("203.0.113.1")
        assert one._allows("10.9.9.9")
        assert one._allows("127.0.0.1"), "this machine may always"


@asynchronous
async def test_a_flood_leaves_the_loop_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than MAX_READ is left to the system; later datagrams are read again."""
    monkeypatch.setattr(discovery_module, "MAX_READ", 100.0)
    key = node_key("flood")
    async with discovering(node_key("one"), tmp_path / "0") as (_, enode, counters):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setblocking(False)
            own.bind(("127.0.0.1", 0))
            here = UdpEndpoint("127.0.0.1", own.getsockname()[1], 0)
            for _ in range(500):
                own.sendto(os.urandom(120), (enode.host, enode.port))
            await eventually(lambda: counters["discovery_reads_paused"])

            def ponged() -> bool:
                """True if a ping is answered; each call sends one more."""
                ping = Ping(4, here, here, 1 << 40, None)
                own.sendto(seal(key, ping).raw, (enode.host, enode.port))
                try:
                    return isinstance(Datagram.read(own.recv(2000)).body, Pong)
                except BlockingIOError:
                    return False

            await eventually(ponged)


@asynchronous
async def test_bootnodes_that_cannot_be_asked_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = (node_id(node_key(name).public_key) for name in ("one", "two"))
    bootnodes = (
        Enode(own, "127.0.0.1", 9, 9),
        Enode(other, "0.0.0.0", 9, 9),
        Enode(other, "224.0.0.1", 9, 9),
        Enode(other, "127.0.0.1", 9, 0),
    )
    async with discovering(node_key("one"), tmp_path / "0", *bootnodes):
        await eventually(
            lambda: (
                [record.getMessage() for record in caplog.records]
                == [
                    "bootnode 127.0.0.1:9 is left out: it has the id of this node itself",
                    "bootnode 0.0.0.0:9 is left out: 0.0.0.0 is no address of a node",
                    "bootnode 224.0.0.1:9 is left out: 224.0.0.1 is no address of a node",
                    "bootnode 127.0.0.1:9 is left out: it has no UDP port",
                ]
            )
        )


@asynchronous
async def test_a_clock_that_is_ahead_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(discovery_module, "KEEP_INTERVAL", 0.01)
    async with discovering(node_key("one"), tmp_path / "0") as (_, enode, _):
        here = UdpEndpoint("127.0.0.1", 1, 0)
        stale = seal(node_key("late"), Ping(4, here, here, 1_700_000_000, None)).raw
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:

            def told() -> bool:
                """True once the log says so; each call sends some more."""
                for _ in range(2 * discovery_module.MANY_EXPIRED):
                    own.sendto(stale, (enode.host, enode.port))
                return "is our clock ahead?" in caplog.text

            await eventually(told)


@asynchronous
async def test_a_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async with discovering(node_key("one"), tmp_path / "0") as (_, enode, _):
        second = Discovery(DiscoveryConfig(node_key("two"), (), (), tmp_path / "1"), Counters())
        with pytest.raises(OSError, match="in use"):
            await second.listen("127.0.0.1", enode.port)


def test_contacts_survive_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    assert read_contacts(path) == []
    key = node_key("one")
    identity = node_id(key.public_key)
    record = record_of(key, ("10.0.0.1", 30303))
    contacts = [
        Contact(identity, UdpEndpoint("10.0.0.1", 30303, 30304), record),
        Contact(identity, UdpEndpoint("2001:db8::1", 1, 0)),
    ]
    write_contacts(path, contacts)
    again = read_contacts(path)
    assert [(c.node_id, c.endpoint, c.record) for c in again] == [
        (c.node_id, c.endpoint, c.record) for c in contacts
    ]


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000])
def test_a_damaged_file_of_contacts_is_left_out(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(content)
    assert read_contacts(path) == []
    assert "holds no nodes of discovery" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "[1]",
        "[{}]",
        '[{"id": "00", "ip": "10.0.0.1", "udp": 1, "tcp": 1, "enr": null}]',
        '[{"id": 7, "ip": "10.0.0.1", "udp": 1, "tcp": 1, "enr": null}]',
        '[{"id": "' + "00" * 64 + '", "ip": "here", "udp": 1, "tcp": 1, "enr": null}]',
        '[{"id": "' + "00" * 64 + '", "ip": "10.0.0.1", "udp": 0, "tcp": 1, "enr": null}]',
        '[{"id": "' + "00" * 64 + '", "ip": "10.0.0.1", "udp": 1, "tcp": 1, "enr": "enr:x"}]',
    ],
)
def test_a_malformed_contact_is_left_out_and_the_others_are_kept(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "nodes.json"
    kept = Contact(node_id(node_key("one").public_key), UdpEndpoint("10.0.0.1", 30303, 30304))
    write_contacts(path, [kept])
    path.write_text(json.dumps([*json.loads(content), *json.loads(path.read_text())]))
    assert [contact.endpoint for contact in read_contacts(path)] == [kept.endpoint]
    assert f"{path}: item 1: " in caplog.text
