"""Ports of this machine for servers that are told theirs before they start."""

import random
import socket
from contextlib import ExitStack

CHOICE = range(20_000, 30_000)
"""Outside the range from which the system gives ports to those who ask for any (ip(7),
ip_local_port_range): so no connection takes one before its server does."""


def free_ports(count: int) -> list[int]:
    """Different TCP ports of 127.0.0.1 that nobody uses now."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            trial = held.enter_context(socket.socket())
            try:
                trial.bind(("127.0.0.1", random.choice(CHOICE)))
            except OSError:
                continue
            ports.append(trial.getsockname()[1])
    return ports
