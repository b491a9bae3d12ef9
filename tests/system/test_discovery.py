"""Real servers find each other by node discovery, call each other, and are found again."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.networks import Node
from tests.support.patience import PATIENCE, asynchronous
from tests.support.processes import Server, run
from tests.support.worker_server import WorkerServer
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr


async def becomes(node: Node, method: str, wanted: Callable[[Any], bool]) -> Any:
    """Ask a node until its answer is as wanted; the answer."""
    async with asyncio.timeout(PATIENCE):
        while not wanted(answer := await node.caller.call(method)):
            pass
    return answer


def names(*nodes: Node) -> set[bytes]:
    return {Enode.parse(node.enode).node_id for node in nodes}


def told(answer: list[dict[str, Any]]) -> set[bytes]:
    return {Enode.parse(each["enode"]).node_id for each in answer}


@asynchronous
async def test_servers_find_and_call_each_other_from_one_bootnode(tmp_path: Path) -> None:
    with Node(tmp_path / "one", "--discovery.v4") as one:
        flags = ["--discovery.v4", "--bootnodes", one.enode, "--mindial", 2]
        with Node(tmp_path / "two", *flags) as two, Node(tmp_path / "three", *flags) as three:
            nodes = one, two, three
            for node in nodes:
                await node.attach()
                await becomes(node, "net_peerCount", lambda count: int(count, 16) == 2)
                others = names(*nodes) - names(node)
                found = await becomes(
                    node,
                    "admin_discoveredNodes",
                    lambda found: all(each["mailserver"] for each in found) and len(found) == 2,
                )
                assert told(found) == others
            info = await two.caller.call("admin_nodeInfo")
            record, enode = Enr.parse(info["enr"]), Enode.parse(two.enode)
            assert (record.tcp, record.udp) == (enode.port, enode.port)
            assert info["ports"] == {"discovery": enode.port, "listener": enode.port}
            for node in nodes:
                node.detach()
            assert two.stop() == 0
        # It comes back without a bootnode, at another port.
        with Node(tmp_path / "two", "--discovery.v4", "--nat", "extip:127.0.0.1") as back:
            await one.attach()
            await back.attach()
            await becomes(back, "admin_discoveredNodes", lambda found: told(found) >= names(one))
            later = Enr.parse((await back.caller.call("admin_nodeInfo"))["enr"])
            assert later.seq > record.seq
            assert later.udp != record.udp
            await becomes(
                one,
                "admin_discoveredNodes",
                lambda found: str(later) in {each["enr"] for each in found},
            )
            back.detach()
            one.detach()


@asynchronous
async def test_one_worker_holds_the_udp_port_and_the_next_leader_takes_it(tmp_path: Path) -> None:
    with Node(tmp_path / "alone", "--discovery.v4") as alone:
        await alone.attach()
        flags = ["--discovery.v4", "--bootnodes", alone.enode, "--mindial", 1]
        with WorkerServer(tmp_path / "workers", *flags) as server:
            identity = {server.target.node_id}
            await becomes(alone, "admin_discoveredNodes", lambda found: told(found) == identity)
            await becomes(alone, "net_peerCount", lambda count: int(count, 16) == 1)
            old = server.workers()
            server.process.send_signal(signal.SIGHUP)
            await server.without(*old)
            # The new leader starts from the nodes that the old one knew, at the same port.
            found = await becomes(alone, "admin_discoveredNodes", lambda found: found[0]["enr"])
            assert Enr.parse(found[0]["enr"]).udp == server.target.port
            await becomes(alone, "net_peerCount", lambda count: int(count, 16) == 1)
            assert server.stop() == 0
        alone.detach()


def test_the_record_is_kept_without_discovery_too(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        record = Enr.parse(run("key", "enr", server.datadir / "nodekey").decode().strip())
        assert record.tcp == Enode.parse(server.enode).port
        assert b"udp" not in record.values
