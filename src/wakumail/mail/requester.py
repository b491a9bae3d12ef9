"""The requester: asks trusted mailservers for history, for whoever uses this node.

P2P Messages carry no request id, so what comes goes to the filters as it comes; here is known only
which requests are open. While one is, the mailserver may send as much as it likes; afterwards only
what trusted peers may send unasked (see peer.py).
"""

import asyncio
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

from wakumail.counters import Counters
from wakumail.devp2p.keys import PrivateKey, public_key
from wakumail.errors import WakumailError
from wakumail.mail.answer import ANSWER_TIMEOUT
from wakumail.mail.request import Form, build_request
from wakumail.node.link import Link
from wakumail.waku.completion import Completion

MAX_OPEN = 100
"""Requests to one mailserver that may be open."""


class Untrusted(WakumailError):
    """A request to a mailserver that is not trusted: what it answers would not be taken."""

    counter = "mailserver_untrusted"


class TooManyOpen(WakumailError):
    """MAX_OPEN requests to one mailserver have no answer yet."""

    counter = "mailserver_busy"


@dataclass(slots=True)
class Asked:
    """What a mailserver has not answered yet."""

    request_ids: set[bytes]
    deadline: asyncio.TimerHandle


class Requester:
    """The open requests of a node, by the mailserver they went to."""

    def __init__(self, node_key: PrivateKey, counters: Counters) -> None:
        self._node_key = node_key
        self._counters = counters
        self._asked: dict[Link, Asked] = {}

    def request(
        self,
        link: Link,
        *,
        lower: int,
        upper: int,
        topics: Collection[bytes],
        limit: int,
        cursor: bytes,
        key: bytes | None,
    ) -> bytes:
        """Ask a trusted mailserver; answers the request's id (32 bytes), not what comes of it.

        Sealed with a symmetric `key`, or for the mailserver's node key where it is None.
        """
        if not link.peer.trusted:
            raise Untrusted("the mailserver is not trusted")
        if link in self._asked and len(self._asked[link].request_ids) >= MAX_OPEN:
            raise TooManyOpen(f"{MAX_OPEN} requests to this mailserver have no answer yet")
        packet, request_id = build_request(
            Form.R3,
            lower=lower,
            upper=upper,
            topics=tuple(topics),
            bloom=b"",
            limit=limit,
            cursor=cursor,
            key=key or public_key(link.node_id),
            sign_with=self._node_key,
            random=os.urandom,
            now=int(time.time()),
        )
        if link not in self._asked:
            self._asked[link] = Asked(set(), self._arm(link))
        self._asked[link].request_ids.add(request_id)
        link.peer.request_history(packet)
        link.outbox.flush()
        return request_id

    def heard(self, link: Link) -> None:
        """A part of an answer came: wait for the next from now on."""
        if (asked := self._asked.get(link)) is not None:
            asked.deadline.cancel()
            asked.deadline = self._arm(link)

    def completed(self, link: Link, completion: Completion) -> None:
        """A mailserver says that it has answered; what it was not asked is nothing to us."""
        asked = self._asked.get(link)
        if asked is None or completion.request_id not in asked.request_ids:
            return
        self._counters.add("history_answered" if completion.error is None else "history_refused")
        asked.request_ids.discard(completion.request_id)
        if not asked.request_ids:
            self.leave(link)

    def leave(self, link: Link) -> None:
        """Wait for nothing more from a peer."""
        if (asked := self._asked.pop(link, None)) is not None:
            asked.deadline.cancel()
            link.peer.expects_history = False

    def _arm(self, link: Link) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ANSWER_TIMEOUT, self._give_up, link)

    def _give_up(self, link: Link) -> None:
        self._counters.add("history_unanswered", len(self._asked[link].request_ids))
        self.leave(link)
