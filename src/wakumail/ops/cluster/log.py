"""The log of a cluster: a stream of NATS JetStream, and our connection to its servers.

This is the one file that imports the client of NATS. Messages are read by direct gets, which any
server that has the stream answers, with a majority or without. So nothing has to be kept for a
reader, or is lost with a server.
"""

import asyncio
import base64
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from wakumail.base.json_text import parse_json
from wakumail.base.tasks import end_tasks
from wakumail.ops.cluster.log_errors import LogRefused, LogUnavailable
from wakumail.ops.cluster.log_facts import Facts, nanoseconds

log = logging.getLogger(__name__)

API_TIMEOUT = 3.0
"""Seconds that the log has for an answer about itself."""

ACK_TIMEOUT = 5.0
"""Seconds that the log has to acknowledge a message."""

READ_TIMEOUT = 1.0
"""Seconds that the log has for the next message of a read."""

CLOSE_TIMEOUT = 2.0
"""Seconds that the servers have to take what is not sent yet when the connection ends."""

PING_INTERVAL = 2
"""Seconds between two pings; a server that leaves two unanswered is given up for another."""

RECONNECT_INTERVAL = 1
"""Seconds between two calls of one server."""

VARZ = "$SYS.REQ.SERVER.PING.VARZ"
"""Asks all servers for their configuration; answered where our account imports it."""

VARZ_TIMEOUT = 1.0
"""Seconds that the servers have to tell their configuration."""

STREAM_NOT_FOUND = 10059
"""The code of JetStream's error."""

FAILURES = (nats.errors.Error, OSError, RuntimeError)
"""Errors of the client that mean that the servers are out of reach. RuntimeError is what the event
loop raises for a write to a connection that has just ended."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
"""Errors of an answer that is not in the form that JetStream documents."""


class LogMessage(NamedTuple):
    """A message of the log."""

    sequence: int
    id: str
    """The id that its sender gave it, see `message_id`; empty without one."""
    seconds: float
    """The time at which the log took it, in Unix seconds."""
    data: bytes


class Acknowledged(NamedTuple):
    """The log has a message, on a majority of its servers."""

    sequence: int
    duplicate: bool
    """True if it had it before."""


Answer = Callable[[], Awaitable[dict[str, Any]]]
"""Makes the answer to a host or a command that asks how we are."""


class Log:
    """A connection to the log `name` at `servers` (URLs). Made on the loop.

    LogUnavailable from every method that asks the servers, if they do not answer.
    """

    def __init__(self, servers: Sequence[str], name: str) -> None:
        self.name = name
        self.subject = ""
        """The subject of its messages; empty until it is known."""
        self._servers = list(servers)
        self._client = Client()
        self._told: set[str] = set()

    @property
    def connected(self) -> bool:
        """True while there is a connection to a server."""
        return bool(self._client.is_connected)

    @property
    def server(self) -> str:
        """The address of the server that we are connected to; empty without one."""
        url = self._client.connected_url
        return "" if url is None or not self.connected else str(url.netloc.rpartition("@")[2])

    async def open(self) -> None:
        """Connect, however long it takes; afterwards the connection is made again when it ends."""
        await self._client.connect(
            self._servers,
            name="wakumail",
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_INTERVAL,
            connect_timeout=2,
            ping_interval=PING_INTERVAL,
            error_cb=self._note_error,
            disconnected_cb=self._note_loss,
        )

    async def close(self) -> None:
        """End the connection; servers that take nothing more have CLOSE_TIMEOUT for the rest."""
        closing = asyncio.get_running_loop().create_task(self._client.close())
        await asyncio.wait([closing], timeout=CLOSE_TIMEOUT)
        await end_tasks([closing])

    # -- what the log is ----------------------------------------------------------------------

    async def facts(self) -> Facts | None:
        """The facts of the log; None if it does not exist."""
        info = await self.ask(f"STREAM.INFO.{self.name}")
        try:
            if (error := info.get("error")) is not None:
                if error.get("err_code") == STREAM_NOT_FOUND:
                    return None
                raise LogUnavailable(str(error.get("description")))
            replicas = len((info.get("cluster") or {}).get("replicas") or ())
            told = await self._configurations(replicas)
            limits = [int(each["max_payload"]) for each in told.values() if "max_payload" in each]
            return Facts(
                info,
                min([self._client.max_payload, *limits]),
                str(self._client.connected_server_version),
                {
                    name: bool(each["jetstream"]["config"].get("sync_always"))
                    for name, each in told.items()
                    if (each.get("jetstream") or {}).get("config")
                },
            )
        except UNREADABLE as error:
            raise LogUnavailable("facts that cannot be read") from error

    async def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """The answer of JetStream to a request of its API."""
        message = await self._request(f"$JS.API.{action}", json.dumps(fields).encode(), API_TIMEOUT)
        try:
            return _parse_object(message.data)
        except ValueError as error:
            raise LogUnavailable(f"an answer that cannot be read: {error}") from error

    async def _configurations(self, others: int) -> dict[str, dict[str, Any]]:
        """The configuration of each server, by its name; nothing if our account may not ask."""
        told: dict[str, dict[str, Any]] = {}
        for message in await self._gather(VARZ, b"", VARZ_TIMEOUT, others + 1):
            with suppress(*UNREADABLE):
                answer = _parse_object(message.data)
                told[str(answer["server"]["name"])] = answer["data"]
        return told

    async def _gather(self, subject: str, data: bytes, seconds: float, count: int) -> list[Msg]:
        """All answers to a request that come in time, at most `count`."""
        answers: list[Msg] = []
        try:
            async with self._asking(subject, data) as inbox, asyncio.timeout(seconds):
                while len(answers) < count:
                    message = await inbox.next_msg(timeout=None)
                    if _status(message):  # nobody listens
                        break
                    answers.append(message)
        except TimeoutError:
            pass
        except FAILURES as error:
            raise LogUnavailable(_text(error)) from error
        return answers

    # -- messages -----------------------------------------------------------------------------

    async def publish(self, message: bytes, message_id: str) -> Acknowledged:
        """Append a message; returns once a majority has it."""
        headers = {"Nats-Msg-Id": message_id, "Nats-Expected-Stream": self.name}
        answer = await self._request(self.subject, message, ACK_TIMEOUT, headers)
        try:
            found = _parse_object(answer.data)
            if "error" in found:
                raise LogUnavailable(f"{found['error'].get('description')}")
            return Acknowledged(int(found["seq"]), bool(found.get("duplicate")))
        except UNREADABLE as error:
            raise LogUnavailable("an acknowledgement that cannot be read") from error

    async def read(self, first: int, *, limit: int, max_bytes: int) -> list[LogMessage]:
        """Messages from `first` on that one of the servers has, in their order.

        Some may be left out. max_bytes: over it no more are sent.
        """
        ask = json.dumps({"seq": first, "batch": limit, "max_bytes": max_bytes}).encode()
        messages: list[LogMessage] = []
        try:
            async with self._asking(f"$JS.API.DIRECT.GET.{self.name}", ask) as inbox:
                while True:
                    message = await inbox.next_msg(timeout=READ_TIMEOUT)
                    if (status := _status(message)) in ("204", "404"):
                        return messages
                    if status:
                        raise LogUnavailable(f"a read was answered with {status}")
                    messages.append(self._read(message))
        except FAILURES as error:
            if messages:
                return messages
            raise LogUnavailable(_text(error)) from error

    def _read(self, message: Msg) -> LogMessage:
        headers = message.headers or {}
        if headers.get("Nats-Subject") != self.subject:
            raise LogRefused(f"the stream {self.name} was made anew")
        try:
            seconds = nanoseconds(headers["Nats-Time-Stamp"]) / 10**9
            sequence = int(headers["Nats-Sequence"])
        except (KeyError, ValueError) as error:
            raise LogUnavailable("a message without its number or time") from error
        return LogMessage(sequence, headers.get("Nats-Msg-Id", ""), seconds, message.data)

    async def read_one(self, sequence: int) -> LogMessage | None:
        """One message, as one of the servers has it."""
        found = await self.read(sequence, limit=1, max_bytes=1)
        return found[0] if found and found[0].sequence == sequence else None

    async def read_from_leader(self, sequence: int) -> LogMessage | None:
        """One message, as the leader has it."""
        answer = await self.ask(f"STREAM.MSG.GET.{self.name}", seq=sequence)
        if (found := answer.get("message")) is None:
            return None
        try:
            if found["subject"] != self.subject or found["seq"] != sequence:
                return None
            data = base64.b64decode(found.get("data", ""), validate=True)
            headers = base64.b64decode(found.get("hdrs", ""), validate=True)
            given = re.search(rb"\r\nNats-Msg-Id: *([!-~]+)\r\n", headers)
            message_id = given[1].decode() if given else ""
            return LogMessage(sequence, message_id, nanoseconds(found["time"]) / 10**9, data)
        except UNREADABLE:
            return None

    # -- between the hosts --------------------------------------------------------------------

    async def tell(self, sequence: int) -> None:
        """Tell the other hosts that the log has this message; it may not reach them."""
        with suppress(*FAILURES):
            await self._client.publish(self._beside("notices"), str(sequence).encode())

    async def listen(self, on_notice: Callable[[int], None], answer: Answer) -> None:
        """Hear the notices of the other hosts, and answer whoever asks how we are."""

        async def notice(message: Msg) -> None:
            if message.data.isdigit() and len(message.data) < 20:
                on_notice(int(message.data))

        async def asked(message: Msg) -> None:
            with suppress(*FAILURES):
                await message.respond(json.dumps(await answer()).encode())

        try:
            await self._client.subscribe(self._beside("notices"), cb=notice)
            await self._client.subscribe(self._beside("hosts"), cb=asked)
        except FAILURES as error:
            raise LogUnavailable(_text(error)) from error

    async def hosts(self, seconds: float) -> list[dict[str, Any]]:
        """The answers of all hosts, ours too, that come within some seconds."""
        found: list[dict[str, Any]] = []
        for message in await self._gather(self._beside("hosts"), b"", seconds, 1000):
            with suppress(ValueError):
                found.append(_parse_object(message.data))
        return found

    def _beside(self, what: str) -> str:
        return f"{self.subject.rpartition('.')[0]}.{what}"

    # -- inside -------------------------------------------------------------------------------

    @asynccontextmanager
    async def _asking(self, subject: str, data: bytes) -> AsyncIterator[Subscription]:
        """Ask, and hear all the answers while the context lasts."""
        reply = self._client.new_inbox()
        inbox = await self._client.subscribe(reply)
        try:
            await self._client.publish(subject, data, reply=reply)
            yield inbox
        finally:
            await inbox.unsubscribe()

    async def _request(
        self, subject: str, data: bytes, seconds: float, headers: dict[str, str] | None = None
    ) -> Msg:
        try:
            return await self._client.request(subject, data, timeout=seconds, headers=headers)
        except FAILURES as error:
            raise LogUnavailable(_text(error)) from error

    async def _note_error(self, error: Exception) -> None:
        """Log an error of the connection once until the connection ends."""
        text = _text(error)
        if text not in self._told:
            self._told.add(text)
            log.warning("the log: %s", text)

    async def _note_loss(self) -> None:
        self._told.clear()
        if not self._client.is_closed:
            log.warning("the connection to the log has ended")


def _status(message: Msg) -> str:
    """The status that the server sends in place of a message; empty for a message."""
    return (message.headers or {}).get("Status", "")


def _parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object in an answer. ValueError."""
    if not isinstance(found := parse_json(text), dict):
        raise ValueError("it is no object")
    return found


def _text(error: Exception) -> str:
    """The text of an error of the client, for a person."""
    match error:
        case nats.errors.NoRespondersError():
            return "no server of the log answers: it has no leader, or JetStream is off"
        case nats.errors.TimeoutError() | TimeoutError():
            return "no answer of the log in time"
        case _:
            return str(error).removeprefix("nats: ") or type(error).__name__
