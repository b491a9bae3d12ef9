"""Settings that have no effect beside the others: told, and not refused."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from wakumail.ops.config.settings import SETTINGS, Settings


class Need(NamedTuple):
    """A condition that some settings need to have an effect."""

    fields: str
    """The settings, separated by blanks."""
    is_met: Callable[[Settings], object]
    """True for settings beside which they have one."""
    text: str
    """The end of the sentence about one without."""


NEEDS = (
    Need("discovery_v4 discovery_dns mindial", lambda s: not s.nodiscover, "beside --nodiscover"),
    Need("bootnodes discovery_port", lambda s: s.discovery_v4, "without --discovery.v4"),
    Need("discovery_dns_server", lambda s: s.discovery_dns, "without --discovery.dns"),
    Need("discovery_dns", lambda s: s.mindial, "without --mindial"),
    Need(
        "mindial",
        lambda s: s.discovery_v4 or s.discovery_dns,
        "without --discovery.v4 or --discovery.dns",
    ),
    Need(
        "password password_file asymkey_file max_reply max_waiting max_limit request_rate"
        " request_min_pow require_signature completion confirmations durability retention max_size"
        " sort_days sync_peers",
        lambda s: s.mailserver,
        "beside --no-mailserver",
    ),
    Need("sync_interval sync_window", lambda s: s.sync_peers, "without --sync-peers"),
    Need("cluster_name", lambda s: s.cluster, "without --cluster"),
    Need("interest", lambda s: s.topics, "without --topics"),
    Need(
        "rate_tolerance rate_whitelist",
        lambda s: any(
            getattr(s, f"rate_{what}_{of}")
            for what in ("packets", "bytes")
            for of in ("ip", "peer", "topic")
        ),
        "without a limit like --rate.packets-peer",
    ),
    Need("http_addr http_port http_api", lambda s: s.http, "without --http"),
    Need(
        "http_vhosts rpc_token_file",
        lambda s: s.http or s.ws or s.store,
        "without --http, --ws or --store",
    ),
    Need("ws_addr ws_port ws_api ws_origins", lambda s: s.ws, "without --ws"),
    Need("store_addr store_port store_origins store_rate", lambda s: s.store, "without --store"),
    Need("metrics_addr metrics_port", lambda s: s.metrics, "without --metrics"),
)


def unused(settings: Settings) -> Iterator[tuple[str, str]]:
    """The fields of settings that were chosen and have no effect, and what is missing for one.

    One that has the value of its default was not chosen: `config show` writes all.
    """
    chosen = {s.field for s in SETTINGS if getattr(settings, s.field) != s.default}
    for need in NEEDS:
        if not need.is_met(settings):
            for field in need.fields.split():
                if field in chosen:
                    yield field, f"it has no effect {need.text}"
