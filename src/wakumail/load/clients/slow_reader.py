"""A client that asks for much and reads little of it."""

import os
import time
from dataclasses import dataclass
from socket import MSG_DONTWAIT

from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import SENDER, connect
from wakumail.load.clients.history_reader import request_packet
from wakumail.load.clients.role import Running, Tally
from wakumail.load.workload.request_kinds import Ask
from wakumail.waku.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku.packets import Code

PAUSE = 0.1
"""Seconds between two reads of all connections."""


@dataclass(frozen=True, slots=True)
class Dawdling:
    """So many connections, each with `requests` open, read at `rate` bytes per second."""

    ask: Ask
    connections: int
    requests: int
    rate: int = 64 << 10

    def open(self, enode: Enode) -> "Dawdler":
        """Connect."""
        return Dawdler(self, enode)


class Dawdler:
    """The client."""

    def __init__(self, load: Dawdling, enode: Enode) -> None:
        self._load = load
        self._channels = [connect(enode, SENDER) for _ in range(load.connections)]
        self._tally = Tally()

    def prepare(self) -> None:
        """Ask."""
        key, node_key = symmetric_key(DEFAULT_PASSWORD), keys.generate(os.urandom)
        packet = request_packet(self._load.ask, b"", key, node_key)
        for channel in self._channels:
            for _ in range(self._load.requests):
                channel.send(Code.P2P_REQUEST, packet)

    def run(self, running: Running) -> None:
        """Read a little of everyone, again and again; the server may part from us."""
        self._tally = Tally()
        size = int(self._load.rate * PAUSE)
        while running():
            for channel in self._channels:
                try:
                    self._tally.bytes += len(channel.socket.recv(size, MSG_DONTWAIT))
                except (BlockingIOError, ConnectionError):
                    continue
            time.sleep(PAUSE)

    def tally(self) -> Tally:
        """Bytes as they came."""
        return self._tally

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels:
            channel.close()
