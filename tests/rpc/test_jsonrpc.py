"""JSON-RPC 2.0: the examples of the specification, every error, every bound."""

import asyncio
import json
import logging
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.patience import asynchronous, counted_rounds
from tests.support.rpc_methods import Methods, request
from wakumail.rpc import jsonrpc
from wakumail.rpc.jsonrpc import (
    INTERNAL,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MAX_BATCH,
    MAX_ID,
    MAX_MESSAGE,
    MAX_NAME,
    MAX_SEPARATORS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    RESPONSE_TOO_LARGE,
    SERVER,
    SMALL_MESSAGE,
    RpcError,
    Session,
)


def handle(raw: bytes | str, methods: Methods | None = None) -> Any:
    """The answer to a message; None without one."""
    data = raw.encode() if isinstance(raw, str) else raw

    async def run() -> bytes | None:
        return await (methods or Methods()).dispatcher.handle(Session(), data)

    answer = uvloop.run(run())
    return None if answer is None else json.loads(answer)


def error_of(answer: Any, call_id: Any = 1) -> int:
    """The code of an error, in a well-formed answer."""
    assert set(answer) == {"jsonrpc", "id", "error"}
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", call_id)
    assert set(answer["error"]) <= {"code", "message", "data"}
    assert answer["error"]["message"]
    return int(answer["error"]["code"])


def result(value: Any, call_id: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call_id, "result": value}


# The examples of the specification, section 7.


def test_a_call_by_position() -> None:
    assert handle(request("test_subtract", 42, 23)) == result(19)
    assert handle(request("test_subtract", 23, 42, call_id=2)) == result(-19, 2)


def test_a_notification_is_not_answered() -> None:
    methods = Methods()
    assert handle('{"jsonrpc":"2.0","method":"test_note","params":[1,2]}', methods) is None
    assert methods.noted == [[1, 2]]


@pytest.mark.parametrize(
    "call",
    ['"test_none"', '"test_echo"', '"test_break"', '"test_echo","params":{}'],
    ids=["unknown", "parameters", "broken", "by name"],
)
def test_a_notification_that_fails_is_not_answered(call: str) -> None:
    assert handle(f'{{"jsonrpc":"2.0","method":{call}}}') is None


def test_an_unknown_method() -> None:
    answer = handle(request("foobar"))
    assert error_of(answer) == METHOD_NOT_FOUND
    assert answer["error"]["message"] == "the method foobar does not exist/is not available"


@pytest.mark.parametrize(
    "raw",
    [
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        '[{"jsonrpc": "2.0", "method": "sum", "id": "1"}, {"jsonrpc": "2.0", "method"]',
        "",
        " ",
        "{",
        "nul",
        "{} {}",
        "\ufeff{}",
        '{"id": NaN}',
        "[Infinity]",
        "[-Infinity]",
        "[1e999]",
        "[-1e999]",
        "1" * 5000,
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '{"id": 1}'.encode("utf-16"),
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_what_is_no_json(raw: bytes | str) -> None:
    assert error_of(handle(raw), None) == PARSE_ERROR


def test_an_id_has_a_length() -> None:
    """The answer repeats it: 5 MiB of it would hold the loop."""
    longest = "x" * MAX_ID
    call = '{"jsonrpc":"2.0","id":"%s","method":"test_echo","params":[1]}'
    assert handle(call % longest)["id"] == longest
    assert error_of(handle(call % (longest + "x")), None) == INVALID_REQUEST


@pytest.mark.parametrize("raw", ["1", '"text"', "null", "true", "{}", '{"id":[1]}'])
def test_what_is_no_request(raw: str) -> None:
    assert error_of(handle(raw), None) == INVALID_REQUEST


def test_an_empty_batch() -> None:
    assert error_of(handle("[]"), None) == INVALID_REQUEST


def test_a_batch_of_garbage() -> None:
    answers = handle("[1,2,3,[]]")
    assert [error_of(answer, None) for answer in answers] == [INVALID_REQUEST] * 4


def test_a_batch_of_everything() -> None:
    methods = Methods()
    calls = [
        json.loads(request("test_subtract", 42, 23, call_id="a")),
        {"jsonrpc": "2.0", "method": "test_note", "params": [7]},
        {"foo": "boo"},
        json.loads(request("foo.get", "myself", call_id="5")),
        json.loads(request("test_echo", ["hello", 5], call_id="9")),
    ]
    answers = handle(json.dumps(calls), methods)
    assert [answer["id"] for answer in answers] == ["a", None, "5", "9"]
    assert answers[0] == result(19, "a")
    assert error_of(answers[1], None) == INVALID_REQUEST
    assert error_of(answers[2], "5") == METHOD_NOT_FOUND
    assert answers[3] == result(["hello", 5], "9")
    assert methods.noted == [[7]]


def test_a_batch_of_notifications_is_not_answered() -> None:
    methods = Methods()
    notification = '{"jsonrpc":"2.0","method":"test_note","params":[%d]}'
    assert handle(f"[{notification % 1},{notification % 2}]", methods) is None
    assert methods.noted == [[1], [2]]


# Ids.


@pytest.mark.parametrize(
    "call_id",
    ["", "1", "\u2603", "\ud800", 0, -1, 1.5, 1e-300, 2**64, -(10**4000), None],
    ids=repr,
)
def test_an_id_comes_back(call_id: Any) -> None:
    assert handle(request("test_echo", 1, call_id=call_id)) == result(1, call_id)
    assert error_of(handle(request("none", call_id=call_id)), call_id) == METHOD_NOT_FOUND


@pytest.mark.parametrize("call_id", [True, False, [], [1], {}, {"a": 1}], ids=repr)
def test_an_id_that_is_none(call_id: Any) -> None:
    assert error_of(handle(request("test_echo", 1, call_id=call_id)), None) == INVALID_REQUEST


@pytest.mark.parametrize(
    "change",
    [
        {"jsonrpc": "1.0"},
        {"jsonrpc": 2.0},
        {"jsonrpc": None},
        {"method": 1},
        {"method": None},
        {"method": ["test_echo"]},
        {"params": "bar"},
        {"params": 1},
        {"params": False},
    ],
    ids=repr,
)
def test_an_invalid_request_is_answered_under_its_id(change: dict[str, Any]) -> None:
    message = json.loads(request("test_echo", 1, call_id=8)) | change
    assert error_of(handle(json.dumps(message)), 8) == INVALID_REQUEST
    del message["id"]
    assert error_of(handle(json.dumps(message)), None) == INVALID_REQUEST


def test_what_is_missing_is_an_invalid_request() -> None:
    for name in ("jsonrpc", "method"):
        message = json.loads(request("test_echo", 1, call_id=8))
        del message[name]
        assert error_of(handle(json.dumps(message)), 8) == INVALID_REQUEST


# Parameters and results.


def test_parameters_may_be_left_out() -> None:
    for params in ("", ',"params":null', ',"params":[]'):
        call = f'{{"jsonrpc":"2.0","id":1,"method":"test_note"{params}}}'
        assert handle(call) == result(None)


@pytest.mark.parametrize("params", [[], [1, 2, 3]], ids=["too few", "too many"])
def test_a_wrong_number_of_parameters(params: list[int]) -> None:
    assert error_of(handle(request("test_subtract", *params))) == INVALID_PARAMS


def test_parameters_by_name_are_refused() -> None:
    answer = handle('{"jsonrpc":"2.0","id":1,"method":"test_echo","params":{"value":1}}')
    assert error_of(answer) == INVALID_PARAMS


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 2**70, 0.1, "", "\u2603\U0001f600\x00", [], {}, {"a": [{}]}],
    ids=repr,
)
def test_values_come_back(value: Any) -> None:
    assert handle(request("test_echo", value)) == result(value)


@asynchronous
async def test_answers_are_one_line_of_ascii() -> None:

    answer = await Methods().dispatcher.handle(Session(), request("test_echo", "\n\u2028\u2603"))
    assert answer is not None
    assert answer.isascii()
    assert b"\n" not in answer


# Errors.


def test_an_error_of_the_method() -> None:
    answer = handle(request("test_refuse"))
    assert error_of(answer) == INVALID_PARAMS
    assert answer["error"] == {
        "code": INVALID_PARAMS,
        "message": "not like this",
        "data": {"like": "that"},
    }


def test_an_error_of_the_package() -> None:
    answer = handle(request("test_reject"))
    assert answer["error"] == {"code": SERVER, "message": "no room"}


@pytest.mark.parametrize("method", ["test_break", "test_bytes"])
def test_a_defect_is_told_to_the_log_only(method: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = handle(request(method))
    assert answer["error"] == {"code": INTERNAL, "message": "internal error"}
    assert method in caplog.text


def test_methods_of_other_namespaces_are_unknown() -> None:
    assert error_of(handle(request("hidden_echo", 1))) == METHOD_NOT_FOUND
    assert error_of(handle(request("test"))) == METHOD_NOT_FOUND
    assert error_of(handle(request("echo"))) == METHOD_NOT_FOUND


def test_a_long_name_is_not_repeated() -> None:
    answer = handle(request("x" * 100_000))
    assert error_of(answer) == METHOD_NOT_FOUND
    assert len(answer["error"]["message"]) < MAX_NAME + 100


def test_a_session_that_cannot_be_notified_says_so() -> None:
    answer = handle(request("test_subscribe", 1))
    assert error_of(answer) == METHOD_NOT_FOUND
    assert answer["error"]["message"] == "notifications not supported"


def test_a_session_ends_once() -> None:
    session = Session()
    ended: list[int] = []
    session.on_close += [lambda: ended.append(1), lambda: ended.append(2)]
    session.end()
    session.end()
    assert ended == [2, 1]


# Bounds.


def test_a_batch_has_a_bound() -> None:
    methods = Methods()
    call = request("test_note", 1).decode()
    assert len(handle(f"[{','.join([call] * MAX_BATCH)}]", methods)) == MAX_BATCH
    assert error_of(handle(f"[{','.join([call] * (MAX_BATCH + 1))}]", methods), None) == (
        INVALID_REQUEST
    )
    assert len(methods.noted) == MAX_BATCH


def test_the_answer_to_a_batch_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonrpc, "MAX_BATCH_ANSWER", 1000)
    methods = Methods()
    calls = [request("test_size", 600, call_id=n).decode() for n in range(3)]
    calls += [request("test_note", call_id=3).decode()]
    answers = handle(f"[{','.join(calls)}]", methods)
    assert [answer.get("result") for answer in answers] == ["x" * 600, "x" * 600, None, None]
    assert error_of(answers[2], 2) == RESPONSE_TOO_LARGE
    assert error_of(answers[3], 3) == RESPONSE_TOO_LARGE
    assert not methods.noted


@pytest.mark.parametrize("result", [[], [None], [1, "two", {"three": [3]}, [[]]]])
def test_lists_are_written_as_they_are(result: list[Any]) -> None:
    answer = handle(request("test_echo", result, call_id='"'))
    assert answer == {"jsonrpc": "2.0", "id": '"', "result": result}


@asynchronous
async def test_others_have_their_turn_while_a_long_list_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wakumail.base.turns.TURN_TIME", 0.0)
    methods = Methods()
    async with counted_rounds() as rounds:
        await methods.dispatcher.handle(Session(), request("test_echo", list(range(100))))
        assert rounds() >= 100


@asynchronous
async def test_others_have_their_turn_during_a_batch() -> None:
    methods = Methods()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    call = request("test_note")
    await methods.dispatcher.handle(Session(), b"[%b]" % b",".join([call] * 100))
    task.cancel()
    assert turns >= 100


def test_calls_and_errors_are_counted() -> None:
    methods = Methods()
    handle(request("test_echo", 1), methods)
    handle(request("test_none"), methods)
    handle("{", methods)
    handle(f"[{request('test_echo', 1).decode()},1]", methods)
    assert methods.counters == {"rpc_requests": 4, "rpc_errors": 3}
    handle(request("test_reject"), methods)
    assert methods.counters == {"rpc_requests": 5, "rpc_errors": 4, "keys_full": 1}


# Properties.

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)  # fmt: skip
requests = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | json_values,
        "id": st.integers() | json_values,
        "method": st.sampled_from(["test_echo", "test_refuse", "test_note"]) | json_values,
        "params": st.lists(json_values, max_size=2) | json_values,
    },
)


def check(answer: Any) -> None:
    assert answer["jsonrpc"] == "2.0"
    assert set(answer) in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
    assert not isinstance(answer["id"], (bool, list, dict))


@settings(max_examples=150, deadline=None)
@given(st.lists(requests | json_values, max_size=4) | requests | json_values)
def test_whatever_json_comes_is_answered_soundly(message: Any) -> None:
    answer = handle(json.dumps(message))
    if isinstance(answer, list):
        assert isinstance(message, list)
        assert 0 < len(answer) <= len(message)
        for part in answer:
            check(part)
    elif answer is not None:
        check(answer)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:\\truefalsn0123456789eE+-. ').map(str.encode))
def test_whatever_bytes_come_are_answered(raw: bytes) -> None:
    """Hypothesis takes texts from our sources, and makes calls of unknown methods too."""
    answer = handle(raw)
    if answer is None:
        assert b'"jsonrpc"' in raw, "only a notification has no answer"
        return
    for part in answer if isinstance(answer, list) else [answer]:
        check(part)
        assert part["error"]["code"] in (PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND)


def test_an_rpc_error_reads_as_its_message() -> None:
    assert str(RpcError(SERVER, "no")) == "no"


class Parsed:
    """Counts the bytes that are parsed, and the values that may be among them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = self.separators = 0
        self._parse = jsonrpc.parse
        monkeypatch.setattr(jsonrpc, "parse", self)

    def __call__(self, raw: bytes) -> Any:
        self.bytes += len(raw)
        self.separators += sum(map(raw.count, jsonrpc.SEPARATORS))
        return self._parse(raw)


@pytest.mark.parametrize("value", [b"[]", b'{"a":1}', b"1", b"1.5", b'""', b"[[[]]]"])
def test_what_takes_long_to_parse_is_not_parsed(
    value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is done while a message is parsed, and 5 MiB of short values take 0.4 s."""
    parsed = Parsed(monkeypatch)
    count = MAX_MESSAGE // (len(value) + 1) - 1
    answer = handle(b"[" + b",".join([value] * count) + b"]")
    assert error_of(answer, None) == PARSE_ERROR
    assert parsed.bytes == 0
    each = 1 + sum(map(value.count, jsonrpc.SEPARATORS))
    values = [value] * ((MAX_SEPARATORS - 1) // each)
    call = b'{"jsonrpc":"2.0","id":1,"method":"test_none","params":[' + b",".join(values) + b"]}"
    code = error_of(handle(call), None if len(values) * each > MAX_SEPARATORS - 8 else 1)
    assert code in (METHOD_NOT_FOUND, PARSE_ERROR)
    assert parsed.separators <= MAX_SEPARATORS


@asynchronous
async def test_long_messages_are_parsed_one_in_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers send the end of theirs at once."""
    parsed = [0]

    def count(raw: bytes) -> object:
        parsed[-1] += 1
        return parse(raw)

    parse = jsonrpc.parse
    monkeypatch.setattr(jsonrpc, "parse", count)
    methods = Methods()
    text = "x" * jsonrpc.LONG_MESSAGE
    async with asyncio.TaskGroup() as callers:
        for _ in range(20):
            callers.create_task(methods.dispatcher.handle(Session(), request("test_echo", text)))
        while sum(parsed) < 20:
            parsed.append(0)
            await asyncio.sleep(0)
    assert max(parsed) == 1


def test_a_message_of_one_long_string_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = Parsed(monkeypatch)
    text = "x" * (MAX_MESSAGE - 100)
    assert handle(request("test_echo", text)) == result(text)
    assert parsed.bytes > MAX_MESSAGE - 100


@pytest.mark.parametrize("digits", [b"9" * 400, b"-" + b"9" * 399])
def test_the_digits_of_a_number_in_a_large_message_are_bounded(digits: bytes) -> None:
    """A thousand integers of 4,300 digits take 0.1 s to read."""
    for number, code in ((digits, METHOD_NOT_FOUND), (digits + b"9", PARSE_ERROR)):
        for padding in (0, SMALL_MESSAGE):
            call = request("test_none", 1).replace(b"[1]", b"[%b]" % number) + b" " * padding
            answer = handle(call)
            if padding:
                assert error_of(answer, 1 if code == METHOD_NOT_FOUND else None) == code
            else:
                assert error_of(answer) == METHOD_NOT_FOUND
