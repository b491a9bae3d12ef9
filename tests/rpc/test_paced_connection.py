"""Bytes handed on in pieces, and the transport that is paused meanwhile."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.patience import asynchronous, eventually, turns
from wakumail.base.turns import Turns
from wakumail.rpc.paced_connection import PIECE, PacedConnection

DATA = os.urandom(1 << 20)


class Recorder(asyncio.Protocol):
    """Notes what comes, and in which rounds of the loop."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.pieces: list[bytes] = []
        self.rounds: list[int] = []
        self.lost = False
        self._round = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport.get_extra_info("peername"), tuple)
        self.transport = transport  # type: ignore[assignment]
        self._go_round()

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        self.rounds.append(self._round)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def _go_round(self) -> None:
        self._round += 1
        if not self.lost:
            asyncio.get_running_loop().call_soon(self._go_round)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Recorder, asyncio.StreamWriter]]:
    recorder = Recorder()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: PacedConnection(recorder, Turns()), "127.0.0.1")
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await eventually(lambda: hasattr(recorder, "transport"))
    yield recorder, writer
    writer.transport.abort()
    await eventually(lambda: recorder.lost)
    server.close()


@asynchronous
async def test_each_round_hands_on_what_fits_into_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)  # one piece
    async with connected() as (recorder, writer):
        writer.write(DATA)
        await eventually(lambda: sum(map(len, recorder.pieces)) == len(DATA))
        assert b"".join(recorder.pieces) == DATA
        assert max(map(len, recorder.pieces)) == PIECE
        assert len(set(recorder.rounds)) == len(recorder.rounds)


@asynchronous
async def test_a_protocol_that_wants_none_gets_none() -> None:
    async with connected() as (recorder, writer):
        for _ in range(3):
            before = len(recorder.pieces)
            recorder.transport.pause_reading()
            writer.write(DATA)
            await turns(100)
            assert len(recorder.pieces) == before
            recorder.transport.resume_reading()
            await turns(100)
        await eventually(lambda: sum(map(len, recorder.pieces)) == 3 * len(DATA))
        assert b"".join(recorder.pieces) == 3 * DATA


@asynchronous
async def test_a_connection_that_is_lost_hands_on_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
    async with connected() as (recorder, writer):
        writer.write(DATA)
        await eventually(lambda: bool(recorder.pieces))
        recorder.transport.abort()
        await eventually(lambda: recorder.lost)
        known = len(recorder.pieces)
        await turns(100)
        assert len(recorder.pieces) == known
