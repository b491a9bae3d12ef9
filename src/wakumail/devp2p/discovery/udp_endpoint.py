"""Addresses as discovery tells them, and which of them a stranger may tell (discv4, "Ping")."""

import ipaddress
from functools import lru_cache
from typing import NamedTuple

from wakumail.base.rlp import Item, as_bytes, as_list
from wakumail.devp2p.addresses import INTERNET, Address, is_within_reach, plain_ip, reach
from wakumail.errors import RlpError

LOWEST_PORT = 1025
"""Least UDP port that a stranger may name: below are services that would answer our packets."""

SUBNET_BITS = {4: 24, 6: 48}
"""Bits of the addresses that one owner is taken to have, by IP version."""


class UdpEndpoint(NamedTuple):
    """The place where a node gets packets: `ip` as text, its UDP and its TCP port, 0 for none."""

    ip: str
    udp: int
    tcp: int

    @property
    def address(self) -> tuple[str, int]:
        """The address for datagrams to it, as a socket takes it."""
        return self.ip, self.udp

    def fields(self) -> list[bytes | int]:
        """Its three items in a packet."""
        return [parse_ip(self.ip).packed, self.udp, self.tcp]

    @classmethod
    def read(cls, item: Item) -> "UdpEndpoint":
        """Read the items of an endpoint, more may follow; RlpError.

        An address of a wrong size, such as that of a node that does not know its own, is 0.0.0.0.
        """
        ip, udp, tcp, *_ = as_list(item, at_least=3)
        packed = as_bytes(ip)
        known = len(packed) in (4, 16)
        host = plain_ip(str(ipaddress.ip_address(packed))) if known else "0.0.0.0"
        return cls(host, _port(udp), _port(tcp))


def _port(item: Item) -> int:
    """A port. @ethereumjs/devp2p writes two bytes always, also for 0."""
    digits = as_bytes(item)
    if len(digits) > 2:
        raise RlpError(f"a port of {len(digits)} bytes")
    return int.from_bytes(digits, "big")


@lru_cache(4096)
def parse_ip(ip: str) -> Address:
    """The address in a text. ValueError."""
    return ipaddress.ip_address(ip)


@lru_cache(4096)
def may_tell(teller: str, told: str) -> bool:
    """True if a node at the address `teller` can know a node at the address `told`.

    A node of the internet cannot know one of our loopback or of our private networks.
    """
    return is_within_reach(parse_ip(told), reach(parse_ip(teller)))


@lru_cache(4096)
def subnet_of(ip: str) -> str:
    """The network of an address that has one owner; empty for what is no address of the internet.

    An operator's own networks hold many nodes.
    """
    address = parse_ip(ip)
    if reach(address) < INTERNET:
        return ""
    bits = SUBNET_BITS[address.version]
    return str(ipaddress.ip_network((address, bits), strict=False))
