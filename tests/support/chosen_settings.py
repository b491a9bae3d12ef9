"""A value for every setting, and the environment that holds it."""

from collections.abc import Mapping

from wakumail.devp2p.dns_tree import ListUrl
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id, private_key
from wakumail.ops.config.setting import Setting
from wakumail.ops.config.settings import SETTINGS

KEY = "11" * 32
ENODE = Enode(node_id(private_key(bytes.fromhex(KEY)).public_key), "10.1.2.3", 30303, 30303)
OTHER = Enode(node_id(private_key(bytes.fromhex("22" * 32)).public_key), "::1", 443, 0)
LIST = ListUrl(private_key(bytes.fromhex(KEY)).public_key.format(), "nodes.example")
CHOSEN: Mapping[str, str] = {
    "datadir": "/data",
    "host": "::",
    "port": "443",
    "nodekey": "keys/node",
    "nodekeyhex": KEY,
    "nat": "extip:203.0.113.7",
    "netrestrict": "10.0.0.0/8,fd00::/8",
    "workers": "2",
    "maxpeers": "7",
    "max_handshakes": "8",
    "static_nodes": f"{ENODE},{OTHER}",
    "trusted_nodes": str(OTHER),
    "mindial": "3",
    "bootnodes": str(ENODE),
    "nodiscover": "true",
    "mailserver": "false",
    "password": 'sesame "#\\ é',
    "password_file": "password",
    "asymkey_file": "asymkey",
    "min_pow": "0.5",
    "max_envelope": "50000",
    "max_packet": "2000000",
    "max_reply": "100000",
    "topics": "cafebabe,00000001",
    "interest": "topics",
    "light": "true",
    "confirmations": "false",
    "durability": "interval",
    "retention": "0.5",
    "max_size": "1000000",
    "sort_days": "false",
    "sync_peers": str(ENODE),
    "sync_interval": "60",
    "sync_window": "7.5",
    "cluster": "nats://10.1.2.3:4222,tls://log.example",
    "cluster_name": "fleet",
    "max_waiting": "3",
    "max_limit": "4",
    "request_rate": "0.25",
    "request_min_pow": "1.5",
    "require_signature": "true",
    "completion": "list",
    "relay_memory": "100000",
    "shh": "true",
    "ipcpath": "/run/wakumail.ipc",
    "verbosity": "debug",
    "discovery_v4": "true",
    "discovery_port": "30301",
    "discovery_dns": f"{LIST},{LIST}",
    "discovery_dns_server": "[::1]:5353",
    "rate_packets_ip": "1",
    "rate_packets_peer": "2",
    "rate_packets_topic": "3",
    "rate_bytes_ip": "14000000",
    "rate_bytes_peer": "15000000",
    "rate_bytes_topic": "16000000",
    "rate_tolerance": "9",
    "rate_whitelist": f"{'ab' * 64},192.0.2.1,2001:db8::/32",
    "http": "true",
    "http_addr": "::1",
    "http_port": "1",
    "http_api": "waku,net",
    "http_vhosts": "mail.example,localhost",
    "ws": "true",
    "ws_addr": "localhost",
    "ws_port": "2",
    "ws_api": "rpc",
    "ws_origins": "*",
    "ipc_api": "admin",
    "rpc_token_file": "token",
    "store": "true",
    "store_addr": "127.0.0.2",
    "store_port": "4",
    "store_origins": "https://a.example",
    "store_rate": "0.5",
    "metrics": "true",
    "metrics_addr": "0.0.0.0",
    "metrics_port": "3",
    "log_json": "true",
}
"""A value for every setting, as text in the environment; none is the default."""
EXCLUSIVE = {"cluster", "nodekey", "password_file", "store", "workers"}
"""Settings that exclude others."""


def setting(field: str) -> Setting:
    return next(setting for setting in SETTINGS if setting.field == field)


def environ(fields: Mapping[str, str]) -> dict[str, str]:
    return {setting(field).variable: text for field, text in fields.items()}
