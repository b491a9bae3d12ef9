"""The connection to the log of a cluster, against servers that go away or answer anything."""

import asyncio
import contextlib
import fnmatch

import pytest

from tests.support.patience import asynchronous, eventually
from wakumail.ops.cluster.log import Log
from wakumail.ops.cluster.log_errors import LogUnavailable


class VanishingServer:
    """Takes connections as a server of NATS does, until it hangs up and takes no more."""

    async def start(self) -> str:
        """Returns its URL."""
        self._writers: list[asyncio.StreamWriter] = []
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def vanish(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(b'INFO {"server_id":"S","version":"2.12.0","max_payload":1048576}\r\n')
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")


class AnsweringServer:
    """Takes connections as a server of NATS does, and gives every request the same answer."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def start(self) -> str:
        """Returns its URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b'INFO {"server_id":"S","version":"2.12.0","max_payload":1048576,"headers":true}\r\n'
        )
        subscriptions: dict[str, str] = {}
        while line := await reader.readline():
            match line.decode().split():
                case ["PING"]:
                    writer.write(b"PONG\r\n")
                case ["SUB", subject, number]:
                    subscriptions[subject] = number
                case ["PUB" | "HPUB", _, reply, *_, size]:
                    await reader.readexactly(int(size) + 2)
                    number = next(
                        number
                        for subject, number in subscriptions.items()
                        if fnmatch.fnmatch(reply, subject)
                    )
                    head = f"MSG {reply} {number} {len(self._answer)}\r\n"
                    writer.write(head.encode() + self._answer + b"\r\n")
        writer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"7",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"error":' * 1000 + b"1" + b"}" * 1000,
        b'{"error":"no"}',
        b'{"cluster":"no"}',
        b'{"message":"no"}',
        b'{"message":{"subject":"","seq":7,"time":7}}',
        b'{"seq":"no"}',
        b'{"seq":[]}',
    ],
)
@asynchronous
async def test_an_answer_of_any_form_is_an_error_of_the_question(answer: bytes) -> None:
    server = AnsweringServer(answer)
    connection = Log([await server.start()], "fleet")
    await connection.open()
    try:
        with pytest.raises(LogUnavailable):
            await connection.publish(b"a batch", "1")
        with contextlib.suppress(LogUnavailable):
            await connection.facts()
        with contextlib.suppress(LogUnavailable):
            assert await connection.read_from_leader(7) is None
    finally:
        await connection.close()
        server.close()


@asynchronous
async def test_it_ends_though_its_server_went_away_before_it_took_all() -> None:
    server = VanishingServer()
    connection = Log([await server.start()], "fleet")
    await connection.open()
    server.vanish()
    await eventually(lambda: not connection.connected)
    await connection.tell(7)  # waits for a server
    await connection.close()
