"""A node proves that it has a key, or it does not: whatever it answers."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.patience import asynchronous
from tests.support.puppet import mailserver
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.node.twin import proves_identity

ANYBODY = Enode(node_id(generate(os.urandom).public_key), "127.0.0.1", 1, 1)


@asynchronous
async def test_only_the_node_with_the_key_proves_it(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode):
        assert await proves_identity(enode)
        assert not await proves_identity(replace(enode, node_id=ANYBODY.node_id))
        assert server.node.peers == []


@asynchronous
async def test_a_node_that_refuses_us_proves_it_too(tmp_path: Path) -> None:
    async with mailserver(tmp_path, node={"maxpeers": 0}) as (_, enode):
        assert await proves_identity(enode)


@pytest.mark.parametrize("answer", [lambda _: b"", lambda _: os.urandom(600), lambda data: data])
@asynchronous
async def test_others_prove_nothing(answer: Callable[[bytes], bytes]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await reader.read(10_000)))
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert not await proves_identity(replace(ANYBODY, port=port))
    with pytest.raises(ConnectionRefusedError):
        await proves_identity(replace(ANYBODY, port=port))
