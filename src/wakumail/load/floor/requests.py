"""The floor of a request: its seal opened, the index asked, the pages gathered and encrypted."""

import time
from collections.abc import Sequence
from pathlib import Path

from wakumail.archive.archive import Archive, PageState
from wakumail.base.snappy import inflate
from wakumail.load.clients.history_reader import RequestPackets
from wakumail.load.floor.wire import Wire, message_id
from wakumail.load.workload.request_kinds import PAGE_LIMIT, RequestSpec
from wakumail.waku.completion import ZERO_HASH, Completion, CompletionForm
from wakumail.waku.envelope import Envelope
from wakumail.waku.message import DEFAULT_PASSWORD, open_message, symmetric_key
from wakumail.waku.packets import MAX_REQUEST_SIZE, Code

MAX_FLOOR_TIME = 0.5
"""Seconds in which requests are repeated, at most."""

MAX_REPLY = 1 << 20
"""Bytes of a page, as `serve` has it by default."""


def request_floor(specs: Sequence[RequestSpec], archive: Path, seconds: float) -> float:
    """Seconds of CPU for each of these requests, of the archive in this directory.

    They are repeated until `seconds` are over.
    """
    answered = 0
    with Archive(archive, readonly=True) as opened, Wire() as wire:
        floor = RequestFloor(wire, opened)
        for spec in specs:  # once before it counts: packets are made, pages come into memory
            floor.answer(spec)
        wire.cpu = 0.0
        ends = time.monotonic() + min(seconds, MAX_FLOOR_TIME)
        while not answered or time.monotonic() < ends:
            floor.answer(specs[answered % len(specs)])
            answered += 1
    return wire.cpu / answered


class RequestFloor:
    """The steps. A request that follows the cursor is asked again until nothing remains."""

    def __init__(self, wire: Wire, archive: Archive) -> None:
        self._wire = wire
        self._archive = archive
        self._key = symmetric_key(DEFAULT_PASSWORD)
        self._packets = RequestPackets()
        self._prefix_size = len(message_id(Code.P2P_REQUEST))

    def answer(self, spec: RequestSpec) -> None:
        """Send a request from the far end and answer it, page after page if it follows them."""
        cursor = self._answer_page(spec, b"")
        while cursor and spec.follows_cursor:
            cursor = self._answer_page(spec, cursor)

    def _answer_page(self, spec: RequestSpec, cursor: bytes) -> bytes:
        rest = memoryview(self._wire.frame(Code.P2P_REQUEST, self._packets.of(spec, cursor)))
        while rest:
            rest = self._wire.write(rest)
        self._wire.begin()
        frame = None
        while frame is None:
            self._wire.receive()
            frame = self._wire.reader.next_frame()
        envelope = Envelope.decode(inflate(frame[self._prefix_size :], MAX_REQUEST_SIZE))
        open_message(envelope.data, self._key)
        position = self._gather(spec, cursor, envelope.hash)
        self._wire.send()
        self._wire.end()
        self._wire.drain()
        return position

    def _gather(self, spec: RequestSpec, position: bytes, request_id: bytes) -> bytes:
        """Add the pages and the completion; returns the cursor."""
        remaining, last_hash = PAGE_LIMIT, ZERO_HASH
        while True:
            page = self._archive.page_job(
                spec.query, position, limit=remaining, max_bytes=MAX_REPLY
            ).do()
            position, remaining = page.position, remaining - page.count
            if page.count:
                last_hash = page.last_hash
                add = self._wire.add if spec.batch else self._wire.add_each
                add(Code.P2P_MESSAGE, page.packet)
            if page.state is PageState.EXHAUSTED:
                position = b""
            elif page.state is PageState.PAUSED or remaining:
                continue
            completion = Completion(request_id, last_hash, position)
            self._wire.add(Code.P2P_REQUEST_COMPLETE, completion.encode(CompletionForm.BYTES))
            return position
