"""Gauges: what a server is at this moment, in the words of Prometheus (see metrics.py)."""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from wakumail.archive.results import Stat
from wakumail.archive.store import Store
from wakumail.mail.server import Server
from wakumail.ops.monitoring.client_names import count_kinds
from wakumail.ops.monitoring.health import CHECKS, Health
from wakumail.version import VERSION
from wakumail.waku.pool import Pool


def gauges(server: Server, health: Health, stat: Stat | None) -> Iterator[Metric]:
    """All of them; `stat` of the archive, if there is one and it could be read."""
    yield InfoMetricFamily("wakumail_build", "What runs", {"version": VERSION})
    yield from peers(server, health.canary.node_id)
    yield from relay(server.relay.pool)
    if server.store is not None:
        yield from queue(server.store)
    if stat is not None:
        yield from archive(stat)
    yield from checks(health)


def peers(server: Server, canary: bytes) -> Iterator[Metric]:
    """Who is connected; the canary is not counted."""
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
    yield gauge("p2p_peers_max", "Peers that may call us", server.node.config.max_peers)
    yield labelled(
        "wakumail_peers",
        "Connected peers by what they speak, and who called whom",
        ("protocol", "direction"),
        ways.items(),
    )


def relay(pool: Pool) -> Iterator[Metric]:
    """The live envelopes."""
    yield gauge("wakumail_pool_envelopes", "Live envelopes kept for the relay", pool.envelopes)
    yield gauge("wakumail_pool_bytes", "Bytes of their RLP", pool.size)
    yield gauge("wakumail_pool_memory_bytes", "Bytes of memory that the pool takes", pool.memory)


def queue(store: Store) -> Iterator[Metric]:
    """What waits for the archive."""
    yield gauge(
        "wakumail_queue_bytes", "Bytes of memory that wait for their commit", store.queued_bytes
    )
    yield gauge(
        "wakumail_archive_degraded", "1 while the archive takes no writes", bool(store.degraded)
    )


def archive(stat: Stat) -> Iterator[Metric]:
    """What the archive holds."""
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


def checks(health: Health) -> Iterator[Metric]:
    """What /health says."""
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


def labelled(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]
) -> Metric:
    """A gauge with labels: their values, and its own, row by row."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in rows:
        family.add_metric(label_values, value)
    return family
