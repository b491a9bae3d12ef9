"""A client that sends envelopes, over one connection or several, as fast as the server takes them.

Envelopes, packets and encrypted frames are made before the clock starts. The run only writes the
frames, and reads the confirmations.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

import cramjam
from cramjam import snappy

from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import MessageId
from wakumail.load.clients.blocking_connection import (
    LOAD_TIMEOUT,
    PING,
    WANTS_NOTHING,
    BlockingConnection,
    PingSchedule,
    open_connection,
)
from wakumail.load.clients.role import KeepGoing, LoadFailed, Tally
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.waku.confirmations import decode_batch_ack, decode_message_response
from wakumail.waku.packets import Code

WRITE_SIZE = 256 << 10
"""Bytes of frames in one write."""


@dataclass(frozen=True, slots=True)
class SenderLoad:
    """Send `count` envelopes in each run, over `connections`, in packets of `batch`.

    confirmed: the run ends when all are confirmed; otherwise when the server has read them.
    warm_up: the number of envelopes that are sent before the first run. window: packets of a
    connection that may wait for their confirmation, whose times are told then; 0: any number.
    """

    live: LiveTraffic
    count: int
    connections: int = 1
    batch: int = 100
    confirmed: bool = True
    warm_up: int = 0
    window: int = 0

    def open(self, enode: Enode) -> "Sender":
        """Make the client, and connect it."""
        return Sender(self, enode)


class Sender:
    """The client."""

    def __init__(self, load: SenderLoad, enode: Enode) -> None:
        self._load = load
        self._queues: list[SendQueue] = []
        self._pings = PingSchedule(self.answer_pings)
        for _ in range(load.connections):
            connection = open_connection(enode, WANTS_NOTHING)
            self._queues.append(SendQueue(connection, load.window))
            self._pings.check()
        if load.confirmed and not all(
            queue.connection.server_status.confirmations for queue in self._queues
        ):
            raise LoadFailed("the server does not confirm")
        if load.warm_up:
            self._prepare(load.warm_up)
            self.run(lambda: True)
            self.tally()

    def prepare(self) -> None:
        """Make all frames of the run."""
        self._prepare(self._load.count)

    def _prepare(self, count: int) -> None:
        share, rest = divmod(count, len(self._queues))
        makings = [
            queue.make(self._load, share + (number < rest))
            for number, queue in enumerate(self._queues)
        ]
        for _ in zip_longest(*makings):  # in turn: connections send envelopes of the same age
            self._pings.check()
        for queue in self._queues:
            queue.encrypt()

    def run(self, keep_going: KeepGoing) -> None:
        """Write and read until all envelopes are confirmed, or the server has read them."""
        deadline = time.monotonic() + LOAD_TIMEOUT
        with DefaultSelector() as selector:
            for queue in self._queues:
                selector.register(queue.connection.socket, EVENT_READ | EVENT_WRITE, queue)
            while selector.get_map():
                if time.monotonic() > deadline:
                    raise LoadFailed(f"not all envelopes were taken within {LOAD_TIMEOUT:g} s")
                for key, events in selector.select(1.0):
                    queue = key.data
                    if events & EVENT_READ:
                        queue.pull()
                    wanted = EVENT_READ | EVENT_WRITE if queue.push() else EVENT_READ
                    if queue.done:
                        selector.unregister(key.fileobj)
                    elif wanted != key.events:
                        selector.modify(key.fileobj, wanted, queue)

    def answer_pings(self) -> None:
        """Answer the pings, unless frames wait that have to be sent before a pong."""
        for queue in self._queues:
            queue.answer_pings()

    def tally(self) -> Tally:
        """The envelopes that were sent. LoadFailed unless all are confirmed, if they should be."""
        if self._load.confirmed:
            for queue in self._queues:
                queue.check()
        return Tally(
            sum(queue.envelopes for queue in self._queues),
            sum(queue.size for queue in self._queues),
            [taken for queue in self._queues for taken in queue.seconds],
        )

    def close(self) -> None:
        """Close the connections."""
        for queue in self._queues:
            queue.connection.close()


class SendQueue:
    """One connection, and the frames that it sends in a run. window: see SenderLoad."""

    def __init__(self, connection: BlockingConnection, window: int) -> None:
        self.connection = connection
        self.seconds: list[float] = []
        """The time that each confirmation took, if there is a window."""
        self.envelopes = 0
        self.size = 0
        """Bytes of all envelopes."""
        self.done = False
        """True when the run is over for this connection."""
        self._window = window
        self._begun: deque[float] = deque()
        """The times at which packets were sent whose confirmation has not come, if there is a
        window. Confirmations come in the order of packets."""
        self._packets: deque[bytes] = deque()
        self._confirmed = True
        self._unsent: list[memoryview] = []
        self._pings = 0
        """Pings that are answered when all frames are sent."""
        self._answers: list[bytes] = []
        self._awaited = 0
        self._final = b""
        self._sent: set[bytes] = set()
        self._response = connection.message_id(Code.MESSAGE_RESPONSE)

    def make(self, load: SenderLoad, count: int) -> Iterator[None]:
        """Make the packets of a run, one in each step. Pings may be answered in between."""
        self.envelopes, self.size, self.done = count, 0, not count
        self._sent.clear()
        self._answers.clear()
        self.seconds.clear()
        self._awaited = 0
        self._confirmed = load.confirmed
        for batch in load.live.batches(count, load.batch, self.connection.server_status.pow or 0.0):
            packet = rlp.join_list(batch)
            self.size += sum(map(len, batch))
            if load.confirmed:
                self._sent.add(keccak256(packet))
                self._awaited += 1
            self._packets.append(packet)
            yield

    def encrypt(self) -> None:
        """Make the frames of the packets.

        Until they are sent no ping can be answered: frames are sent in the order of encryption.
        """
        writes = [bytearray()]
        while self._packets:
            writes[-1] += self.connection.encode(Code.MESSAGES, self._packets.popleft())
            if self._window or len(writes[-1]) >= WRITE_SIZE:
                writes.append(bytearray())
        if self._confirmed:
            self._final = self.connection.message_id(Code.BATCH_ACK)
        else:
            self._final = rlp.encode(MessageId.PONG)
            if self.envelopes:
                # When the ping is answered, the server has read all before it.
                self._awaited = 1
                writes[-1] += self.connection.encode_p2p(MessageId.PING)
        self._unsent = [memoryview(write) for write in reversed(writes) if write]

    def answer_pings(self) -> None:
        """Answer the pings that have come."""
        if not self._unsent:
            for frame in self.connection.waiting_frames():
                self.connection.answer(bytes(frame))

    def push(self) -> bool:
        """Write as much as the system and the window take. True if the system takes no more."""
        while self._unsent and not 0 < self._window <= len(self._begun):
            write = self._unsent.pop()
            try:
                # `send` of a socket with a timeout would wait, and nobody would read meanwhile.
                count = os.write(self.connection.socket.fileno(), write)
            except BlockingIOError:
                count = 0
            if count < len(write):
                self._unsent.append(write[count:])
                return True
            if self._window:
                self._begun.append(time.monotonic())
        return False

    def pull(self) -> None:
        """Read packets: confirmations, and pings."""
        for frame in self.connection.frames():
            answer = bytes(frame)
            if answer.startswith(self._final):
                self._awaited -= 1
                if self._window:
                    self.seconds.append(time.monotonic() - self._begun.popleft())
            elif answer.startswith(PING) and self._unsent:
                self._pings += 1
            else:
                self.connection.answer(answer)
            self._answers.append(answer)
        while self._pings and not self._unsent:
            self.connection.send_p2p(MessageId.PONG)
            self._pings -= 1
        self.done = not self._awaited and not self._unsent

    def check(self) -> None:
        """LoadFailed unless every packet is confirmed, and no envelope is refused."""
        acked = {decode_batch_ack(payload) for payload in self._payloads(self._final)}
        if acked != self._sent:
            raise LoadFailed(
                f"{len(self._sent - acked)} of {len(self._sent)} packets not confirmed"
            )
        for payload in self._payloads(self._response):
            if errors := decode_message_response(payload).errors:
                raise LoadFailed(f"the server refused {len(errors)} envelopes: {errors[0].text}")

    def _payloads(self, message_id: bytes) -> list[bytes]:
        """The payloads of all packets with this id that came."""
        try:
            return [
                bytes(snappy.decompress_raw(answer[len(message_id) :]))
                for answer in self._answers
                if answer.startswith(message_id)
            ]
        except cramjam.DecompressionError as error:
            raise LoadFailed(str(error)) from None
