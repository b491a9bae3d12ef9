"""Ports for servers that are told theirs before they start."""

import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from wakumail.base import free_ports as module
from wakumail.base.free_ports import free_ports

TAKE_EIGHT = """
from wakumail.base import free_ports
free_ports.CHOICE = range({first}, {first} + 64)
print(*free_ports.free_ports(8))
"""


def test_a_port_is_given_once_though_its_servers_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [first] = free_ports(1)
    choice = range(first, first + 64)
    monkeypatch.setattr(module, "CHOICE", choice)
    ours = free_ports(4)
    for _ in range(2):
        with ExitStack() as servers:
            for port in ours:  # several processes of one server share a port
                for _ in range(2):
                    server = socket.create_server(("127.0.0.1", port), reuse_port=True)
                    servers.enter_context(server)
                with socket.create_connection(("127.0.0.1", port)):
                    pass
    program = [sys.executable, "-c", TAKE_EIGHT.format(first=first)]
    others = set(map(int, subprocess.check_output(program).split()))
    assert len({first, *ours}) == 5
    assert len(others - {first, *ours}) == 8
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
