"""Lists of nodes in the DNS, as signed trees of TXT records (EIP-1459, "DNS Record Structure").

    DOMAIN          enrtree-root:v1 e=LABEL l=LABEL seq=NUMBER sig=SIGNATURE
    LABEL.DOMAIN    enrtree-branch:LABEL,LABEL,...     any number of labels, also none
    LABEL.DOMAIN    enr:RECORD                         below e alone: a node
    LABEL.DOMAIN    enrtree://KEY@DOMAIN               below l alone: another list

A label is the base32 of the first 16 bytes of the Keccak-256 hash of the text at it. So the
signature of the root holds for the whole tree.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wakumail.base.keccak import keccak256
from wakumail.devp2p import enr
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import SIGNATURE_SIZE, PrivateKey, PublicKey, sign, verify
from wakumail.errors import WakumailError

MAX_ENTRY = 512
"""Characters of a text. The longest that trees have is a node record of 300 bytes, with 404."""

MAX_CHILDREN = 13
"""Labels in a branch: with its name it fits into a DNS answer of 512 bytes."""

LABEL_BYTES = 16
"""Bytes of a hash in the labels that we make, 26 characters."""

MIN_LABEL_BYTES = 12
"""Bytes of a hash in labels that others make, at least; go-ethereum takes 12 to 32 as well."""

MAX_SEQ = (1 << 64) - 1

MAX_DOMAIN = 200
"""Characters of the domain of a list: the longest label and a dot fit before it in a DNS name."""

ROOT_PREFIX = "enrtree-root:"
BRANCH_PREFIX = "enrtree-branch:"
LINK_PREFIX = "enrtree://"

_URL = re.compile(r"enrtree://([A-Z2-7]{53})@([^@]+)")
_ROOT = re.compile(
    r"enrtree-root:v1 e=([A-Z2-7]+) l=([A-Z2-7]+) seq=(0|[1-9][0-9]{0,19}) sig=([A-Za-z0-9_-]{87})"
)
_DOMAIN_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})*")


class DnsListError(WakumailError, ValueError):
    """Something in the DNS that is no part of a list of nodes (EIP-1459)."""

    counter = "dns_malformed"


class DnsRootForged(DnsListError):
    """The root of a DNS list that the key in its URL has not signed."""

    counter = "dns_root_forged"


@dataclass(frozen=True, slots=True)
class ListUrl:
    """A list of nodes: `enrtree://<public key, 53 characters of base32>@<domain>` as a string.

    `key` is the compressed public key that signs the list, 33 bytes. `domain` is in lower case,
    without a dot at its end. DnsListError for anything else.
    """

    key: bytes
    domain: str

    def __post_init__(self) -> None:
        try:
            PublicKey(self.key)
        except ValueError:
            raise DnsListError("the URL of a DNS list has no public key") from None
        if len(self.domain) > MAX_DOMAIN or not _DOMAIN.fullmatch(self.domain):
            raise DnsListError(f"{self.domain[:MAX_DOMAIN]!r} is no domain of a DNS list")

    @classmethod
    def parse(cls, text: str) -> "ListUrl":
        """Parse a URL; DnsListError with the fault."""
        found = _URL.fullmatch(text) if len(text) <= MAX_ENTRY else None
        if found is None:
            raise DnsListError("a DNS list looks like enrtree://<53 characters of base32>@domain")
        key = _from_base32(found[1])
        if _to_base32(key) != found[1]:  # one list has one URL
            raise DnsListError("the base32 in the URL of a DNS list is not canonical")
        return cls(key, found[2].lower().removesuffix("."))

    def __str__(self) -> str:
        return f"{LINK_PREFIX}{_to_base32(self.key)}@{self.domain}"


@dataclass(frozen=True, slots=True)
class TreeRoot:
    """The root of a list: the labels of the two trees below it, and its sequence number."""

    records: str
    """The label of the tree of node records, `e`."""
    links: str
    """The label of the tree of links to other lists, `l`."""
    seq: int
    """Rises with each change of the list, 64 bits."""

    @classmethod
    def parse(cls, text: str, key: bytes) -> "TreeRoot":
        """Read a root, and verify that `key` (compressed, 33 bytes) signed it.

        DnsListError for a text that is no root, DnsRootForged for another's signature.
        """
        found = _ROOT.fullmatch(text) if len(text) <= MAX_ENTRY else None
        if found is None:
            raise DnsListError("the root of a DNS list is malformed, or of another version than v1")
        records, links, seq, signature = found.groups()
        root = cls(_checked(records), _checked(links), int(seq))
        if root.seq > MAX_SEQ:
            raise DnsListError("the sequence number of a DNS list has more than 64 bits")
        # The last byte, V, is of no use to who knows the key.
        signed = base64.urlsafe_b64decode(f"{signature}=")[: SIGNATURE_SIZE - 1]
        if not verify(PublicKey(key), signed, root._digest()):
            raise DnsRootForged("the root of a DNS list is not signed with the key of its URL")
        return root

    def signed(self, key: PrivateKey) -> str:
        """The text of the root with the signature of `key`."""
        signature = base64.urlsafe_b64encode(sign(key, self._digest())).decode().rstrip("=")
        return f"{self._unsigned()} sig={signature}"

    def _unsigned(self) -> str:
        return f"{ROOT_PREFIX}v1 e={self.records} l={self.links} seq={self.seq}"

    def _digest(self) -> bytes:
        return keccak256(self._unsigned().encode())


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch of a tree, and the labels of what is below it."""

    labels: tuple[str, ...]

    def __str__(self) -> str:
        return BRANCH_PREFIX + ",".join(self.labels)


Entry: TypeAlias = Branch | Enr | ListUrl
"""The kinds of texts below a root."""


def is_entry(text: str) -> bool:
    """True for a text that begins like a part of a list; domains have other TXT records too."""
    return text.startswith(("enrtree-", LINK_PREFIX, enr.PREFIX))


def parse_entry(text: str) -> Entry:
    """Read a branch, a node record or a link; DnsListError or EnrError with the fault."""
    if text.startswith(enr.PREFIX):
        return Enr.parse(text)
    if text.startswith(LINK_PREFIX):
        return ListUrl.parse(text)
    if not text.startswith(BRANCH_PREFIX) or len(text) > MAX_ENTRY:
        raise DnsListError("it is neither a branch nor a node record nor a link of a DNS list")
    labels = text.removeprefix(BRANCH_PREFIX)
    children = labels.split(",") if labels else []
    if len(children) > MAX_CHILDREN:
        raise DnsListError(f"a branch of a DNS list has at most {MAX_CHILDREN} labels")
    return Branch(tuple(map(_checked, children)))


def label_of(text: str) -> str:
    """The label at which a text stands."""
    return _to_base32(keccak256(text.encode())[:LABEL_BYTES])


def fits(text: str, label: str) -> bool:
    """True if the label is a hash of the text; `label` is one that was read."""
    return keccak256(text.encode()).startswith(_from_base32(label))


class DnsTree:
    """A whole list, signed: the text of the root, and those below it by their labels."""

    def __init__(
        self,
        key: PrivateKey,
        domain: str,
        seq: int,
        records: Iterable[Enr],
        links: Iterable[ListUrl] = (),
    ) -> None:
        """Sign the list of some nodes and of links to other lists, in any order.

        One list has one tree: records are sorted by Keccak-256 of the node id as go-ethereum does,
        links by their text. Of several records of a node the one with the highest sequence number
        stays. DnsListError for a domain or a sequence number that no list can have.
        """
        if not 0 <= seq <= MAX_SEQ:
            raise DnsListError("the sequence number of a DNS list has 64 bits")
        self.url = ListUrl(key.public_key.format(), domain)
        self.entries: dict[str, str] = {}
        newest = {record.node_id: record for record in sorted(records, key=lambda each: each.seq)}
        nodes = sorted(newest.values(), key=lambda record: keccak256(record.node_id))
        self.root = TreeRoot(
            self._plant([str(record) for record in nodes]),
            self._plant(sorted({str(link) for link in links})),
            seq,
        )
        self._signed = self.root.signed(key)

    @property
    def texts(self) -> dict[str, str]:
        """The text of each TXT record by its name, first that of the root."""
        domain = self.url.domain
        below = {f"{label}.{domain}": text for label, text in self.entries.items()}
        return {domain: self._signed, **below}

    def _plant(self, texts: Sequence[str]) -> str:
        """Put texts into the tree, and branches above them; the label of the uppermost."""
        while len(texts) != 1:
            groups = list(_groups(texts)) or [()]
            texts = [self._join(group) for group in groups]
        return self._put(texts[0])

    def _join(self, group: Sequence[str]) -> str:
        """A branch above some texts; a text alone needs none."""
        if len(group) == 1:
            return group[0]
        return str(Branch(tuple(map(self._put, group))))

    def _put(self, text: str) -> str:
        label = label_of(text)
        self.entries[label] = text
        return label


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), MAX_CHILDREN):
        yield texts[start : start + MAX_CHILDREN]


def _checked(label: str) -> str:
    """A label that was read; DnsListError if it is no hash."""
    if not re.fullmatch("[A-Z2-7]+", label) or not (
        MIN_LABEL_BYTES <= len(_from_base32(label)) <= 32
    ):
        raise DnsListError(f"{label[:MAX_ENTRY]!r} is no label of a DNS list")
    return label


def _to_base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode().rstrip("=")


def _from_base32(digits: str) -> bytes:
    """The bytes in base32 without padding; empty if it is cut short."""
    try:
        return base64.b32decode(digits + "=" * (-len(digits) % 8))
    except ValueError:
        return b""
