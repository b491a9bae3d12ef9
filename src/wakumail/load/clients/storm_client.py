"""A client that connects many times at once: a storm."""

import time
from dataclasses import dataclass

from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import WANTS_NOTHING, BlockingConnection
from wakumail.load.clients.role import KeepGoing, Tally


@dataclass(frozen=True, slots=True)
class StormLoad:
    """So many connections, all dialed before the first is greeted."""

    connections: int

    def open(self, enode: Enode) -> "StormClient":
        """Nothing yet."""
        return StormClient(self, enode)


class StormClient:
    """The client. Its part of each handshake is about a third of the server's."""

    def __init__(self, load: StormLoad, enode: Enode) -> None:
        self._load = load
        self._enode = enode
        self._connections: list[BlockingConnection] = []
        self._tally = Tally()

    def prepare(self) -> None:
        """Make keys and auth packets."""
        self.close()
        self._connections = [BlockingConnection(self._enode) for _ in range(self._load.connections)]

    def run(self, keep_going: KeepGoing) -> None:
        """Dial all, then take each through its handshake; seconds are from its dialing."""
        self._tally = Tally()
        dialed = []
        for connection in self._connections:
            connection.dial()
            dialed.append(time.monotonic())
        for connection, began in zip(self._connections, dialed, strict=True):
            connection.greet(WANTS_NOTHING)
            self._tally.seconds.append(time.monotonic() - began)

    def answer_pings(self) -> None:
        """Nothing: no connection is there before the run, and none is kept after it."""

    def tally(self) -> Tally:
        """The seconds of each."""
        return self._tally

    def close(self) -> None:
        """Hang up."""
        for connection in self._connections:
            connection.close()
        self._connections = []
