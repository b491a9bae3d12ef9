"""The wire of a session: its packets on a link, counted."""

from wakumail.errors import ProtocolError
from wakumail.mail.sync.packets import CODES, Packet
from wakumail.mail.sync.tally import Tally
from wakumail.node.link import Link


class Wire:
    """Our end of the link to a peer that we sync with."""

    def __init__(self, link: Link, tally: Tally) -> None:
        self._link = link
        self._tally = tally

    def send(self, packet: Packet) -> None:
        """Send a packet."""
        data = packet.encode()
        self._tally.bytes_sent += len(data)
        self._link.peer.send_sync(CODES[type(packet)], data)
        self._link.outbox.flush_soon()

    async def drain(self) -> None:
        """Wait until the peer has read most of what was sent. PeerGone."""
        await self._link.outbox.drain()

    def fail(self, error: ProtocolError) -> None:
        """End the connection: the peer broke a rule."""
        self._link.fail(error)
