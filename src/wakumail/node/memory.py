"""The memory of all links together: unfinished frames, and bytes that peers leave unread."""

from collections import Counter
from collections.abc import Collection

from wakumail.node.admission import CrowdedOut
from wakumail.node.link import Link
from wakumail.node.outbox import StalledPeer

MAX_UNFINISHED_FRAMES = 256 << 20
"""Bytes of unfinished frames of all peers, above which the peer with the most is dropped."""

SMALL_BUFFER = 128 << 10
"""Bytes of the buffer that any busy peer has. Only larger buffers count as unfinished frames."""

MAX_UNREAD_OF_ALL = 256 << 20
"""Bytes that all peers together may leave unread. They are summed up each time that a quarter of
this was written. Then the peers with the most are dropped, until the next quarter has room."""


class Memory:
    """Bounds the memory of all links together, at the cost of the link with the most."""

    def __init__(self, links: Collection[Link]) -> None:
        """`links`: all that have a socket; the node adds and removes them."""
        self._links = links
        self._buffers: dict[Link, int] = {}
        """Bytes of the buffers for frames that are larger than SMALL_BUFFER."""
        self._receiving = 0
        """Bytes of all these buffers."""
        self._written = 0
        """Bytes written to all peers since their unread bytes were counted."""

    def count_buffer(self, link: Link, size: int) -> None:
        """The buffer for frames of a link has `size` bytes now."""
        self._receiving -= self._buffers.pop(link, 0)
        if size > SMALL_BUFFER:
            self._buffers[link] = size
            self._receiving += size
            if self._receiving > MAX_UNFINISHED_FRAMES:
                greediest = max(self._buffers, key=self._buffers.__getitem__)
                error = CrowdedOut(
                    "too many bytes of unfinished frames, and this peer has the most"
                )
                greediest.drop(error)

    def count_written(self, size: int) -> None:
        """`size` bytes more were written to some peer."""
        self._written += size
        if self._written > MAX_UNREAD_OF_ALL // 4:
            self._written = 0
            self._drop_unread()

    def forget(self, link: Link) -> None:
        """Forget a link whose socket is closed."""
        self._receiving -= self._buffers.pop(link, 0)

    def _drop_unread(self) -> None:
        """Drop the peers with the most unread bytes if there are too many, host by host."""
        unread = {link: link.outbox.unread for link in self._links}
        excess = sum(unread.values()) - MAX_UNREAD_OF_ALL * 3 // 4
        if excess <= 0:
            return
        hosts: Counter[str] = Counter()
        for link, size in unread.items():
            hosts[link.host] += size
        for link in sorted(unread, key=lambda each: (-hosts[each.host], -unread[each])):
            link.drop(StalledPeer("too many bytes unread by all peers, and by this one the most"))
            excess -= unread[link]
            if excess <= 0:
                return
