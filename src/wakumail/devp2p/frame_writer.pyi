from collections.abc import Sequence
from typing import Literal, Self, final

from typing_extensions import disjoint_base

from wakumail.base.jobs import Job

@disjoint_base
class FrameWriter:
    def __new__(cls, aes: bytes, mac: bytes, seed: bytes) -> Self: ...
    @property
    def waiting(self) -> int: ...
    def add(self, data: bytes, prefix: bytes = b"") -> None: ...
    def encrypt(self) -> bytes: ...

@final
class Encryption(Job[list[bytes]]):
    def __new__(cls, writers: Sequence[FrameWriter]) -> Self: ...

def _encrypt_with(
    way: Literal["portable", "bmi", "avx2", "avx512"], writers: Sequence[FrameWriter]
) -> list[bytes]: ...
