"""The connection to the log of a cluster, against a server that goes away."""

import asyncio

from tests.support.patience import asynchronous, eventually
from wakumail.ops.cluster.log import Log


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


@asynchronous
async def test_it_ends_though_its_server_went_away_before_it_took_all() -> None:
    server = VanishingServer()
    connection = Log([await server.start()], "fleet")
    await connection.open()
    server.vanish()
    await eventually(lambda: not connection.connected)
    await connection.tell(7)  # waits for a server
    await connection.close()
