"""The cards of the page for a browser: the metrics that it shows, their names and forms."""

from collections.abc import Callable
from typing import NamedTuple

from wakumail.base.text import in_bytes, in_time, utc


class Row(NamedTuple):
    """A line of a table: a metric, by the name of its samples."""

    label: str
    metric: str
    form: Callable[[float], str]


class Plot(NamedTuple):
    """A plot that the script draws. kind: `rate` of counters, `level` of gauges, or `quantile`."""

    kind: str
    unit: str
    series: tuple[tuple[str, str], ...]
    """Names, and metrics; for quantiles their parts, of the histogram of the card."""


class Card(NamedTuple):
    """A part of the page about one thing. What it lacks metrics for is left out."""

    title: str
    note: str
    rows: tuple[Row, ...]
    plot: Plot
    histogram: str = ""
    measured: str = ""
    """Begins the lines of the histogram, if the title does not say what it is of."""


def number(value: float) -> str:
    """A count."""
    return f"{value:,.0f}"


def moment(value: float) -> str:
    """A time."""
    return utc(int(value))


def yes_or_no(value: float) -> str:
    """A gauge that is 1 or 0."""
    return "yes" if value else "no"


ANSWERS = "mailserver_delivery_duration_seconds"
COMMITS = "wakumail_commit_duration_seconds"
LAG = "wakumail_loop_lag_seconds"

QUANTILES = (("p50", "0.5"), ("p99", "0.99"))
"""Of each histogram: their names and parts."""

CARDS = (
    Card(
        "Ingest",
        "envelopes",
        (
            Row("Received", "waku_envelopes_received_total", number),
            Row("Archived", "wakumail_envelopes_archived_total", number),
            Row("Dropped", "waku_envelopes_cache_failures_total", number),
            Row("Waiting for the disk", "wakumail_queue_bytes", in_bytes),
        ),
        Plot(
            "rate",
            "/s",
            (
                ("archived", "wakumail_envelopes_archived_total"),
                ("received", "waku_envelopes_received_total"),
            ),
        ),
    ),
    Card(
        "Requests",
        "for history",
        (
            Row("Requests", "mailserver_delivery_attempts_total", number),
            Row("Refused or unfinished", "mailserver_delivery_failures_total", number),
            Row("Envelopes sent", "mailserver_envelopes_total", number),
        ),
        Plot(
            "rate",
            "/s",
            (
                ("requests", "mailserver_delivery_attempts_total"),
                ("refused", "mailserver_delivery_failures_total"),
            ),
        ),
    ),
    Card(
        "Answers",
        "time to complete",
        (Row("Answered", f"{ANSWERS}_count", number),),
        Plot("quantile", "s", QUANTILES),
        ANSWERS,
    ),
    Card(
        "Commits",
        "time until on disk",
        (
            Row("Commits", f"{COMMITS}_count", number),
            Row("Failed", "wakumail_commits_failed_total", number),
        ),
        Plot("quantile", "s", QUANTILES),
        COMMITS,
    ),
    Card(
        "Peers",
        "connected",
        (
            Row("Connected", "p2p_peers_absolute", number),
            Row("Most that may call", "p2p_peers_max", number),
            Row("Nodes in discovery", "wakumail_discovery_nodes", number),
        ),
        Plot("level", "", (("peers", "p2p_peers_absolute"),)),
    ),
    Card(
        "Archive",
        "pages of the file",
        (
            Row("In use", "wakumail_archive_file_bytes", in_bytes),
            Row("Free", "wakumail_archive_free_bytes", in_bytes),
            Row(
                "Bound of those in use",
                "wakumail_archive_max_bytes",
                lambda size: in_bytes(size) if size else "none",
            ),
        ),
        Plot(
            "level",
            "B",
            (("in use", "wakumail_archive_file_bytes"), ("bound", "wakumail_archive_max_bytes")),
        ),
    ),
    Card(
        "Disk",
        "free",
        (
            Row("Free for the archive", "wakumail_archive_disk_free_bytes", in_bytes),
            Row("Needed a day", "wakumail_archive_daily_growth_bytes", in_bytes),
        ),
        Plot("level", "B", (("free", "wakumail_archive_disk_free_bytes"),)),
    ),
    Card(
        "Process",
        "",
        (
            Row("Workers", "wakumail_workers", number),
            Row("CPU time", "process_cpu_seconds_total", in_time),
            Row("Memory, with mapped pages", "process_resident_memory_bytes", in_bytes),
            Row("Open files", "process_open_fds", number),
            Row("Files that it may open", "process_max_fds", number),
        ),
        Plot("rate", "CPU", (("cores in use", "process_cpu_seconds_total"),)),
        LAG,
        "Event loop late, ",
    ),
    Card(
        "Sync",
        "envelopes",
        (
            Row("Got", "wakumail_sync_stored_total", number),
            Row("Sent", "wakumail_sync_sent_total", number),
        ),
        Plot(
            "rate",
            "/s",
            (("got", "wakumail_sync_stored_total"), ("sent", "wakumail_sync_sent_total")),
        ),
    ),
    Card(
        "Cluster",
        "messages of the log that are not read yet",
        (
            Row("Log is reached", "wakumail_cluster_log_connected", yes_or_no),
            Row("Last message of the log", "wakumail_cluster_log_last", number),
            Row("All archived up to", "wakumail_cluster_place", number),
            Row("Not read yet", "wakumail_cluster_lag_messages", number),
            Row("Missing", "wakumail_cluster_missing_messages", number),
            Row("Waiting for the log", "wakumail_cluster_awaited_bytes", in_bytes),
            Row("Servers that are down or lag", "wakumail_cluster_lagging_servers", number),
            Row("Servers that may not sync", "wakumail_cluster_untold_servers", number),
        ),
        Plot("level", "", (("not read yet", "wakumail_cluster_lag_messages"),)),
    ),
)

ARCHIVE_ROWS = (
    Row("Envelopes", "wakumail_archive_envelopes", number),
    Row("Their bytes", "wakumail_archive_bytes", in_bytes),
    Row("File", "wakumail_archive_size_bytes", in_bytes),
    Row(
        "Kept for",
        "wakumail_archive_retention_seconds",
        lambda s: in_time(s) if s else "ever",
    ),
    Row("Oldest", "wakumail_archive_oldest_timestamp_seconds", moment),
    Row("Newest", "wakumail_archive_newest_timestamp_seconds", moment),
    Row("Lacks", "wakumail_archive_gap_seconds", lambda s: in_time(s) if s else "nothing"),
)

SYNC_COLUMNS = (
    Row("Connected", "wakumail_sync_connected", yes_or_no),
    Row("Equal", "wakumail_sync_seconds_since_equal", lambda s: f"{in_time(s)} ago"),
    Row("Rounds", "wakumail_sync_rounds_total", number),
    Row("Failed", "wakumail_sync_rounds_failed_total", number),
    Row("Got", "wakumail_sync_stored_total", number),
    Row("Sent", "wakumail_sync_sent_total", number),
)
