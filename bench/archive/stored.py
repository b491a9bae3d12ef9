"""The cost of storing: time and CPU per envelope, bytes on disk, the rate of an import."""

import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from wakumail.archive.archive import Archive, Query, Stat
from wakumail.load import filled_archives
from wakumail.load.filled_archives import write_dump
from wakumail.load.server_process import ServerProcess
from wakumail.load.workload.archived_traffic import DAY, TRAFFIC_END, ArchivedTraffic
from wakumail.waku.envelope import Batch, parse_stream

ROUNDS = 3
EVERYTHING = 1 << 30

IMPORT_BATCH = 7800
"""Envelopes of 538 bytes that an import reads at a time, and commits at once."""

SAMPLE = 33_334 * 3
"""Envelopes of three days, as dense as a million in thirty."""

HIT_TRAFFIC = ArchivedTraffic(100_000, 10, days=0.5, data_size=1)
"""Nearly empty envelopes, so that only the index is measured."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of `wakumail archive import` into a new archive; seconds of wall time and CPU."""

    seconds: float
    cpu: float
    stat: Stat
    file_size: int
    """Bytes of data.mdb."""


def import_dump(datadir: Path, traffic: ArchivedTraffic) -> Imported:
    """Write the traffic into a dump and import it."""
    dump = datadir.with_suffix(".dump")
    write_dump(traffic, dump)
    began, cpu = time.perf_counter(), children_cpu()
    filled_archives.import_dump(datadir, dump)
    seconds, cpu = time.perf_counter() - began, children_cpu() - cpu
    dump.unlink()
    with Archive(datadir / "archive", readonly=True) as archive:
        stat = archive.stat()
    return Imported(seconds, cpu, stat, (datadir / "archive" / "data.mdb").stat().st_size)


def children_cpu() -> float:
    """Seconds of CPU of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass(slots=True)
class Appends:
    """Microseconds per envelope of one kind of commit; lists have one entry a round."""

    batch: int
    sync: bool
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def measure_appends(path: Path, topic_count: int) -> list[Appends]:
    """Append to an archive, near its end, in commits of several sizes, synced and not, in turn."""
    kinds = [Appends(batch, sync) for batch in (1, 100, 1000) for sync in (True, False)]
    for number in range(ROUNDS):
        for kind in kinds:
            seed = 1000 + 100 * number + kinds.index(kind)
            count = 20_000 if kind.batch > 1 else 300 if kind.sync else 5000
            traffic = ArchivedTraffic(count, topic_count, days=count * 30 / 1e6, seed=seed)
            with Archive(path, sync=kind.sync) as archive:
                wall, cpu = append(archive, list(traffic.batches(kind.batch)))
            kind.wall.append(wall / count * 1e6)
            kind.cpu.append(cpu / count * 1e6)
    return kinds


def append(archive: Archive, batches: Iterable[Batch]) -> tuple[float, float]:
    """Make one commit of each batch; seconds of wall time and CPU."""
    began, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        archive.append([batch])
    return time.perf_counter() - began, time.process_time() - cpu


def measure_parsing() -> float:
    """Microseconds of CPU per envelope to read and hash a dump."""
    dump = b"".join(ArchivedTraffic(10_000, 1000).dump())
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        batch, _ = parse_stream(dump, final=True)
        taken.append((time.process_time() - began) / len(batch) * 1e6)
    return median(taken)


@dataclass(frozen=True, slots=True)
class Pruning:
    """The deletion of the oldest day of an archive as a server does it, in synced slices."""

    envelopes: int
    wall: float
    """Microseconds per envelope."""
    cpu: float
    slowest: float
    """Milliseconds of one slice."""


def measure_pruning(path: Path) -> Pruning:
    """Prune the oldest whole day, and the piece of one before it, as the store does."""
    envelopes, more = 0, True
    slices = []
    with Archive(path) as archive:
        days = archive.days()[:2]
        limit = max(day.envelopes for day in days)
        cpu = time.process_time()
        while more:
            began = time.perf_counter()
            pruned = archive.prune(days[-1].start + DAY, limit=limit)
            slices.append(time.perf_counter() - began)
            envelopes, more = envelopes + pruned.envelopes, pruned.more
    cpu = time.process_time() - cpu
    return Pruning(
        envelopes, sum(slices) / envelopes * 1e6, cpu / envelopes * 1e6, max(slices) * 1e3
    )


def measure_disk(directory: Path, *, zipf: bool, batch: int) -> tuple[float, float]:
    """Bytes per envelope of a new archive: of its pages in use, and of its file."""
    path = directory / f"disk-{zipf}-{batch}"
    traffic = ArchivedTraffic(SAMPLE, 1000, days=3, zipf=zipf)
    with Archive(path, sync=False) as archive:
        append(archive, traffic.batches(batch))
        stat = archive.stat()
    size = (path / "data.mdb").stat().st_blocks * 512
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    return stat.file_bytes / stat.envelopes, size / stat.envelopes


def measure_hits(directory: Path) -> tuple[float, float]:
    """Nanoseconds of CPU per hit, by topic and by time, of nearly empty envelopes."""
    path = directory / "hits"
    with Archive(path, sync=False) as archive:
        append(archive, HIT_TRAFFIC.batches(1000))
        by_topic = Query(0, TRAFFIC_END, topics=HIT_TRAFFIC.topics[:1])
        return time_hits(archive, by_topic), time_hits(archive, Query(0, TRAFFIC_END))


def time_hits(archive: Archive, query: Query) -> float:
    """Nanoseconds of CPU per envelope of one large page."""
    taken = []
    for _ in range(20):
        began = time.process_time()
        page = archive.page_job(
            query, limit=EVERYTHING, max_bytes=EVERYTHING, budget=EVERYTHING
        ).do()
        taken.append((time.process_time() - began) / page.count * 1e9)
    return median(taken)


def measure_start(datadir: Path) -> tuple[float, float]:
    """Seconds until `wakumail serve` accepts connections, and until the archive alone is open."""
    starts, opens = [], []
    for _ in range(ROUNDS):
        with ServerProcess(datadir) as process:
            starts.append(process.running.started)
        began = time.perf_counter()
        with Archive(datadir / "archive") as archive:
            archive.stat()
            opens.append(time.perf_counter() - began)
    return median(starts), median(opens)
