"""Print the tables; with --keep write them to bench/ARCHIVE.md, and the plot beside it."""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from wakumail.load.server_process import ServerProcess
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.request_kinds import LONG_ABSENCE, ONE_TOPIC, REQUEST_KINDS, RequestKind

from . import report
from .plot import Line, plot
from .served import Bench, Result, Site
from .stored import (
    IMPORT_BATCH,
    Imported,
    import_dump,
    measure_appends,
    measure_disk,
    measure_hits,
    measure_parsing,
    measure_pruning,
    measure_start,
)

SIZES = (10_000, 100_000, 1_000_000)
LARGE = 10_000_000
TABLED = 1_000_000
"""The table of requests has the archives from this size on; the plot has all."""

NOTES = """\
Envelopes of 538 bytes (512 of data), 30 days, 1000 envelopes for each topic in every archive. So
an archive with ten times the envelopes has ten times the topics, and a request has an answer of
the same size. Server and clients are processes of their own on loopback. A client checks sizes
only, to leave the CPU to the server. Its time runs from sending a request to its completion. CPU
is that of the server process. "Plain scan" is a Python loop over the rows of the same archive in
order of time, with the `lmdb` package, in a process of its own, in turn with the requests. It
does the work of a server that has no other index, without the network. Only its CPU counts,
because the machine takes memory back from the page cache. The archive's time is the CPU of
`Archive.page_job` alone. Each number is the median of three rounds, with the least and the greatest
of their medians in brackets.
"""


class Run:
    """One run of all benches, with its results so far."""

    def __init__(self, directory: Path, sizes: tuple[int, ...]) -> None:
        self.directory = directory
        self.sizes = sizes
        self.imports: list[tuple[Imported, tuple[float, float]]] = []
        self.rows: list[tuple[RequestKind, int, Result]] = []

    def measure(self) -> str:
        """All tables."""
        sections = ["# Archive benches\n", report.machine(), NOTES]
        longer = ""
        with ExitStack() as stack:
            sites = [self._build(size, stack) for size in self.sizes]
            self._ask(sites)
            if self.sizes[-1] == LARGE:
                longer = self._longer(sites[-2], stack)
        large = [site for site in sites if site.traffic.envelopes >= TABLED]
        sections += ["## Requests\n", report.requests_table(self._tabled())]
        if self.sizes[-1] == LARGE:
            sections += [
                "## Growth in traffic: 10 M against 1 M, ten times the topics\n",
                report.growth_table(self._pairs()),
                "## Growth in time: 10 M of 300 days against 1 M of 30, the same topics\n",
                longer,
            ]
        sections += [
            "![latency against archive size](latency.svg)\n",
            "## Import and start-up\n",
            report.import_table(self.imports),
            "## Appending to an archive\n",
            self._appends(large),
            "## Retention: the oldest day\n",
            self._prunings(large),
            "## Disk\n",
            self._disk(),
        ]
        return "\n".join(sections)

    def plot(self) -> str:
        """Latency against archive size."""
        lines = []
        for row, color in ((ONE_TOPIC, "#0072b2"), (LONG_ABSENCE, "#d55e00")):
            found = [(size, result) for name, size, result in self.rows if name == row]
            scans = [(size, median(result.scans) * 1e3) for size, result in found]
            served = [(size, result.percentile(50) * 1e3) for size, result in found]
            lines.append(Line(f"scan: {row.title}", color, scans, dashed=True))
            lines.append(Line(row.title, color, served))
        title = "The same request on a growing archive: served, and a plain scan (its CPU)"
        return plot(lines, title, "envelopes in the archive", "latency (p50), milliseconds")

    def _build(self, size: int, stack: ExitStack) -> Site:
        say(f"an archive of {size:,} envelopes")
        traffic = ArchivedTraffic.of(size)
        datadir = self.directory / str(size)
        imported = import_dump(datadir, traffic)
        self.imports.append((imported, measure_start(datadir)))
        return Site(traffic, datadir, stack.enter_context(ServerProcess(datadir)))

    def _ask(self, sites: list[Site]) -> None:
        with Bench() as bench:
            for row in REQUEST_KINDS:
                say(f"{row.title}, clients: {row.clients}")
                plotted = row in (ONE_TOPIC, LONG_ABSENCE)
                asked = [s for s in sites if plotted or s.traffic.envelopes >= TABLED]
                for site, result in zip(asked, bench.run(row, asked), strict=True):
                    self.rows.append((row, site.traffic.envelopes, result))

    def _longer(self, site: Site, stack: ExitStack) -> str:
        """The same traffic for ten times the time: the same requests have the same answers."""
        say("an archive of ten times the days")
        traffic = ArchivedTraffic(LARGE, site.traffic.topic_count, days=10 * site.traffic.days)
        datadir = self.directory / "longer"
        import_dump(datadir, traffic)
        longer = Site(traffic, datadir, stack.enter_context(ServerProcess(datadir)))
        with Bench() as bench:
            results = [bench.run(row, [site, longer]) for row in REQUEST_KINDS]
        pairs = [
            (row, small, large) for row, (small, large) in zip(REQUEST_KINDS, results, strict=True)
        ]
        return report.growth_table(pairs)

    def _tabled(self) -> list[tuple[RequestKind, int, Result]]:
        return [row for row in self.rows if row[1] >= TABLED]

    def _pairs(self) -> list[tuple[RequestKind, Result, Result]]:
        tabled = self._tabled()
        return [
            (row, small, large)
            for (row, _, small), (_, _, large) in zip(tabled[::2], tabled[1::2], strict=True)
        ]

    def _appends(self, sites: list[Site]) -> str:
        say("appending")
        appends = [
            (site.traffic.envelopes, measure_appends(site.archive, site.traffic.topic_count))
            for site in sites
        ]
        by_topic, by_time = measure_hits(self.directory)
        return (
            f"{report.appends_table(appends)}\n"
            f"To read and hash an envelope before that takes {measure_parsing():.2f} us of CPU.\n\n"
            f"An index hit takes {by_topic:.0f} ns by topic and {by_time:.0f} ns by time, with a "
            "copy of a nearly empty envelope.\n"
        )

    def _prunings(self, sites: list[Site]) -> str:
        say("pruning")
        return report.pruning_table(
            [(site.traffic.envelopes, measure_pruning(site.archive)) for site in sites]
        )

    def _disk(self) -> str:
        say("disk")
        return report.disk_table(
            [
                (name, batch, *measure_disk(self.directory, zipf=zipf, batch=batch))
                for name, zipf in (("uniform", False), ("zipf", True))
                for batch in (1, 10, 100, IMPORT_BATCH)
            ]
        )


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"bench: {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.archive", description=__doc__)
    parser.add_argument("--large", action="store_true", help="10 M envelopes too: 15 GB of disk")
    parser.add_argument("--dir", help="where to make the archives; the system's temporary one")
    parser.add_argument("--keep", action="store_true", help="write bench/ARCHIVE.md and the plot")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wakumail-bench-", dir=arguments.dir) as directory:
        run = Run(Path(directory), (*SIZES, LARGE) if arguments.large else SIZES)
        tables = run.measure()
    print(tables)
    if arguments.keep:
        bench = Path(__file__).parent.parent
        (bench / "ARCHIVE.md").write_text(tables)
        (bench / "latency.svg").write_text(run.plot())


main()
