"""The caller's end: calls to a server, and a wire to it over a Unix socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from wakumail.base.text import printable
from wakumail.errors import WakumailError
from wakumail.rpc.ipc import IpcWire
from wakumail.rpc.jsonrpc import encode, parse
from wakumail.rpc.stream import Wire

MAX_ANSWER = 64 << 20
"""Most bytes of one answer."""


class CallFailed(WakumailError):
    """A call with `wakumail attach` failed; the text says why."""

    counter = "rpc_call_failed"


@asynccontextmanager
async def connect_ipc(path: Path) -> AsyncIterator[Wire]:
    """A wire to the Unix socket of a server; CallFailed if nobody listens there."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        text = f"{path}: {error.strerror or error}"
        hint = "does the node run, and is --datadir or --ipcpath that of the node?"
        if isinstance(error, PermissionError):
            hint = "only the user of the node, and root, may call it there"
        raise CallFailed(f"{text}; {hint}") from None
    try:
        yield IpcWire(reader, writer, MAX_ANSWER)
    finally:
        writer.close()


async def ask(wire: Wire, method: str, *params: Any) -> dict[str, Any]:
    """Make one call; the whole answer, which may be an error. CallFailed if none comes."""
    await wire.send(encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    return await receive(wire)


async def call(wire: Wire, method: str, *params: Any) -> Any:
    """The result of one call; CallFailed if none comes, or an error."""
    answer = await ask(wire, method, *params)
    if "error" in answer:
        raise CallFailed(describe_error(answer["error"]))
    return answer.get("result")


async def receive(wire: Wire) -> dict[str, Any]:
    """The next object from the node."""
    raw = await wire.receive()
    if raw is None:
        raise CallFailed("the node has closed the connection")
    value = parse(raw)
    if not isinstance(value, dict):
        raise CallFailed("the answer is not JSON-RPC")
    return value


def describe_error(error: Any) -> str:
    """An error object for a person: text, code and data."""
    if not isinstance(error, dict):
        return printable(json.dumps(error).encode())
    text = printable(str(error.get("message")).encode("utf-8", "replace"))
    data = f": {json.dumps(error['data'])}" if "data" in error else ""
    return f"{text} ({error.get('code')}){data}"
