from collections.abc import Iterator
from enum import IntEnum
from typing import Self

from typing_extensions import disjoint_base

from wakumail.waku.bloom import TOPIC_SIZE as TOPIC_SIZE
from wakumail.waku.interest import Interest

MAX_TIME: int
FUTURE_TOLERANCE: int
EXPIRY_GRACE: int
VERY_OLD_AGE: int
LARGE_ENVELOPE: int
MAX_ENVELOPES: int
MAX_STREAM_ENVELOPE: int
REFUSALS: dict[Verdict, tuple[int, str]]

class Verdict(IntEnum):
    ACCEPTED = 0
    EXPIRED = 1
    VERY_OLD = 2
    FROM_FUTURE = 3
    TOO_LARGE = 4
    TTL_ZERO = 5
    LOW_POW = 6
    UNWANTED_TOPIC = 7
    DUPLICATE = 8

@disjoint_base
class Rules:
    @property
    def min_pow(self) -> float: ...
    @property
    def min_pow_large(self) -> float: ...
    @property
    def max_envelope(self) -> int: ...
    @property
    def interest(self) -> Interest: ...
    def __new__(
        cls,
        *,
        min_pow: float,
        min_pow_large: float,
        max_envelope: int,
        interest: Interest = ...,
    ) -> Self: ...
    def replace(
        self,
        *,
        min_pow: float = ...,
        min_pow_large: float = ...,
        max_envelope: int = ...,
        interest: Interest = ...,
    ) -> Rules: ...

@disjoint_base
class KnownHashes: ...

@disjoint_base
class Envelope:
    @property
    def rlp(self) -> bytes: ...
    @property
    def hash(self) -> bytes: ...
    @property
    def topic(self) -> bytes: ...
    @property
    def data(self) -> bytes: ...
    @property
    def expiry(self) -> int: ...
    @property
    def ttl(self) -> int: ...
    @property
    def created(self) -> int: ...
    @property
    def nonce(self) -> int: ...
    @property
    def pow(self) -> float: ...
    @staticmethod
    def decode(rlp: bytes) -> Envelope: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@disjoint_base
class Batch:
    @property
    def raw(self) -> bytes: ...
    @property
    def packets(self) -> int: ...
    @property
    def malformed(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def accepted_size(self) -> int: ...
    @property
    def memory(self) -> int: ...
    @property
    def rejections(self) -> dict[Verdict, int]: ...
    @property
    def confirmations(self) -> list[tuple[bytes, bytes]]: ...
    def verdict(self, index: int) -> Verdict: ...
    def select(self, interest: Interest) -> list[int]: ...
    def sizes(self, bounds: tuple[int, ...]) -> list[int]: ...
    def topic_sizes(self) -> dict[bytes, tuple[int, int]]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Envelope: ...
    def __iter__(self) -> Iterator[Envelope]: ...

def judge(
    packet: bytes,
    rules: Rules,
    now: int,
    known: KnownHashes | None = None,
    *,
    confirming: bool = False,
) -> Batch: ...
def judge_packets(
    payloads: bytes,
    ends: list[int],
    rules: Rules,
    now: int,
    known: KnownHashes | None = None,
    *,
    confirming: bool = False,
) -> Batch: ...
def parse(packet: bytes, *, max_envelope: int = 0xFFFFFFFF) -> Batch: ...
def parse_stream(data: bytes, *, final: bool) -> tuple[Batch, int]: ...
def make_envelope(expiry: int, ttl: int, topic: bytes, data: bytes, nonce: int) -> Envelope: ...
