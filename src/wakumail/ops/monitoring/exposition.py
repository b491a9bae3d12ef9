"""The metrics of the server in the format of Prometheus.

Nothing is counted for this page: a scrape reads the counters and the live state. There are two sets
of names: those of status-go (see statusgo_counters.py), and ours, which cover everything and begin
with `wakumail_`. The client library adds `_total` to the names of counters.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from wakumail.archive.gaps import Gaps
from wakumail.archive.outlook import Look
from wakumail.archive.results import Stat
from wakumail.archive.retention import Retention
from wakumail.archive.store import Store
from wakumail.base.histograms import Histogram
from wakumail.counters import COUNTERS, error_texts
from wakumail.devp2p.discovery.discv4_packets import DatagramError
from wakumail.devp2p.dns_tree import DnsListError
from wakumail.devp2p.enr import EnrError
from wakumail.errors import ArchiveError, HandshakeError, ProtocolError
from wakumail.mail.request import RequestError
from wakumail.mail.server import Server
from wakumail.node.dns_resolver import DnsUnanswered
from wakumail.ops.monitoring.client_names import count_kinds
from wakumail.ops.monitoring.health import CHECKS, Health
from wakumail.ops.monitoring.statusgo_counters import COUNTERS_OF_STATUS_GO, translate
from wakumail.version import VERSION
from wakumail.waku.envelope import Verdict
from wakumail.waku.pool import Pool

if TYPE_CHECKING:
    from wakumail.mail.sync.partners import Partners
    from wakumail.ops.cluster.member import Member

COUNTED_ERRORS = (
    ArchiveError,
    HandshakeError,
    ProtocolError,
    RequestError,
    DatagramError,
    EnrError,
    DnsListError,
    DnsUnanswered,
)
"""The roots of the errors that a server counts: they end connections, refuse requests, or leave out
what discovery finds."""

SYNC_COUNTERS = {
    "rounds": "Rounds with the peer that came to their end",
    "rounds_failed": "Rounds with the peer that failed",
    "had": "Envelopes that only we had, as our rounds found",
    "needed": "Envelopes that only the peer had, as our rounds found",
    "stored": "Envelopes of the peer that were stored here",
    "sent": "Envelopes that the peer wanted and was sent",
}
"""The counters of each peer that we sync with: fields of its Tally."""

DERIVED = {
    "envelopes_new": "good envelopes that were not known yet, and not shed",
    "pool_expired": "live envelopes forgotten by the relay: expired",
    "pool_evicted": "live envelopes forgotten by the relay: no room",
}
"""Counters that a scrape computes from others."""


class Exposition(Collector):
    """The metrics of a server at one moment; `look` is None if no archive could be read."""

    def __init__(
        self, server: Server, health: Health, look: Look | None, member: "Member | None" = None
    ) -> None:
        self._server = server
        self._health = health
        self._look = look
        self._member = member

    def collect(self) -> Iterator[Metric]:
        """All metrics except those of the process."""
        counts = self._counts()
        for counter in COUNTERS_OF_STATUS_GO:
            yield translate(counter, counts)
        yield from self._histograms()
        yield from gauges(self._server, self._health, self._look)
        if self._member is not None:
            yield from cluster(self._member)
        # All counters are there from the start, so that the first event shows as an increase.
        texts = error_texts(*COUNTED_ERRORS) | dict(COUNTERS) | DERIVED
        for name in sorted(texts.keys() | counts.keys()):
            text = texts.get(name, "see docs/counters.md")
            yield CounterMetricFamily(f"wakumail_{name}", text, counts[name])

    def _histograms(self) -> Iterator[Metric]:
        server, health = self._server, self._health
        sizes = server.envelope_bytes
        yield histogram("waku_envelopes_size_bytes", "Good, new envelopes", sizes)
        if (history := server.history) is not None:
            yield histogram(
                "mailserver_delivery_duration_seconds",
                "Answering a request",
                history.answer_seconds,
            )
            yield histogram(
                "mailserver_requests_bundle_process_duration_seconds",
                "Reading the archive for a request",
                history.read_seconds,
            )
            yield histogram(
                "mailserver_send_raw_envelope_duration_seconds",
                "Sending a packet of history",
                history.send_seconds,
            )
            yield histogram(
                "mailserver_sent_envelope_batch_size_bytes",
                "All packets of history that answer a request",
                history.answer_bytes,
            )
        if (store := server.store) is not None:
            yield histogram(
                "mailserver_archived_envelope_size_bytes",
                "Good, new envelopes, given to the archive",
                sizes,
                "archive",
            )
            yield histogram(
                "wakumail_commit_duration_seconds",
                "Committing to the archive",
                store.commit_seconds,
            )
        yield histogram(
            "wakumail_canary_duration_seconds",
            "Canaries that were answered",
            health.canary.seconds,
        )
        yield histogram("wakumail_loop_lag_seconds", "How late the event loop wakes", health.lag)

    def _counts(self) -> Counter[str]:
        counts = Counter(self._server.counters)
        refused = sum(counts[f"envelopes_{verdict.name.lower()}"] for verdict in Verdict)
        counts["envelopes_new"] = counts["envelopes_received"] - refused - counts["envelopes_shed"]
        pool = self._server.relay.pool
        counts["pool_expired"], counts["pool_evicted"] = pool.expired, pool.evicted
        return counts


def histogram(name: str, text: str, measured: Histogram, *db: str) -> Metric:
    """A histogram with cumulative buckets; `db` is the value of that label, if it has one."""
    family = HistogramMetricFamily(name, text, labels=("db",) if db else ())
    bounds = [*map(floatToGoString, measured.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(measured.counts), strict=True))
    family.add_metric(db, buckets, measured.sum)
    return family


def gauges(server: Server, health: Health, look: Look | None) -> Iterator[Metric]:
    """All gauges; `look` is None if no archive could be read."""
    yield InfoMetricFamily("wakumail_build", "What runs", {"version": VERSION})
    yield gauge("wakumail_workers", "Processes that serve", 1)
    yield from peers(server, health.canary.node_id)
    discovery = server.presence.discovery
    size = 0 if discovery is None else len(discovery.table)
    yield gauge("wakumail_discovery_nodes", "Nodes in the table of discovery", size)
    yield from relay(server.relay.pool)
    if server.store is not None:
        yield from queue(server.store)
        yield from bounds(server.store.retention)
    if server.gaps is not None:
        yield from gaps(server.gaps)
    if server.partners is not None:
        yield from sync(server.partners)
    if look is not None:
        yield from archive(look.stat)
        yield from disk(look)
    yield from checks(health)


def peers(server: Server, canary: bytes) -> Iterator[Metric]:
    """The connected peers, without the canary."""
    links = [link for link in server.node.peers if link.node_id != canary]
    hellos = [hello for link in links if (hello := link.peer.hello) is not None]
    ways = Counter((link.peer.name, "inbound" if link.inbound else "outbound") for link in links)
    yield labelled(
        "p2p_peers_count",
        "Connected peers by what their client id says",
        ("type", "version", "platform"),
        count_kinds(hello.client_id for hello in hellos).items(),
    )
    yield gauge("p2p_peers_absolute", "Connected peers", len(links))
    yield gauge("p2p_peers_max", "Peers that may call us", server.node.config.maxpeers)
    yield labelled(
        "wakumail_peers",
        "Connected peers by capability, and by the side that made the call",
        ("protocol", "direction"),
        ways.items(),
    )


def relay(pool: Pool) -> Iterator[Metric]:
    """The pool of live envelopes."""
    yield gauge("wakumail_pool_envelopes", "Live envelopes kept for the relay", pool.envelopes)
    yield gauge("wakumail_pool_bytes", "Bytes of their RLP", pool.size)
    yield gauge("wakumail_pool_memory_bytes", "Bytes of memory that the pool takes", pool.memory)


def queue(store: Store) -> Iterator[Metric]:
    """The queue of the archive."""
    yield gauge(
        "wakumail_queue_bytes", "Bytes of memory that wait for their commit", store.queued_bytes
    )
    yield gauge(
        "wakumail_archive_degraded", "1 while the archive takes no writes", bool(store.degraded)
    )


def bounds(retention: Retention) -> Iterator[Metric]:
    """The bounds of the archive."""
    yield gauge(
        "wakumail_archive_retention_seconds",
        "Age at which envelopes are deleted; 0 if none are",
        retention.seconds,
    )
    yield gauge(
        "wakumail_archive_max_bytes",
        "Most bytes of the pages in use; 0 without a bound",
        retention.max_size,
    )


def gaps(known: Gaps) -> Iterator[Metric]:
    """The history that the archive lacks."""
    yield gauge("wakumail_archive_gaps", "Ranges of time that the archive lacks", len(known.known))
    yield gauge("wakumail_archive_gap_seconds", "Seconds of these ranges", known.seconds)


def sync(partners: "Partners") -> Iterator[Metric]:
    """The peers whose archives are made equal to ours."""
    tallies = [(partner.name, partner.tally) for partner in partners.partners.values()]
    for name, text in SYNC_COUNTERS.items():
        rows = [((peer,), getattr(tally, name)) for peer, tally in tallies]
        yield counted(f"wakumail_sync_{name}", text, ("peer",), rows)
    both = [
        row
        for peer, tally in tallies
        for row in (((peer, "in"), tally.bytes_received), ((peer, "out"), tally.bytes_sent))
    ]
    text = "Bytes of packets to sync, before compression"
    yield counted("wakumail_sync_bytes", text, ("peer", "direction"), both)
    refused = [
        ((peer, code.name.lower()), count)
        for peer, tally in tallies
        for code, count in sorted(tally.refused.items())
    ]
    text = "Envelopes of the peer that were refused"
    yield counted("wakumail_sync_refused", text, ("peer", "reason"), refused)
    now = time.monotonic()
    yield labelled(
        "wakumail_sync_seconds_since_equal",
        "Seconds since both archives were last found equal",
        ("peer",),
        (((peer,), now - tally.agreed) for peer, tally in tallies if tally.agreed is not None),
    )
    yield labelled(
        "wakumail_sync_connected",
        "1 if the peer is connected and syncs",
        ("peer",),
        (((each.name,), each.session is not None) for each in partners.partners.values()),
    )


def cluster(member: "Member") -> Iterator[Metric]:
    """The log of the cluster, and how far we are with it."""
    for name, (text, value) in member.gauges().items():
        yield gauge(f"wakumail_cluster_{name}", text, value)


def archive(stat: Stat) -> Iterator[Metric]:
    """The content of the archive."""
    yield labelled(
        "mailserver_archived_envelopes_total",
        "Envelopes in the archive (a gauge, as in status-go)",
        ("db",),
        ((("archive",), stat.envelopes),),
    )
    yield gauge("wakumail_archive_envelopes", "Envelopes in the archive", stat.envelopes)
    yield gauge("wakumail_archive_bytes", "Bytes of their RLP", stat.bytes)
    yield gauge("wakumail_archive_file_bytes", "Bytes of the pages in use", stat.file_bytes)
    if stat.oldest is not None and stat.newest is not None:
        yield gauge(
            "wakumail_archive_oldest_timestamp_seconds",
            "When the oldest envelope was created",
            stat.oldest,
        )
        yield gauge(
            "wakumail_archive_newest_timestamp_seconds",
            "When the newest envelope was created",
            stat.newest,
        )


def disk(look: Look) -> Iterator[Metric]:
    """The file of the archive, and the room that it has."""
    outlook = look.outlook
    yield gauge("wakumail_archive_size_bytes", "Bytes of the file", outlook.size)
    yield gauge("wakumail_archive_free_bytes", "Bytes of its free pages", look.stat.free_bytes)
    yield gauge(
        "wakumail_archive_disk_free_bytes", "Bytes that the file may grow by", outlook.disk_free
    )
    if outlook.daily_growth is not None:
        yield gauge(
            "wakumail_archive_daily_growth_bytes",
            "Bytes of the file that the envelopes of a day take",
            outlook.daily_growth,
        )
    if outlook.full_in is not None:
        yield gauge(
            "wakumail_archive_full_seconds",
            "Seconds until the disk has no room for envelopes; +Inf if never",
            outlook.full_in,
        )


def checks(health: Health) -> Iterator[Metric]:
    """The checks of /health."""
    failing = {problem.check for problem in health.problems()}
    yield labelled(
        "wakumail_check_failing",
        "1 for each check of /health that fails",
        ("check",),
        (((check,), check in failing) for check in CHECKS),
    )


def gauge(name: str, text: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value)


def counted(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    """A counter with labels; each row has the values of the labels, and the count."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family


def labelled(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    """A gauge with labels; each row has the values of the labels, and that of the gauge."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family
