"""The speeds of this machine, so that two reports can be compared."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from wakumail.base.keccak import keccak256

PIECE = 1 << 20
"""Bytes that are hashed or encrypted in one call."""

COPIED = 32 << 20
"""Bytes of a copy: more than the processor's caches hold."""

LOOPS = 200_000
"""Rounds of the interpreter's loop."""

TRIALS = 5
"""Trials of each speed, of which the best counts."""

SYNCS = 20
"""Appends to the file, of whose times the median counts."""

SYNCED = bytes(4096)
"""One append: a page."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """The best of several trials each, for one core."""

    keccak: float
    """MB/s of Keccak-256."""
    aes: float
    """MB/s of AES-256-CTR."""
    copying: float
    """MB/s of memory to memory."""
    interpreter: float
    """Millions of rounds of an empty Python loop with a sum, a second."""
    sync: float
    """Milliseconds to append a page to a file and fdatasync it: the median."""

    @classmethod
    def here(cls, directory: Path | None) -> "Speeds":
        """Measure this machine; the file lies in `directory`, or where temporary files do."""
        piece, large, encryptor = bytes(PIECE), bytes(COPIED), aes_encryptor()
        return cls(
            PIECE / best(lambda: keccak256(piece)) / 1e6,
            PIECE / best(lambda: encryptor(piece)) / 1e6,
            COPIED / best(lambda: bytearray(large)) / 1e6,
            LOOPS / best(lambda: sum(number & 7 for number in range(LOOPS))) / 1e6,
            sync_time(directory) * 1e3,
        )

    def line(self) -> str:
        """All of them in one line."""
        return (
            f"one core: Keccak {self.keccak:,.0f} MB/s, AES-CTR {self.aes:,.0f} MB/s, "
            f"copy {self.copying:,.0f} MB/s, interpreter {self.interpreter:.1f} M rounds/s; "
            f"fdatasync {self.sync:.2f} ms"
        )


def aes_encryptor() -> Callable[[bytes], bytes]:
    """A function that encrypts the next bytes of one AES-256-CTR stream."""
    return Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor().update


def best(work: Callable[[], object]) -> float:
    """Seconds of CPU that the work takes, the least of some trials."""
    taken = []
    for _ in range(TRIALS):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return min(taken)


def sync_time(directory: Path | None) -> float:
    """Seconds of one append and fdatasync: the median of some."""
    taken = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(SYNCED)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return sorted(taken)[SYNCS // 2]
