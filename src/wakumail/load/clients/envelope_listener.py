"""A client that receives every envelope, over one connection or several, and counts them."""

import time
from dataclasses import dataclass
from selectors import EVENT_READ, DefaultSelector

from cramjam import snappy

from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import (
    LOAD_TIMEOUT,
    WANTS_EVERYTHING,
    BlockingConnection,
    PingSchedule,
    open_connection,
)
from wakumail.load.clients.role import KeepGoing, LoadFailed, Tally
from wakumail.load.clients.skimmer import Frame
from wakumail.load.workload.archived_traffic import ENVELOPE_SIZE
from wakumail.waku.packets import Code


@dataclass(frozen=True, slots=True)
class EnvelopeListenerLoad:
    """Listen on `connections` connections until each has received `count` envelopes."""

    connections: int
    count: int
    envelope_size: int = ENVELOPE_SIZE
    """Bytes of RLP of each envelope: envelopes are counted by the size of packets."""

    def open(self, enode: Enode) -> "EnvelopeListener":
        """Make the client, and connect it."""
        return EnvelopeListener(self, enode)


class EnvelopeListener:
    """The client."""

    def __init__(self, load: EnvelopeListenerLoad, enode: Enode) -> None:
        self._load = load
        self._counters: list[EnvelopeCounter] = []
        pings = PingSchedule(self.answer_pings)
        for _ in range(load.connections):
            connection = open_connection(enode, WANTS_EVERYTHING)
            self._counters.append(EnvelopeCounter(connection, load))
            pings.check()

    def prepare(self) -> None:
        """Count from 0 again."""
        for counter in self._counters:
            counter.envelopes = 0

    def run(self, keep_going: KeepGoing) -> None:
        """Read until every connection has received all envelopes."""
        deadline = time.monotonic() + LOAD_TIMEOUT
        with DefaultSelector() as selector:
            for counter in self._counters:
                selector.register(counter.connection.socket, EVENT_READ, counter)
            while selector.get_map() and keep_going():
                if time.monotonic() > deadline:
                    had = min(counter.envelopes for counter in self._counters)
                    raise LoadFailed(f"only {had} of {self._load.count} envelopes were relayed")
                for key, _ in selector.select(0.1):
                    key.data.pull()
                    if key.data.envelopes >= self._load.count:
                        selector.unregister(key.fileobj)

    def answer_pings(self) -> None:
        """Answer the pings on each connection."""
        for counter in self._counters:
            counter.pull_waiting()

    def tally(self) -> Tally:
        """The envelopes of all connections."""
        envelopes = sum(counter.envelopes for counter in self._counters)
        return Tally(envelopes, envelopes * self._load.envelope_size)

    def close(self) -> None:
        """Close the connections."""
        for counter in self._counters:
            counter.connection.close()


class EnvelopeCounter:
    """One connection, and the number of envelopes that came over it."""

    def __init__(self, connection: BlockingConnection, load: EnvelopeListenerLoad) -> None:
        self.connection = connection
        self.envelopes = 0
        self._envelope_size = load.envelope_size
        self._messages = connection.message_id(Code.MESSAGES)

    def pull(self) -> None:
        """Wait for bytes, and read once."""
        skimmer = self.connection.skimmer
        frame = skimmer.received(self.connection.socket.recv_into(skimmer.get_buffer()))
        if frame is not None:
            self._take(frame)

    def pull_waiting(self) -> None:
        """Read all that has come, without waiting."""
        for frame in self.connection.skim_waiting():
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.first.startswith(self._messages):
            size = snappy.decompress_raw_len(frame.first[len(self._messages) :])
            self.envelopes += size // self._envelope_size
        else:
            self.connection.answer(frame.first)
