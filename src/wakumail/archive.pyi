import os
from collections.abc import Collection, Sequence
from enum import IntEnum
from types import TracebackType
from typing import NamedTuple, Self, final

from wakumail.envelope import Batch

MAP_SIZE: int
BUDGET: int
POSITION_SIZE: int

class Appended(NamedTuple):
    stored: int
    duplicates: int
    bytes: int
    next_sequence: int

class Pruned(NamedTuple):
    envelopes: int
    bytes: int
    more: bool

class PageState(IntEnum):
    EXHAUSTED = 0
    MORE = 1
    PAUSED = 2

class Page(NamedTuple):
    packet: bytes
    count: int  # type: ignore[assignment]  # a field, where tuple has a method
    last_hash: bytes
    position: bytes
    state: PageState

class Stat(NamedTuple):
    envelopes: int
    bytes: int
    file_bytes: int
    oldest: int | None
    newest: int | None
    next_sequence: int

class Day(NamedTuple):
    start: int
    envelopes: int
    bytes: int
    topics: int

@final
class Query:
    def __init__(
        self,
        lower: int,
        upper: int,
        *,
        topics: Collection[bytes] | None = None,
        bloom: bytes | None = None,
        newest_first: bool = True,
    ) -> None: ...

class Archive:
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
    def append(self, batches: Sequence[Batch]) -> Appended: ...
    def page(
        self,
        query: Query,
        position: bytes = b"",
        *,
        limit: int,
        max_bytes: int,
        budget: int = ...,
    ) -> Page: ...
    def follow(self, sequence: int, *, max_bytes: int) -> tuple[bytes, int]: ...
    def contains(self, created: int, hash: bytes) -> bool: ...
    def days(self) -> list[Day]: ...
    def stat(self) -> Stat: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...
