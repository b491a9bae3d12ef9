import os
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import Self, final

from typing_extensions import disjoint_base

from wakumail.archive.results import Appended as Appended
from wakumail.archive.results import Bound as Bound
from wakumail.archive.results import Day as Day
from wakumail.archive.results import Fetched as Fetched
from wakumail.archive.results import Fold as Fold
from wakumail.archive.results import LogPlace as LogPlace
from wakumail.archive.results import Page as Page
from wakumail.archive.results import PageState as PageState
from wakumail.archive.results import Pruned as Pruned
from wakumail.archive.results import Stat as Stat
from wakumail.base.jobs import Job
from wakumail.waku.envelope import Batch
from wakumail.waku.judgements import Judgements

MAP_SIZE: int
BUDGET: int
POSITION_SIZE: int
MAX_SEQUENCE: int
MAX_FINDING_ROWS: int
MAX_PARTS: int
MAX_RESIDENT_WRITING: int
RESIDENT_CHECK_ROWS: int

@final
class Query:
    def __new__(
        cls,
        lower: int,
        upper: int,
        *,
        topics: Collection[bytes] | None = None,
        bloom: bytes | None = None,
        newest_first: bool = True,
    ) -> Self: ...

@disjoint_base
class Archive:
    judgements: Judgements | None
    @property
    def path(self) -> str: ...
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        sync: bool = True,
        map_size: int = ...,
    ) -> None: ...
    def prune(self, before: int, *, limit: int) -> Pruned: ...
    def _read_ahead_always(self, always: bool) -> None: ...
    def append(self, batches: Sequence[Batch], log: LogPlace | None = None) -> Appended: ...
    def page_job(
        self,
        query: Query,
        position: bytes = b"",
        *,
        limit: int,
        max_bytes: int,
        budget: int = ...,
    ) -> PageJob: ...
    def follow(self, sequence: int, *, max_bytes: int, until: int = ...) -> tuple[bytes, int]: ...
    def arrived(self, sequence: int, *, limit: int) -> tuple[bytes, int]: ...
    def missing(self, items: bytes) -> bytes: ...
    def find(self, first: int, last: int, hashes: bytes) -> bytes: ...
    def envelopes(self, items: bytes, *, max_bytes: int) -> Fetched: ...
    def items(self) -> Items: ...
    def contains(self, created: int, hash: bytes) -> bool: ...
    def days(self) -> list[Day]: ...
    def topics(self, start: int, limit: int) -> list[tuple[bytes, int]]: ...
    def stat(self) -> Stat: ...
    def log_place(self) -> LogPlace | None: ...
    def verify(self) -> Verification: ...
    def copy(self, directory: str | os.PathLike[str]) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

@final
class PageJob(Job[Page]):
    def __new__(
        cls,
        archive: Archive,
        query: Query,
        position: bytes,
        limit: int,
        max_bytes: int,
        budget: int,
    ) -> Self: ...

@disjoint_base
class Items:
    def __new__(cls, archive: Archive) -> Self: ...
    @property
    def hashed(self) -> int: ...
    @property
    def next_sequence(self) -> int: ...
    def fold(self, lower: tuple[int, bytes], upper: tuple[int, bytes]) -> Fold: ...
    def split(
        self, lower: tuple[int, bytes], upper: tuple[int, bytes], parts: int
    ) -> list[tuple[Bound, Fold]]: ...
    def ids(self, lower: tuple[int, bytes], upper: tuple[int, bytes], limit: int) -> bytes: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...

@disjoint_base
class Verification(Iterator[int]):
    def __new__(cls, archive: Archive) -> Self: ...
    def __next__(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def envelopes(self) -> int: ...
    @property
    def problems(self) -> int: ...
    def describe(self) -> list[str]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...
