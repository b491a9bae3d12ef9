"""A mailserver with its history over HTTP, and a caller of it that shares no code with it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from tests.support.archive_model import batch_of
from tests.support.puppet import mailserver
from tests.support.rpc_callers import access_with
from wakumail.archive.archive import Archive
from wakumail.devp2p.enode import Enode
from wakumail.mail.server import Server
from wakumail.rpc.rest.rest_endpoint import PATH, RestEndpoint
from wakumail.rpc.rest.store_reader import StoreReader
from wakumail.waku.envelope import Envelope


class RestAnswer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """The object of an answer with messages."""
        assert self.status == 200, self.body
        told = json.loads(self.body)
        assert isinstance(told, dict)
        return told

    @property
    def hashes(self) -> list[str]:
        return [entry["messageHash"] for entry in self.told["messages"]]


class RestCaller:
    """Asks for history over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, address: tuple[str, int]) -> None:
        self._session = session
        self.url = "http://{}:{}".format(*address)

    async def ask(
        self,
        parameters: dict[str, str] | Sequence[tuple[str, str]] = (),
        path: str = PATH,
        method: str = "GET",
        **headers: str,
    ) -> RestAnswer:
        """The answer to one request; `origin="..."` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(self.url + path).with_query(parameters)
        async with self._session.request(method, url, headers=named) as answer:
            return RestAnswer(answer.status, dict(answer.headers), await answer.read())

    async def pages(self, **parameters: str) -> list[list[dict[str, Any]]]:
        """All pages of a query, as their cursors lead."""
        pages = []
        cursor = ""
        while True:
            told = (await self.ask(parameters | {"cursor": cursor})).told
            pages.append(told["messages"])
            if "paginationCursor" not in told:
                return pages
            assert told["paginationCursor"] != cursor
            cursor = told["paginationCursor"]


class RestServer(NamedTuple):
    server: Server
    enode: Enode
    archive: Archive
    caller: RestCaller


@asynccontextmanager
async def rest_server(
    path: Path, envelopes: Sequence[Envelope] = (), *, rate: float = 0.0, **access: Any
) -> AsyncIterator[RestServer]:
    """A server whose archive has these envelopes, and a caller."""
    async with mailserver(path) as (server, enode):
        store = server.store
        assert store is not None
        if envelopes:
            store.archive.append([batch_of(envelopes)])
        reader = StoreReader(store.pages)
        endpoint = RestEndpoint(reader, access_with(**access), server.counters, rate=rate)
        address = await endpoint.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession() as session:
                yield RestServer(server, enode, store.archive, RestCaller(session, address))
        finally:
            await endpoint.close()
