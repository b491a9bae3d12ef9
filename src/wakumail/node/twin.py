"""A twin: another node that runs with the same node key."""

import asyncio
import os

from wakumail.devp2p.connection import Connection, ConnectionConfig
from wakumail.devp2p.connection_events import Authenticated, Closed
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.handshake import HandshakeStep
from wakumail.devp2p.keys import generate, public_key
from wakumail.devp2p.packets import WAKU
from wakumail.errors import DisconnectReason
from wakumail.version import CLIENT_ID

MAX_PACKET = 1 << 20
"""Bytes of a packet that we read. Only a hello or a disconnect is expected."""

READ_SIZE = 1 << 16


async def proves_identity(enode: Enode) -> bool:
    """True if a node at the address of `enode` proves that it holds the key of its node id.

    It is asked under a key made up for this, so that it does not take us for itself. OSError if
    nobody listens there.
    """
    reader, writer = await asyncio.open_connection(enode.host, enode.port)
    try:
        return await _ask(enode, reader, writer)
    finally:
        writer.close()


async def _ask(enode: Enode, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    loop = asyncio.get_running_loop()
    config = ConnectionConfig(
        node_key=generate(os.urandom),
        client_id=CLIENT_ID,
        port=0,
        capabilities=WAKU,
        max_packet=MAX_PACKET,
    )
    connection = Connection(config, os.urandom, loop.time(), public_key(enode.node_id))
    while True:
        while (event := connection.next_event()) is not None:
            match event:
                case HandshakeStep():
                    connection.handshake_computed(event.compute())
                case Authenticated():
                    connection.disconnect(DisconnectReason.REQUESTED)
                    writer.writelines(connection.data_to_send())
                    return True
                case Closed(reason, by_peer):  # a reason comes under the keys of the handshake
                    return by_peer and reason is not None
        writer.writelines(connection.data_to_send())
        data = await reader.read(READ_SIZE)
        if not data:
            connection.eof(loop.time())
        while data:
            buffer = connection.get_buffer(len(data))
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            connection.buffer_updated(count, loop.time())
            data = data[count:]
