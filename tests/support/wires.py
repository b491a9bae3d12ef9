"""Links without sockets: their transports, and a node with a handler that does nothing."""

import asyncio
import os
from collections.abc import Sequence

from tests.support.puppet import connection_config, node_config
from wakumail.counters import Counters
from wakumail.devp2p.keys import generate
from wakumail.node.link import Link
from wakumail.node.node import Node
from wakumail.waku.peer_events import PeerEvent


class Wire(asyncio.Transport):
    """A transport whose peer reads only when a test lowers `unread`."""

    def __init__(self, address: str = "192.0.2.1") -> None:
        super().__init__({"peername": (address, 1), "sockname": ("192.0.2.2", 2)})
        self.unread = 0
        self._closing = False
        self._reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unread += len(data)

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self._closing = True


class Nobody:
    """A handler that notes the links that are gone."""

    def __init__(self) -> None:
        self.gone: list[Link] = []

    def on_event(self, link: Link, event: PeerEvent) -> None:
        pass

    def on_writable(self, link: Link) -> None:
        pass

    def on_gone(self, link: Link) -> None:
        self.gone.append(link)


def opened(
    addresses: Sequence[str], *, max_handshakes: int = 10
) -> tuple[Node, list[Link], list[Wire]]:
    """A node with a socket from each address, none of which has said anything."""
    connection = connection_config(generate(os.urandom))
    node = Node(node_config(connection, max_handshakes=max_handshakes), Nobody(), Counters())
    links, wires = [Link(node) for _ in addresses], [Wire(address) for address in addresses]
    for link, wire in zip(links, wires, strict=True):
        link.connection_made(wire)
    return node, links, wires
