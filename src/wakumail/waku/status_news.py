"""The changes of our status that one peer was not told yet."""

from collections import deque
from collections.abc import Callable

from wakumail.waku.own_status import OwnStatus
from wakumail.waku.packets import StatusOptions
from wakumail.waku.rate_limits import OutgoingLimits, Turn


class StatusNews:
    """Makes the Status Updates for one peer. They wait for its rate limits.

    All changes that wait become one update, with the last value of each option.
    """

    def __init__(
        self, own: OwnStatus, encode: Callable[[StatusOptions], list[tuple[int, bytes]]]
    ) -> None:
        """Made when the peer is sent our status. `encode` is the encode_update of its dialect."""
        self.due: float | None = None
        """Time on the caller's clock of the next try, if a packet has to wait."""
        self._own = own
        self._encode = encode
        self._told = own.options
        """Our status as the peer knows it, or will when it has the packets of `_packets`."""
        self._packets: deque[tuple[int, bytes]] = deque()
        self._turn = Turn()

    def next_packet(self, limits: OutgoingLimits, now: float) -> tuple[int, bytes] | None:
        """Code and payload of a packet to send at once; None if there is none before `due`.

        It has to count against `limits` before the next call.
        """
        self.due = None
        while self._packets or self._told is not self._own.options:
            size = len(self._packets[0][1]) if self._packets else 0
            if delay := limits.ask(self._turn, now, size):
                self.due = now + delay
                break
            if self._packets:
                return self._packets.popleft()
            changed = self._own.changes_since(self._told)
            self._told = self._own.options
            if changed is not None:
                self._packets.extend(self._encode(changed))
        return None
