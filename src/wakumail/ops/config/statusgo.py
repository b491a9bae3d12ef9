"""Reads the JSON configuration of a status-go node, and says the same in our settings.

What it does not say stays at our default. As in Go the case of its keys does not matter, and a
null, an empty text or an empty list is as good as no value.
"""

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from wakumail.devp2p.enode import Enode
from wakumail.ops.config.setting import plain, type_name
from wakumail.ops.config.settings import RATES_OF_BYTES, SETTINGS, Contradiction, Settings
from wakumail.ops.config.toml import Line, comment, document
from wakumail.rpc.namespaces import Namespace

Choices: TypeAlias = Mapping[str, Any]
"""Values as TOML has them, by field of Settings."""

OBJECTS = (
    "WakuConfig",
    "WakuConfig.DatabaseConfig",
    "WakuConfig.DatabaseConfig.PGConfig",
    "ClusterConfig",
    "BridgeConfig",
)
"""The objects that are looked into; any other is left out as a whole."""

NEVER = (1 << 31) - 1
"""A tolerance that no peer uses up."""

MAX_MESSAGE_SIZE = 1 << 20
"""Bytes of a packet that it takes when nothing is said."""

LEVELS = {"ERROR": "error", "WARN": "warning", "INFO": "info", "DEBUG": "debug", "TRACE": "debug"}


def expect(kind: type, value: Any) -> Any:
    """The value; ValueError when it is of another type."""
    if type(value) is not kind:
        raise ValueError(f"it cannot be {type_name(value)}")
    return value


def same(field: str) -> Callable[[Any], Choices]:
    """The value means the same in one of our settings."""
    return lambda value: {field: value}


def unless_zero(*fields: str) -> Callable[[Any], Choices]:
    """The same, but 0 stands for the default."""
    return lambda value: dict.fromkeys(fields, value) if value else {}


def listen(value: Any) -> Choices:
    """`HOST:PORT`, without a host for every address of the machine."""
    host, colon, port = expect(str, value).rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{value!r} is not HOST:PORT")
    return {"host": host.strip("[]") or "0.0.0.0", "port": int(port)}


def advertise(value: Any) -> Choices:
    """The address at which others reach the node."""
    return {"nat": f"extip:{expect(str, value)}"}


def level(value: Any) -> Choices:
    """One of LEVELS."""
    if value not in tuple(LEVELS):
        raise ValueError(f"{value!r} is none of {', '.join(LEVELS)}")
    return {"verbosity": LEVELS[value]}


def modules(value: Any) -> Choices:
    """RPC modules by their names; those of an Ethereum node are left out."""
    names = [name.strip() for name in expect(str, value).split(",")]
    return {"http_api": [name for name in names if name in tuple(Namespace)]}


def pause(value: Any) -> Choices:
    """Seconds that a peer has to wait from one request to the next; 0 for none."""
    return {"request_rate": 1 / value if expect(int, value) > 0 else 0.0}


def tolerance(value: Any) -> Choices:
    """How often a limit may be exceeded; 0 for any number of times."""
    return {"rate_tolerance": expect(int, value) or NEVER}


def filter_mode(value: Any) -> Choices:
    """Whether peers are sent a bloom, and no topics."""
    return {"interest": "bloom" if expect(bool, value) else "topics"}


KEY_READERS: Mapping[str, Callable[[Any], Choices]] = {
    "DataDir": same("datadir"),
    "ListenAddr": listen,
    "AdvertiseAddr": advertise,
    "NodeKey": same("nodekeyhex"),
    "MaxPeers": same("maxpeers"),
    "MaxPendingPeers": unless_zero("max_handshakes"),
    "LogLevel": level,
    "HTTPEnabled": same("http"),
    "HTTPHost": same("http_addr"),
    "HTTPPort": same("http_port"),
    "HTTPVirtualHosts": same("http_vhosts"),
    "APIModules": modules,
    "BridgeConfig.Enabled": same("shh"),
    "ClusterConfig.StaticNodes": same("static_nodes"),
    "ClusterConfig.TrustedMailServers": same("trusted_nodes"),
    "WakuConfig.EnableMailServer": same("mailserver"),
    "WakuConfig.MailServerPassword": same("password"),
    "WakuConfig.MailServerRateLimit": pause,
    "WakuConfig.MailServerDataRetention": same("retention"),
    "WakuConfig.MinimumPoW": unless_zero("min_pow"),
    "WakuConfig.MaxMessageSize": unless_zero("max_envelope", "max_packet"),
    "WakuConfig.LightClient": same("light"),
    "WakuConfig.BloomFilterMode": filter_mode,
    "WakuConfig.EnableConfirmations": same("confirmations"),
    "WakuConfig.PacketRateLimitIP": same("rate_packets_ip"),
    "WakuConfig.PacketRateLimitPeerID": same("rate_packets_peer"),
    "WakuConfig.BytesRateLimitIP": same("rate_bytes_ip"),
    "WakuConfig.BytesRateLimitPeerID": same("rate_bytes_peer"),
    "WakuConfig.RateLimitTolerance": tolerance,
}
"""What has a counterpart."""

NODE_LISTS = ("ClusterConfig.StaticNodes", "ClusterConfig.TrustedMailServers")

RATE_LIMITER = "WakuConfig.EnableRateLimiter"

SWITCHES: Mapping[str, tuple[str, ...]] = {
    "HTTPHost": ("HTTPEnabled",),
    "ClusterConfig.Enabled": NODE_LISTS,
    RATE_LIMITER: (
        "WakuConfig.PacketRateLimitIP",
        "WakuConfig.PacketRateLimitPeerID",
        "WakuConfig.BytesRateLimitIP",
        "WakuConfig.BytesRateLimitPeerID",
        "WakuConfig.RateLimitTolerance",
    ),
    "WakuConfig.DatabaseConfig.PGConfig.Enabled": ("WakuConfig.DatabaseConfig.PGConfig.URI",),
}
"""Keys that put others out of force when they are false or empty."""

NATURAL: Mapping[str, bool] = {
    "IPCEnabled": True,
    "WakuConfig.Enabled": True,
    "WakuConfig.FullNode": True,
}
"""Values that say what wakumail does anyhow."""

ADVICE: Mapping[str, str] = {
    "ClusterConfig.BootNodes": "there is no discovery; static_nodes are kept connected",
    "IPCEnabled": "the socket is always there",
    "IPCFile": "ipcpath names the socket by its whole path",
    "WakuConfig.DataDir": "read the archive in it with `wakumail archive import --leveldb`",
    "WakuConfig.DatabaseConfig.PGConfig.URI": (
        "read the archive there with `wakumail archive import --postgres`"
    ),
    "WakuConfig.FullNode": "all topics are taken unless `topics` names some",
    "WakuConfig.MailServerAsymKey": "write it to a file, and name that as asymkey_file",
}
"""What to know of keys that have no counterpart."""


class Translation:
    """What a JSON configuration means here; ValueError when it is not one."""

    def __init__(self, text: str | bytes) -> None:
        self.remarks: list[str] = []
        """What is left out, and why."""
        self._values: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        given = _read(text)
        for key in tuple(given):
            self._translate(key, given)
        if given[RATE_LIMITER]:
            self._exempt_nodes()
            self._fit_packets()
        try:
            Settings(**self._values)
        except Contradiction as error:
            self.remarks.append(f"`wakumail serve` does not start like this: {error}")

    def __str__(self) -> str:
        """The TOML document; every line says what it comes from."""
        lines = [
            Line(setting.key, plain(self._values[setting.field]), self._origins[setting.field])
            for setting in SETTINGS
            if setting.field in self._values
        ]
        heads = ["from a status-go configuration", *self.remarks]
        return "".join(f"{comment(head)}\n" for head in heads) + f"\n{document(lines)}"

    def _translate(self, key: str, given: Mapping[str, Any]) -> None:
        value = given[key]
        off = next((s for s, keys in SWITCHES.items() if key in keys and _is_off(s, given)), None)
        if off is not None:
            self.remarks.append(f"{key}: not in force without {off}")
        elif key in KEY_READERS:
            if value not in (None, "", []):
                self._take(key, value)
        elif key not in SWITCHES and value != NATURAL.get(key):
            self.remarks.append(f"{key}: {ADVICE.get(key, 'it has no counterpart')}")

    def _take(self, key: str, value: Any) -> None:
        fields = {setting.field: setting for setting in SETTINGS}
        try:
            chosen = {
                field: fields[field].read_toml(item)
                for field, item in KEY_READERS[key](value).items()
            }
        except ValueError as error:
            self.remarks.append(f"{key}: {error}")
            return
        self._values |= chosen
        for field, taken in chosen.items():
            is_same = plain(taken) == value
            self._origins[field] = key if is_same else f"{key} {json.dumps(value)}"

    def _exempt_nodes(self) -> None:
        """The node lists are no subject of the rate limits there, by id and by address."""
        nodes = self._values.get("static_nodes", ()) + self._values.get("trusted_nodes", ())
        if nodes:
            self._values["rate_whitelist"] = tuple(_exemptions(nodes))
            self._origins["rate_whitelist"] = "the nodes above"

    def _fit_packets(self) -> None:
        """Where bytes are limited, packets are no larger than there: ours would not fit."""
        if "max_packet" not in self._values and any(map(self._values.get, RATES_OF_BYTES)):
            self._values["max_packet"] = MAX_MESSAGE_SIZE
            self._origins["max_packet"] = "the default of WakuConfig.MaxMessageSize"


def _read(text: str | bytes) -> dict[str, Any]:
    """All values by their keys, in the spelling that is used here where it is known."""
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("the configuration of status-go is a JSON object")
    known = (*OBJECTS, *KEY_READERS, *SWITCHES, *NATURAL, *ADVICE)
    given = dict(_flatten(document, {key.lower(): key for key in known}))
    given.setdefault(RATE_LIMITER, False)
    return given


def _flatten(
    document: Mapping[str, Any], spelling: Mapping[str, str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        key = spelling.get(f"{prefix}{name}".lower(), f"{prefix}{name}")
        if key in OBJECTS and isinstance(value, dict):
            yield from _flatten(value, spelling, f"{key}.")
        else:
            yield key, value


def _is_off(switch: str, given: Mapping[str, Any]) -> bool:
    return switch in given and not given[switch]


def _exemptions(nodes: tuple[Enode, ...]) -> Iterator[Any]:
    for node in nodes:
        yield node.node_id
        try:
            yield ipaddress.ip_network(node.host)
        except ValueError:
            continue  # a name: its node id has to do
