"""A client that wants every envelope, over one connection or several, and counts what comes."""

import time
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector

from cramjam import snappy

from wakumail.base import rlp
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import Code as P2PCode
from wakumail.load.clients.blocking_connection import LISTENER, TIMEOUT, Channel, connect
from wakumail.load.clients.role import LoadFailed, Running, Tally
from wakumail.load.workload.archived_traffic import ENVELOPE_SIZE
from wakumail.waku.packets import Code


@dataclass(frozen=True, slots=True)
class Listening:
    """Listen on so many connections until each has had `count` envelopes."""

    connections: int
    count: int
    envelope_size: int = ENVELOPE_SIZE
    """Bytes of the RLP of each envelope: packets are counted by their size."""

    def open(self, enode: Enode) -> "Listener":
        """Connect."""
        return Listener(self, enode)


class Listener:
    """The client."""

    def __init__(self, load: Listening, enode: Enode) -> None:
        self._load = load
        self._ears = [Ear(connect(enode, LISTENER), load) for _ in range(load.connections)]

    def prepare(self) -> None:
        """Begin anew."""
        for ear in self._ears:
            ear.envelopes = 0

    def run(self, running: Running) -> None:
        """Read until all have had all."""
        deadline = time.monotonic() + TIMEOUT
        with DefaultSelector() as selector:
            for ear in self._ears:
                selector.register(ear.channel.socket, EVENT_READ, ear)
            while selector.get_map() and running():
                if time.monotonic() > deadline:
                    had = min(ear.envelopes for ear in self._ears)
                    raise LoadFailed(f"only {had} of {self._load.count} envelopes were relayed")
                for key, _ in selector.select(0.1):
                    key.data.pull()
                    if key.data.envelopes >= self._load.count:
                        selector.unregister(key.fileobj)

    def tally(self) -> Tally:
        """What came, on all connections."""
        envelopes = sum(ear.envelopes for ear in self._ears)
        return Tally(envelopes, envelopes * self._load.envelope_size)

    def close(self) -> None:
        """Hang up."""
        for ear in self._ears:
            ear.channel.close()


class Ear:
    """One connection, and how many envelopes came over it."""

    def __init__(self, channel: Channel, load: Listening) -> None:
        self.channel = channel
        self.envelopes = 0
        self._envelope_size = load.envelope_size
        self._messages = channel.message_id(Code.MESSAGES)
        self._ping = rlp.encode(P2PCode.PING)

    def pull(self) -> None:
        """Read once."""
        skimmer = self.channel.skimmer
        frame = skimmer.filled(self.channel.socket.recv_into(skimmer.room()))
        if frame is None:
            return
        if frame.first.startswith(self._messages):
            size = snappy.decompress_raw_len(frame.first[len(self._messages) :])
            self.envelopes += size // self._envelope_size
        elif frame.first.startswith(self._ping):
            self.channel.send_p2p(P2PCode.PONG)
