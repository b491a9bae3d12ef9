"""A client that floods discovery with good pings from many addresses."""

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from itertools import cycle

from wakumail.devp2p import keys
from wakumail.devp2p.discovery.discv4_packets import DISCV4_VERSION, Ping, seal
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.role import KeepGoing, Tally

ADDRESSES = 200
"""Addresses of this machine (127.0.0.0/8) that the datagrams come from."""

PAUSE = 0.001
"""Seconds between two bursts."""

NEVER = 1 << 40
"""The expiration of the pings."""


@dataclass(frozen=True, slots=True)
class DatagramFloodLoad:
    """Send `rate` datagrams per second, for `seconds` at most.

    With `into_sink` they go to a socket of our own that nobody reads.
    """

    rate: int
    into_sink: bool
    seconds: float

    def open(self, enode: Enode) -> "DatagramFlood":
        """Make the client."""
        return DatagramFlood(self, enode)


class DatagramFlood:
    """The client. Each address has a node key of its own, so that all checks are gone through."""

    def __init__(self, load: DatagramFloodLoad, enode: Enode) -> None:
        self._load = load
        self._tally = Tally()
        self._sockets: list[socket.socket] = []
        sink = self._bind("127.0.0.1")
        self._to: tuple[str, int] = (
            sink.getsockname() if load.into_sink else (enode.host, enode.discport)
        )
        self._pings = [self._ping(self._bind(f"127.0.9.{n + 1}")) for n in range(ADDRESSES)]

    def _bind(self, address: str) -> socket.socket:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sockets.append(own)
        own.setblocking(False)
        own.bind((address, 0))
        return own

    @staticmethod
    def _ping(own: socket.socket) -> tuple[socket.socket, bytes]:
        ip, port = own.getsockname()
        here = UdpEndpoint(ip, port, 0)
        ping = Ping(DISCV4_VERSION, here, here, NEVER, None)
        return own, seal(keys.generate(os.urandom), ping).raw

    def prepare(self) -> None:
        """Do nothing: all is there."""

    def run(self, keep_going: KeepGoing) -> None:
        """Send at the rate, in small bursts."""
        self._tally = Tally()
        pings, sent, began = cycle(self._pings), 0, time.monotonic()
        while keep_going() and time.monotonic() < began + self._load.seconds:
            due = int((time.monotonic() - began) * self._load.rate)
            for _ in range(due - sent):
                own, raw = next(pings)
                with contextlib.suppress(BlockingIOError):
                    own.sendto(raw, self._to)
            sent = due
            time.sleep(PAUSE)
        self._tally.envelopes = sent

    def answer_pings(self) -> None:
        """Do nothing: there is no connection."""

    def tally(self) -> Tally:
        """The number of datagrams, as envelopes."""
        return self._tally

    def close(self) -> None:
        """Close the sockets."""
        for own in self._sockets:
            own.close()
