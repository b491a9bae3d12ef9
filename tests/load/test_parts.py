"""The parts of the load bench that need no server."""

import os
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.browser import chromium
from tests.support.codec import FrameCodec
from wakumail.base.rlp import join_list
from wakumail.load.case_results import CaseResult, compare
from wakumail.load.clients.blocking_connection import BlockingConnection
from wakumail.load.clients.sender import SenderLoad, SendQueue
from wakumail.load.clients.skimmer import Skimmer
from wakumail.load.floor.speeds import Speeds
from wakumail.load.measures import METRICS, Measures, Spread, percentile, ratio
from wakumail.load.process_usage import ProcessUsage, process_cpu
from wakumail.load.report.html import html_report
from wakumail.load.report.machine import Machine
from wakumail.load.report.tables import json_report, text_report
from wakumail.load.scenarios.cases import split
from wakumail.load.scenarios.goals import Goal, PlannedCase, goal_cases
from wakumail.load.scenarios.soak import drift
from wakumail.load.workload.archived_traffic import (
    ARCHIVED_TTL,
    DAY,
    ENVELOPE_SIZE,
    TRAFFIC_END,
    ArchivedTraffic,
)
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import REQUEST_KINDS, TOPIC_CHOICES
from wakumail.waku.envelope import Envelope, parse

AES, MAC = bytes(range(32)), bytes(range(32, 64))

# -- workload --------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "sizes"), [(100, [100, 100, 50]), (1000, [250])])
def test_live_envelopes_are_distinct_and_of_one_size(size: int, sizes: list[int]) -> None:
    batches = list(LiveTraffic(topics=3).batches(250, size, 0.0))
    envelopes = [envelope for batch in batches for envelope in batch]
    assert [len(batch) for batch in batches] == sizes
    assert len(set(envelopes)) == 250
    assert {len(envelope) for envelope in envelopes} == {ENVELOPE_SIZE}
    assert len({Envelope.decode(envelope).topic for envelope in envelopes}) == 3


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_duplicates_have_their_share(share: float) -> None:
    batches = list(LiveTraffic(duplicates=share).batches(1000, 10, 0.0))
    distinct = {envelope for batch in batches for envelope in batch}
    assert len(distinct) == pytest.approx(1000 * (1 - share), abs=1)


def test_live_envelopes_show_the_pow_that_is_wanted() -> None:
    (batch,) = LiveTraffic().batches(20, 20, 0.002)
    assert all(envelope.pow >= 0.002 for envelope in parse(join_list(batch)))
    assert {len(envelope) for envelope in batch} == {ENVELOPE_SIZE}


def test_archived_traffic_is_repeatable_and_does_not_compress() -> None:
    traffic = ArchivedTraffic(6000, 6)
    batches = list(traffic.batches(1000))
    created = [envelope.created for batch in batches for envelope in batch]
    assert b"".join(traffic.dump()) == b"".join(traffic.dump())
    assert (
        TRAFFIC_END - traffic.span - DAY < min(created) <= max(created) < TRAFFIC_END + ARCHIVED_TTL
    )
    assert len({envelope.data[:8] for batch in batches for envelope in batch}) == 6000


@pytest.mark.parametrize("kind", REQUEST_KINDS, ids=lambda kind: kind.name)
def test_rows_ask_within_the_traffic(kind: Any) -> None:
    specs = kind.specs(ArchivedTraffic(100_000, 100))
    assert TOPIC_CHOICES / 2 < len(set(specs)) <= TOPIC_CHOICES if kind.topics else len(specs) == 1
    assert all(TRAFFIC_END - 30 * DAY < spec.lower < spec.upper == TRAFFIC_END for spec in specs)


def test_a_connection_with_nothing_to_send_sends_nothing() -> None:
    """It sends no ping either: the answer would end the next run."""
    ours, theirs = socket.socketpair()
    connection = SimpleNamespace(
        socket=ours,
        server_status=SimpleNamespace(pow=None),
        message_id=lambda code: bytes([code]),
        encode_p2p=lambda code: bytes([code]),
    )
    with ours, theirs:
        queue = SendQueue(cast(BlockingConnection, connection), 0)
        assert not list(queue.make(SenderLoad(LiveTraffic(), 0, confirmed=False), 0))
        queue.encrypt()
        assert queue.done
        assert not queue.push()
        ours.close()
        assert theirs.recv(1) == b""


# -- skimming ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_skimmer_agrees_with_the_codec(chunk: int) -> None:
    codec, skimmer = FrameCodec(AES, MAC, b"", b""), Skimmer(AES)
    packets = [os.urandom(size) for size in (1, 16, 17, 5000, 3, 70_000, 32)]
    wire = b"".join(codec.encode(packet) for packet in packets)
    seen = []
    while wire:
        room = skimmer.get_buffer()[:chunk]
        count = min(len(room), len(wire))
        room[:count], wire = wire[:count], wire[count:]
        if (frame := skimmer.received(count)) is not None:
            seen.append(skimmer.data(frame))
            assert frame.first == seen[-1][:16]
            assert frame.size == len(seen[-1])
    assert seen == packets


def test_skimmer_tells_the_end() -> None:
    with pytest.raises(ConnectionError):
        Skimmer(AES).received(0)


# -- usage -----------------------------------------------------------------------------------

FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
room = bytearray(64 << 20)
for _ in range(10 ** 6): pass
print("done", flush=True)
input()
'''], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("done", flush=True)
input()
child.communicate(b"\\n")
"""


def test_usage_has_the_children_too() -> None:
    command = [sys.executable, "-c", FAMILY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        usage = ProcessUsage(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        assert usage.cpu() > process_cpu(process.pid)
        assert usage.resident() > 64 << 20
        assert usage.peak() >= usage.resident()
        usage.reset_peak()
        process.communicate(b"\n")
    with pytest.raises(ProcessLookupError):
        usage.cpu()


# -- numbers ----------------------------------------------------------------------------------


def test_numbers() -> None:
    assert Spread.of([3, 1, 2]) == Spread(1, 2, 3)
    assert (percentile([], 99), percentile([2.0], 99)) == (0, 2)
    assert percentile(list(range(101)), 99) == 99
    assert (ratio(6, 3), ratio(1, 0)) == (2, 0)
    assert (split(5, 2), split(1, 2)) == ([3, 2], [1])
    assert drift([2.0, 2.0, 9.0, 3.0, 3.0, 3.0]) == 1.5


# -- the report -------------------------------------------------------------------------------

SPEEDS = Speeds(500.0, 1200.0, 9000.0, 40.0, 1.5)
MACHINE = Machine(
    "2026-01-01 00:00 UTC", "a <chip>", 2, 0.5, "system", SPEEDS, "versions", "wakumail bench"
)
INGEST, INGEST_BY_4, *_, RATIO = goal_cases()


def result(planned: PlannedCase, *runs: Measures, server: str = "wakumail") -> CaseResult:
    return CaseResult(planned, server, list(runs))


def test_report_tells_medians_spread_and_goals() -> None:
    runs: list[Measures] = [{"ingested": rate, "envelope_cpu": 9.0} for rate in (1e5, 3e5, 2e5)]
    text = text_report(MACHINE, [result(INGEST, *runs)], 1)
    assert "200,000 (100,000-300,000)" in text
    goals = [line for line in text.splitlines() if "at least" in line or "at most" in line]
    assert [line.rstrip(" |").rpartition(" ")[2] for line in goals] == ["yes", "NO"]
    assert "31,200" in goals[0]
    assert "47.00" in goals[1]


def test_two_servers_have_a_ratio() -> None:
    one = result(INGEST, {"ingested": 100.0, "peak": 5.0}, server="one")
    other = result(INGEST, {"ingested": 250.0}, server="other")
    assert compare(one, other) == {"ingested": 2.5}
    text = text_report(MACHINE, [one, other], 2)
    assert "2.50 x" in text
    assert text.index(" one |") < text.index(" other |") < text.index("second to first")


@pytest.mark.parametrize(
    ("run", "note"),
    [
        ({"client": 81.0}, "the client took 81 %"),
        ({"cores": 96.0}, "all cores were busy"),
        ({"envelopes": 0.0}, "no envelope came"),
    ],
)
def test_the_bench_says_when_the_server_was_not_what_was_measured(run: Measures, note: str) -> None:
    (said,) = result(INGEST, run).notes()
    assert said.startswith(note)
    assert note in text_report(MACHINE, [result(INGEST, run)], 1)
    assert not list(result(INGEST, {"client": 79.0, "cores": 90.0, "envelopes": 1.0}).notes())


def test_what_failed_is_in_the_report() -> None:
    failed = CaseResult(INGEST, "wakumail", failure="the server hung up")
    assert "failed: the server hung up" in text_report(MACHINE, [failed], 1)
    assert "failed: the server hung up" in html_report(MACHINE, [failed], 1)
    assert json_report(MACHINE, [failed])["results"][0]["notes"] == ["failed: the server hung up"]


def test_a_case_that_failed_reaches_no_goal() -> None:
    failed = CaseResult(INGEST, "wakumail", failure="the server hung up")
    lines = text_report(MACHINE, [failed], 1).splitlines()
    goals = [line for line in lines if "at least" in line or "at most" in line]
    assert len(goals) == len(INGEST.goals)
    assert all(line.endswith("|      NO |") for line in goals)
    html = html_report(MACHINE, [failed], 1)
    assert html.count('class="no">NO</td>') == len(INGEST.goals)
    assert "<circle" not in html  # nothing was measured


def test_goals_that_a_server_does_not_tell_are_left_out() -> None:
    text = text_report(MACHINE, [result(INGEST, {"ingested": 2e5})], 1)
    assert text.count("at least") == 1
    assert "at most" not in text


def test_goals_are_known_metrics() -> None:
    every = [goal for planned in goal_cases() for goal in planned.goals]
    assert Goal("envelope_cpu", 47, 8) in every
    assert all(goal.metric in METRICS for goal in every)


class Checker(HTMLParser):
    """Notes all that a browser would load or run, and tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe"):
            self.wrong.append(tag)
        self.wrong += [name for name, _ in attributes if name in ("src", "href", "onload")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            self.wrong.append(f"/{tag}")


def test_page_is_whole_and_loads_nothing() -> None:
    run: Measures = {"ingested": 1e5, "envelope_cpu": 9.0, "peak": 1.0, "disk": 650.0}
    results = [result(INGEST, run), result(INGEST_BY_4, run), result(RATIO, {"ratio": 0.0})]
    html = html_report(MACHINE, results, 1)
    checker = Checker()
    checker.feed(html)
    assert not checker.wrong
    assert not checker.open
    assert "a &lt;chip&gt;" in html
    assert html.count("<svg") == 1 + 4 + 1
    assert "url(" not in html


def test_every_column_is_seen_on_a_desk_and_on_a_phone(tmp_path: Path) -> None:
    """The widest table is that of requests."""
    metrics = (
        "throughput envelopes p50 p99 envelope_cpu request_cpu request_floor distance peak "
        "resident client cores"
    )
    run: Measures = dict.fromkeys(metrics.split(), 76.54)
    case = next(each for each in goal_cases() if each.case.scenario == "request")
    page = html_report(MACHINE, [result(case, run, dict.fromkeys(run, 123.45))], 1)
    file = tmp_path / "report.html"
    file.write_text(page)
    right = "[...document.querySelectorAll('td')].map(each => each.getBoundingClientRect().right)"
    with chromium(tmp_path) as browser:
        for width in (1200, 390):
            browser.open(file.as_uri(), width=width)
            sizes = ("scrollWidth", "clientWidth")  # what the page needs, and what it has
            needed, seen = (browser.run(f"document.documentElement.{each}") for each in sizes)
            assert needed == seen <= width
            edges = browser.run(right)
            assert len(edges) == page.count("<td ")
            assert max(edges) <= seen
        assert browser.requests == [file.as_uri()] * 2
