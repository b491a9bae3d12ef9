"""A client that connects many times at once: a storm."""

import time
from dataclasses import dataclass

from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import SENDER, Channel
from wakumail.load.clients.role import Running, Tally


@dataclass(frozen=True, slots=True)
class Calling:
    """So many connections, all dialed before the first is greeted."""

    connections: int

    def open(self, enode: Enode) -> "Caller":
        """Nothing yet."""
        return Caller(self, enode)


class Caller:
    """The client. Its part of each handshake is about a third of the server's."""

    def __init__(self, load: Calling, enode: Enode) -> None:
        self._load = load
        self._enode = enode
        self._channels: list[Channel] = []
        self._tally = Tally()

    def prepare(self) -> None:
        """Make keys and auth packets."""
        self.close()
        self._channels = [Channel(self._enode) for _ in range(self._load.connections)]

    def run(self, running: Running) -> None:
        """Dial all, then take each through its handshake; seconds are from its dialing."""
        self._tally = Tally()
        dialed = []
        for channel in self._channels:
            channel.dial()
            dialed.append(time.monotonic())
        for channel, began in zip(self._channels, dialed, strict=True):
            channel.greet(SENDER)
            self._tally.seconds.append(time.monotonic() - began)

    def tally(self) -> Tally:
        """The seconds of each."""
        return self._tally

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels:
            channel.close()
        self._channels = []
