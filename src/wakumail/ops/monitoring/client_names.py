"""What a client id tells of a peer: its name, its version, its platform (RLPx, "Hello").

`StatusIM/v0.34.0-beta.3/linux-amd64/go1.13.1` is what most look like, but a peer may send anything:
the answers here are few, whatever it sends, so that they can be counted by.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

ClientKind = tuple[str, str, str]

OTHER: ClientKind = ("other", "other", "other")

MAX_KINDS = 50
"""Kinds of clients that are told apart: the most frequent ones."""

CLIENT_NAMES = {
    name.lower(): name
    for name in ("StatusIM", "Statusd", "Geth", "Nimbus waku node", "nim-eth-p2p", "wakumail")
}
"""The names that are told apart, by what they are in small letters."""

PLATFORM = re.compile(
    r"(android|darwin|freebsd|ios|linux|windows)-(386|aarch64|amd64|arm|arm64|x64|x86_64)"
)

RELEASE = re.compile(r"v?(?:release-)?([0-9]{1,3}(?:\.[0-9]{1,3}){1,2})(?![0-9.])")


@lru_cache(maxsize=1024)
def kind_of(client_id: str) -> ClientKind:
    """Name, version without what follows its numbers, and platform; "other" for what is none."""
    name, *rest = client_id.split("/")
    if name.lower() not in CLIENT_NAMES:
        return OTHER
    # The version of the language, which comes last, has its name before it.
    versions = (f"v{match[1]}" for part in rest if (match := RELEASE.match(part)))
    platforms = (part for part in rest if PLATFORM.fullmatch(part))
    return CLIENT_NAMES[name.lower()], next(versions, "unknown"), next(platforms, "other")


def count_kinds(client_ids: Iterable[str]) -> Counter[ClientKind]:
    """How many there are of each kind; those beyond MAX_KINDS are OTHER."""
    kinds = Counter(map(kind_of, client_ids))
    frequent = Counter(dict(kinds.most_common(MAX_KINDS)))
    if rest := kinds.total() - frequent.total():
        frequent[OTHER] += rest
    return frequent
