"""Keys of messages, as the options of commands give them."""

import argparse
import re
from pathlib import Path

from wakumail.devp2p.keys import load_node_key
from wakumail.mail.client import Key
from wakumail.waku.message import KEY_SIZE, symmetric_key

MAX_KEY_FILE = 2 * KEY_SIZE + 2
"""Bytes of a file with a symmetric key: its digits and a line end, at most CR LF."""


def add_message_keys(parser: argparse.ArgumentParser) -> None:
    """What opens the messages in envelopes."""
    group = parser.add_argument_group("messages", "what opens them; each may be given again")
    for flag, metavar, text in (
        ("--chat", "NAME", "a public chat: asks for its topic and opens with its key"),
        ("--message-password", "TEXT", "open with the key of a password"),
        ("--message-key-file", "FILE", "open with the symmetric key in a file, 64 hex digits"),
        ("--private-key-file", "FILE", "open with the private key in a file, 64 hex digits"),
    ):
        dest = f"{flag.removeprefix('--').replace('-', '_')}s"
        group.add_argument(flag, dest=dest, action="append", default=[], metavar=metavar, help=text)


def load_message_keys(arguments: argparse.Namespace) -> list[Key]:
    """The keys that were given; ValueError and OSError for a file without one."""
    return [
        *map(symmetric_key, arguments.chats),
        *map(symmetric_key, arguments.message_passwords),
        *map(load_symmetric_key, arguments.message_key_files),
        *map(load_node_key, arguments.private_key_files),
    ]


def load_symmetric_key(name: str) -> bytes:
    """The symmetric key in a file; ValueError, which does not show it, where there is none."""
    with Path(name).open("rb") as file:
        text = file.read(MAX_KEY_FILE + 1).decode("ascii", "replace")
    digits = text.removesuffix("\n").removesuffix("\r")
    if not re.fullmatch(rf"[0-9a-fA-F]{{{2 * KEY_SIZE}}}", digits):
        raise ValueError(f"{name} holds no symmetric key: it is {2 * KEY_SIZE} hexadecimal digits")
    return bytes.fromhex(digits)
