"""Ports of this machine for servers that are told theirs before they start."""

import random
import socket

CHOICE = range(20_000, 30_000)
"""Outside the range from which the system gives ports to those who ask for any (ip(7),
ip_local_port_range): so no connection takes one before its server does."""


def free_ports(count: int) -> list[int]:
    """Different TCP ports of 127.0.0.1 that nobody uses now.

    While this process runs no other one gets them here, though a server may start, end and start
    again on each: a socket stays bound to each port, and does not listen.
    """
    ports: list[int] = []
    while len(ports) < count:
        trial = socket.socket()
        try:
            trial.bind(("127.0.0.1", random.choice(CHOICE)))
        except OSError:
            trial.close()
            continue
        # Set when it is bound: servers, which set it too, pass, and a trial does not (socket(7)).
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ports.append(trial.getsockname()[1])
        trial.detach()  # it stays open
    return ports
