"""A client that sends envelopes, over one connection or several, as fast as they are taken.

All is made before the clock starts: envelopes, packets and frames, encrypted and authenticated.
What is left to do is to write them, and to read the confirmations.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

import cramjam
from cramjam import snappy

from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import Code as P2PCode
from wakumail.load.clients.blocking_connection import SENDER, TIMEOUT, Channel, connect
from wakumail.load.clients.role import LoadFailed, Running, Tally
from wakumail.load.workload.live_traffic import Live
from wakumail.waku import packets as waku
from wakumail.waku.packets import Code

WRITE_SIZE = 256 << 10
"""Bytes of frames that are handed to the system at once."""


@dataclass(frozen=True, slots=True)
class Sending:
    """`count` envelopes a run, spread over `connections`, in packets of `batch`.

    confirmed: the run is over when all are confirmed; otherwise when the server has read them.
    `warm_up` envelopes go before the first run.
    """

    live: Live
    count: int
    connections: int = 1
    batch: int = 100
    confirmed: bool = True
    warm_up: int = 0

    def open(self, enode: Enode) -> "Sender":
        """Connect."""
        return Sender(self, enode)


class Sender:
    """The client."""

    def __init__(self, load: Sending, enode: Enode) -> None:
        self._load = load
        self._lanes = [Lane(connect(enode, SENDER)) for _ in range(load.connections)]
        if load.confirmed and not all(lane.channel.server.confirmations for lane in self._lanes):
            raise LoadFailed("the server does not confirm")
        if load.warm_up:
            self._prepare(load.warm_up)
            self.run(lambda: True)
            self.tally()

    def prepare(self) -> None:
        """Make what is to be sent."""
        self._prepare(self._load.count)

    def _prepare(self, count: int) -> None:
        share, rest = divmod(count, len(self._lanes))
        makings = [
            lane.prepare(self._load, share + (number < rest))
            for number, lane in enumerate(self._lanes)
        ]
        for _ in zip_longest(*makings):  # by turns: what is sent at one time was made at one time
            pass

    def run(self, running: Running) -> None:
        """Write and read until all is confirmed, or read."""
        deadline = time.monotonic() + TIMEOUT
        with DefaultSelector() as selector:
            for lane in self._lanes:
                selector.register(lane.channel.socket, EVENT_READ | EVENT_WRITE, lane)
            while selector.get_map():
                if time.monotonic() > deadline:
                    raise LoadFailed(f"not all envelopes were taken within {TIMEOUT:g} s")
                for key, events in selector.select(1.0):
                    lane = key.data
                    if events & EVENT_WRITE and not lane.push():
                        selector.modify(key.fileobj, EVENT_READ, lane)
                    if events & EVENT_READ:
                        lane.pull()
                    if lane.done:
                        selector.unregister(key.fileobj)

    def tally(self) -> Tally:
        """What was sent; LoadFailed unless the confirmations say so too."""
        if self._load.confirmed:
            for lane in self._lanes:
                lane.check()
        return Tally(
            sum(lane.envelopes for lane in self._lanes), sum(lane.size for lane in self._lanes)
        )

    def close(self) -> None:
        """Hang up."""
        for lane in self._lanes:
            lane.channel.close()


class Lane:
    """One connection, and what goes over it in a run."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.envelopes = 0
        self.size = 0
        """Bytes of all envelopes."""
        self.done = False
        """Whether the run is over for this connection."""
        self._unsent: list[memoryview] = []
        self._answers: list[bytes] = []
        self._awaited = 0
        self._final = b""
        self._sent: set[bytes] = set()
        self._response = channel.message_id(Code.MESSAGE_RESPONSE)
        self._goodbye = rlp.encode(P2PCode.DISCONNECT)

    def prepare(self, load: Sending, count: int) -> Iterator[None]:
        """Make the frames of a run, a packet at each step."""
        self.envelopes, self.size, self.done = count, 0, not count
        self._sent.clear()
        self._answers.clear()
        self._awaited = 0
        writes = [bytearray()]
        for batch in load.live.batches(count, load.batch, self.channel.server.pow or 0.0):
            packet = rlp.join_list(batch)
            self.size += sum(map(len, batch))
            if load.confirmed:
                self._sent.add(keccak256(packet))
                self._awaited += 1
            writes[-1] += self.channel.encode(Code.MESSAGES, packet)
            if len(writes[-1]) >= WRITE_SIZE:
                writes.append(bytearray())
            yield
        if load.confirmed:
            self._final = self.channel.message_id(Code.BATCH_ACK)
        else:
            self._final = rlp.encode(P2PCode.PONG)
            if count:
                # What follows them has been read when it is answered.
                self._awaited = 1
                writes[-1] += self.channel.encode_p2p(P2PCode.PING)
        self._unsent = [memoryview(write) for write in reversed(writes) if write]

    def push(self) -> bool:
        """Write what the system takes; whether anything is left."""
        while self._unsent:
            write = self._unsent.pop()
            try:
                # The socket has a timeout: its own `send` would wait, and nobody would read.
                count = os.write(self.channel.socket.fileno(), write)
            except BlockingIOError:
                count = 0
            if count < len(write):
                self._unsent.append(write[count:])
                return True
        return False

    def pull(self) -> None:
        """Read what came."""
        for frame in self.channel.frames():
            answer = bytes(frame)
            if answer.startswith(self._final):
                self._awaited -= 1
            elif answer.startswith(self._goodbye):
                raise LoadFailed("the server said goodbye")
            self._answers.append(answer)
        self.done = not self._awaited and not self._unsent

    def check(self) -> None:
        """Whether just what was sent is confirmed, and nothing was refused."""
        acked = {waku.decode_batch_ack(payload) for payload in self._payloads(self._final)}
        if acked != self._sent:
            raise LoadFailed(
                f"{len(self._sent - acked)} of {len(self._sent)} packets not confirmed"
            )
        for payload in self._payloads(self._response):
            if errors := waku.decode_message_response(payload).errors:
                raise LoadFailed(f"the server refused {len(errors)} envelopes: {errors[0].text}")

    def _payloads(self, message_id: bytes) -> list[bytes]:
        """The payloads of the packets of a kind that came."""
        try:
            return [
                bytes(snappy.decompress_raw(answer[len(message_id) :]))
                for answer in self._answers
                if answer.startswith(message_id)
            ]
        except cramjam.DecompressionError as error:
            raise LoadFailed(str(error)) from None
