"""Methods for the tests of the RPC transports, and the loop that they run on."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from wakumail.counters import Counters
from wakumail.node.keystore import KeysFull
from wakumail.rpc.http import HttpEndpoint
from wakumail.rpc.jsonrpc import INVALID_PARAMS, Dispatcher, RpcError, Session, SharedResult


def connections(endpoint: HttpEndpoint) -> int:
    """The number of connections of an endpoint."""
    return len(endpoint._server.connections)


def request(method: Any, *params: Any, call_id: Any = 1) -> bytes:
    """A call as bytes."""
    message = {"jsonrpc": "2.0", "id": call_id, "method": method, "params": params}
    return json.dumps(message).encode()


def notify(session: Session, result: Any) -> None:
    """Tell the only subscription of a session a result."""
    told = SharedResult(len(json.dumps(result)), lambda: result)
    session.notify("test_subscription", "1", told)


class Methods:
    """Test methods in a dispatcher; they note their sessions and calls."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.gate = asyncio.Event()
        self.waiting = 0
        self.noted: list[Any] = []
        self.sessions: list[Session] = []
        self.ended: list[Session] = []
        table: dict[str, Callable[..., Any]] = {
            "test_echo": self.echo,
            "test_subtract": self.subtract,
            "test_note": self.note,
            "test_wait": self.wait,
            "test_subscribe": self.subscribe,
            "test_refuse": self.refuse,
            "test_reject": self.reject,
            "test_break": self.break_down,
            "test_bytes": self.bytes_result,
            "test_size": self.size,
            "hidden_echo": self.echo,
        }
        self.dispatcher = Dispatcher(table, ["test"], self.counters)

    def echo(self, _session: Session, value: Any) -> Any:
        return value

    def subtract(self, _session: Session, minuend: int, subtrahend: int = 0) -> int:
        return minuend - subtrahend

    def note(self, _session: Session, *values: Any) -> None:
        self.noted.append(list(values))

    async def wait(self, _session: Session, value: Any = None) -> Any:
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        return value

    def subscribe(self, session: Session, *notifications: Any) -> str:
        """Notify before the answer, which a subscription must not do."""
        self.sessions.append(session)
        session.on_close.append(lambda: self.ended.append(session))
        for notification in notifications:
            notify(session, notification)
        return "1"

    def refuse(self, _session: Session) -> None:
        raise RpcError(INVALID_PARAMS, "not like this", {"like": "that"})

    def reject(self, _session: Session) -> None:
        raise KeysFull("no room")

    async def break_down(self, _session: Session) -> None:
        raise KeyError("secret")

    def bytes_result(self, _session: Session) -> bytes:
        return b"no JSON"

    def size(self, _session: Session, size: int) -> str:
        return "x" * size
