"""Networks of real processes: a message posted at one node reaches all that want it, once."""

import random
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import websockets

from tests.support.commands import call
from tests.support.envelopes import dump, make, newest_first
from tests.support.networks import (
    ANY_POW,
    KEY,
    NO_ARCHIVE,
    TOPIC,
    Node,
    free_port,
    network,
    sealed,
    static,
    text,
    texts,
)
from tests.support.patience import asynchronous
from tests.support.processes import WAKUMAIL, run_json
from tests.support.puppet import Puppet
from tests.support.rpc_callers import WebSocketCaller
from wakumail.base.rlp import join_list
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import SHH6
from wakumail.waku.envelope import Envelope, Verdict, parse
from wakumail.waku.packets import Code, StatusOptions

HERE, NEAR, FAR, FARTHEST = TOPICS = ["0x01010101", "0x02020202", "0x03030303", "0x04040404"]
STRONG = 1.0
"""A PoW that only one envelope without work in thousands reaches."""

REJECTIONS = [f"envelopes_{verdict.name.lower()}" for verdict in Verdict]


def accepted(counts: Counter[str]) -> int:
    """The number of envelopes that were valid and new."""
    return counts["envelopes_received"] - sum(counts[name] for name in REJECTIONS)


def has_ipv6() -> bool:
    """True if the machine has an IPv6 loopback."""
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


@asynchronous
async def test_a_line_of_nodes_that_want_less_and_less(tmp_path: Path) -> None:
    """Each node gets the envelopes that it wants from its neighbour, and no others."""

    def want(*topics: str) -> tuple[str, str]:
        return "--topics", ",".join(topics)

    async with network(tmp_path) as net:
        first, topics, light = await net.start(
            first=ANY_POW,
            topics=(*NO_ARCHIVE, *want(FAR, FARTHEST), "--interest", "topics"),
            light=(*NO_ARCHIVE, *want(FARTHEST), "--light"),
        )
        bloom, pow_, behind = await net.start(
            bloom=(*ANY_POW, *want(NEAR, FAR, FARTHEST), *static(first, topics)),
            pow=("--no-mailserver", "--min-pow", STRONG, *static(topics, light)),
            behind=(*NO_ARCHIVE, *static(light)),
        )
        wanted: dict[Node, Callable[[str, bool], bool]] = {
            first: lambda topic, strong: True,
            bloom: lambda topic, strong: topic != HERE,
            topics: lambda topic, strong: topic in (FAR, FARTHEST),
            pow_: lambda topic, strong: topic in (FAR, FARTHEST) and strong,
            light: lambda topic, strong: topic == FARTHEST and strong,
        }
        filters = {node: await node.install(*TOPICS) for node in net.nodes}
        for node in net.nodes:
            await node.subscribe(*TOPICS)
        for topic in TOPICS:
            await first.post(f"{topic} weak", topic)
            await first.post(f"{topic} strong", topic, pow_target=STRONG)
        await first.post("end", FARTHEST, pow_target=STRONG)
        posted = await first.heard_until("end")
        assert len(posted) == 2 * len(TOPICS) + 1
        expected = {
            node: [m for m in posted if wants(m["topic"], m["pow"] >= STRONG)]
            for node, wants in wanted.items()
        }
        for node in (bloom, topics, pow_, light):
            assert await node.heard_until("end") == expected[node], node.datadir.name
        # If the light node forwarded envelopes, they would arrive before its own.
        await light.post("own", FARTHEST, pow_target=STRONG)
        (own,) = await light.heard(1)
        expected[behind] = []
        for node, messages in expected.items():
            if node is not light:
                assert await node.heard_until("own") == [own], node.datadir.name
            assert await node.poll(filters[node]) == [*messages, own], node.datadir.name
        for node, counts in zip(net.nodes, net.stop(), strict=True):
            received = 1 if node is first else len(expected[node]) + (node is not light)
            assert counts["envelopes_received"] == accepted(counts) == received, node.datadir.name


@asynchronous
async def test_a_ring_with_chords(tmp_path: Path) -> None:
    """Ten nodes with three neighbours each take an envelope that comes by several ways once."""
    size, posts, degree = 10, 40, 3
    chance = random.Random(1)
    async with network(tmp_path) as net:
        # Every neighbour of an even node is odd.
        even = await net.start(**{f"n{n}": ANY_POW for n in range(0, size, 2)})
        neighbours = {
            n: [even[m % size // 2] for m in (n - 1, n + 1, n + size // 2)]
            for n in range(1, size, 2)
        }
        await net.start(**{f"n{n}": (*ANY_POW, *static(*neighbours[n])) for n in neighbours})
        for node in net.nodes:
            await node.subscribe()
        own: Counter[Node] = Counter()
        for number in range(posts):
            poster = chance.choice(net.nodes)
            own[poster] += 1
            await poster.post(str(number))
        said = {str(number) for number in range(posts)}
        for node in net.nodes:
            assert set(texts(await node.heard(posts))) == said, node.datadir.name
        own[net.nodes[0]] += 1
        await net.nodes[0].post("end")
        for node in net.nodes:
            assert texts(await node.heard_until("end")) == ["end"], node.datadir.name
        counted = net.stop()
    total = posts + 1
    for node, counts in zip(net.nodes, counted, strict=True):
        assert accepted(counts) == total - own[node], node.datadir.name
        assert counts["envelopes_archived"] == total, node.datadir.name
        assert counts["envelopes_received"] <= degree * total, "a neighbour sent something twice"
    # All but the poster have it from a neighbour, and nobody sends it back.
    most = total * (degree * size - (size - 1))
    assert sum(counts["envelopes_received"] for counts in counted) <= most


@asynchronous
async def test_a_websocket_sees_what_is_live_and_what_was(tmp_path: Path) -> None:
    """A node without an archive hands out the history of a mailserver that it trusts."""
    async with network(tmp_path) as net:
        old = [sealed(f"old {n}", age=3600 + n) for n in range(3)]
        call("archive", "import", "--datadir", tmp_path / "mailserver", stdin=dump(old))
        (mailserver,) = await net.start(mailserver=ANY_POW)
        port = free_port()
        trusting = "--trusted-nodes", mailserver.enode, "--ws", "--ws.port", port
        poster, _ = await net.start(
            poster=(*NO_ARCHIVE, *static(mailserver)), node=(*NO_ARCHIVE, *trusting)
        )
        async with websockets.connect(f"ws://127.0.0.1:{port}") as connection:
            caller = WebSocketCaller(connection)
            key = await caller.call("waku_addSymKey", f"0x{KEY.hex()}")
            wanted = {"symKeyID": key, "topics": [TOPIC], "allowP2P": True}
            subscription = await caller.call("waku_subscribe", "messages", wanted)
            told = []

            async def hear(count: int) -> None:
                for _ in range(count):
                    note = await caller.notification()
                    assert note["subscription"] == subscription
                    told.append(text(note["result"]))

            await poster.post("live")
            await hear(1)
            request = {"mailServerPeer": mailserver.enode, "topics": [TOPIC]}
            assert await caller.call("wakuext_requestMessages", request) is True
            await hear(3)
            await poster.post("later")
            await hear(1)
            assert told == ["live", "old 0", "old 1", "old 2", "later"]


@asynchronous
async def test_a_bridge(tmp_path: Path) -> None:
    """Whisper and Waku peers of one node have the same envelopes, each of them once."""
    async with network(tmp_path) as net:
        (bridge,) = await net.start(bridge=(*ANY_POW, "--shh"))
        (waku,) = await net.start(waku=(*NO_ARCHIVE, *static(bridge)))
        for node in net.nodes:
            await node.subscribe()
        sender, echo = await whisper_peer(bridge), await whisper_peer(bridge)
        assert (sender.waku.name, sender.waku.version) == SHH6
        envelope = sealed("from whisper")
        sender.send(Code.MESSAGES, join_list([envelope.rlp]))
        assert texts(await waku.heard_until("from whisper")) == ["from whisper"]
        assert hashes(await received(echo, 1)) == [envelope.hash]
        echo.send(Code.MESSAGES, join_list([envelope.rlp]))
        echo.send(Code.MESSAGES, join_list([sealed("end of whisper").rlp]))
        assert texts(await waku.heard_until("end of whisper")) == ["end of whisper"]
        await waku.post("from waku")
        assert texts(await bridge.heard(3)) == ["from whisper", "end of whisper", "from waku"]
        (posted,) = await waku.heard(1)
        # The first is "end of whisper", from the other peer.
        assert hashes(await received(sender, 2))[1] == bytes.fromhex(posted["hash"][2:])
        assert hashes(await received(echo, 1)) == [bytes.fromhex(posted["hash"][2:])]
        of_bridge, of_waku = net.stop()
        assert (of_bridge["envelopes_received"], of_bridge["envelopes_duplicate"]) == (4, 1)
        assert (of_waku["envelopes_received"], accepted(of_waku)) == (2, 2)


async def whisper_peer(node: Node) -> Puppet:
    """A connected peer that knows of Whisper only."""
    options = StatusOptions(pow=0.0)
    return await Puppet.ready(Enode.parse(node.enode), capabilities=(SHH6,), options=options)


async def received(puppet: Puppet, count: int) -> list[Envelope]:
    """The next `count` envelopes that a peer is sent, and no more."""
    envelopes: list[Envelope] = []
    while len(envelopes) < count:
        envelopes += parse(await puppet.packet(Code.MESSAGES))
    assert len(envelopes) == count
    return envelopes


def hashes(envelopes: list[Envelope]) -> list[bytes]:
    return [envelope.hash for envelope in envelopes]


@pytest.mark.parametrize("end", [Node.kill, Node.stop], ids=["killed", "stopped"])
@asynchronous
async def test_a_static_peer_that_comes_back(tmp_path: Path, end: Callable[[Node], None]) -> None:
    """It gets the envelopes that are still live, and has all that it confirmed."""
    confirmed = [sealed(f"old {n}", topic=FAR) for n in range(20)]
    async with network(tmp_path) as net:
        (mailserver,) = await net.start(mailserver=(*ANY_POW, "--port", free_port()))
        # This node must not take the envelopes that it asks for later: it would relay them again.
        own = "--topics", TOPIC, "--trusted-nodes", mailserver.enode
        (node,) = await net.start(node=(*NO_ARCHIVE, *own))
        await node.subscribe(FAR, allowP2P=True)
        result = run_json("post", mailserver.enode, "--dump", "-", stdin=dump(confirmed))
        assert result["confirmed"] == 20
        end(mailserver)
        await node.post("while it was away")
        await mailserver.start_again()
        await mailserver.subscribe()
        await node.post("when it was back")
        assert text((await mailserver.heard_until("when it was back"))[-1]) == "when it was back"
        request = {"mailServerPeer": mailserver.enode, "topics": [FAR]}
        await node.caller.call("wakuext_requestMessages", request)
        assert set(texts(await node.heard(20))) == {f"old {n}" for n in range(20)}
        _, of_node = net.stop()
        assert (of_node["history_received"], of_node["envelopes_received"]) == (20, 0)
        of_mailserver = mailserver.counts()
        assert (of_mailserver["envelopes_received"], accepted(of_mailserver)) == (2, 2)
        assert of_mailserver["envelopes_archived"] == 2


@pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6 loopback")
@asynchronous
async def test_ipv6(tmp_path: Path) -> None:
    """A node listens on `::1`, and on `::` for both versions of IP."""
    async with network(tmp_path) as net:
        (six,) = await net.start(six=(*NO_ARCHIVE, "--host", "::1"))
        assert "@[::1]:" in six.enode
        (both,) = await net.start(both=(*NO_ARCHIVE, "--host", "::", *static(six)))
        assert "@[::1]:" in both.enode
        by_four = "--static-nodes", both.enode.replace("[::1]", "127.0.0.1")
        four, other = await net.start(
            four=(*NO_ARCHIVE, *by_four), other=(*NO_ARCHIVE, "--host", "::1", *static(both))
        )
        for node in net.nodes:
            await node.subscribe()
        for poster in (six, four, other):
            await poster.post(poster.datadir.name)
            for node in net.nodes:
                assert texts(await node.heard(1)) == [poster.datadir.name], node.datadir.name
        peers = await both.caller.call("admin_peers")
        addresses = {peer["network"]["remoteAddress"].rpartition(":")[0] for peer in peers}
        assert (len(peers), addresses) == (3, {"127.0.0.1", "[::1]"})


def test_a_mailserver_that_dies_while_it_is_asked(tmp_path: Path) -> None:
    """The next one is asked, and nothing comes twice."""
    envelopes = make(2000, [bytes.fromhex(TOPIC[2:])])
    for name in ("first", "second"):
        call("archive", "import", "--datadir", tmp_path / name, stdin=dump(envelopes))
    first, second = Node(tmp_path / "first"), Node(tmp_path / "second")
    with first, second:
        wanted = ("--topic", TOPIC[2:], "--from", "1h", "--all", "--limit", "100", "--out", "-")
        command = [*WAKUMAIL, "request", first.enode, second.enode, *wanted]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as request:
            assert request.stdout is not None
            # A pipe holds a few pages. The next is asked for when the pipe is read.
            begin = request.stdout.read(1)
            first.kill()
            rest, log = request.communicate()
        assert request.returncode == 0, log.decode()
        assert begin + rest == dump(newest_first(envelopes))
        assert f"mailserver {first.enode.partition('@')[2]}" in log.decode()
        second.stop()
        assert second.counts()["envelopes_delivered"] == 2000
