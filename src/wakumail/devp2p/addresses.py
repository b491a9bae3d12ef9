"""Addresses and names of hosts, as people and peers write them."""

import ipaddress
import re
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253

INTERNET = 4
"""The reach of an address of the internet."""


def reach(address: Address) -> int:
    """A measure of the hosts that can reach an address: 0 for none, INTERNET for all."""
    if address.is_unspecified:
        return 0
    if address.is_loopback:
        return 1
    if address.is_link_local:
        return 2
    # Python calls more networks private than these, such as those for documentation.
    return 3 if any(address in network for network in _PRIVATE) else INTERNET


_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)


def plain_ip(ip: str) -> str:
    """An address as the network has it: IPv4 inside IPv6 (`::ffff:a.b.c.d`) is IPv4."""
    if ip.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(ip).ipv4_mapped
        return ip if mapped is None else str(mapped)
    return ip


def is_unspecified(host: str) -> bool:
    """True for 0.0.0.0 and ::, also inside IPv6; false for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_unspecified


def check_host(host: str) -> None:
    """ValueError for a host that is neither an address nor a DNS name; no name ends in a number."""
    labels = host.split(".")
    if ":" in host:
        if "%" in host:
            raise ValueError("an enode's address has no zone")
        ipaddress.IPv6Address(host)
    elif labels[-1].isdigit():
        ipaddress.IPv4Address(host)
    elif len(host) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{host[:_MAX_NAME]!r} is neither an address nor a host name")
