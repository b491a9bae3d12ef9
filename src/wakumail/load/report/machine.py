"""The header of a report: date, machine, its speeds, versions and command."""

import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from wakumail.base.text import utc
from wakumail.load.floor.speeds import Speeds

PACKAGES = ("wakumail", "uvloop", "cramjam", "coincurve", "cryptography")


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a run, and what ran there."""

    date: str
    """UTC, to the minute."""
    cpu: str
    cores: int
    load: float
    """The average number of processes that wanted a core, in the minute before."""
    system: str
    speeds: Speeds
    versions: str
    command: str

    @classmethod
    def here(cls, directory: Path | None) -> "Machine":
        """This machine, now, and the disk of `directory` (see Speeds.here)."""
        return cls(
            utc(int(time.time())),
            cpu_name(),
            len(os.sched_getaffinity(0)),
            round(os.getloadavg()[0], 1),
            f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
            Speeds.here(directory),
            ", ".join(f"{name} {version(name)}" for name in PACKAGES),
            shlex.join(["wakumail", *sys.argv[1:]]),
        )

    def lines(self) -> list[str]:
        """Four lines of text; the last is the command."""
        return [
            f"{self.date}, {self.cores} cores of {self.cpu}, load before {self.load}",
            f"{self.system}, {self.versions}",
            self.speeds.line(),
            f"$ {self.command}",
        ]


def cpu_name() -> str:
    """The model name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
