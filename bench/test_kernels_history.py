"""Micro benches of a whole request for a topic's day: over HTTP (--store), and over the wire."""

import http.client
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.devp2p.enode import Enode
from wakumail.load.clients.history_reader import HistoryReaderLoad
from wakumail.load.server_process import ServerProcess
from wakumail.load.workload.archived_traffic import DAY, TRAFFIC_END, ArchivedTraffic
from wakumail.load.workload.request_kinds import RequestSpec
from wakumail.waku.waku2_message import NANOSECONDS, content_topic

ONE_DAY = ArchivedTraffic(20_000, 1000, days=1)
TOPIC = ONE_DAY.topics[0]
LOWER, UPPER = TRAFFIC_END - DAY, TRAFFIC_END


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Enode, int]]:
    """The enode of a server, and its port for HTTP."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        datadir = Datadir(Path(name))
        datadir.make()
        with Archive(datadir.archive, sync=False) as archive:
            for batch in ONE_DAY.batches(1000):
                archive.append([batch])
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        with ServerProcess(datadir.path, ("--store", "--store.port", str(port))) as process:
            yield process.running.enode, port


@pytest.mark.benchmark(group="the day of one of 1000 topics, with its data")
@pytest.mark.parametrize("side", ["HTTP", "wire"])
def test_a_day(benchmark: BenchmarkFixture, server: tuple[Enode, int], side: str) -> None:
    enode, port = server
    if side == "wire":
        spec = RequestSpec(LOWER, UPPER, topics=(TOPIC,))
        with closing(HistoryReaderLoad([spec], seconds=0.0, count=1).open(enode)) as reader:
            reader.prepare()
            benchmark(reader.run, lambda: False)
    else:
        asked = f"contentTopics={content_topic(TOPIC)}&includeData=true&pageSize=100"
        times = f"startTime={LOWER * NANOSECONDS}&endTime={UPPER * NANOSECONDS}"
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as caller:

            def ask() -> bytes:
                caller.request("GET", f"/store/v3/messages?{asked}&{times}")
                return caller.getresponse().read()

            assert benchmark(ask).count(b'"messageHash"') > 1
