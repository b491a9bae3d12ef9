"""wakuext_*: history from a mailserver, into the filters (WAKU-USAGE, "Waku V1 extensions")."""

import time
from collections.abc import Callable
from typing import Any

from wakumail.mail.server import Server
from wakumail.rpc import params
from wakumail.rpc.jsonrpc import INVALID_PARAMS, RpcError, Session
from wakumail.rpc.params import Fields

DEFAULT_RANGE = 24 * 3600
"""Seconds before `to` that a request without `from` asks for."""


REQUEST_FIELDS = (
    "mailServerPeer",
    "topics",
    "from",
    "to",
    "limit",
    "cursor",
    "symKeyID",
    "timeout",
    "force",
)
"""The last two say how status-go waits for the answer and repeats a request; we do neither,
and check their types only."""


MAX_DURATION = (1 << 63) - 1
"""Nanoseconds of the longest duration of Go."""


class WakuExtMethods:
    """The methods that status-go adds to 9/WAKU-RPC."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def methods(self) -> dict[str, Callable[..., Any]]:
        """The methods by their names on the wire."""
        return {"wakuext_requestMessages": self.request_messages}

    async def request_messages(self, _session: Session, request: Any) -> bool:
        """Send a request to a mailserver; its answer goes to the filters that allow p2p."""
        fields = Fields(request, "request", REQUEST_FIELDS, blank=("symKeyID", "cursor"))
        mailserver = fields.required("mailServerPeer", params.enode).node_id
        if mailserver == self._server.node.own_id:
            raise RpcError(INVALID_PARAMS, "mailServerPeer is the id of this node itself")
        upper = fields.optional("to", params.integer, 0) or int(time.time())
        lower = fields.optional("from", params.integer, 0) or max(0, upper - DEFAULT_RANGE)
        if lower > upper:
            raise RpcError(INVALID_PARAMS, f"from must not be after to ({lower} > {upper})")
        key_id = fields.optional("symKeyID", params.identifier, None)
        topics = fields.required("topics", params.topics)
        limit = fields.optional("limit", params.integer, 0)
        cursor = fields.optional("cursor", params.cursor, b"")
        fields.optional("timeout", _duration, 0)
        fields.optional("force", params.flag, False)
        key = None if key_id is None else self._server.keys.symmetric_key(key_id)
        await self._server.requester.request(
            self._server.connected(mailserver),
            lower=lower,
            upper=upper,
            topics=topics,
            limit=limit,
            cursor=cursor,
            key=key,
        )
        return True


def _duration(value: Any, name: str) -> int:
    """A duration of Go."""
    return params.integer(value, name, 0, MAX_DURATION)
