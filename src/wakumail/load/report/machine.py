"""The header of a report: date, machine, versions and command."""

import os
import platform
import shlex
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

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
    versions: str
    command: str

    @classmethod
    def here(cls) -> "Machine":
        """This machine, now."""
        return cls(
            time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            cpu_name(),
            len(os.sched_getaffinity(0)),
            round(os.getloadavg()[0], 1),
            f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
            ", ".join(f"{name} {version(name)}" for name in PACKAGES),
            shlex.join(["wakumail", *sys.argv[1:]]),
        )

    def lines(self) -> list[str]:
        """Three lines of text; the last is the command."""
        return [
            f"{self.date}, {self.cores} cores of {self.cpu}, load before {self.load}",
            f"{self.system}, {self.versions}",
            f"$ {self.command}",
        ]


def cpu_name() -> str:
    """The model name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
