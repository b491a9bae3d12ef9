"""The header of a report: when, on what, with what, and how it was measured."""

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
    """Where a run took place."""

    date: str
    """UTC, to the minute."""
    cpu: str
    cores: int
    load: float
    """Processes that wanted a core in the minute before."""
    system: str
    versions: str
    command: str

    @classmethod
    def here(cls) -> "Machine":
        """This one, now."""
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
        """The same for a person."""
        return [
            f"{self.date}, {self.cores} cores of {self.cpu}, load before {self.load}",
            f"{self.system}, {self.versions}",
            f"$ {self.command}",
        ]


def cpu_name() -> str:
    """What the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
