"""A client that makes many connections at once."""

import time
from dataclasses import dataclass

from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import WANTS_NOTHING, BlockingConnection
from wakumail.load.clients.role import KeepGoing, Tally


@dataclass(frozen=True, slots=True)
class StormLoad:
    """Dial `connections` connections before the first handshake goes on."""

    connections: int

    def open(self, enode: Enode) -> "StormClient":
        """Make the client. It connects in its run."""
        return StormClient(self, enode)


class StormClient:
    """The client. Its CPU for a handshake is about a third of the server's."""

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
        """Dial all, then finish each handshake. Its seconds start when it is dialed."""
        self._tally = Tally()
        dialed = []
        for connection in self._connections:
            connection.dial()
            dialed.append(time.monotonic())
        for connection, began in zip(self._connections, dialed, strict=True):
            connection.greet(WANTS_NOTHING)
            self._tally.seconds.append(time.monotonic() - began)

    def answer_pings(self) -> None:
        """Do nothing: connections exist only during the run, and until they are closed."""

    def tally(self) -> Tally:
        """The seconds of each handshake."""
        return self._tally

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            connection.close()
        self._connections = []
