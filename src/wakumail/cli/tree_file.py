"""A DNS list in files: as JSON, which `wakumail dns` writes, and as the zone file of a name server.

{"url": "enrtree://KEY@DOMAIN", "seq": NUMBER, "txt": {"NAME.DOMAIN": "TEXT", ...}}
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wakumail.base.json_text import parse_json
from wakumail.base.whole_file import replace_file
from wakumail.devp2p.dns_tree import DnsTree, ListUrl, is_entry

ROOT_TTL = 60
"""Seconds for which resolvers keep the root of a list: a change is seen after this time."""

ENTRY_TTL = 86_400
"""Seconds for which they keep the rest: each text is named by its hash, and never changes."""

MAX_STRING = 255
"""Characters of one string in a TXT record, which may have several (RFC 1035, 3.3)."""


class TreeFile(NamedTuple):
    """A list as it stands in a JSON file; nothing in it is verified."""

    url: ListUrl
    seq: int
    texts: dict[str, str]
    """The text of each TXT record by its name."""

    @classmethod
    def of(cls, tree: DnsTree) -> "TreeFile":
        """The file of a list."""
        return cls(tree.url, tree.root.seq, tree.texts)

    @classmethod
    def parse(cls, text: str) -> "TreeFile":
        """Read JSON; ValueError with the fault."""
        match parse_json(text):
            case {"url": str(url), "seq": int(seq), "txt": {**texts}}:
                if all(isinstance(each, str) for each in texts.values()):
                    return cls(ListUrl.parse(url), seq, {str(n): str(t) for n, t in texts.items()})
        raise ValueError("it is no DNS list: `wakumail dns sign` makes them")

    def content(self) -> dict[str, Any]:
        """The JSON object."""
        return {"url": str(self.url), "seq": self.seq, "txt": self.texts}

    def write(self, path: Path) -> None:
        """Replace the file at a path as a whole."""
        replace_file(path, f"{json.dumps(self.content(), indent=1)}\n".encode())

    def zone(self) -> Iterator["ZoneLine"]:
        """The TXT records of a zone file."""
        for name, text in self.texts.items():
            yield ZoneLine(name, ROOT_TTL if name == self.url.domain else ENTRY_TTL, text)


class ZoneLine(NamedTuple):
    """A TXT record; as a string the line of a zone file."""

    name: str
    ttl: int
    """Seconds for which resolvers keep it."""
    text: str

    def __str__(self) -> str:
        return f"{self.name}.\t{self.ttl}\tIN\tTXT\t{' '.join(quoted(self.text))}"


def quoted(text: str) -> Iterator[str]:
    """The strings of a TXT record in a zone file; texts of lists need no escapes."""
    for start in range(0, len(text), MAX_STRING):
        yield f'"{text[start : start + MAX_STRING]}"'


def read_zone(zone_text: str, origin: str) -> dict[str, str]:
    """The texts of lists in a zone file, by their names; ValueError for one that cannot be read.

    Names without a dot at their end are below `origin`, the domain of the list, unless the file
    says otherwise. Names that are not below it are left out.
    """
    try:
        import dns.exception
        import dns.zone
    except ImportError as error:
        text = f'zone files need dnspython: pip install "dnspython>=2.7" ({error})'
        raise ValueError(text) from None
    try:
        zone = dns.zone.from_text(zone_text, origin=origin, relativize=False, check_origin=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"it is no zone file: {error}") from None
    texts: dict[str, str] = {}
    for name, _, data in zone.iterate_rdatas("TXT"):
        text = b"".join(getattr(data, "strings", ())).decode("ascii", "replace")
        if is_entry(text):  # domains have other texts too
            texts[name.to_text(omit_final_dot=True)] = text
    return texts
