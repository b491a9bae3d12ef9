"""`wakumail attach`: call the API of a running node.

With METHOD it makes one call. Without, it makes one for each line of standard input: `METHOD
PARAM...`. A parameter that is JSON is sent as JSON, any other as a string. A subscription prints
its notifications until it is interrupted.
"""

import argparse
import asyncio
import json
import readline  # noqa: F401 - it gives input() line editing
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wakumail.archive.datadir import Datadir
from wakumail.base.json_text import DECODER, parse_json
from wakumail.base.main_task import run_main
from wakumail.cli.options import add_json, option, parse_timeout, served_settings
from wakumail.rpc.access import load_token
from wakumail.rpc.client import CallFailed, ask, connect_ipc, describe_error, receive
from wakumail.rpc.stream import Wire

PROMPT = "> "

ANSWER_TIMEOUT = 60.0
"""Default seconds for one call. A call that mines or asks for history may take long."""

SCHEMES = ("http", "https", "ws", "wss")


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--ipcpath", type=Path, metavar="PATH", help="the node's Unix socket")
    where.add_argument(
        "--datadir",
        type=Path,
        metavar="DIR",
        help="the data directory that holds the socket (default: that of `wakumail serve`)",
    )
    where.add_argument(
        "--url",
        type=option(parse_url),
        metavar="URL",
        help="the node's URL: http(s):// or ws(s)://",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="file with the bearer token for --url"
    )
    parser.add_argument(
        "--timeout",
        type=parse_timeout,
        default=ANSWER_TIMEOUT,
        metavar="SECONDS",
        help="give up a call after this time (default: %(default)g)",
    )
    add_json(parser)
    parser.add_argument("method", nargs="?", metavar="METHOD", help="waku_info, for instance")
    parser.add_argument("params", nargs="*", metavar="PARAM", help="JSON, or a string")
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """0 if every call returned a result."""
    if arguments.token_file is not None and arguments.url is None:
        arguments.usage_error("--token-file needs --url")
    if not (arguments.url or arguments.ipcpath):
        arguments.ipcpath = socket_in(arguments)
    if arguments.method is not None:
        return call(arguments, arguments.method, [read_param(text) for text in arguments.params])
    failures = 0
    for line in lines():
        method, *params = read_line(line)
        failures += call(arguments, method, params)
    return min(failures, 1)


def lines() -> Iterator[str]:
    """The lines of standard input that are not empty; a terminal is prompted for them."""
    if not sys.stdin.isatty():
        unmarked = (
            line.removeprefix("\ufeff") for line in sys.stdin
        )  # an editor's byte-order mark
        yield from filter(str.strip, unmarked)
        return
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            return
        if line.strip():
            yield line


def read_param(text: str) -> Any:
    """The JSON value in a text, or the text itself if it is not JSON."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def read_line(line: str) -> list[Any]:
    """The words of a line; a JSON value is one word, with its spaces."""
    method, *rest = line.split(None, 1)
    words: list[Any] = [method]
    text = "".join(rest)
    while text := text.strip():
        end = 0
        with suppress(ValueError, RecursionError):
            _, size = DECODER.raw_decode(text)
            value, end = parse_json(text[:size]), size
        if not end or text[end : end + 1].strip():  # no JSON, or only its beginning: 0x12
            value = text.split(None, 1)[0]
            end = len(value)
        words.append(value)
        text = text[end:]
    return words


def call(arguments: argparse.Namespace, method: str, params: list[Any]) -> int:
    """Make one call and print its outcome."""
    subscribing = method.endswith("_subscribe")
    try:
        return run_main(exchange, arguments, method, params, subscribing)
    except KeyboardInterrupt:
        if subscribing:
            return 0
        raise


async def exchange(
    arguments: argparse.Namespace, method: str, params: list[Any], subscribing: bool
) -> int:
    """Send one call, print the answer, then the notifications of a subscription."""
    try:
        async with asyncio.timeout(arguments.timeout) as deadline, connect(arguments) as wire:
            failed = print_answer(await ask(wire, method, *params), arguments.json)
            deadline.reschedule(None)  # notifications come when there are any
            while subscribing and not failed:
                print_notification(await receive(wire), arguments.json)
    except TimeoutError:
        where = arguments.url or arguments.ipcpath
        raise CallFailed(f"{where}: no answer in {arguments.timeout:g} s") from None
    return failed


def parse_url(text: str) -> str:
    """The URL of a node; ValueError."""
    if urlsplit(text).scheme not in SCHEMES:
        schemes = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f"{text!r} begins with none of {schemes}")
    return text


def socket_in(arguments: argparse.Namespace) -> Path:
    """The Unix socket in the chosen data directory, or where `wakumail serve` would make it."""
    if arguments.datadir:
        return Datadir(arguments.datadir).ipc
    try:
        settings = served_settings()
    except ValueError as error:
        arguments.usage_error(str(error))
    return settings.ipcpath or Datadir(settings.datadir).ipc


def connect(arguments: argparse.Namespace) -> AbstractAsyncContextManager[Wire]:
    """The wire to the chosen node."""
    if arguments.url is not None:
        token = None if arguments.token_file is None else load_token(arguments.token_file)
        from wakumail.rpc.url_client import connect_url  # takes a tenth of a second

        return connect_url(arguments.url, token)
    return connect_ipc(arguments.ipcpath)


def print_answer(answer: dict[str, Any], as_json: bool) -> int:
    """Print a result or an error; returns the exit code."""
    error = answer.get("error")
    if as_json:
        print(json.dumps(answer), flush=True)
    elif error is None:
        print(json.dumps(answer.get("result"), indent=2), flush=True)
    else:
        print(f"wakumail attach: {describe_error(error)}", file=sys.stderr)
    return int(error is not None)


def print_notification(notification: dict[str, Any], as_json: bool) -> None:
    """Print a notification of a subscription."""
    params = notification.get("params")
    result = params.get("result") if isinstance(params, dict) else params
    shown = json.dumps(notification) if as_json else json.dumps(result, indent=2)
    print(shown, flush=True)
