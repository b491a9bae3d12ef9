"""Translates the JSON configuration of a status-go node into our settings.

A setting that it does not name keeps our default. As in Go, the case of keys does not matter, and
null, an empty text or an empty list counts as no value.
"""

import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from wakumail.base.edited_file import edited_text
from wakumail.base.json_text import parse_json
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
"""The objects whose keys are read; any other is left out as a whole."""

NEVER = (1 << 31) - 1
"""A tolerance that no peer uses up."""

DEFAULT_MAX_MESSAGE_SIZE = 1 << 20
"""Largest packet in bytes that status-go accepts by default."""

LEVELS = {"ERROR": "error", "WARN": "warning", "INFO": "info", "DEBUG": "debug", "TRACE": "debug"}


def expect(kind: type, value: Any) -> Any:
    """The value; ValueError if it is of another type."""
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
    known = [name for name in names if name in tuple(Namespace)]
    if not known:
        raise ValueError("it names no module that a mailserver has")
    return {"http_api": known}


def pause(value: Any) -> Choices:
    """Seconds between two requests of a peer; 0 for none."""
    return {"request_rate": 1 / value if expect(int, value) > 0 else 0.0}


def tolerance(value: Any) -> Choices:
    """The number of times that a limit may be exceeded; 0 for any."""
    return {"rate_tolerance": expect(int, value) or NEVER}


def filter_mode(value: Any) -> Choices:
    """True sends peers a bloom, false topics."""
    return {"interest": "bloom" if expect(bool, value) else "topics"}


def no_discovery(value: Any) -> Choices:
    """True for a node that looks for no others."""
    return {"discovery_v4": not expect(bool, value)}


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
    "NoDiscovery": no_discovery,
    "ClusterConfig.BootNodes": same("bootnodes"),
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
"""The keys with a counterpart, and the functions that translate their values."""

NODE_LISTS = (
    "ClusterConfig.BootNodes",
    "ClusterConfig.StaticNodes",
    "ClusterConfig.TrustedMailServers",
)

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
"""Keys that disable others if they are false or empty."""

NATURAL: Mapping[str, bool] = {
    "IPCEnabled": True,
    "WakuConfig.Enabled": True,
    "WakuConfig.FullNode": True,
}
"""Values of keys that ask for what wakumail does anyway."""

ADVICE: Mapping[str, str] = {
    "ClusterConfig.Fleet": "name its nodes in static_nodes or bootnodes",
    "HTTPCors": "a web page opens a WebSocket: ws.origins names the pages that may",
    "IPCEnabled": "the socket is always on",
    "IPCFile": "ipcpath names the socket by its whole path",
    "LogDir": "logs go to stderr; journald keeps and rotates them",
    "LogFile": "logs go to stderr; journald keeps and rotates them",
    "RegisterTopics": "discovery v5 is not spoken; discovery.v4 makes the node known",
    "Rendezvous": "rendezvous is not spoken; discovery.v4 makes the node known",
    "RequireTopics": "discovery v5 is not spoken; mindial and discovery.v4 find peers",
    "TLSEnabled": "put a proxy with TLS in front of HTTP",
    "WakuConfig.DataDir": "read the archive in it with `wakumail archive import --leveldb`",
    "WakuConfig.DatabaseConfig.PGConfig.URI": (
        "read the archive there with `wakumail archive import --postgres`"
    ),
    "WakuConfig.FullNode": "all topics are taken unless `topics` names some",
    "WakuConfig.SoftBlacklistedPeerIDs": "refuse their addresses at the firewall",
    "WakuConfig.MailServerAsymKey": "write it to a file, and name that as asymkey_file",
}
"""Hints for keys without a counterpart."""

APART = (
    *("BrowsersConfig", "EnableStatusService", "KeyStoreDir", "KeycardPairingDataFile"),
    *("LightEthConfig", "LocalNotificationsConfig", "LogCompressRotated", "LogEnabled"),
    *("LogMaxBackups", "LogMaxSize", "LogMobileSystem", "LogToStderr", "MailserversConfig"),
    *("MailServerRegistryAddress", "Name", "NetworkID", "Networks", "OutputMessageCSVEnabled"),
    *("PermissionsConfig", "ProcessBackedupMessages", "PushNotificationServerConfig"),
    *("RootDataDir", "ShhextConfig", "SwarmConfig", "TorrentConfig", "UpstreamConfig"),
    *("Version", "WakuConfig.TTL", "WakuV2Config", "WalletConfig", "Web3ProviderConfig"),
)
"""Keys of parts of status-go that a mailserver has no use for: the wallet, the messenger, Ethereum,
and log files. They are no fault."""


class Translation:
    """The settings of a JSON configuration; ValueError if the text is none."""

    def __init__(self, text: str | bytes) -> None:
        self.remarks: list[str] = []
        """The keys that are left out, and why."""
        self.faults: list[str] = []
        """Those of the remarks that tell a key that nobody knows, a wrong value or a conflict."""
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
            for each in (error, *error.others):
                self._blame(f"`wakumail serve` does not start like this: {each}")

    def __str__(self) -> str:
        """The TOML document; each line names its source."""
        lines = [
            Line(setting.key, plain(self._values[setting.field]), self._origins[setting.field])
            for setting in SETTINGS
            if setting.field in self._values
        ]
        heads = ["from a status-go configuration", *self.remarks]
        return "".join(f"{comment(head)}\n" for head in heads) + f"\n{document(lines)}"

    def _blame(self, fault: str) -> None:
        self.remarks.append(fault)
        self.faults.append(fault)

    def _translate(self, key: str, given: Mapping[str, Any]) -> None:
        value = given[key]
        off = next((s for s, keys in SWITCHES.items() if key in keys and _is_off(s, given)), None)
        if off is not None:
            self.remarks.append(f"{key}: not in force without {off}")
        elif key in KEY_READERS:
            if value not in (None, "", []):
                self._take(key, value)
        elif key in ADVICE or key in NATURAL:
            if value != NATURAL.get(key):
                self.remarks.append(f"{key}: {ADVICE.get(key, 'it has no counterpart')}")
        elif key in APART:
            self.remarks.append(f"{key}: it has no counterpart")
        elif key not in SWITCHES:
            self._blame(f"{key}: it is not known, and left out")

    def _take(self, key: str, value: Any) -> None:
        fields = {setting.field: setting for setting in SETTINGS}
        faults: list[str] = []
        try:
            chosen = {
                field: fields[field].read_toml(item, faults)
                for field, item in KEY_READERS[key](value).items()
            }
        except ValueError as error:
            self._blame(f"{key}: {error}")
            return
        for fault in faults:
            self._blame(f"{key}: {fault}")
        self._values |= chosen
        for field, taken in chosen.items():
            is_same = plain(taken) == value
            self._origins[field] = key if is_same else f"{key} {json.dumps(value)}"

    def _exempt_nodes(self) -> None:
        """Exempt the listed nodes from rate limits, by id and by address, as status-go does."""
        nodes = self._values.get("static_nodes", ()) + self._values.get("trusted_nodes", ())
        if nodes:
            self._values["rate_whitelist"] = tuple(_exemptions(nodes))
            self._origins["rate_whitelist"] = "the nodes above"

    def _fit_packets(self) -> None:
        """Use status-go's largest packet if bytes are limited: ours would exceed the limit."""
        if "max_packet" not in self._values and any(map(self._values.get, RATES_OF_BYTES)):
            self._values["max_packet"] = DEFAULT_MAX_MESSAGE_SIZE
            self._origins["max_packet"] = "the default of WakuConfig.MaxMessageSize"


def _read(text: str | bytes) -> dict[str, Any]:
    """All values by their keys; known keys in the spelling of the tables above."""
    document = parse_json(edited_text(text) if isinstance(text, bytes) else text)
    if not isinstance(document, dict):
        raise ValueError("the configuration of status-go is a JSON object")
    known = (*OBJECTS, *KEY_READERS, *SWITCHES, *NATURAL, *ADVICE, *APART)
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
            continue  # a host name: the node id alone has to do
