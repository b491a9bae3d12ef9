"""Reads name, version and platform of a peer from its client id (RLPx, "Hello").

`StatusIM/v0.34.0-beta.3/linux-amd64/go1.13.1` is typical, but a peer may send anything. Whatever it
sends, there are few answers here, so that peers can be counted by them.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

ClientKind = tuple[str, str, str]

OTHER: ClientKind = ("other", "other", "other")

MAX_KINDS = 50
"""Most kinds of clients that are counted apart: the most frequent ones."""

CLIENT_NAMES = {
    name.lower(): name
    for name in ("StatusIM", "Statusd", "Geth", "Nimbus waku node", "nim-eth-p2p", "wakumail")
}
"""The known names, by their lower-case form."""

PLATFORM = re.compile(
    r"(android|darwin|freebsd|ios|linux|windows)-(386|aarch64|amd64|arm|arm64|x64|x86_64)"
)

RELEASE = re.compile(r"v?(?:release-)?([0-9]{1,3}(?:\.[0-9]{1,3}){1,2})(?![0-9.])")


@lru_cache(maxsize=1024)
def kind_of(client_id: str) -> ClientKind:
    """Name, version number and platform; "other" for a name or platform that is not known."""
    name, *rest = client_id.split("/")
    if name.lower() not in CLIENT_NAMES:
        return OTHER
    # The version of the language comes last, and begins with the language: it does not match.
    versions = (f"v{match[1]}" for part in rest if (match := RELEASE.match(part)))
    platforms = (part for part in rest if PLATFORM.fullmatch(part))
    return CLIENT_NAMES[name.lower()], next(versions, "unknown"), next(platforms, "other")


def count_kinds(client_ids: Iterable[str]) -> Counter[ClientKind]:
    """The number of clients of each kind; kinds beyond MAX_KINDS are OTHER."""
    kinds = Counter(map(kind_of, client_ids))
    frequent = Counter(dict(kinds.most_common(MAX_KINDS)))
    if rest := kinds.total() - frequent.total():
        frequent[OTHER] += rest
    return frequent
