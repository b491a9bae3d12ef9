"""Networks of real nodes on loopback, each with a caller at its Unix socket."""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from tests.support.processes import Server
from tests.support.puppet import dialed
from tests.support.rpc_callers import UnixCaller
from wakumail.base.free_ports import free_ports
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal

KEY = bytes(range(32))
"""The symmetric key of all messages."""

TOPIC = "0x0a0b0c0d"
TTL = 300
Message = dict[str, Any]
Flags = Sequence[object]

ANY_POW = ("--min-pow", 0)
NO_ARCHIVE = ("--no-mailserver", *ANY_POW)


class Node(Server):
    """A server with a caller of its API, which has added KEY."""

    caller: UnixCaller

    def __init__(self, datadir: Path, *flags: object) -> None:
        super().__init__(datadir, "--verbosity", "debug", *flags)
        self._attached = ExitStack()
        self._key_id = ""

    async def attach(self) -> None:
        """Connect the caller, and add KEY."""
        self.detach()
        path = self.datadir / "wakumail.ipc"
        reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
        self._attached.enter_context(closing(writer))
        self.caller = UnixCaller(reader, writer)
        self._key_id = await self.caller.call("waku_addSymKey", f"0x{KEY.hex()}")

    def detach(self) -> None:
        """Disconnect the caller."""
        self._attached.close()

    async def start_again(self) -> None:
        """Start a node that was stopped or killed."""
        self.start()
        await self.attach()

    # -- messages -----------------------------------------------------------------------------

    async def subscribe(self, *topics: str, **wanted: Any) -> None:
        """Subscribe the caller to the messages of these topics."""
        await self.caller.call("waku_subscribe", "messages", self._filter(topics, **wanted))

    async def install(self, *topics: str) -> str:
        """Keep the messages of these topics for `poll`; the filter's id."""
        return str(await self.caller.call("waku_newMessageFilter", self._filter(topics)))

    async def poll(self, filter_id: str) -> list[Message]:
        """The messages of a filter since the last poll."""
        return list(await self.caller.call("waku_getFilterMessages", filter_id))

    async def post(self, said: str, topic: str = TOPIC, *, pow_target: float = 0.0) -> None:
        """Send a message to the network."""
        message = {"symKeyID": self._key_id, "topic": topic, "payload": f"0x{said.encode().hex()}"}
        await self.caller.call("waku_post", message | {"ttl": TTL, "powTarget": pow_target})

    async def heard(self, count: int) -> list[Message]:
        """Wait for the next `count` messages of the subscription."""
        return [(await self.caller.notification())["result"] for _ in range(count)]

    async def heard_until(self, last: str) -> list[Message]:
        """Wait for messages of the subscription, up to the one with the text `last`."""
        messages = await self.heard(1)
        while text(messages[-1]) != last:
            messages += await self.heard(1)
        return messages

    def _filter(self, topics: Sequence[str], **wanted: Any) -> dict[str, Any]:
        return {"symKeyID": self._key_id, "topics": topics or [TOPIC], **wanted}

    # -- logs ---------------------------------------------------------------------------------

    def counts(self) -> Counter[str]:
        """Its counters from its latest start to its stop."""
        _, stopping, report = self.log.read_text().rpartition("INFO    stopping\n")
        assert stopping, f"{self.datadir.name} was not stopped"
        return Counter(
            {name: int(n) for name, n in re.findall(r"INFO +(\w+): (\d+)$", report, re.M)}
        )


class Network:
    """Nodes with directories of their own, named after them."""

    def __init__(self, directory: Path, ending: ExitStack) -> None:
        self.directory = directory
        self.nodes: list[Node] = []
        self._ending = ending

    async def start(self, **flags: Flags) -> list[Node]:
        """Start nodes side by side, each with its flags; all accept connections."""
        nodes = [Node(self.directory / name, *flags[name]) for name in flags]
        self.nodes += nodes
        for node in nodes:
            node.launch()
            self._ending.callback(node.kill)
        for node in nodes:
            node.await_enode()
        for node in nodes:
            self._ending.callback(node.detach)
            await node.attach()
        return nodes

    def stop(self) -> list[Counter[str]]:
        """Stop all nodes; the counters of each."""
        for node in self.nodes:
            assert node.stop() == 0
        return [node.counts() for node in self.nodes]

    def print_logs(self) -> None:
        """Print the logs of all nodes, for the report of a failed test."""
        for node in self.nodes:
            print(f"-- log of {node.datadir.name}\n{node.log.read_text()}")


@asynccontextmanager
async def network(directory: Path) -> AsyncIterator[Network]:
    """A network that ends with the test, and that shows its logs if the test fails."""
    with ExitStack() as ending:
        nodes = Network(directory, ending)
        try:
            yield nodes
        except BaseException:
            nodes.print_logs()
            raise
        finally:
            while dialed:
                dialed.pop().hang_up()


def static(*nodes: Node) -> tuple[str, str]:
    """The flags for a node that keeps connections to these nodes."""
    return "--static-nodes", ",".join(node.enode for node in nodes)


def text(message: Message) -> str:
    """The text of a message."""
    return bytes.fromhex(message["payload"][2:]).decode()


def texts(messages: Sequence[Message]) -> list[str]:
    """The texts of messages, in their order."""
    return [text(message) for message in messages]


def sealed(payload: str, *, topic: str = TOPIC, age: int = 0) -> Envelope:
    """An envelope sealed with KEY, made `age` seconds ago, without work."""
    data = seal(payload.encode(), key=KEY, random=os.urandom)
    expiry = int(time.time()) - age + TTL
    return make_envelope(expiry, TTL, bytes.fromhex(topic[2:]), data, 0)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    return free_ports(1)[0]
