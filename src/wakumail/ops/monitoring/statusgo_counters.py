"""The counters of status-go, for existing dashboards and alerts: each is a sum of ours.

docs/metrics.md lists those that mean something else here.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    Metric,
)

from wakumail.counters import error_texts
from wakumail.mail.request import RequestError


class StatusGoCounter(NamedTuple):
    """A counter of status-go: each row has values of its labels, and the counters to sum."""

    name: str
    labels: tuple[str, ...]
    rows: Mapping[tuple[str, ...], tuple[str, ...]]
    text: str


REFUSED_FOR_LOAD = ("requests_rate_limited", "requests_too_many_waiting")
REFUSED_AS_INVALID = tuple(
    sorted(error_texts(RequestError).keys() - {*REFUSED_FOR_LOAD, "requests_archive_failed"})
)

COUNTERS_OF_STATUS_GO = (
    StatusGoCounter(
        "mailserver_envelopes",
        (),
        {(): ("envelopes_delivered",)},
        "Envelopes sent to those who asked for history",
    ),
    StatusGoCounter(
        "mailserver_delivery_attempts",
        (),
        {(): ("requests_received",)},
        "Requests for history",
    ),
    StatusGoCounter(
        "mailserver_delivery_failures",
        ("type",),
        {
            ("validation",): REFUSED_AS_INVALID,
            ("peer_req_limit",): REFUSED_FOR_LOAD,
            ("process",): ("requests_abandoned",),
            ("iterator",): ("requests_archive_failed",),
            ("historic_msg_resp",): (),
        },
        "Requests for history that were refused or not finished",
    ),
    StatusGoCounter(
        "mailserver_requests_batched",
        (),
        {(): ("requests_batched",)},
        "Requests for history whose envelopes may share a packet",
    ),
    StatusGoCounter(
        "mailserver_envelope_queries",
        ("filter", "history"),
        {
            ("partial", "full"): ("queries_topics",),
            ("partial", "partial"): ("queries_topics_cursor",),
            ("full", "full"): ("queries_bloom",),
            ("full", "partial"): ("queries_bloom_cursor",),
        },
        "Queries: by topics (filter partial) or a bloom (full), from a cursor (history partial)",
    ),
    StatusGoCounter(
        "mailserver_archived_envelopes_failures",
        ("db",),
        {("archive",): ("envelopes_shed",)},
        "Good envelopes that the archive had no room for",
    ),
    StatusGoCounter(
        "waku_envelopes_received",
        (),
        {(): ("envelopes_received",)},
        "Envelopes received, before any judgement",
    ),
    StatusGoCounter(
        "waku_envelopes_validated",
        (),
        {(): ("envelopes_new", "envelopes_duplicate")},
        "Envelopes received that were good",
    ),
    StatusGoCounter(
        "waku_envelopes_rejected",
        ("reason",),
        {
            ("failed_read",): ("packet_malformed",),
            ("invalid_data",): ("packets_messages_malformed", "confirmation_malformed"),
            ("invalid_settings_changed",): ("packets_status_update_malformed",),
        },
        "Packets that could not be read",
    ),
    StatusGoCounter(
        "waku_envelopes_cache_failures",
        ("type",),
        {
            ("expired",): ("envelopes_expired",),
            ("very_old",): ("envelopes_very_old",),
            ("in_future",): ("envelopes_from_future",),
            ("oversized",): ("envelopes_too_large",),
            ("low_pow",): ("envelopes_low_pow",),
            ("no_bloom_match",): ("envelopes_unwanted_topic",),
            ("ttl_zero",): ("envelopes_ttl_zero",),
            ("shed",): ("envelopes_shed",),
        },
        "Envelopes received that were dropped",
    ),
    StatusGoCounter(
        "waku_envelopes_cached",
        ("cache",),
        {
            ("hit",): ("envelopes_duplicate",),
            ("miss",): ("envelopes_new",),
            ("clear",): ("pool_expired", "pool_evicted"),
        },
        "Good envelopes: known already (hit), new (miss), forgotten by the relay (clear)",
    ),
    StatusGoCounter(
        "waku_rate_limits_processed",
        (),
        {(): ("packets_limited",)},
        "Packets held against the rate limits",
    ),
    StatusGoCounter(
        "waku_rate_limits_exceeded",
        ("type",),
        {
            ("ip",): ("rate_limit_packets_ip", "rate_limit_bytes_ip"),
            ("peer_id",): ("rate_limit_packets_peer", "rate_limit_bytes_peer"),
            ("topic",): ("rate_limit_packets_topic", "rate_limit_bytes_topic"),
        },
        "Times that a rate limit was exceeded",
    ),
)


def translate(counter: StatusGoCounter, counts: Counter[str]) -> Metric:
    """The metric of a counter of status-go."""
    family = CounterMetricFamily(counter.name, counter.text, labels=counter.labels)
    for labels, names in counter.rows.items():
        family.add_metric(labels, sum(counts[name] for name in names))
    return family
