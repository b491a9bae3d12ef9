"""A node id is nobody's until a frame has proved its keys: who names another's changes nothing."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Mailserver, Puppet, mailserver
from wakumail.base import rlp
from wakumail.devp2p import ecies
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.handshake import PREFIX_SIZE, Initiator
from wakumail.devp2p.keys import PrivateKey, generate, node_id, public_key, sign
from wakumail.waku.packets import StatusOptions

IMPOSTORS = 5
ATTEMPTS = 20


def forged(server: Enode, claimed: bytes) -> bytes:
    """An auth packet that names `claimed` as its sender, with a signature of anybody's."""
    signature = sign(generate(os.urandom), os.urandom(32))
    message = rlp.encode([signature, claimed, os.urandom(32), 4]) + os.urandom(120)
    prefix = (len(message) + ecies.OVERHEAD).to_bytes(PREFIX_SIZE, "big")
    remote = public_key(server.node_id)
    return prefix + ecies.encrypt(remote, message, os.urandom, auth_data=prefix)


async def call(server: Enode, auth: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket that has said `auth` and has heard the answer to it."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(auth)
    size = int.from_bytes(await reader.readexactly(PREFIX_SIZE))
    await reader.readexactly(size)
    return reader, writer


@asynccontextmanager
async def impostors(server: Enode, claimed: bytes, auth: bytes = b"") -> AsyncIterator[None]:
    """Several callers who claim an id, with packets of their own or a recorded one."""
    calls = [await call(server, auth or forged(server, claimed)) for _ in range(IMPOSTORS)]
    try:
        yield
    finally:
        for _, writer in calls:
            writer.close()


def recorded(server: Enode, key: PrivateKey) -> bytes:
    """An auth packet that the owner of `key` has sent some time ago."""
    return Initiator(key, public_key(server.node_id), os.urandom).auth


def nobody_was_refused(server: Mailserver) -> None:
    assert server.counters["connections_refused_duplicate"] == 0
    assert server.counters["connections_refused_full"] == 0


@pytest.mark.parametrize("replayed", [False, True])
@asynchronous
async def test_an_owner_gets_in_beside_those_who_claim_its_id(
    tmp_path: Path, replayed: bool
) -> None:
    key = generate(os.urandom)
    claimed = node_id(key.public_key)
    async with mailserver(tmp_path, node={"maxpeers": 1}) as (server, enode):
        auth = recorded(enode, key) if replayed else b""
        async with impostors(enode, claimed, auth):
            for _ in range(ATTEMPTS):
                owner = await Puppet.ready(enode, key=key, options=StatusOptions(pow=0.0))
                assert list(server.node.links) == [claimed]
                owner.hang_up()
                await eventually(lambda: not server.node.links)
        nobody_was_refused(server)


@asynchronous
async def test_a_connected_owner_is_not_probed_for_those_who_claim_its_id(tmp_path: Path) -> None:
    key = generate(os.urandom)
    async with mailserver(tmp_path) as (server, enode):
        await Puppet.ready(enode, key=key)
        (link,) = server.node.links.values()
        until = link.peer.connection._deadline
        async with impostors(enode, node_id(key.public_key)):
            assert link.peer.connection._deadline >= until
            assert list(server.node.links.values()) == [link]
        nobody_was_refused(server)


@asynchronous
async def test_a_node_that_we_dial_is_reached_beside_those_who_claim_its_id(tmp_path: Path) -> None:
    servers = mailserver(tmp_path / "one"), mailserver(tmp_path / "other")
    async with servers[0] as (one, enode), servers[1] as (other, other_enode):
        async with impostors(enode, other_enode.node_id):
            link = await one.node.dial(other_enode)
            assert one.node.links == {other_enode.node_id: link}
        nobody_was_refused(one)
        nobody_was_refused(other)


@asynchronous
async def test_who_claims_our_own_id_is_not_taken_for_us(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, enode), impostors(enode, enode.node_id):
        assert server.counters["connections_refused_self"] == 0
