"""A connection whose bytes are handed on in pieces, in turn with those of all others.

An HTTP parser takes all that it is given in one step, and so much comes at once that small chunks
or frames hold the loop for a tenth of a second: on many connections, for all of them together.
"""

import asyncio
from typing import Any, cast

from wakumail.base.transports import set_reading
from wakumail.base.turns import Turns

PIECE = 8 << 10
"""Bytes that are handed on at once. As chunks of one byte they take some 2 ms."""


class PacedConnection(asyncio.Protocol):
    """Stands between a transport and the protocol that reads from it.

    Nothing is read while bytes wait for their turn, or the protocol wants none.
    """

    def __init__(self, protocol: asyncio.Protocol, turns: Turns) -> None:
        self._protocol = protocol
        self._turns = turns
        self._transport: asyncio.Transport
        self._rest = b""
        self._waiting = False
        self._held = False  # by the protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)
        seen = cast(asyncio.Transport, PacedTransport(self._transport, self))
        self._protocol.connection_made(seen)

    def data_received(self, data: bytes) -> None:
        """Hand on bytes, or let them wait."""
        self._rest += data
        if self._waiting or self._turns.is_over():
            self._wait_or_read()
        else:
            self._hand_on()

    def eof_received(self) -> bool | None:
        """No more bytes come."""
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, with the bytes that waited."""
        self._rest = b""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The transport has too much to write."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The transport can take more to write."""
        self._protocol.resume_writing()

    def hold(self) -> None:
        """Hand on no more bytes."""
        self._held = True
        self._set_reading()

    def release(self) -> None:
        """Hand on bytes again, from the next turn on."""
        self._held = False
        self._wait_or_read()

    def _hand_on(self) -> None:
        """Hand on a piece, and more for as long as the turn lasts."""
        while self._rest and not self._held:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._protocol.data_received(piece)
            if self._waiting or self._turns.is_over():
                break
        self._wait_or_read()

    def _wait_or_read(self) -> None:
        """Wait for a turn with the bytes that are left; read more if there are none."""
        if self._rest and not self._held and not self._waiting:
            self._waiting = True
            self._turns.wait(self._take_turn)
        self._set_reading()

    def _take_turn(self) -> None:
        self._waiting = False
        self._hand_on()

    def _set_reading(self) -> None:
        """Read from the socket, or stop to."""
        set_reading(self._transport, not self._rest and not self._held)


class PacedTransport:
    """The transport that the protocol sees."""

    def __init__(self, transport: asyncio.Transport, connection: PacedConnection) -> None:
        self._transport = transport
        self.pause_reading = connection.hold
        self.resume_reading = connection.release

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's: what is written goes out at once."""
        return getattr(self._transport, name)
