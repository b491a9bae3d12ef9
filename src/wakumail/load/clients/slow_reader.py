"""A client that asks for much and reads little of it."""

import os
import time
from dataclasses import dataclass

from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import WANTS_NOTHING, open_connection
from wakumail.load.clients.history_reader import RequestPackets
from wakumail.load.clients.role import KeepGoing, Tally
from wakumail.load.workload.request_kinds import RequestSpec
from wakumail.waku.packets import Code

PAUSE = 0.1
"""Seconds between reads of all connections."""


@dataclass(frozen=True, slots=True)
class SlowReaderLoad:
    """On each of `connections` have `requests` open, and read `rate` bytes per second."""

    spec: RequestSpec
    connections: int
    requests: int
    rate: int = 64 << 10

    def open(self, enode: Enode) -> "SlowReader":
        """Make the client, and connect it."""
        return SlowReader(self, enode)


class SlowReader:
    """The client."""

    def __init__(self, load: SlowReaderLoad, enode: Enode) -> None:
        self._load = load
        self._connections = [open_connection(enode, WANTS_NOTHING) for _ in range(load.connections)]
        self._tally = Tally()

    def prepare(self) -> None:
        """Send the requests."""
        packet = RequestPackets().of(self._load.spec)
        for connection in self._connections:
            for _ in range(self._load.requests):
                connection.send(Code.P2P_REQUEST, packet)

    def run(self, keep_going: KeepGoing) -> None:
        """Read a little of each connection, again and again. The server may close them."""
        self._tally = Tally()
        size = int(self._load.rate * PAUSE)
        while keep_going():
            for connection in self._connections:
                try:
                    self._tally.bytes += len(os.read(connection.socket.fileno(), size))
                except (BlockingIOError, ConnectionError):
                    continue
            time.sleep(PAUSE)

    def answer_pings(self) -> None:
        """Do nothing: the pings lie behind envelopes that are not read yet."""

    def tally(self) -> Tally:
        """The bytes that were read, encrypted."""
        return self._tally

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()
