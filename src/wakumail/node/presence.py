"""The address and the record under which others find this node."""

import ipaddress
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wakumail.devp2p.addresses import INTERNET, reach
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr, Value
from wakumail.devp2p.keys import node_id
from wakumail.node.node import Node
from wakumail.node.own_record import OwnRecord, waku_value

if TYPE_CHECKING:
    from wakumail.node.discovery import Discovery

log = logging.getLogger(__name__)

LOOPBACK = ipaddress.IPv4Address("127.0.0.1")


class Presence:
    """The address and the record under which others find a node, and its discovery if it has one.

    The node has to listen before anything is asked here.
    """

    def __init__(
        self, node: Node, *, external_host: str, is_mailserver: bool, record_file: Path | None
    ) -> None:
        """`external_host` is where others reach the node; "" for the address that it listens on.

        The last record is kept in `record_file`; None keeps it in memory only.
        """
        self.discovery: Discovery | None = None  # takes long to import
        self._node = node
        self._external_host = external_host
        self._external_ports: tuple[int, int] | None = None
        self._is_mailserver = is_mailserver
        self._own_record = OwnRecord(record_file, node.config.connection.node_key)

    @property
    def enode(self) -> Enode:
        """Our enode as others reach it."""
        own = self.own_enode
        tcp, udp = self._external_ports or (own.port, own.discport)
        return replace(own, host=self._external_host or own.host, port=tcp, discport=udp)

    @property
    def own_enode(self) -> Enode:
        """Our enode as this machine reaches it."""
        assert self._node.listening is not None
        host, port = self._node.listening
        own_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        identity = node_id(self._node.config.connection.node_key.public_key)
        discport = port if self.discovery is None else self.discovery.port
        return Enode(identity, own_host, port, discport)

    @property
    def record(self) -> Enr:
        """Our record; its number has risen if something has changed."""
        enode = self.enode
        address = ipaddress.ip_address(enode.host)
        values: dict[bytes, Value] = {
            b"ip" if address.version == 4 else b"ip6": address.packed,
            b"tcp": enode.port,
            b"waku": waku_value(is_mailserver=self._is_mailserver),
        }
        if self.discovery is not None:
            values[b"udp"] = enode.discport
        return self._own_record.sign(values)

    @property
    def limits(self) -> str:
        """The reason why not everybody can use our enode, and what to do; "" if everybody can."""
        host = self.enode.host
        measure = reach(ipaddress.ip_address(host))
        if measure == INTERNET:
            return ""
        whom = "this machine" if measure == reach(LOOPBACK) else "its own network"
        return (
            f"{host} in our enode is an address for {whom} only; name that for others with"
            f" --nat extip:ADDRESS, or let --nat any find it"
        )

    def settle(self) -> None:
        """Sign our record and keep it, for `wakumail key enr`; log who cannot use our enode."""
        log.debug("our record is %s", self.record)
        if self.limits:
            log.info("%s", self.limits)

    def move(self, host: str, ports: tuple[int, int] | None = None) -> None:
        """Take another address at which others reach us, and tell those who know us.

        `ports` are the TCP and the UDP port there; None for those that we listen on. The host ""
        is the address that we listen on.
        """
        self._external_host, self._external_ports = host, ports
        record = self.record  # signed and kept, whether anybody is told or not
        if self.discovery is not None:
            self.discovery.announce(record)
