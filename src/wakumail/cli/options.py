"""Options that several commands have, progress bars, and machine output."""

import argparse
import contextlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from wakumail.archive.datadir import Datadir
from wakumail.base.edited_file import read_edited
from wakumail.devp2p.enode import Enode
from wakumail.errors import AnswerTimeout, HandshakeError, PeerGone, ProtocolError
from wakumail.mail.answer import ANSWER_TIMEOUT, RequestRefused
from wakumail.node.dns_resolver import NameServer
from wakumail.node.node_key import load_node_key
from wakumail.ops.config import values
from wakumail.waku.message import SYMMETRIC_KEY_SIZE, symmetric_key

if TYPE_CHECKING:
    from tqdm import tqdm

    from wakumail.node.messages import Key

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Subparsers = object

T = TypeVar("T")

TIME_FORMS = "Unix seconds, age like 24h, or time like 2026-11-29T14:00:00Z"
"""The forms of a time that `parse_time` reads."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def option(read: Callable[[str], T]) -> Callable[[str], T]:
    """A type for argparse that reports the text of a ValueError or OSError."""

    def parse(text: str) -> T:
        try:
            return read(text)
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{error.filename}: {error.strerror}") from None
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


parse_hex = option(values.hexadecimal)
parse_topic = option(values.topic)
parse_bloom = option(values.bloom)
parse_amount = option(values.amount(values.LARGEST))
parse_enode = option(Enode.parse)
parse_name_server = option(NameServer.parse)


def parse_time(text: str) -> int:
    """Unix seconds, an age before now like 90s, 15m, 24h, 30d, or a time in ISO 8601.

    A time without a zone is UTC, a day alone begins at midnight.
    """
    if match := re.fullmatch(r"(\d+)([smhd])", text):
        return int(time.time()) - int(match[1]) * UNITS[match[2]]
    if text.isascii() and text.isdigit() and len(text) <= 10:  # 20261129 is no day here
        seconds = int(text)
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no {TIME_FORMS}") from None
        seconds = math.floor((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    if not 0 <= seconds < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1970 and 2106")
    return seconds


def parse_timeout(text: str) -> float:
    """Seconds, more than 0."""
    seconds = parse_amount(text)
    if not seconds:
        raise argparse.ArgumentTypeError("a timeout must be more than 0")
    return seconds


def add_enode(parser: argparse.ArgumentParser) -> None:
    """Add ENODE, the mailserver that a client command talks to."""
    parser.add_argument("enode", type=parse_enode, metavar="ENODE", help="enode:// URL")


def add_name_server(parser: argparse._ActionsContainer) -> None:
    """Add --dns-server, where lists in the DNS are asked for."""
    parser.add_argument(
        "--dns-server",
        type=parse_name_server,
        metavar="ADDRESS[:PORT]",
        help="name server to ask for enrtree:// lists (default: those of the system)",
    )


def add_timeout(parser: argparse._ActionsContainer) -> None:
    """Add --timeout, the longest silence of a mailserver."""
    parser.add_argument(
        "--timeout",
        type=parse_timeout,
        default=ANSWER_TIMEOUT,
        metavar="SECONDS",
        help="give up a mailserver after this time of silence (default: %(default)g)",
    )


@contextlib.contextmanager
def naming(mailserver: Enode) -> Iterator[None]:
    """Name a mailserver in the errors of the connection to it."""
    try:
        yield
    except (AnswerTimeout, HandshakeError, PeerGone, ProtocolError, RequestRefused) as error:
        raise type(error)(f"{mailserver.address}: {error}") from None


def add_datadir(parser: argparse.ArgumentParser) -> None:
    """Add --datadir, the data directory that an archive command works on."""
    parser.add_argument(
        "--datadir",
        type=option(open_datadir),
        default="",
        metavar="DIR",
        help="the data directory (default: that of `wakumail serve`)",
    )


def open_datadir(text: str) -> Datadir:
    """The data directory of this name; for "" the one that `wakumail serve` would have."""
    if text:
        return Datadir(Path(text))
    from wakumail.ops.config.layers import load  # takes long to import

    return Datadir(load({}, os.environ).settings.datadir)


def add_topics(parser: argparse._ActionsContainer) -> None:
    """Add --topic."""
    parser.add_argument(
        "--topic",
        dest="topics",
        type=parse_topic,
        action="append",
        default=[],
        metavar="TOPIC",
        help="a topic of 8 hex digits; may be repeated",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, output for programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def print_json(result: dict[str, Any]) -> None:
    """Print one JSON object on stdout; bytes as hexadecimal digits."""
    print(json.dumps(result, default=bytes.hex))


def progress(unit: str, total: int | None = None) -> "tqdm[Any]":
    """A progress bar on stderr; nothing if that is no terminal."""
    from tqdm import tqdm  # many commands show none

    return tqdm(total=total, unit=unit, unit_scale=True, disable=None, leave=False)


@contextlib.contextmanager
def open_binary(name: str, mode: str) -> Iterator[BinaryIO]:
    """The file of that name; `-` is standard input or output."""
    if name == "-":
        with contextlib.suppress(OSError, ValueError):
            # A read of a pipe that does not block would end with what has come so far.
            os.set_blocking((sys.stdin if mode == "rb" else sys.stdout).fileno(), True)
        yield sys.stdin.buffer if mode == "rb" else sys.stdout.buffer
        sys.stdout.flush()
    else:
        with Path(name).open(mode) as file:
            yield file  # type: ignore[misc]  # opened in binary


def open_new(name: str, *, force: bool) -> AbstractContextManager[BinaryIO]:
    """A file to write; FileExistsError if it has content to lose, unless `force`.

    Its content stays until `start_over`.
    """
    if not force and os.path.isfile(name) and os.path.getsize(name):
        raise FileExistsError(f"{name} already exists; --force overwrites it")
    return open_binary(name, "ab")


def start_over(name: str, file: BinaryIO) -> None:
    """Empty a file of open_new, unless it is a pipe, a device or standard output."""
    if name != "-" and os.path.isfile(name):
        file.truncate(0)


def add_message_keys(parser: argparse.ArgumentParser) -> None:
    """Add the options that name keys of messages."""
    group = parser.add_argument_group(
        "messages", "keys that open them; each option may be repeated"
    )
    for flag, metavar, text in (
        ("--chat", "NAME", "a public chat: choose its topic, open with its key"),
        ("--message-password", "TEXT", "open with a password"),
        ("--message-key-file", "FILE", "open with the symmetric key in a file, 64 hex digits"),
        ("--private-key-file", "FILE", "open with the private key in a file, 64 hex digits"),
    ):
        dest = f"{flag.removeprefix('--').replace('-', '_')}s"
        group.add_argument(flag, dest=dest, action="append", default=[], metavar=metavar, help=text)


def load_message_keys(arguments: argparse.Namespace) -> "list[Key]":
    """The keys that the options name; ValueError and OSError for a file without one."""
    return [
        *map(symmetric_key, arguments.chats),
        *map(symmetric_key, arguments.message_passwords),
        *map(load_symmetric_key, arguments.message_key_files),
        *map(load_node_key, arguments.private_key_files),
    ]


def load_symmetric_key(name: str) -> bytes:
    """The symmetric key in a file; a ValueError does not show the content of the file."""
    try:
        digits = read_edited(Path(name))
    except ValueError as error:
        raise ValueError(f"{name} holds no symmetric key: {error}") from None
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * SYMMETRIC_KEY_SIZE}}}", digits):
        raise ValueError(
            f"{name} holds no symmetric key of {2 * SYMMETRIC_KEY_SIZE} hexadecimal digits"
        )
    return bytes.fromhex(digits)
