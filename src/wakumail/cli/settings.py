"""The settings of `wakumail serve`: one dataclass, from which the flags are made."""

import argparse
from argparse import BooleanOptionalAction
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from wakumail.cli.options import (
    parse_amount,
    parse_count,
    parse_port,
    parse_topic,
    parse_whole,
)
from wakumail.mail import MAX_LIMIT, Dialect
from wakumail.store import Durability

PARSERS: dict[type, Callable[[str], Any]] = {int: parse_count, float: parse_amount}
"""How numbers are read, unless their setting says otherwise."""


def setting(
    default: Any,
    explanation: str,
    metavar: str | None = None,
    parse: Callable[[str], Any] | None = None,
) -> Any:
    """A field of Settings: its default, what it means, what its value is called and how read."""
    metadata = {"help": explanation, "metavar": metavar, "parse": parse}
    return field(default=default, metadata=metadata)


class LogLevel(StrEnum):
    """How much is logged."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator may choose."""

    datadir: Path = setting(Path("data"), "archive and node key live here", "DIR")
    host: str = setting("0.0.0.0", "address to listen on", "ADDRESS")
    port: int = setting(
        30303, "TCP port to listen on; 0 lets the system choose", "PORT", parse_port
    )
    nodekey: Path | None = setting(None, "file of the node key (default: DATADIR/nodekey)", "FILE")
    nodekeyhex: str | None = setting(None, "the node key itself, 64 hex digits", "HEX")
    password: str | None = setting(
        None, "requests may be sealed with this (default: the Status fleet's)", "TEXT"
    )
    password_file: Path | None = setting(None, "file whose first line is the password", "FILE")
    asymkey_file: Path | None = setting(
        None, "requests may be sealed for this key too, beside the node key", "FILE"
    )
    min_pow: float = setting(
        0.002, "least PoW of an envelope; from 50,000 bytes on a thousandth of it; 0 takes all"
    )
    max_envelope: int = setting(1 << 20, "largest envelope taken", "BYTES")
    max_packet: int = setting(10 << 20, "largest packet taken, after inflation", "BYTES")
    max_reply: int = setting(1 << 20, "largest P2P Messages packet sent", "BYTES")
    topics: tuple[bytes, ...] = setting(
        (), "archive only these topics, 8 hex digits each", "TOPIC", parse_topic
    )
    confirmations: bool = setting(True, "confirm envelopes once they are on disk")
    durability: Durability = setting(
        Durability.COMMIT, "commit: sync at once; interval: every 0.3 s, and confirm later", "WHEN"
    )
    retention: float = setting(30.0, "keep envelopes for so long; 0 keeps them for ever", "DAYS")
    max_size: int = setting(0, "keep the archive below this; 0 sets no bound", "BYTES", parse_whole)
    max_peers: int = setting(5000, "connections at most", "N")
    max_handshakes: int = setting(1024, "handshakes in progress at most", "N")
    max_waiting: int = setting(16, "requests of one peer that may wait for their turn", "N")
    max_limit: int = setting(MAX_LIMIT, "envelopes per request at most, and when none is said", "N")
    request_rate: float = setting(
        0.0, "requests per second of one peer, and of one address; 0 sets no limit", "N"
    )
    request_min_pow: float = setting(0.0, "least PoW of a request's envelope", "POW")
    require_signature: bool = setting(False, "refuse requests that nobody signed")
    completion: Dialect | None = setting(
        None, "form of every Request Complete: bytes or list (default: as the request)", "FORM"
    )
    log_level: LogLevel = setting(
        LogLevel.INFO, "error, warning, info or debug; debug names the addresses of peers", "LEVEL"
    )

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Give `parser` one flag for each setting."""
        hints = get_type_hints(cls)
        for item in fields(cls):
            assert item.default is not MISSING
            explanation = item.metadata["help"]
            shown = not isinstance(item.default, bool) and item.default not in (None, ())
            if shown and "default" not in explanation:
                explanation += f" (default: {item.default})"
            options: dict[str, Any] = {"default": item.default, "help": explanation}
            kind = hints[item.name]
            if kind is bool:
                options["action"] = BooleanOptionalAction
            else:
                options["metavar"] = item.metadata["metavar"]
                single = getattr(kind, "__args__", (kind,))[0]
                options["type"] = item.metadata["parse"] or PARSERS.get(single, single)
                if kind == tuple[bytes, ...]:
                    options["nargs"] = "+"
            parser.add_argument(f"--{item.name.replace('_', '-')}", **options)

    @classmethod
    def from_flags(cls, arguments: argparse.Namespace) -> "Settings":
        """The settings that a command line gives."""
        values = {item.name: getattr(arguments, item.name) for item in fields(cls)}
        return cls(**values | {"topics": tuple(values["topics"])})
