"""JSON-RPC 2.0, over any transport: reads messages, calls methods, writes answers
(https://www.jsonrpc.org/specification).

A method takes the session of its caller, then the positional parameters of the call. It may be a
coroutine. Its result becomes JSON; its errors become error objects:

    RpcError                 its own code, text and data
    any other WakumailError  SERVER and its text
    anything else            INTERNAL, with the details in the log only
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from wakumail.base.json_text import parse_json
from wakumail.base.turns import Turns
from wakumail.counters import Counters
from wakumail.errors import WakumailError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603
SERVER = -32000
RESPONSE_TOO_LARGE = -32003
"""geth's code for calls of a batch that are not made because its answer is too large already."""

MAX_MESSAGE = 5 << 20
"""Most bytes of one message, a single call or a batch, over any transport."""

MAX_SEPARATORS = 50_000
"""Most commas, colons and opening brackets in one message, also in its strings. 5 MiB of short
values take 0.4 s to parse, and nothing else is done meanwhile; this number takes 40 ms at most, of
numbers of 100 digits."""

SEPARATORS = (b",", b":", b"[", b"{")

SMALL_MESSAGE = 64 << 10
"""Bytes of a message whose numbers may be of any length: there are too few long ones to matter.
Those of larger messages have at most MAX_DIGITS."""

LONG_MESSAGE = 4 << 10
"""Bytes of a message from which on it is parsed in a round of the loop in which no other such one
is: this much takes 0.4 ms at most."""

MAX_BATCH = 1000
"""Most calls in one batch."""

MAX_BATCH_ANSWER = 25 << 20
"""Bytes of answers after which the rest of a batch is refused."""

MAX_ID = 1024
"""Most characters of the id of a call, which its answer repeats."""

MAX_NAME = 100
"""Most characters of an unknown method's name that the error repeats."""

Id: TypeAlias = str | int | float | None
"""The id of a call, chosen by the caller."""


log = logging.getLogger(__name__)


class RpcError(WakumailError):
    """A call failed; the caller gets code, message and data."""

    counter = "rpc_errors"

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class SharedResult:
    """A value that several subscriptions are told. It becomes JSON once, for the first of them."""

    def __init__(self, size: int, value: Callable[[], Any]) -> None:
        """`size` is about the bytes of the JSON; `value` makes what is told."""
        self.size = size
        self._value = value

    @cached_property
    def json(self) -> bytes:
        """The value as JSON."""
        return encode(self._value())


class Session:
    """A caller, from its first call to its last. This kind takes no notifications."""

    can_notify = False

    def __init__(self) -> None:
        self.on_close: list[Callable[[], None]] = []
        self.ended = False

    def notify(self, method: str, subscription: str, result: SharedResult) -> None:
        """Tell a subscription of the caller a result, after the answers that are due before it."""
        raise RpcError(METHOD_NOT_FOUND, "notifications not supported")

    def end(self) -> None:
        """Run the functions in `on_close`, once."""
        self.ended = True
        while self.on_close:
            self.on_close.pop()()


class Call(NamedTuple):
    """A valid request object."""

    method: str
    params: Any
    id: Id
    notification: bool


class Dispatcher:
    """Answers messages with the methods of some namespaces: their names up to the `_`."""

    def __init__(
        self,
        methods: Mapping[str, Callable[..., Any]],
        namespaces: Collection[str],
        counters: Counters,
    ) -> None:
        self._methods = {
            name: (method, inspect.signature(method))
            for name, method in methods.items()
            if name.partition("_")[0] in namespaces
        }
        self._counters = counters
        self._parsing = asyncio.Lock()
        self.turns = Turns()
        """Shared by long answers and by what the sessions send."""

    async def handle(self, session: Session, raw: bytes) -> bytes | None:
        """The answer to one message of at most MAX_MESSAGE bytes; None if there is none to send."""
        try:
            message = await self._parse(raw)
        except RpcError as error:
            return self.refusal(error)
        del raw  # It may be large, and a call may take long.
        if isinstance(message, list):
            return await self._answer_batch(session, message)
        return await self._answer(session, message)

    async def _parse(self, raw: bytes) -> Any:
        """The value of a message; RpcError if it is none. Long ones are parsed one in a round."""
        check_separators(raw)
        if len(raw) < LONG_MESSAGE:
            return parse(raw)
        async with self._parsing:
            message = parse(raw)
            await asyncio.sleep(0)
        return message

    def refusal(self, error: RpcError, call_id: Id = None) -> bytes:
        """The answer with an error object."""
        self._counters.add(error.counter)
        told = {"code": error.code, "message": error.message}
        if error.data is not None:
            told["data"] = error.data
        return encode({"jsonrpc": "2.0", "id": call_id, "error": told})

    async def _answer_batch(self, session: Session, messages: list[Any]) -> bytes | None:
        """One array of answers. The calls are made one after the other, in their order."""
        if not messages:
            return self.refusal(RpcError(INVALID_REQUEST, "empty batch"))
        if len(messages) > MAX_BATCH:
            return self.refusal(RpcError(INVALID_REQUEST, f"batch of more than {MAX_BATCH} calls"))
        answers: list[bytes] = []
        size = 0
        for message in messages:
            await asyncio.sleep(0)  # Let peers and other callers have a turn.
            answer = await self._answer(session, message, full=size > MAX_BATCH_ANSWER)
            if answer is not None:
                answers.append(answer)
                size += len(answer)
        await asyncio.sleep(0)  # A large answer takes 10 ms to join.
        return join_array(answers) if answers else None

    async def _answer(self, session: Session, message: Any, full: bool = False) -> bytes | None:
        """The answer to one request object; None for a notification, even one that fails."""
        self._counters.add("rpc_requests")
        try:
            call = read_call(message)
        except RpcError as error:
            return self.refusal(error, read_id(message))
        try:
            if full:
                raise RpcError(RESPONSE_TOO_LARGE, "response too large")
            result = await self._result(session, call)
            answer = await encode_answer(call.id, result, self.turns)
        except RpcError as error:
            answer = self.refusal(error, call.id)
        except WakumailError as error:
            self._counters.add(error.counter)
            answer = self.refusal(RpcError(SERVER, str(error)), call.id)
        except Exception:
            log.exception("%s failed", call.method)
            answer = self.refusal(RpcError(INTERNAL, "internal error"), call.id)
        return None if call.notification else answer

    async def _result(self, session: Session, call: Call) -> Any:
        """The result of the method."""
        if call.method not in self._methods:
            text = f"the method {call.method[:MAX_NAME]} does not exist/is not available"
            raise RpcError(METHOD_NOT_FOUND, text)
        method, signature = self._methods[call.method]
        params = [] if call.params is None else call.params
        if not isinstance(params, list):
            raise RpcError(INVALID_PARAMS, "parameters are taken by position, in an array")
        try:
            signature.bind(session, *params)
        except TypeError:
            takes = len(signature.parameters) - 1  # less the session
            text = f"{call.method} takes {takes or 'no'} parameter{'s' * (takes != 1)}"
            raise RpcError(INVALID_PARAMS, f"{text}, not {len(params)}") from None
        result = method(session, *params)
        return await result if inspect.isawaitable(result) else result


def check_separators(raw: bytes) -> None:
    """RpcError if a message would take too long to parse."""
    if sum(map(raw.count, SEPARATORS)) > MAX_SEPARATORS:
        text = f"parse error: more than {MAX_SEPARATORS} commas, colons and brackets"
        raise RpcError(PARSE_ERROR, text)


def parse(raw: bytes) -> Any:
    """The JSON value of a message; RpcError if it is none, also for NaN and 1e999."""
    try:
        return parse_json(raw, short_numbers=len(raw) > SMALL_MESSAGE)
    except ValueError as error:
        raise RpcError(PARSE_ERROR, f"parse error: {error}") from None


def encode(value: Any) -> bytes:
    """A value as JSON on one line, in ASCII."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


async def encode_answer(call_id: Id, result: Any, turns: Turns) -> bytes:
    """The answer with a result. The items of a long list take turns with others."""
    if not isinstance(result, list):
        return encode({"jsonrpc": "2.0", "id": call_id, "result": result})
    items = []
    for item in result:
        await turns.turn()
        items.append(encode(item))
    start = b'{"jsonrpc":"2.0","id":%b,"result":' % encode(call_id)
    return join_array(items, start, b"}")


def join_array(items: list[bytes], start: bytes = b"", end: bytes = b"") -> bytes:
    """The JSON array of some values in JSON, between two texts. All of it is copied once."""
    parts = [start, b"["]
    for item in items:
        parts += (item, b",")
    if items:
        parts.pop()
    return b"".join((*parts, b"]", end))


def read_call(message: Any) -> Call:
    """The call in a value; RpcError with INVALID_REQUEST if there is none."""
    if not isinstance(message, dict):
        raise RpcError(INVALID_REQUEST, "a request is an object")
    if message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'a request says "jsonrpc": "2.0"')
    if not _is_id(message.get("id")):
        text = f"an id is a string of at most {MAX_ID} characters, a number or null"
        raise RpcError(INVALID_REQUEST, text)
    method, params = message.get("method"), message.get("params")
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "a method is a string")
    if not isinstance(params, (list, dict, type(None))):
        raise RpcError(INVALID_REQUEST, "parameters are an array")
    return Call(method, params, message.get("id"), "id" not in message)


def read_id(message: Any) -> Id:
    """The id in a value that may be no call; None without one."""
    call_id = message.get("id") if isinstance(message, dict) else None
    return call_id if _is_id(call_id) else None


def _is_id(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ID
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
