"""Transports of asyncio: what several protocols do with theirs."""

import asyncio
from collections.abc import AsyncIterable


def set_reading(transport: asyncio.Transport, wanted: bool) -> None:
    """Read from the socket, or stop to, unless it is so already or is closing."""
    if transport.is_closing() or wanted == transport.is_reading():
        return
    if wanted:
        transport.resume_reading()
    else:
        transport.pause_reading()


async def read_up_to(parts: AsyncIterable[bytes], most: int) -> bytes:
    """The parts joined. One over `most` bytes ends the reading; the length of the result tells."""
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > most:
            break
    return bytes(body)
