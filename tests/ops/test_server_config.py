"""The configuration of the servers of a log, as the server itself reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

from wakumail.ops.cluster.server_config import LogServer, configuration

NATS = Path(sys.executable).parent / "nats-server"


@pytest.mark.parametrize(
    "urls",
    [
        ["nats://192.0.2.1", "nats://log.example:4223", "tls://[2001:db8::1]:65535"],
        ["nats://user:secret@192.0.2.1:1"],
    ],
)
def test_the_server_takes_it(tmp_path: Path, urls: list[str]) -> None:
    servers = [LogServer("fleet", url, place) for place, url in enumerate(urls, 1)]
    for server in servers:
        assert 0 < server.cluster_port < 1 << 16
        assert server.cluster_port != server.port
        text = configuration("fleet", servers, server, store=str(tmp_path / server.name))
        assert 'sync_interval: "always"' in text
        file = tmp_path / f"{server.name}.conf"
        file.write_text(text)
        subprocess.run([NATS, "-c", file, "-t"], check=True, capture_output=True)
