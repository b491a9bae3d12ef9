"""A channel: calls and notes between the supervisor and a worker, over a socket pair.

Each message is its length (u32 big-endian) and a JSON array. A call is [number, method, params]; a
note has the number 0 and no answer. An answer is [-number, result, error], where `error` is null or
a text.
"""

import asyncio
import itertools
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from wakumail.base.tasks import end_tasks
from wakumail.errors import WakumailError

log = logging.getLogger(__name__)

MAX_CHANNEL_MESSAGE = 64 << 20
"""Most bytes of a message: room for the data of all peers of a worker."""

LENGTH = 4
"""Bytes of a message's length."""

NOTE = 0

Handle = Callable[[str, list[Any]], Awaitable[Any]]
"""Answers a call or takes a note; the caller gets the text of a WakumailError."""


class ChannelClosed(WakumailError):
    """The supervisor or a worker is gone."""

    counter = "channel_closed"


class CallRefused(WakumailError):
    """The supervisor or a worker answered a call with an error."""

    counter = "channel_call_refused"


class WorkerChannel:
    """One end; made by `open_channel`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handle
    ) -> None:
        self.closed = asyncio.Event()
        """Set when the other side is gone or `close` was called."""
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tasks = {asyncio.create_task(self._read())}

    async def call(self, method: str, *params: Any) -> Any:
        """The result of a call; CallRefused for an error, ChannelClosed if no answer will come."""
        if self.closed.is_set():
            raise ChannelClosed("the channel is closed")
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._send([number, method, params])
        try:
            return await answer
        finally:
            del self._answers[number]

    def note(self, method: str, *params: Any) -> None:
        """Send a note to the other side; without effect if it is gone."""
        self._send([NOTE, method, params])

    async def close(self) -> None:
        """Close the channel."""
        self._end()
        await end_tasks(self._tasks)

    def _send(self, message: list[Any]) -> None:
        if not self.closed.is_set():
            data = json.dumps(message).encode()
            self._writer.write(len(data).to_bytes(LENGTH, "big") + data)

    def _end(self) -> None:
        self.closed.set()
        self._writer.close()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ChannelClosed("the channel was closed"))

    async def _read(self) -> None:
        try:
            while True:
                size = int.from_bytes(await self._reader.readexactly(LENGTH), "big")
                if size > MAX_CHANNEL_MESSAGE:
                    raise ValueError(f"a message of {size} bytes")
                number, *message = json.loads(await self._reader.readexactly(size))
                if number < 0:
                    self._on_answer(-number, *message)
                else:
                    self._start(self._answer(number, *message))
        except (OSError, EOFError):
            pass
        finally:
            self._end()

    def _start(self, answering: Awaitable[None]) -> None:
        task = asyncio.ensure_future(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_answer(self, number: int, result: Any, error: str | None) -> None:
        answer = self._answers.get(number)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(CallRefused(error))

    async def _answer(self, number: int, method: str, params: list[Any]) -> None:
        result, error = None, None
        try:
            result = await self._handle(method, params)
        except WakumailError as refusal:
            error = str(refusal)
        except Exception as failure:
            log.exception("%s failed", method)
            error = f"{method} failed: {failure}"
        if number != NOTE:
            self._send([-number, result, error])


async def open_channel(own: socket.socket, handle: Handle) -> WorkerChannel:
    """Open the channel on one end of a socket pair."""
    reader, writer = await asyncio.open_connection(sock=own)
    return WorkerChannel(reader, writer, handle)
