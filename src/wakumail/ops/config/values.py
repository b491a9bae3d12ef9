"""Values as people write them in a flag, a variable or a file; a ValueError names what is wrong."""

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from wakumail.devp2p.addresses import (
    Network,
    check_host,
    is_of_host,
    read_address,
    read_network,
    read_node_address,
    undialable,
)
from wakumail.devp2p.keys import NODE_ID_SIZE, parse_node_key
from wakumail.rpc.access import ANY, read_origin, read_vhost
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, TOPIC_SIZE

Word = TypeVar("Word", bound=StrEnum)

LARGEST = (1 << 63) - 1
"""The largest whole number that is accepted; it fits in 64 bits."""


_NUMBER = re.compile(r"[0-9a-zA-Z.+-]+")


class LogLevel(StrEnum):
    """The least severity that is logged."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


def flag(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def whole(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """Reads an integer from `least` to `most`."""

    def read(text: str) -> int:
        # Python refuses thousands of digits with an error text of its own.
        if not re.fullmatch("[0-9]{1,19}", text):
            raise ValueError(f"{text!r} is not a whole number")
        if not least <= int(text) <= most:
            raise ValueError(f"{text} is not from {least} to {most}")
        return int(text)

    return read


def amount(most: float) -> Callable[[str], float]:
    """Reads a number from 0 to `most`."""

    def read(text: str) -> float:
        try:
            if not _NUMBER.fullmatch(text):  # float reads 1_0, blanks and other digits too
                raise ValueError
            number = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
        if not 0 <= number <= most:
            raise ValueError(f"{text} is not from 0 to {most:g}")
        return number

    return read


def words(text: str) -> str:
    """A text that is not empty, in UTF-8 and without a NUL."""
    if not text:
        raise ValueError("it is empty")
    if "\0" in text:
        raise ValueError("it holds a NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    return text


def listener(text: str) -> str:
    """An address to listen on, or a name that has one."""
    words(text)
    try:
        return str(read_address(text))
    except ValueError:
        pass
    try:
        return check_host(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a host name") from None


def log_server(text: str) -> str:
    """The URL of a server of the log: nats or tls, a host, and a port unless it is 4222."""
    try:
        url = urlsplit(text)
        host = check_host(url.hostname or "")
        is_server = url.scheme in ("nats", "tls") and url.port != 0
    except ValueError:
        is_server = False
    if not is_server or url.path.strip("/") or url.query or url.fragment:
        raise ValueError("it is not nats://HOST:PORT")  # without the text: it may hold a password
    if why := undialable(host):
        raise ValueError(why)
    return text


def log_name(text: str) -> str:
    """The name of a log: letters, digits, - and _."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError(f"{text!r} is not 1 to 64 letters, digits, - and _")
    return text


def path(text: str) -> Path:
    """A path; a relative one starts in the working directory."""
    return Path(words(text))


def choice(choices: type[Word]) -> Callable[[str], Word]:
    """Reads one of some words."""

    def read(text: str) -> Word:
        if text not in tuple(choices):
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return choices(text)

    return read


def log_level(text: str) -> LogLevel:
    """A log level by its name, or by geth's number: 1 (errors only) to 4."""
    levels = dict(zip("1234", LogLevel, strict=True))
    return levels.get(text) or choice(LogLevel)(text)


def hexadecimal(text: str) -> bytes:
    """Bytes from hexadecimal digits, with or without 0x."""
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise ValueError(f"{text!r} is not hexadecimal") from None


def topic(text: str) -> bytes:
    """A topic from its 8 hexadecimal digits."""
    digits = hexadecimal(text)
    if len(digits) != TOPIC_SIZE:
        raise ValueError(f"a topic has 8 hexadecimal digits, not {text!r}")
    return digits


def bloom(text: str) -> bytes:
    """A bloom filter from its 128 hexadecimal digits, or `full`."""
    digits = FULL_BLOOM if text == "full" else hexadecimal(text)
    if len(digits) != BLOOM_SIZE:
        raise ValueError("a bloom filter has 128 hexadecimal digits")
    return digits


def node_key(text: str) -> str:
    """The 64 hexadecimal digits of a node key, which no error shows."""
    parse_node_key(text)
    return text


def network(text: str) -> Network:
    """A network in CIDR notation, or an address as a network of its own."""
    found = read_network(text)
    if found.is_multicast or (found.num_addresses == 1 and not is_of_host(found.network_address)):
        raise ValueError(f"no peer has an address in {text}")
    return found


def peer_or_network(text: str) -> bytes | Network:
    """A node id of 128 hexadecimal digits (64 bytes), or a network."""
    if re.fullmatch(f"[0-9a-fA-F]{{{2 * NODE_ID_SIZE}}}", text):
        return bytes.fromhex(text)
    try:
        return network(text)
    except ValueError as error:
        raise ValueError(f"{error}, nor a node id of 128 hexadecimal digits") from None


def vhost(text: str) -> str:
    """A host name as a Host header has it, without a port, or `*`."""
    read_vhost(text)
    return text


def origin(text: str) -> str:
    """A rule for origins: `*`, or a host with or without a scheme and a port."""
    if text != ANY:
        read_origin(text)
    return text


class Nat(StrEnum):
    """The ways to find the address at which others reach this node, besides naming it."""

    NONE = "none"
    """It is the address that we listen on."""
    ANY = "any"
    """Whatever works."""
    UPNP = "upnp"
    PMP = "pmp"
    AUTO = "extip:auto"
    """Other nodes tell it."""


ASKED = (Nat.ANY, Nat.UPNP, Nat.PMP)
"""Those that ask a router."""


def nat(text: str) -> str:
    """A Nat, or `extip:` and the address at which others reach this node."""
    kind, _, address = text.partition(":")
    if text not in tuple(Nat):
        if kind != "extip":
            raise ValueError(f"{text!r} is none of {', '.join(Nat)} and extip:ADDRESS")
        return f"{kind}:{read_node_address(address)}"
    return text
