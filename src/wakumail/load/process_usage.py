"""CPU time, memory and reading of a server and its workers, as the system counts them."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
RESET_PEAK = "5"
"""Written to /proc/PID/clear_refs, this resets the peak (proc(5))."""


class ProcessUsage:
    """A process and its descendants: a server may have workers."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.cpu()

    def cpu(self) -> float:
        """Seconds of CPU of all threads, as in /proc/PID/stat but not rounded to ticks.

        ProcessLookupError if the process is gone.
        """
        total = process_cpu(self.pid)
        for pid in self._descendants():
            # The CPU of a worker that has ended is lost: a server does not end its workers.
            with contextlib.suppress(ProcessLookupError):
                total += process_cpu(pid)
        return total

    def peak(self) -> int:
        """The largest number of bytes in memory since `reset_peak`, mapped files included."""
        return self._memory("VmHWM")

    def resident(self) -> int:
        """Bytes in memory now, without mapped files: an archive is one."""
        return self._memory("RssAnon")

    def read_bytes(self) -> int:
        """Bytes ever read from a disk, those of mapped files included; 0 if not told."""
        return sum(read_bytes(pid) for pid in self._all())

    def major_faults(self) -> int:
        """Page faults that ever waited for a disk."""
        return sum(major_faults(pid) for pid in self._all())

    def reset_peak(self) -> None:
        """Reset the peak, if the system allows it."""
        for pid in self._all():
            with contextlib.suppress(OSError):
                (PROC / str(pid) / "clear_refs").write_text(RESET_PEAK)

    def _memory(self, name: str) -> int:
        return sum(memory(pid, name) for pid in self._all())

    def _all(self) -> list[int]:
        return [self.pid, *self._descendants()]

    def _descendants(self) -> list[int]:
        children: dict[int, list[int]] = {}
        for pid, parent in processes():
            children.setdefault(parent, []).append(pid)
        found = list(children.get(self.pid, ()))
        for pid in found:  # grows as it goes
            found += children.get(pid, ())
        return found


def process_cpu(pid: int) -> float:
    """Seconds of CPU of one process. ProcessLookupError if there is none."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of a process
    except OSError:
        raise ProcessLookupError(f"no process {pid}") from None


def memory(pid: int, name: str) -> int:
    """Bytes in a line of /proc/PID/status, such as VmHWM; 0 if it is not there."""
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def read_bytes(pid: int) -> int:
    """Bytes in the line `read_bytes` of /proc/PID/io; 0 if it may not be read."""
    try:
        lines = (PROC / str(pid) / "io").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("read_bytes:"))


def major_faults(pid: int) -> int:
    """The field `majflt` of /proc/PID/stat; 0 for a process that is gone."""
    try:
        return int(stat_fields(pid)[9])
    except OSError:
        return 0


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, from the state on. OSError if it is gone."""
    # The name, in brackets, may hold anything.
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def processes() -> Iterator[tuple[int, int]]:
    """The ids of all processes, each with the id of its parent."""
    for path in PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(path.name), int(stat_fields(int(path.name))[1])
