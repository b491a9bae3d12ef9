"""The tables of a run, as Markdown."""

import os
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import median

from wakumail.load.report.machine import cpu_name
from wakumail.load.workload.request_kinds import RequestKind

from .served import Result
from .stored import Appends, Imported, Pruning

PACKAGES = ("wakumail", "lmdb", "uvloop", "cramjam", "coincurve", "pycryptodome")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def machine() -> str:
    """The date, the machine, the versions and the command of the run."""
    cpu = cpu_name()
    cores = len(os.sched_getaffinity(0))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = os.getloadavg()[0]
    return (
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {cores} cores of an {cpu}, load at the "
        f"start {load:.1f}, Python {platform.python_version()}, {packages}.\n"
        f"Command: `python -m bench.archive {' '.join(sys.argv[1:])}`\n"
    )


def spread(values: Sequence[float], scale: float = 1e3, digits: int = 2) -> str:
    """The median of all rounds, with the lowest and the highest."""
    low, middle, high = min(values), median(values), max(values)
    return f"{middle * scale:.{digits}f} ({low * scale:.{digits}f}-{high * scale:.{digits}f})"


def size_name(count: int) -> str:
    """10 k, 1 M."""
    return f"{count // 10**6} M" if count >= 10**6 else f"{count // 10**3} k"


def requests_table(rows: Sequence[tuple[RequestKind, int, Result]]) -> str:
    """The rows of requests, one line for each archive."""
    header = (
        *("request", "clients", "archive", "envelopes", "p50 ms", "p95 ms", "p99 ms"),
        *("server CPU ms", "CPU us/envelope", "of it archive ms", "MB/s"),
        "plain scan CPU ms",
    )
    return table(header, [request_line(*row) for row in rows])


def request_line(row: RequestKind, size: int, result: Result) -> Sequence[str]:
    """One line of requests_table."""
    hits = median(result.hits)
    return (
        *(row.title, str(row.clients), size_name(size), f"{hits:,.0f}"),
        *(f"{result.percentile(percent) * 1e3:.2f}" for percent in (50, 95, 99)),
        spread(result.cpu),
        f"{median(result.cpu) / hits * 1e6:.2f}",
        f"{median(result.archive) * 1e3:.3f}" if result.archive else "",
        f"{median(result.rates):.0f}",
        spread(result.scans, digits=1) if result.scans else "",
    )


def growth_table(pairs: Sequence[tuple[RequestKind, Result, Result]]) -> str:
    """The same request at 1 M and at 10 M: the median of each round's ratio."""

    def ratio(small: Sequence[float], large: Sequence[float]) -> str:
        return f"{median(b / a for a, b in zip(small, large, strict=True)):.2f}"

    lines = [
        (
            *(row.title, str(row.clients), ratio(small.p50, large.p50)),
            *(ratio(small.cpu, large.cpu), ratio(small.hits, large.hits)),
            ratio(small.scans, large.scans) if small.scans else "",
        )
        for row, small, large in pairs
    ]
    header = ("request", "clients", "p50", "server CPU", "envelopes", "plain scan CPU")
    return table(header, lines)


def import_table(imports: Sequence[tuple[Imported, tuple[float, float]]]) -> str:
    """The imports of the archives, and the time to start a server over them."""
    header = (
        *("envelopes", "import, envelopes/s", "CPU us/envelope", "bytes/envelope, pages in use"),
        *("bytes/envelope, file", "start-up s", "of it the archive ms"),
    )
    lines = []
    for imported, (start, opened) in imports:
        count = imported.stat.envelopes
        lines.append(
            (
                *(size_name(count), f"{count / imported.seconds:,.0f}"),
                f"{imported.cpu / count * 1e6:.2f}",
                f"{imported.stat.file_bytes / count:.0f}",
                f"{imported.file_size / count:.0f}",
                *(f"{start:.2f}", f"{opened * 1e3:.2f}"),
            )
        )
    return table(header, lines)


def appends_table(appends: Sequence[tuple[int, Sequence[Appends]]]) -> str:
    """Commits of several sizes to archives of several sizes."""
    header = ("archive", "envelopes per commit", "sync", "wall us/envelope", "CPU us/envelope")
    return table(
        header,
        [
            (
                *(size_name(size), str(one.batch), "on" if one.sync else "off"),
                *(spread(one.wall, scale=1), spread(one.cpu, scale=1)),
            )
            for size, kinds in appends
            for one in kinds
        ],
    )


def pruning_table(prunings: Sequence[tuple[int, Pruning]]) -> str:
    """The cost of pruning a day."""
    header = ("archive", "envelopes", "wall us/envelope", "CPU us/envelope", "slowest slice ms")
    lines = [
        (
            size_name(size),
            f"{one.envelopes:,}",
            *(f"{x:.2f}" for x in (one.wall, one.cpu, one.slowest)),
        )
        for size, one in prunings
    ]
    return table(header, lines)


def disk_table(lines: Sequence[tuple[str, int, float, float]]) -> str:
    """Bytes per envelope by skew and size of a commit."""
    header = ("topics", "envelopes per commit", "bytes/envelope, pages in use", "file", "x raw")
    return table(
        header,
        [
            (name, f"{batch:,}", f"{used:.0f}", f"{file:.0f}", f"{used / 538:.2f}")
            for name, batch, used, file in lines
        ],
    )
