"""`wakumail config`: its output can be read back, and status-go's JSON is translated."""

import argparse
import io
import json
import os
import stat
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.chosen_settings import CHOSEN, ENODE, EXCLUSIVE, KEY, OTHER, environ
from wakumail.cli.command_line import parser
from wakumail.cli.config import add_flags, load_settings
from wakumail.ops.config.layers import Loaded, load
from wakumail.ops.config.settings import SETTINGS
from wakumail.ops.config.statusgo_config import NEVER, Translation
from wakumail.ops.config.values import LogLevel

ALL = environ({field: text for field, text in CHOSEN.items() if field not in EXCLUSIVE})


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("WAKUMAIL_")]:
        monkeypatch.delenv(variable)


def run(*arguments: object) -> int:
    """Run a command line; returns its exit code."""
    parsed = parser(["config"]).parse_args(["config", *map(str, arguments)])
    result: int = parsed.run(parsed)
    return result


def serve_flags(*arguments: str) -> Loaded:
    """The settings that flags of `wakumail serve` give."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return load_settings(parser.parse_args(arguments))


def flags(variables: dict[str, str]) -> list[str]:
    """The command line with the same meaning as these variables."""
    named = {setting.variable: setting for setting in SETTINGS}
    words: list[str] = []
    for variable, text in variables.items():
        setting = named[variable]
        if isinstance(setting.default, bool):
            words.append(setting.flag if text == "true" else setting.negated_flag)
        else:
            words += [setting.flag, text]
    return words


def translated(document: object) -> tuple[dict[str, Any], list[str]]:
    """The settings other than the defaults, by key, and the remarks."""
    translation = Translation(json.dumps(document))
    return tomllib.loads(str(translation)), translation.remarks


def test_flags_and_variables_say_the_same() -> None:
    assert serve_flags(*flags(ALL)).settings == load({}, ALL).settings


def test_what_is_shown_can_be_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("show", "--secrets", *flags(ALL)) == 0
    shown = capsys.readouterr().out
    file = tmp_path / "all.toml"
    file.write_text(shown)
    monkeypatch.setenv("WAKUMAIL_CONFIG", str(file))
    loaded = serve_flags()
    assert loaded.settings == load({}, ALL).settings
    assert {loaded.sources[field] for field in CHOSEN.keys() - EXCLUSIVE} == {str(file)}


def test_every_setting_is_shown_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wakumail.toml"
    file.write_text("maxpeers = 5\n[http]\nenabled = true\n")
    monkeypatch.setenv("WAKUMAIL_RETENTION", "7")
    assert run("show", "--config", file, "--no-confirmations", "--topics", "cafebabe") == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"maxpeers = 5  # {file}" in lines
    assert "retention = 7.0  # WAKUMAIL_RETENTION" in lines
    assert "confirmations = false  # --no-confirmations" in lines
    assert 'topics = ["cafebabe"]  # --topics' in lines
    assert "port = 30303  # default" in lines
    assert "# nodekey: not set (default)" in lines
    assert lines[lines.index("[http]") + 1] == f"enabled = true  # {file}"
    described = [line for line in lines if line and not line.startswith("[")]
    assert len(described) == len(SETTINGS)


def test_secrets_are_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    secret = ["--password", "sesame", "--nodekeyhex", KEY]
    run("show", *secret)
    shown = capsys.readouterr().out
    assert "sesame" not in shown
    assert KEY not in shown
    assert "# password: set (--password), --secrets shows it" in shown.splitlines()
    run("show", *secret, "--json")
    object_ = json.loads(capsys.readouterr().out)
    assert object_["password"] == {"is_set": True, "source": "--password"}
    assert object_["nodekeyhex"] == {"is_set": True, "source": "--nodekeyhex"}
    run("show", *secret, "--secrets")
    assert 'password = "sesame"  # --password' in capsys.readouterr().out.splitlines()
    run("show", *secret, "--secrets", "--json")
    object_ = json.loads(capsys.readouterr().out)
    assert object_["nodekeyhex"] == {"value": KEY, "source": "--nodekeyhex"}


def test_json_has_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    run("show", "--json", "--http.port", "1")
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == [setting.name for setting in SETTINGS]
    assert shown["http.port"] == {"value": 1, "source": "--http.port"}
    assert shown["nodekey"] == {"value": None, "source": "default"}
    assert shown["password"] == {"is_set": False, "source": "default"}
    assert shown["ipc.api"]["value"] == ["waku", "wakuext", "admin", "net", "web3", "rpc"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "65536"], "--port: 65536 is not from 0 to 65535"),
        (["--config", "/nowhere"], "/nowhere: No such file or directory"),
        (["--password", "x", "--password-file", "f"], "password and password_file are both given"),
    ],
)
def test_wrong_usage_ends_with_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run("show", *arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"wakumail config: {reason}")
    assert output.out == ""


def test_help_tells_every_flag_and_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as caught:
        run("show", "--help")
    assert caught.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for setting in SETTINGS:
        assert f" {setting.flag}" in told
        assert setting.explanation in told
    assert "--http.port PORT TCP port of HTTP (default: 8545) --" in told
    assert "--password-file FILE file whose first line is the password --" in told
    assert "--http, --no-http RPC API over HTTP (default: off) --" in told
    vhosts = "host names that HTTP and --store answer to; * = any (default: localhost)"
    assert f"--http.vhosts NAME[,...] {vhosts}" in told


BOOTNODE = replace(OTHER, host="10.1.2.4", port=0, discport=30301)
FLEET = {
    "NetworkID": 1,
    "DataDir": "/data",
    "NodeKey": KEY,
    "ListenAddr": "0.0.0.0:30504",
    "AdvertiseAddr": "203.0.113.7",
    "HTTPEnabled": True,
    "HTTPHost": "127.0.0.1",
    "HTTPPort": 8546,
    "HTTPVirtualHosts": ["localhost", "node"],
    "APIModules": "eth,net,web3,admin, waku",
    "MaxPeers": 5000,
    "MaxPendingPeers": 50,
    "LogLevel": "WARN",
    "ClusterConfig": {
        "Enabled": True,
        "Fleet": "eth.prod",
        "BootNodes": [str(BOOTNODE)],
        "StaticNodes": [str(ENODE)],
        "TrustedMailServers": [str(OTHER)],
    },
    "WakuConfig": {
        "Enabled": True,
        "EnableMailServer": True,
        "DataDir": "/data/waku",
        "MailServerPassword": "status-offline-inbox",
        "MailServerRateLimit": 5,
        "MailServerDataRetention": 30,
        "MinimumPoW": 0.001,
        "MaxMessageSize": 1048576,
        "LightClient": False,
        "FullNode": True,
        "BloomFilterMode": True,
        "EnableConfirmations": True,
        "EnableRateLimiter": True,
        "PacketRateLimitIP": 5,
        "PacketRateLimitPeerID": 6,
        "BytesRateLimitIP": 7_000_000,
        "BytesRateLimitPeerID": 8_000_000,
        "RateLimitTolerance": 3,
        "SoftBlacklistedPeerIDs": ["x"],
        "DatabaseConfig": {"PGConfig": {"Enabled": True, "URI": "postgres://u:hidden@h"}},
    },
}


def test_a_status_go_configuration() -> None:
    settings, remarks = translated(FLEET)
    assert settings == {
        "datadir": "/data",
        "host": "0.0.0.0",
        "port": 30504,
        "nodekeyhex": KEY,
        "nat": "extip:203.0.113.7",
        "maxpeers": 5000,
        "max_handshakes": 50,
        "static_nodes": [str(ENODE)],
        "bootnodes": [str(BOOTNODE)],
        "trusted_nodes": [str(OTHER)],
        "mailserver": True,
        "password": "status-offline-inbox",
        "min_pow": 0.001,
        "max_envelope": 1048576,
        "max_packet": 1048576,
        "interest": "bloom",
        "light": False,
        "confirmations": True,
        "retention": 30.0,
        "request_rate": 0.2,
        "verbosity": "warning",
        "rate": {
            "packets_ip": 5,
            "packets_peer": 6,
            "bytes_ip": 7_000_000,
            "bytes_peer": 8_000_000,
            "tolerance": 3,
            "whitelist": [ENODE.node_id.hex(), "10.1.2.3/32", OTHER.node_id.hex(), "::1/128"],
        },
        "http": {
            "enabled": True,
            "addr": "127.0.0.1",
            "port": 8546,
            "api": ["net", "web3", "admin", "waku"],
            "vhosts": ["localhost", "node"],
        },
    }
    assert {remark.partition(":")[0] for remark in remarks} == {
        "NetworkID",
        "ClusterConfig.Fleet",
        "WakuConfig.DataDir",
        "WakuConfig.SoftBlacklistedPeerIDs",
        "WakuConfig.DatabaseConfig.PGConfig.URI",
    }
    advice = next(remark for remark in remarks if "PGConfig" in remark)
    assert "wakumail archive import --postgres" in advice


def test_each_line_says_what_it_comes_from() -> None:
    text = str(Translation(json.dumps(FLEET)))
    assert 'port = 30504  # ListenAddr "0.0.0.0:30504"' in text
    assert "request_rate = 0.2  # WakuConfig.MailServerRateLimit 5" in text
    assert "maxpeers = 5000  # MaxPeers\n" in text
    assert "# NetworkID: it has no counterpart\n" in text
    assert "hidden" not in text


@pytest.mark.parametrize(
    ("document", "settings"),
    [
        ({}, {}),
        ({"ListenAddr": ":0"}, {"host": "0.0.0.0", "port": 0}),
        ({"ListenAddr": "[::]:443"}, {"host": "::", "port": 443}),
        ({"listenaddr": ":1", "wakuconfig": {"enablemailserver": False}},
         {"host": "0.0.0.0", "port": 1, "mailserver": False}),
        ({"HTTPEnabled": True, "HTTPHost": ""}, {}),
        ({"DataDir": "", "HTTPVirtualHosts": [], "NodeKey": None}, {}),
        ({"MaxPendingPeers": 0, "WakuConfig": {"MinimumPoW": 0, "MaxMessageSize": 0}}, {}),
        ({"WakuConfig": {"MailServerRateLimit": 0}}, {"request_rate": 0.0}),
        ({"WakuConfig": {"MailServerDataRetention": 0}}, {"retention": 0.0}),
        ({"WakuConfig": {"BloomFilterMode": False}}, {"interest": "topics"}),
        ({"WakuConfig": {"PacketRateLimitIP": 5, "RateLimitTolerance": 3}}, {}),
        ({"WakuConfig": {"EnableRateLimiter": False, "BytesRateLimitIP": 5}}, {}),
        ({"WakuConfig": {"EnableRateLimiter": True, "RateLimitTolerance": 0}},
         {"rate": {"tolerance": NEVER}}),
        ({"WakuConfig": {"EnableRateLimiter": True, "BytesRateLimitIP": 1 << 20}},
         {"max_packet": 1 << 20, "rate": {"bytes_ip": 1 << 20}}),
        ({"WakuConfig": {"EnableRateLimiter": True, "BytesRateLimitIP": 0}},
         {"rate": {"bytes_ip": 0}}),
        ({"ClusterConfig": {"Enabled": False, "StaticNodes": [str(ENODE)]}}, {}),
        ({"BridgeConfig": {"Enabled": True}}, {"shh": True}),
        ({"NoDiscovery": False}, {"discovery": {"v4": True}}),
        ({"NoDiscovery": True}, {"discovery": {"v4": False}}),
        ({"LogLevel": "TRACE"}, {"verbosity": LogLevel.DEBUG}),
    ],
)  # fmt: skip
def test_what_single_keys_mean(document: dict[str, Any], settings: dict[str, Any]) -> None:
    assert translated(document)[0] == settings


@pytest.mark.parametrize(
    ("document", "remark"),
    [
        ({"ListenAddr": "30303"}, "ListenAddr: '30303' is not HOST:PORT"),
        ({"ListenAddr": 30303}, "ListenAddr: it cannot be a whole number"),
        ({"ListenAddr": ":99999"}, "ListenAddr: 99999 is not from 0 to 65535"),
        ({"AdvertiseAddr": True}, "AdvertiseAddr: it cannot be true or false"),
        ({"MaxPeers": "25"}, "MaxPeers: a whole number is expected, not a string"),
        ({"MaxPeers": 0}, "MaxPeers: 0 is not from 1 to 2147483647"),
        ({"LogLevel": []}, None),
        ({"LogLevel": ["INFO"]}, "LogLevel: ['INFO'] is none of ERROR, WARN, INFO, DEBUG, TRACE"),
        ({"NodeKey": "xyz"}, "NodeKey: a node key is 64 hexadecimal digits"),
        ({"IPCEnabled": False}, "IPCEnabled: the socket is always on"),
        ({"IPCEnabled": True}, None),
        ({"UpstreamConfig": {"Enabled": True, "URL": "x"}},
         "UpstreamConfig: it has no counterpart"),
        ({"WakuConfig": 5}, "WakuConfig: it is not known, and left out"),
        ({"WakuConfig": {"Enabled": False}}, "WakuConfig.Enabled: it has no counterpart"),
        ({"WakuConfig": {"FullNode": False}},
         "WakuConfig.FullNode: all topics are taken unless `topics` names some"),
        ({"WakuConfig": {"MailServerRateLimit": 0.5}},
         "WakuConfig.MailServerRateLimit: it cannot be a number"),
        ({"WakuConfig": {"PacketRateLimitIP": 5}},
         "WakuConfig.PacketRateLimitIP: not in force without WakuConfig.EnableRateLimiter"),
        ({"WakuConfig": {"DatabaseConfig": {"PGConfig": {"Enabled": False, "URI": "u"}}}},
         "WakuConfig.DatabaseConfig.PGConfig.URI: not in force without"
         " WakuConfig.DatabaseConfig.PGConfig.Enabled"),
        ({"ClusterConfig": {"StaticNodes": [str(ENODE), f"enode://{'ab' * 64}:pw@h:1"]}},
         "ClusterConfig.StaticNodes: item 2: the node id of an enode is 128 hexadecimal digits"),
        ({"WakuConfig": {"EnableRateLimiter": True, "BytesRateLimitPeerID": 1000}},
         "`wakumail serve` does not start like this: rate.bytes_peer is less than max_packet:"
         " 1000 bytes have no room for a packet of 1048576"),
        ({"HTTPEnabled": True, "HTTPHost": "0.0.0.0"},
         "`wakumail serve` does not start like this: the API would listen on 0.0.0.0, open to"
         " all who can reach it: give --rpc.token-file, or listen on 127.0.0.1"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_said(document: dict[str, Any], remark: str | None) -> None:
    assert translated(document)[1] == ([] if remark is None else [remark])


def test_a_comment_cannot_become_a_setting() -> None:
    settings, remarks = translated({"x\nport = 5": 1, "AdvertiseAddr": "1.2.3.4\nport = 6"})
    assert settings == {}
    assert len(remarks) == 2


def test_import_writes_a_private_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "config.json", tmp_path / "wakumail.toml"
    source.write_text(json.dumps(FLEET))
    assert run("import", source, "--out", target) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "wakumail config: NetworkID: it has no counterpart" in output.err.splitlines()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert load({}, {}, str(target)).settings.static_nodes == (ENODE,)
    with pytest.raises(FileExistsError):
        run("import", source, "--out", target)


def test_import_from_stdin_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"MaxPeers": 9}'))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("import", "-") == 0
    assert tomllib.loads(capsys.readouterr().out) == {"maxpeers": 9}


@pytest.mark.parametrize("text", ["", "[]", "5", '{"a"', "\xff"])
def test_import_of_something_else(tmp_path: Path, text: str) -> None:
    source = tmp_path / "config.json"
    source.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"{source}: "):
        run("import", source)


def test_import_of_something_endless() -> None:
    with pytest.raises(ValueError, match="/dev/zero: it has more than 4194304 bytes"):
        run("import", "/dev/zero")


BAD = """
maxpeer = 3
port = "x"
max_envelope = 99_999_999
static_nodes = ["enode://x"]
[http]
enabled = true
addr = "0.0.0.0"
"""


def checked(text: str | bytes, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on a file; the last is the exit code. Each begins with the file and a key."""
    file = folder / "file"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    code = run("check", file)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [*(line.removeprefix(f"{file}: ") for line in lines), str(code)]


def test_check_tells_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = checked(BAD, tmp_path, capsys)
    assert told[:4] == [
        "unknown key 'maxpeer', the nearest known one is 'maxpeers'",
        "port: a whole number is expected, not a string",
        "max_envelope, max_packet: max_envelope is more than max_packet",
        "max_envelope, relay_memory: max_envelope is more than relay_memory",
    ]
    assert told[4].startswith("http.enabled, http.addr: the API would listen on 0.0.0.0")
    assert told[5].startswith("static_nodes: item 1: ")
    assert told[6:] == ["1"]
    assert checked("maxpeers = 3", tmp_path, capsys) == ["no fault", "0"]
    assert checked("", tmp_path, capsys) == ["no fault", "0"]
    assert checked("maxpeers =", tmp_path, capsys)[-1] == "1"
    idle = "cluster_name: it has no effect without --cluster"
    assert checked("cluster_name = 'fleet'", tmp_path, capsys) == [idle, "0"]


def test_check_of_a_status_go_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that has no counterpart is told, but is no fault."""
    told = checked(json.dumps(FLEET), tmp_path, capsys)
    assert told == [*translated(FLEET)[1], "0"]
    assert "NetworkID: it has no counterpart" in told
    assert checked('{"MaxPeers": 5}', tmp_path, capsys) == ["no fault", "0"]
    for document, fault in (
        ({"MaxPeers": "x"}, "MaxPeers: a whole number is expected, not a string"),
        ({"MaxPears": 5}, "MaxPears: it is not known, and left out"),
        ({"WakuConfig": {"FulNode": True}}, "WakuConfig.FulNode: it is not known, and left out"),
    ):
        assert checked(json.dumps(document), tmp_path, capsys) == [fault, "1"]
    conflict = {"HTTPEnabled": True, "HTTPHost": "0.0.0.0"}
    assert checked(b"\xef\xbb\xbf" + json.dumps(conflict).encode(), tmp_path, capsys)[-1] == "1"
    with pytest.raises(ValueError, match="file: "):
        checked('{"a"', tmp_path, capsys)
    with pytest.raises(FileNotFoundError):
        run("check", tmp_path / "none")
