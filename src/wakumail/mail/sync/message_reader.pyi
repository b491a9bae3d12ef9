from collections.abc import Iterator
from typing import Self, final

from wakumail.archive.results import Bound

VERSION: int
SKIP: int
FINGERPRINT: int
IDS: int
MAX_MESSAGE: int
MAX_RANGES: int

@final
class MessageReader(Iterator[tuple[Bound, int, bytes]]):
    def __new__(cls, message: bytes) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[Bound, int, bytes]: ...
