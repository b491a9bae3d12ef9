"""Checks callers over TCP: the API holds private keys."""

import hmac
import ipaddress
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from wakumail.base.edited_file import read_edited
from wakumail.devp2p.addresses import check_host
from wakumail.devp2p.enode import MAX_PORT
from wakumail.errors import WakumailError

ANY = "*"
"""Stands among the allowed hosts or origins for all of them."""

MIN_TOKEN = 16
"""Least characters of a bearer token: a shorter one can be guessed."""

TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""The syntax of a bearer token (RFC 6750, section 2.1)."""

HOST = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^\[\]:]*)(:[0-9]*)?")
"""A Host header (RFC 9110, section 7.2)."""


ORIGIN_PATTERN = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?(\[[^\[\]]*\]|[^\[\]:/]*)(?::([0-9]{1,5}))?"
)
"""The parts of an origin (RFC 6454, section 6.2), or of the rule for some."""

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports that browsers leave out of an origin."""


class OriginRule(NamedTuple):
    """An origin, or a rule for some: None stands for any scheme, and for any port."""

    scheme: str | None
    host: str
    port: int | None


class AccessError(WakumailError):
    """The API would be open to strangers, or a token is unusable; the text says what to do."""

    counter = "rpc_access_unsafe"


class Access:
    """The hosts, origins and token that are allowed."""

    def __init__(
        self,
        *,
        vhosts: Collection[str],
        origins: Collection[str],
        token: str | None,
    ) -> None:
        """ValueError for a host or an origin that no header can have."""
        self._vhosts = {read_vhost(name) for name in vhosts}
        self._any_origin = ANY in origins
        self._origins = {read_origin(rule) for rule in origins if rule != ANY}
        self._credentials = None if token is None else token.encode()

    def allows_host(self, host: str | None) -> bool:
        """True if the Host header names us.

        A page can make its own name resolve to our address (DNS rebinding), but its browser still
        sends that name. An address cannot be rebound, and every browser sends the header.
        """
        if host is None or ANY in self._vhosts:
            return True
        name = host_name(host)
        return name in self._vhosts or _address(name) is not None

    def allows_origin(self, origin: str | None) -> bool:
        """True if the page may open a WebSocket; every browser sends the Origin header."""
        if origin is None or self._any_origin:
            return True
        try:
            scheme, host, port = read_origin(origin)
        except ValueError:
            return False
        port = port or DEFAULT_PORTS.get(scheme or "")
        return any(
            rule.host == host and rule.scheme in (None, scheme) and rule.port in (None, port)
            for rule in self._origins
        )

    def allows_token(self, authorization: str | None) -> bool:
        """True if the Authorization header has our bearer token (RFC 6750), or we have none."""
        if self._credentials is None:
            return True
        scheme, _, token = (authorization or "").partition(" ")
        told = token.strip(" ").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(told, self._credentials) and scheme.lower() == "bearer"

    def check_exposure(self, host: str) -> None:
        """AccessError if other machines can reach `host` and we have no token."""
        if text := exposure(host, has_token=self._credentials is not None):
            raise AccessError(text)


def read_vhost(name: str) -> str:
    """ANY, or a host name as `host_name` has it; ValueError if no Host header can match it."""
    if name == ANY:
        return name
    try:
        is_bare = ":" in name and _address(name) is not None
        return read_host(f"[{name}]" if is_bare else name).strip("[]")
    except ValueError:
        raise ValueError(f"{name!r} is no host name; it has no scheme, port or quotes") from None


def read_origin(text: str) -> OriginRule:
    """An origin, or the rule for some, in one spelling; ValueError if no origin can match it."""
    try:
        found = ORIGIN_PATTERN.fullmatch(text)
        scheme, host, digits = found.groups() if found else (None, "", None)
        host = read_host(host)
        port = None if digits is None else int(digits)
        if port is not None and not 1 <= port <= MAX_PORT:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{text!r} is no origin like https://host:port; it has no path, quotes or pattern"
        ) from None
    return OriginRule(scheme and scheme.lower(), host, port)


def read_host(text: str) -> str:
    """The one spelling of a host in a URL; ValueError for none. A name may end with a dot."""
    if text.startswith("[") and text.endswith("]") and "%" not in text:
        return f"[{ipaddress.IPv6Address(text[1:-1])}]"
    if ":" in text:
        raise ValueError("an IPv6 address is in brackets, without a zone")
    name = text.removesuffix(".")
    return f"{check_host(name)}{text[len(name) :]}".lower()


def exposure(host: str, *, has_token: bool) -> str:
    """The reason not to listen on `host`; empty if there is none."""
    if has_token or is_loopback(host):
        return ""
    return (
        f"the API would listen on {host or 'every address'}, open to all who can reach it:"
        " give --rpc.token-file, or listen on 127.0.0.1"
    )


def load_token(path: Path) -> str:
    """The bearer token in a file; AccessError if it is too short or malformed."""
    try:
        token = read_edited(path)
    except ValueError as error:
        raise AccessError(
            f"{path} holds no token: {error}; `openssl rand -hex 32` makes one"
        ) from None
    if len(token) < MIN_TOKEN or not TOKEN.fullmatch(token):
        raise AccessError(
            f"{path}: a token has at least {MIN_TOKEN} characters, all of them letters, digits "
            "or -._~+/; `openssl rand -hex 32` makes one"
        )
    return token


def is_loopback(host: str) -> bool:
    """True if only this machine reaches a listener on `host`."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def host_name(host: str) -> str:
    """The name or address in a Host header, without brackets and port; empty if malformed."""
    found = HOST.fullmatch(host)
    return found[1].strip("[]").lower() if found else ""


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
