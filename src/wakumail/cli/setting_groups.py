"""The settings in groups, for the help."""

from collections.abc import Mapping

from wakumail.ops.config.setting import Setting

GROUPS: Mapping[str, frozenset[str]] = {
    title: frozenset(names.split())
    for title, names in {
        "this node": "datadir host port nodekey nodekeyhex nat netrestrict workers",
        "peers": "maxpeers max_handshakes static_nodes trusted_nodes mindial bootnodes nodiscover "
        "discovery",
        "envelopes": "min_pow max_envelope max_packet topics interest light relay_memory shh",
        "archive": "mailserver confirmations durability retention max_size sort_days",
        "sync with other mailservers": "sync_peers sync_interval sync_window",
        "a cluster": "cluster cluster_name",
        "requests for history": "password password_file asymkey_file max_waiting max_limit "
        "max_reply request_rate request_min_pow require_signature completion",
        "history over HTTP": "store",
        "rate limits": "rate",
        "RPC API": "ipcpath ipc http ws rpc",
        "metrics and logs": "metrics verbosity log",
    }.items()
}
"""The settings of each group. The name of a section stands for all that is in it."""


def group_of(setting: Setting) -> str:
    """The title of the group of a setting."""
    names = {setting.field, setting.name.partition(".")[0]}
    return next(title for title, members in GROUPS.items() if members & names)
