"""The log for `wakumail bench cluster`."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from wakumail.base.main_task import run_main
from wakumail.load.process_usage import ProcessUsage
from wakumail.ops.cluster.local_log import LocalLog
from wakumail.ops.cluster.log import Log
from wakumail.ops.cluster.log_message import message_id, pack
from wakumail.ops.cluster.making import make_stream

T = TypeVar("T")

NAME = "bench"
ALONE = "alone"
"""The stream of messages that no host reads."""

FILLED_TOGETHER = 32
"""Messages that are on their way while a stream is filled."""


class BenchLog:
    """Servers of a log that run, and a stream for the hosts of a cluster (see ClusterLog)."""

    def __init__(self, directory: Path, log: LocalLog) -> None:
        self.directory = directory
        self.flags: Sequence[str] = ("--cluster", ",".join(log.urls), "--cluster-name", NAME)
        self._urls = log.urls
        self._usages = [
            ProcessUsage(server.process.pid) for server in log.servers if server.process is not None
        ]

    def cpu(self) -> float:
        """The seconds of CPU that all servers have taken."""
        return sum(usage.cpu() for usage in self._usages)

    def make_streams(self) -> None:
        """Make both streams."""
        for name in (NAME, ALONE):
            run_main(self._with_log, name, lambda log: make_stream(log, keep_days=1))

    def fill(self, streams: Iterator[bytes]) -> None:
        """Write a message for each item: RLPs of envelopes, joined."""
        packed = (pack([stream]) for stream in streams)
        run_main(self._with_log, NAME, lambda log: _publish_all(log, packed, FILLED_TOGETHER))

    def time_alone(self, size: int, count: int, in_flight: int) -> list[float]:
        """The seconds that each of `count` messages of `size` bytes takes to be acknowledged."""
        messages = (os.urandom(size) for _ in range(count))
        return run_main(self._with_log, ALONE, lambda log: _publish_all(log, messages, in_flight))

    async def _with_log(self, name: str, work: Callable[[Log], Awaitable[T]]) -> T:
        log = Log(self._urls, name)
        await log.open()
        try:
            return await work(log)
        finally:
            await log.close()


async def _publish_all(log: Log, messages: Iterator[bytes], in_flight: int) -> list[float]:
    """Publish all messages, some at a time; the seconds that each took."""
    seconds: list[float] = []
    facts = await log.facts()
    log.subject = facts.subject if facts is not None else ""

    async def publish() -> None:
        for message in messages:
            name = message_id(message)
            began = time.perf_counter()
            await log.publish(message, name)
            seconds.append(time.perf_counter() - began)

    await asyncio.gather(*(publish() for _ in range(in_flight)))
    return seconds


@contextmanager
def open_bench_log(directory: Path) -> Iterator[BenchLog]:
    """A log on this machine, while the context lasts; its files are in a new one below."""
    with TemporaryDirectory(prefix="wakumail-", dir=directory) as name:
        path = Path(name)
        with LocalLog(path / "log", NAME) as servers:
            log = BenchLog(path, servers)
            log.make_streams()
            yield log
