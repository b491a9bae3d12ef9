"""The floor of the bench does the work that a server does for the same frames."""

from pathlib import Path

import pytest

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.base.rlp import split_list
from wakumail.base.snappy import inflate
from wakumail.devp2p.frame_reader import FrameReader
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.filled_archives import FilledArchives
from wakumail.load.floor.ingest import IngestFloor, ingest_floor, make_writes
from wakumail.load.floor.requests import MAX_REPLY, RequestFloor, request_floor
from wakumail.load.floor.speeds import Speeds
from wakumail.load.floor.wire import AES_KEY, MAC_KEY, SEED, Wire, message_id
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import ALL_PAGES, ONE_TOPIC, RequestKind
from wakumail.waku.packets import Code

LIVE = LiveTraffic(topics=5)
TRAFFIC = ArchivedTraffic(3000, 3)


class HeardWire(Wire):
    """A wire whose far end reads the frames that come."""

    def __init__(self) -> None:
        super().__init__()
        self._far_reader = FrameReader(AES_KEY, MAC_KEY, SEED)
        self.heard: list[bytes] = []

    def drain(self) -> bytes:
        data = super().drain()
        self._far_reader.feed(data)
        while (frame := self._far_reader.next_frame()) is not None:
            self.heard.append(bytes(frame))
        return data

    def payloads(self, code: int) -> list[bytes]:
        """The payloads of the packets with this code."""
        prefix = message_id(code)
        return [
            inflate(frame[len(prefix) :], MAX_REPLY)
            for frame in self.heard
            if frame.startswith(prefix)
        ]


@pytest.mark.parametrize("batch", [1, 70])
def test_the_floor_of_ingest_commits_every_envelope(batch: int, tmp_path: Path) -> None:
    load = SenderLoad(LIVE, 300, batch=batch)
    with HeardWire() as wire, Archive(tmp_path) as archive:
        floor = IngestFloor(wire, archive, confirming=True)
        for write in make_writes(load, wire):
            floor.take(write)
        floor.commit()
        assert archive.stat().envelopes == 300
    assert len(wire.payloads(Code.BATCH_ACK)) == -(-300 // batch)
    assert ingest_floor(load, tmp_path) > 0


@pytest.mark.parametrize("kind", [ONE_TOPIC, ALL_PAGES], ids=lambda kind: kind.name)
def test_the_floor_of_a_request_sends_every_envelope(kind: RequestKind, tmp_path: Path) -> None:
    path = Datadir(FilledArchives(tmp_path).filled(TRAFFIC)).archive
    spec = kind.specs(TRAFFIC)[0]
    with HeardWire() as wire, Archive(path, readonly=True) as archive:
        RequestFloor(wire, archive).answer(spec)
        expected = archive.page_job(spec.query, limit=3000, max_bytes=1 << 24).do()
    sent = [rlp for packet in wire.payloads(Code.P2P_MESSAGE) for rlp in split_list(packet)]
    assert sent == split_list(expected.packet)
    assert request_floor([spec], path, 0.0) > 0


def test_the_speeds_of_a_machine_are_told_in_a_line(tmp_path: Path) -> None:
    speeds = Speeds.here(tmp_path)
    assert min(speeds.keccak, speeds.aes, speeds.copying, speeds.interpreter, speeds.sync) > 0
    assert f"Keccak {speeds.keccak:,.0f} MB/s" in speeds.line()
