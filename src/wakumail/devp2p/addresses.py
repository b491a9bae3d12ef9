"""Addresses and names of hosts, as people and peers write them."""

import ipaddress
import re
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED_BITS = 96
"""Bits of the prefix `::ffff:` in front of an IPv4 address."""

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME = 253
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
"""A last label that resolvers read as part of an IPv4 address (URL Standard, 3.5)."""

PRIVATE = 3
"""The reach of an address of a private network."""

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
    return PRIVATE if any(address in network for network in _PRIVATE) else INTERNET


_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)


def plain(address: Address) -> Address:
    """An address as the network has it: IPv4 inside IPv6 (`::ffff:a.b.c.d`) is IPv4."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def plain_ip(ip: str) -> str:
    """The text of `plain`."""
    return str(read_address(ip)) if ip.startswith("::ffff:") else ip


def read_address(text: str) -> Address:
    """The plain address in a text; a ValueError names the text."""
    return plain(ipaddress.ip_address(text))


def read_network(text: str) -> Network:
    """The network in CIDR notation, or the one address; a ValueError names the text.

    A network of IPv4 inside IPv6 (`::ffff:10.0.0.0/104`) is one of IPv4, as addresses are.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a network") from None
    first = plain(network.network_address)
    if first.version == network.version or network.prefixlen < MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((int(first), network.prefixlen - MAPPED_BITS))


def read_node_address(text: str) -> Address:
    """The address of a node as others may be told it; a ValueError names the fault."""
    address = read_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{text} has a zone, which means nothing to others")
    if fault := undialable(text):
        raise ValueError(fault)
    return address


def undialable(host: str) -> str:
    """The reason why nobody can dial a host; empty if there is none, and for a name.

    An unspecified address (0.0.0.0, ::) stands for every address of a listener: a system that is
    asked to connect to it connects to itself. A multicast address (224.0.0.0/4, ff00::/8) and
    255.255.255.255 stand for many hosts. An IPv6 address of a link needs its zone.
    """
    try:
        address = read_address(host)
    except ValueError:
        return ""
    return "" if is_dialable(address) else f"{host} is no address of a node"


def is_dialable(address: Address) -> bool:
    """False for an address that nobody can dial; `undialable` tells which those are."""
    needs_zone = (
        isinstance(address, ipaddress.IPv6Address)
        and address.is_link_local
        and address.scope_id is None
    )
    return is_of_host(address) and not needs_zone


def is_within_reach(address: Address, least: int) -> bool:
    """True for the address of one host that others of the reach `least` can dial.

    Nobody has one of 240.0.0.0/4 (RFC 1112, section 4).
    """
    is_reserved = address.version == 4 and address.is_reserved
    return is_dialable(address) and not is_reserved and reach(address) >= least


def is_of_host(address: Address) -> bool:
    """False for an address that stands for no host or for many."""
    return not (address.is_unspecified or address.is_multicast or address == _BROADCAST)


def check_host(host: str) -> str:
    """The one spelling of a host; ValueError if it is neither an address nor a DNS name.

    A name does not end in a number.
    """
    labels = host.split(".")
    if ":" in host:
        if "%" in host:
            raise ValueError("an enode's address has no zone")
        return str(plain(ipaddress.IPv6Address(host)))
    if _NUMBER.fullmatch(labels[-1]):
        return str(ipaddress.IPv4Address(host))
    if len(host) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{host[:_MAX_NAME]!r} is neither an address nor a host name")
    return host
