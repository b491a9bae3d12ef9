"""Options that several commands have, progress bars, and output for programs."""

import argparse
import json
import math
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wakumail.archive.datadir import Datadir
from wakumail.ops.config import values

if TYPE_CHECKING:
    from tqdm import tqdm

    from wakumail.ops.config.settings import Settings

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
parse_path = option(values.path)


def parse_time(text: str) -> int:
    """Unix seconds, an age before now like 90s, 15m, 24h, 30d, or a time in ISO 8601.

    A time without a zone is UTC, a day alone begins at midnight.
    """
    if match := re.fullmatch(r"([0-9]{1,10})([smhd])", text):
        seconds = int(time.time()) - int(match[1]) * UNITS[match[2]]
    elif text.isascii() and text.isdigit() and len(text) <= 10:  # 20261129 is no day here
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
    return Datadir(Path(text) if text else served_settings().datadir)


def served_settings() -> "Settings":
    """Those that `wakumail serve` would have here without a flag; ConfigError."""
    from wakumail.ops.config.layers import load  # takes long to import

    return load({}, os.environ).settings


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
