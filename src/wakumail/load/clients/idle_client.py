"""A client with many connections that only send and answer pings."""

import time
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector

from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import MessageId
from wakumail.load.clients.blocking_connection import (
    WANTS_NOTHING,
    BlockingConnection,
    PingSchedule,
    open_connection,
)
from wakumail.load.clients.role import KeepGoing, Tally

PING_INTERVAL = 15.0
"""Seconds between the pings of one connection, as peers send them."""


@dataclass(frozen=True, slots=True)
class IdleLoad:
    """Keep `connections` connections for `seconds`."""

    connections: int
    seconds: float

    def open(self, enode: Enode) -> "IdleClient":
        """Make the client, and connect it."""
        return IdleClient(self, enode)


class IdleClient:
    """The client. It pings each connection every PING_INTERVAL, evenly spread."""

    def __init__(self, load: IdleLoad, enode: Enode) -> None:
        self._load = load
        self._selector = DefaultSelector()
        self._turn = 0
        self._connections: list[BlockingConnection] = []
        pings = PingSchedule(self.answer_pings)
        for _ in range(load.connections):
            connection = open_connection(enode, WANTS_NOTHING)
            self._connections.append(connection)
            self._selector.register(connection.socket, EVENT_READ, connection)
            pings.check()

    def prepare(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def run(self, keep_going: KeepGoing) -> None:
        """Send and answer pings."""
        interval = PING_INTERVAL / len(self._connections)
        now = time.monotonic()
        ends, next_ping = now + self._load.seconds, now + interval
        while keep_going() and now < ends:
            self._answer(max(0.0, min(next_ping, ends) - now))
            now = time.monotonic()
            while next_ping <= now:
                self._connections[self._turn % len(self._connections)].send_p2p(MessageId.PING)
                self._turn += 1
                next_ping += interval

    def answer_pings(self) -> None:
        """Answer the pings on each connection."""
        self._answer(0.0)

    def _answer(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for packets, and answer the pings among them."""
        for key, _ in self._selector.select(timeout):
            for frame in key.data.frames():
                key.data.answer(bytes(frame))

    def tally(self) -> Tally:
        """An idle client receives no envelopes."""
        return Tally()

    def close(self) -> None:
        """Close the connections."""
        self._selector.close()
        for connection in self._connections:
            connection.close()
