"""A client that asks for history, one request after another."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cramjam import snappy

from wakumail.devp2p import keys
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.blocking_connection import WANTS_NOTHING, open_connection
from wakumail.load.clients.role import KeepGoing, LoadFailed, Tally
from wakumail.load.workload.archived_traffic import ENVELOPE_SIZE
from wakumail.load.workload.request_kinds import PAGE_LIMIT, RequestSpec
from wakumail.mail.request import Form, build_request
from wakumail.waku.completion import Completion
from wakumail.waku.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku.packets import Code


@dataclass(frozen=True, slots=True)
class HistoryReaderLoad:
    """Send the requests in turn until `seconds` are over, or `count` are answered."""

    specs: Sequence[RequestSpec]
    seconds: float
    count: int

    def open(self, enode: Enode) -> "HistoryReader":
        """Make the client, and connect it."""
        return HistoryReader(self, enode)


class HistoryReader:
    """The client."""

    def __init__(self, load: HistoryReaderLoad, enode: Enode) -> None:
        self._load = load
        self._connection = open_connection(enode, WANTS_NOTHING)
        self._packets = RequestPackets()
        self._delivery = self._connection.message_id(Code.P2P_MESSAGE)
        self._completion = self._connection.message_id(Code.P2P_REQUEST_COMPLETE)
        self._tally = Tally()

    def prepare(self) -> None:
        """Send each request once: this makes all packets, and warms the server's caches."""
        for spec in self._load.specs:
            self._request(spec)

    def run(self, keep_going: KeepGoing) -> None:
        """Send requests: one at least, or there would be no latency."""
        load, self._tally = self._load, Tally()
        taken = self._tally.seconds
        ends = time.monotonic() + load.seconds
        while True:
            taken.append(self._request(load.specs[len(taken) % len(load.specs)]))
            if not keep_going() or len(taken) == load.count or time.monotonic() >= ends:
                return

    def answer_pings(self) -> None:
        """Answer the pings. No other packets come before the next request."""
        for frame in self._connection.skim_waiting():
            self._connection.answer(frame.first)

    def tally(self) -> Tally:
        """The envelopes of the last run, and the time of each request."""
        return self._tally

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(self, spec: RequestSpec) -> float:
        """Send a request and read the answer, page after page if it follows the cursor.

        Returns the seconds from sending to completion, without the time to make the packets.
        """
        cursor = b""
        waited = 0.0
        while True:
            packet = self._packets.of(spec, cursor)
            began = time.perf_counter()
            self._connection.send(Code.P2P_REQUEST, packet)
            cursor = self._await_completion().cursor
            waited += time.perf_counter() - began
            if not (cursor and spec.follows_cursor):
                return waited

    def _await_completion(self) -> Completion:
        """Wait for the completion, and count the envelopes before it."""
        while True:
            frame = self._connection.skim()
            if frame.first.startswith(self._delivery):
                size = snappy.decompress_raw_len(frame.first[len(self._delivery) :])
                self._tally.envelopes += size // ENVELOPE_SIZE
                self._tally.bytes += size
            elif frame.first.startswith(self._completion):
                data = self._connection.skimmer.data(frame)[len(self._completion) :]
                answer = Completion.decode(bytes(snappy.decompress_raw(data)))
                if answer.error is not None:
                    raise LoadFailed(f"the server refused a request: {answer.error}")
                return answer
            else:
                self._connection.answer(frame.first)


class RequestPackets:
    """Signed requests of form R3, the form of status-go's clients, all from one node.

    Each packet is made once: that takes longer than to answer it.
    """

    def __init__(self) -> None:
        self._key = symmetric_key(DEFAULT_PASSWORD)
        self._node_key = keys.generate(os.urandom)
        self._packets: dict[tuple[RequestSpec, bytes], bytes] = {}

    def of(self, spec: RequestSpec, cursor: bytes = b"") -> bytes:
        """The packet of a request, for the page at the cursor."""
        if (spec, cursor) not in self._packets:
            self._packets[spec, cursor] = self._make(spec, cursor)
        return self._packets[spec, cursor]

    def _make(self, spec: RequestSpec, cursor: bytes) -> bytes:
        packet, _ = build_request(
            Form.R3,
            lower=spec.lower,
            upper=spec.upper,
            topics=spec.topics,
            bloom=spec.bloom,
            limit=PAGE_LIMIT,
            cursor=cursor,
            batch=spec.batch,
            key=self._key,
            sign_with=self._node_key,
            random=os.urandom,
            now=int(time.time()),
        )
        return packet
