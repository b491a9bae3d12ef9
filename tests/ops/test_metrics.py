"""Metrics: status-go's under their exact names, and ours; all are documented."""

import asyncio
import math
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest

from tests.support.archive_model import batch_of
from tests.support.envelopes import make
from tests.support.patience import PATIENCE, asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.scraped import Scraped, metrics_asked_for
from wakumail.archive.archive import Archive, Stat
from wakumail.archive.durability import Durability
from wakumail.archive.gaps import Gaps
from wakumail.archive.outlook import Look, Outlook
from wakumail.archive.retention import DAY, Retention
from wakumail.base.histograms import ANSWER_BYTES, ENVELOPE_BYTES, Histogram
from wakumail.counters import COUNTERS, error_texts
from wakumail.mail.client import connect
from wakumail.mail.request import RequestError
from wakumail.mail.server import Server
from wakumail.ops.cluster.logged_store import LoggedStore
from wakumail.ops.cluster.member import Member
from wakumail.ops.monitoring import health as health_module
from wakumail.ops.monitoring import reporter as reporter_module
from wakumail.ops.monitoring.exposition import (
    COUNTED_ERRORS,
    DERIVED,
    Exposition,
    cluster,
    histogram,
    peers,
)
from wakumail.ops.monitoring.pages import Pages
from wakumail.ops.monitoring.reporter import Reporter
from wakumail.ops.monitoring.statusgo_counters import COUNTERS_OF_STATUS_GO
from wakumail.waku.envelope import Verdict

TOPICS = [b"aaaa", b"bbbb"]
DEPLOY = Path(__file__).parents[2] / "deploy"
PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()

STATUS_GO = {
    "mailserver_envelopes_total": ("counter", set()),
    "mailserver_delivery_failures_total": ("counter", {"type"}),
    "mailserver_delivery_attempts_total": ("counter", set()),
    "mailserver_requests_batched_total": ("counter", set()),
    "mailserver_requests_bundle_process_duration_seconds": ("histogram", set()),
    "mailserver_send_raw_envelope_duration_seconds": ("histogram", set()),
    "mailserver_sent_envelope_batch_size_bytes": ("histogram", set()),
    "mailserver_delivery_duration_seconds": ("histogram", set()),
    "mailserver_archived_envelopes_failures_total": ("counter", {"db"}),
    "mailserver_archived_envelopes_total": ("gauge", {"db"}),
    "mailserver_archived_envelope_size_bytes": ("histogram", {"db"}),
    "mailserver_envelope_queries_total": ("counter", {"filter", "history"}),
    "waku_envelopes_received_total": ("counter", set()),
    "waku_envelopes_validated_total": ("counter", set()),
    "waku_envelopes_rejected_total": ("counter", {"reason"}),
    "waku_envelopes_cache_failures_total": ("counter", {"type"}),
    "waku_envelopes_cached_total": ("counter", {"cache"}),
    "waku_envelopes_size_bytes": ("histogram", set()),
    "waku_rate_limits_processed_total": ("counter", set()),
    "waku_rate_limits_exceeded_total": ("counter", {"type"}),
    "p2p_peers_count": ("gauge", {"type", "version", "platform"}),
    "p2p_peers_absolute": ("gauge", set()),
    "p2p_peers_max": ("gauge", set()),
}
"""Type and labels of each metric that a status-go mailserver has."""


@pytest.fixture(autouse=True)
def one_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send one canary only, so that the numbers are exact."""
    monkeypatch.setattr(health_module, "CANARY_INTERVAL", 3600)


@asynccontextmanager
async def scraped(
    tmp_path: Path, **choices: Any
) -> AsyncIterator[tuple[Server, Reporter, aiohttp.ClientSession]]:
    async with mailserver(tmp_path, **choices) as (server, _):
        reporter = Reporter(server)
        reporter.start()
        pages = Pages(reporter)
        try:
            host, port = await pages.start("127.0.0.1", 0)
            async with aiohttp.ClientSession(f"http://{host}:{port}") as http:
                yield server, reporter, http
        finally:
            await pages.close()
            await reporter.close()


async def scrape(http: aiohttp.ClientSession) -> Scraped:
    async with http.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Scraped(await response.text())


# -- names --------------------------------------------------------------------------------------


@asynchronous
async def test_status_go_s_metrics_have_their_names_types_and_labels(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (server, _, http):
        await Puppet.ready(server.own_enode)
        exposition = await scrape(http)
    for name, (of, labels) in STATUS_GO.items():
        assert (exposition.types.get(name), exposition.labels(name, of)) == (of, labels), name


@asynchronous
async def test_every_counter_is_there_from_the_start(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (server, _, http):
        names = {*COUNTERS, *DERIVED, *error_texts(*COUNTED_ERRORS)}
        exposition = await scrape(http)
        server.counters.add("unheard_of", 3)
        later = await scrape(http)
    assert len(names) > 80
    for name in names:
        assert exposition.types[f"wakumail_{name}_total"] == "counter"
        canary = name in ("connections_accepted", "peers_connected", "queries_topics")
        canary |= name.startswith(("canaries", "requests_", "peers_disconnected"))
        assert canary or exposition.value(f"wakumail_{name}_total") == 0, name
    assert later.value("wakumail_unheard_of_total") == 3


@asynchronous
async def test_every_metric_is_documented(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (server, _, http):
        assert server.store is not None
        server.gaps = Gaps(tmp_path / "gaps.json", newest=None, shown=0, now=0)
        put = asyncio.Event()
        long_ago = int(time.time()) - 2 * DAY
        server.store.put(batch_of(make(1, TOPICS, created=long_ago)), put.set)
        await put.wait()
        server.sync(server.store)
        exposition = await scrape(http)
        types = exposition.types | await cluster_types(tmp_path / "logged", server)
    counted = {f"wakumail_{name}_total" for name in (*COUNTERS, *error_texts(*COUNTED_ERRORS))}
    documented = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    assert documented == {name: of for name, of in types.items() if name not in counted}
    for file in ("alerts.yml", "grafana.json"):
        assert metrics_asked_for(DEPLOY / file) <= set(types)


async def cluster_types(path: Path, server: Server) -> dict[str, str]:
    """The metrics of a host in a cluster whose log is not there."""
    store = LoggedStore(
        Archive(path),
        server.counters,
        durability=Durability.COMMIT,
        retention=Retention(seconds=0, max_size=0, sort_days=False),
    )
    member = Member(("nats://127.0.0.1:1",), "fleet", server, store)
    types = {metric.name: metric.type for metric in cluster(member)}
    assert member.behind
    await store.close()
    return types


def test_the_translation_speaks_of_counters_that_there_are() -> None:
    known = {*COUNTERS, *DERIVED, *error_texts(*COUNTED_ERRORS)}
    for translation in COUNTERS_OF_STATUS_GO:
        for labels, names in translation.rows.items():
            assert len(labels) == len(translation.labels)
            assert set(names) <= known, translation.name


def rows_of(name: str) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    return next(t.rows for t in COUNTERS_OF_STATUS_GO if t.name == name)


def test_every_refusal_of_a_request_is_a_failure_of_one_type() -> None:
    named = [name for names in rows_of("mailserver_delivery_failures").values() for name in names]
    assert len(named) == len(set(named))
    assert set(named) == {*error_texts(RequestError), "requests_abandoned"}


def test_every_verdict_is_told_once() -> None:
    rows = rows_of("waku_envelopes_cache_failures")
    named = [name for names in rows.values() for name in names]
    dropping = set(Verdict) - {Verdict.ACCEPTED, Verdict.DUPLICATE}
    assert sorted(named) == sorted(
        ["envelopes_shed", *(f"envelopes_{verdict.name.lower()}" for verdict in dropping)]
    )
    assert rows_of("waku_envelopes_cached")["hit",] == ("envelopes_duplicate",)


# -- values -------------------------------------------------------------------------------------


@asynchronous
async def test_counters_are_translated(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (server, reporter, http):
        await eventually(lambda: sum(reporter.health.canary.seconds.counts) > 0)
        before = await scrape(http)
        counts = {
            "envelopes_received": 100,
            "envelopes_expired": 1,
            "envelopes_low_pow": 2,
            "envelopes_duplicate": 4,
            "envelopes_shed": 8,
            "request_unopened": 1,
            "request_malformed": 2,
            "requests_rate_limited": 4,
            "requests_too_many_waiting": 8,
            "rate_limit_bytes_peer": 5,
            "rate_limit_packets_peer": 6,
            "queries_bloom_cursor": 9,
        }
        for name, count in counts.items():
            server.counters.add(name, count)
        after = await scrape(http)

    def increase(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert increase("waku_envelopes_received_total") == 100
    assert increase("waku_envelopes_cache_failures_total", type="expired") == 1
    assert increase("waku_envelopes_cache_failures_total", type="low_pow") == 2
    assert increase("waku_envelopes_cached_total", cache="hit") == 4
    assert increase("waku_envelopes_cached_total", cache="miss") == 100 - 1 - 2 - 4 - 8
    assert increase("waku_envelopes_validated_total") == 100 - 1 - 2 - 8
    assert increase("mailserver_archived_envelopes_failures_total", db="archive") == 8
    assert increase("mailserver_delivery_failures_total", type="validation") == 3
    assert increase("mailserver_delivery_failures_total", type="peer_req_limit") == 12
    assert increase("waku_rate_limits_exceeded_total", type="peer_id") == 11
    assert increase("waku_rate_limits_exceeded_total", type="ip") == 0
    assert increase("mailserver_envelope_queries_total", filter="full", history="partial") == 9


@asynchronous
async def test_what_a_request_leaves_behind(tmp_path: Path) -> None:
    now = int(time.time())
    envelopes = make(10, TOPICS[:1], created=now - 60)
    async with scraped(tmp_path) as (server, reporter, http):
        await eventually(lambda: sum(reporter.health.canary.seconds.counts) > 0)
        before = await scrape(http)
        assert server.store is not None
        put = asyncio.Event()
        server.store.put(batch_of(envelopes), put.set)
        await put.wait()
        async with connect(server.own_enode, password="test") as peer:
            pages = [page async for page in peer.history(lower=now - 600, topics=TOPICS[:1])]
            after = await scrape(http)
    assert sum(len(page.envelopes) for page in pages) == 10

    def increase(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert increase("mailserver_envelopes_total") == 10
    assert increase("mailserver_delivery_attempts_total") == 1
    assert increase("mailserver_requests_batched_total") == 1
    assert increase("mailserver_envelope_queries_total", filter="partial", history="full") == 1
    assert increase("mailserver_delivery_duration_seconds_count") == 1
    assert increase("mailserver_requests_bundle_process_duration_seconds_count") >= 1
    assert increase("mailserver_sent_envelope_batch_size_bytes_count") == 1
    size = sum(len(envelope.rlp) for envelope in envelopes)
    assert size < increase("mailserver_sent_envelope_batch_size_bytes_sum") < size + 10
    assert increase("wakumail_commit_duration_seconds_count") == 1
    assert after.value("mailserver_archived_envelopes_total", db="archive") == 10
    assert after.value("wakumail_archive_envelopes") == 10
    assert after.value("wakumail_archive_bytes") == size
    assert after.value("wakumail_archive_oldest_timestamp_seconds") == min(
        e.created for e in envelopes
    )
    assert after.value("p2p_peers_absolute") == 1


@asynchronous
async def test_what_envelopes_leave_behind(tmp_path: Path) -> None:
    envelopes = make(20, TOPICS, created=int(time.time()))
    async with scraped(tmp_path) as (server, _, http):
        async with connect(server.own_enode, password="test") as peer:
            posted = await peer.post([envelope.rlp for envelope in envelopes])
        exposition = await scrape(http)
    assert posted.confirmed == 20
    assert exposition.value("waku_envelopes_cached_total", cache="miss") == 20
    assert exposition.value("wakumail_envelopes_new_total") == 20
    assert exposition.value("waku_envelopes_size_bytes_count") == 20
    assert exposition.value("mailserver_archived_envelope_size_bytes_count", db="archive") == 20
    size = sum(len(envelope.rlp) for envelope in envelopes)
    assert exposition.value("waku_envelopes_size_bytes_sum") == size
    assert exposition.value("wakumail_pool_bytes") == size
    assert exposition.value("wakumail_pool_envelopes") == 20
    assert exposition.value("wakumail_queue_bytes") == 0


def test_buckets_add_up() -> None:
    measured = Histogram(ANSWER_BYTES)
    for size in (10, 1024, 1025, 1 << 30):
        measured.add(size)
    samples = histogram("sizes", "text", measured, "here").samples
    buckets = [sample for sample in samples if sample.name == "sizes_bucket"]
    assert all(sample.labels["db"] == "here" for sample in buckets)
    values = {sample.labels["le"]: sample.value for sample in buckets}
    assert list(values.values()) == sorted(values.values())
    assert (values["1024.0"], values["4096.0"], values["+Inf"]) == (2, 3, 4)
    assert len(values) == len(ANSWER_BYTES) + 1


def test_a_batch_s_sizes_fit_the_histogram() -> None:
    """Compiled counts and buckets put each value in the same bucket."""
    batch = batch_of(make(50, TOPICS))
    measured, expected = Histogram(ENVELOPE_BYTES), Histogram(ENVELOPE_BYTES)
    measured.add_counts(batch.sizes(ENVELOPE_BYTES), batch.accepted_size)
    for envelope in batch:
        expected.add(len(envelope.rlp))
    assert (measured.counts, measured.sum) == (expected.counts, expected.sum)


# -- peers --------------------------------------------------------------------------------------


def fake_server(client_ids: list[str]) -> tuple[Server, list[bytes]]:
    """The part of a server that the gauges of peers read."""
    identities = [os.urandom(64) for _ in client_ids]
    links = [
        SimpleNamespace(
            node_id=identity,
            inbound=number % 2 == 0,
            peer=SimpleNamespace(name="waku/1", hello=SimpleNamespace(client_id=client_id)),
        )
        for number, (identity, client_id) in enumerate(zip(identities, client_ids, strict=True))
    ]
    node = SimpleNamespace(peers=links, config=SimpleNamespace(maxpeers=50))
    return cast(Server, SimpleNamespace(node=node)), identities


def test_peers_by_what_they_are() -> None:
    server, identities = fake_server(
        [
            "StatusIM/v1.2.3/linux-amd64/go1.13",
            "StatusIM/v1.2.3-beta/linux-amd64/go1.14",
            "something/else",
            "wakumail/v0.1.0/linux-x86_64/python3.11",
        ]
    )
    families = {family.name: family for family in peers(server, canary=identities[-1])}
    kinds = {
        (s.labels["type"], s.labels["version"], s.labels["platform"]): s.value
        for s in families["p2p_peers_count"].samples
    }
    assert kinds == {("StatusIM", "v1.2.3", "linux-amd64"): 2, ("other",) * 3: 1}
    assert families["p2p_peers_absolute"].samples[0].value == 3
    assert families["p2p_peers_max"].samples[0].value == 50
    ways = {s.labels["direction"]: s.value for s in families["wakumail_peers"].samples}
    assert ways == {"inbound": 2, "outbound": 1}


# -- health, and missing parts ------------------------------------------------------------------


@asynchronous
async def test_the_archive_s_trouble_is_seen(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (server, reporter, http):
        await eventually(lambda: sum(reporter.health.canary.seconds.counts) > 0)
        exposition = await scrape(http)
        assert set(exposition.rows("wakumail_check_failing").values()) == {0}
        assert exposition.value("wakumail_archive_degraded") == 0
        assert server.store is not None
        server.store.disk_problem = "the disk is full"
        exposition = await scrape(http)
        assert exposition.value("wakumail_check_failing", check="archive") == 1
        assert exposition.value("wakumail_archive_degraded") == 1
        server.store.disk_problem = ""


@asynchronous
async def test_an_archive_that_hangs_costs_its_gauges_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter_module, "LOOK_TIMEOUT", 0)
    released = threading.Event()
    calls: list[int] = []

    def hang(archive: Archive, *_: object) -> Look:
        calls.append(1)
        released.wait(PATIENCE)
        return Look(Stat(7, 7, 7, 7, None, None, 7, 0, 0, 0), [], Outlook(14, 0, None, None))

    monkeypatch.setattr(reporter_module, "look_at", hang)
    async with scraped(tmp_path) as (_, _, http):
        try:
            for _ in range(3):
                exposition = await scrape(http)
                assert "wakumail_archive_envelopes" not in exposition.types
                assert "wakumail_queue_bytes" in exposition.types
            await eventually(lambda: calls)
            assert len(calls) == 1
            released.set()
            monkeypatch.setattr(reporter_module, "LOOK_TIMEOUT", PATIENCE)
            assert (await scrape(http)).value("wakumail_archive_envelopes") == 7
        finally:
            released.set()


@asynchronous
async def test_the_outlook_of_the_disk(tmp_path: Path) -> None:
    now = int(time.time())
    async with scraped(tmp_path) as (server, _, http):
        assert server.store is not None
        young = await scrape(http)
        put = asyncio.Event()
        server.store.put(batch_of(make(3000, TOPICS, created=now - 9, spread=3 * DAY)), put.set)
        await put.wait()
        grown = await scrape(http)
        server.store.retain(Retention(DAY, 0, sort_days=False))
        kept = await scrape(http)
        file = Path(server.store.archive.path) / "data.mdb"
        assert grown.value("wakumail_archive_size_bytes") == file.stat().st_size
    assert "wakumail_archive_daily_growth_bytes" not in young.types
    assert "wakumail_archive_full_seconds" not in young.types
    room = grown.value("wakumail_archive_free_bytes")
    room += grown.value("wakumail_archive_disk_free_bytes")
    growth = grown.value("wakumail_archive_daily_growth_bytes")
    assert grown.value("wakumail_archive_full_seconds") == pytest.approx(room / growth * DAY)
    assert kept.value("wakumail_archive_full_seconds") == math.inf


@asynchronous
async def test_an_empty_archive_has_no_oldest_envelope(tmp_path: Path) -> None:
    async with scraped(tmp_path) as (_, _, http):
        exposition = await scrape(http)
    assert exposition.value("wakumail_archive_envelopes") == 0
    assert "wakumail_archive_oldest_timestamp_seconds" not in exposition.types


@asynchronous
async def test_a_node_without_an_archive(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        reporter = Reporter(server)
        bare = SimpleNamespace(**vars(server) | {"store": None, "history": None})
        exposition = Exposition(cast(Server, bare), reporter.health, None)
        families = {family.name for family in exposition.collect()}
    assert {"waku_envelopes_received", "p2p_peers_absolute", "wakumail_commits"} <= families
    assert not {"mailserver_archived_envelopes_total", "wakumail_queue_bytes"} & families
    assert "mailserver_delivery_duration_seconds" not in families
