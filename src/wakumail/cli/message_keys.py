"""The keys that open messages, as options name them."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from wakumail.base.edited_file import read_edited
from wakumail.node.node_key import load_node_key
from wakumail.waku.message import SYMMETRIC_KEY_SIZE, symmetric_key

if TYPE_CHECKING:
    from wakumail.node.messages import Key


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
