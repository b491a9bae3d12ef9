"""The page on moving over from status-go: its example is run, and no key is passed over."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.envelopes import make
from tests.support.patience import PATIENCE
from tests.support.processes import WAKUMAIL, Server
from wakumail.devp2p.enode import Enode

PAGE = (Path(__file__).parents[2] / "docs" / "moving-over.md").read_text()
(CONFIG,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SETTINGS, DATA, START, ASKING = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COUNT = 300

FLEET_KEYS = [
    "ListenAddr",
    "AdvertiseAddr",
    "NodeKey",
    "MaxPeers",
    "DataDir",
    "HTTPEnabled",
    "HTTPHost",
    "HTTPPort",
    "APIModules",
    "ClusterConfig.BootNodes",
    "ClusterConfig.StaticNodes",
    "ClusterConfig.TrustedMailServers",
    "WakuConfig.EnableMailServer",
    "WakuConfig.DataDir",
    "WakuConfig.MailServerPassword",
    "WakuConfig.MailServerRateLimit",
    "WakuConfig.MailServerDataRetention",
    "WakuConfig.MinimumPoW",
    "WakuConfig.MaxMessageSize",
    "WakuConfig.EnableRateLimiter",
    "WakuConfig.PacketRateLimitIP",
    "WakuConfig.PacketRateLimitPeerID",
    "WakuConfig.BytesRateLimitIP",
    "WakuConfig.BytesRateLimitPeerID",
    "WakuConfig.RateLimitTolerance",
    "WakuConfig.FullNode",
    "WakuConfig.BloomFilterMode",
    "WakuConfig.EnableConfirmations",
    "WakuConfig.SoftBlacklistedPeerIDs",
    "WakuConfig.DatabaseConfig.PGConfig.Enabled",
    "WakuConfig.DatabaseConfig.PGConfig.URI",
]
"""The keys that mailservers of the fleet have in their files."""

STATUSD_FLAGS = [
    "-addr",
    "-api-modules",
    "-c",
    "-dir",
    "-fleet",
    "-ipc",
    "-ipcfile",
    "-log",
    "-log-without-color",
    "-mailserver",
    "-metrics",
    "-metrics-port",
    "-network-id",
    "-password",
    "-pprof",
    "-pprof-port",
    "-register",
    "-seed-phrase",
    "-server",
    "-sync-and-exit",
    "-version",
]
"""All that statusd had while it had mailservers, and later ones."""


def test_every_key_and_flag_of_the_fleet_has_a_row_that_says_what_to_do() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?\S) \|", PAGE, re.MULTILINE))
    assert {key for key in FLEET_KEYS if not rows.get(key)} == set()
    flags: list[str] = []
    for first, meaning in re.findall(r"^\| ((?:`-[^|]*` ?)+) \| (.*?) \|$", PAGE, re.MULTILINE):
        flags += re.findall(r"`(-[\w-]+)", first)
        assert meaning
    assert sorted(flags) == sorted(STATUSD_FLAGS)


def run(script: str, folder: Path) -> str:
    """The output of lines of the page, run by a shell whose wakumail is this one."""
    (folder / "bin").mkdir(exist_ok=True)
    command = folder / "bin" / "wakumail"
    command.write_text(f'#!/bin/sh\nexec {" ".join(WAKUMAIL)} "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", script.replace("/var/lib", str(folder))],
        cwd=folder,
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def fill(directory: Path) -> None:
    """Make the LevelDB of a status-go mailserver."""
    plyvel = importlib.import_module("plyvel" if sys.version_info < (3, 13) else "plyvel_next")
    directory.mkdir(parents=True)
    database = plyvel.DB(str(directory), create_if_missing=True)
    for each in make(COUNT, [b"move"]):
        database.put(each.created.to_bytes(4, "big") + each.hash + each.topic, each.rlp)
    database.close()


def test_the_worked_example(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG.replace("/var/lib", str(tmp_path)))
    fill(tmp_path / "statusd" / "waku")
    told = run(SETTINGS, tmp_path)
    for key in ("NetworkID", "ClusterConfig.Fleet", "WakuConfig.DataDir"):
        assert f"config.json: {key}: " in told
    assert told.splitlines()[-1] == "wakumail.toml: no fault"
    ours = "\n".join(line for line in DATA.splitlines() if line.startswith("wakumail"))
    told = run(ours, tmp_path)
    assert f"{COUNT} envelopes stored, 0 already there" in told
    assert f"{COUNT} envelopes verified, 0 problems" in told
    assert "/etc/wakumail/wakumail.toml" in START
    flags = ("--config", tmp_path / "wakumail.toml", "--http.port", 0, "--metrics.port", 0)
    with Server(tmp_path / "wakumail", *flags) as server:
        enode = Enode.parse(server.enode)
        assert enode.host == json.loads(CONFIG)["AdvertiseAddr"]
        [(start, address)] = set(re.findall(r"enode://(\w+)…@(\S+)", ASKING))
        assert enode.node_id.hex().startswith(start)
        assert address == "192.0.2.7:30504"
        there = server.enode.replace(enode.host, "127.0.0.1")
        told = run(ASKING.replace(f"enode://{start}…@{address}", there), tmp_path)
    assert told.startswith("ok: ")
    assert f"{COUNT} envelopes in 1 page" in told
