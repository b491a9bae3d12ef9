"""The requester: asks trusted mailservers for history, for the users of this node.

P2P Messages carry no request id, so the envelopes go to the filters as they come. The requester
knows only which requests are open. While one is, the mailserver may send as many envelopes as all
open requests ask for. Beyond them, and afterwards, it may send only what every trusted peer may
send unasked (see peer.py).
"""

import asyncio
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

from wakumail.counters import Counters
from wakumail.devp2p.keys import PrivateKey, public_key
from wakumail.errors import WakumailError
from wakumail.mail.answer import ANSWER_TIMEOUT, Overdelivery
from wakumail.mail.request import MAX_LIMIT, Form, build_request
from wakumail.node.link import Link
from wakumail.waku.completion import Completion

MAX_OPEN = 100
"""Limits the open requests to one mailserver."""


class Untrusted(WakumailError):
    """The mailserver to ask is not trusted, so its answer would be dropped."""

    counter = "mailserver_untrusted"


class TooManyOpen(WakumailError):
    """100 requests to one mailserver have no answer yet."""

    counter = "mailserver_busy"


@dataclass(slots=True)
class OpenRequests:
    """The requests that one mailserver has not answered yet."""

    request_ids: set[bytes]
    deadline: asyncio.TimerHandle
    envelopes: int = 0
    """Number of envelopes that may still come: those that the requests asked for."""


class Requester:
    """The open requests of a node, by mailserver."""

    def __init__(self, node_key: PrivateKey, counters: Counters) -> None:
        self._node_key = node_key
        self._counters = counters
        self._open: dict[Link, OpenRequests] = {}

    async def request(
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
        """Ask a trusted mailserver and return the request's id (32 bytes) once it is sent.

        It waits for the rate limits of the mailserver. The request is sealed with a symmetric
        `key`, or for the mailserver's node key if that is None. Times are Unix seconds, `limit` is
        a number of envelopes. Untrusted, TooManyOpen or PeerLimited if the mailserver may not be
        asked, PeerGone if it leaves, ValueError for a topic, cursor or key of a wrong size.
        """
        self._check(link)
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
        await link.outbox.wait_in_line(len(packet))
        self._check(link)  # again: others may have asked meanwhile
        if link not in self._open:
            self._open[link] = OpenRequests(set(), self._arm(link))
        self._open[link].request_ids.add(request_id)
        self._open[link].envelopes += limit or MAX_LIMIT
        link.peer.request_history(packet)
        link.outbox.flush()
        return request_id

    def _check(self, link: Link) -> None:
        """Untrusted or TooManyOpen if the mailserver may not be asked now."""
        if not link.peer.trusted:
            raise Untrusted("the mailserver is not trusted")
        if link in self._open and len(self._open[link].request_ids) >= MAX_OPEN:
            raise TooManyOpen(f"{MAX_OPEN} requests to this mailserver have no answer yet")

    def heard(self, link: Link, count: int) -> None:
        """Begin to wait for the next part of an answer: one of `count` envelopes has come.

        With more envelopes than were asked for, all requests to the mailserver are closed.
        """
        asked = self._open.get(link)
        if asked is None or not count:
            return
        asked.envelopes -= count
        if asked.envelopes < 0:
            self._counters.add(Overdelivery.counter)
            self.leave(link)
            return
        asked.deadline.cancel()
        asked.deadline = self._arm(link)

    def completed(self, link: Link, completion: Completion) -> None:
        """Close the request that a mailserver has answered. Other completions are ignored."""
        asked = self._open.get(link)
        if asked is None or completion.request_id not in asked.request_ids:
            return
        self._counters.add("history_answered" if completion.error is None else "history_refused")
        asked.request_ids.discard(completion.request_id)
        if not asked.request_ids:
            self.leave(link)

    def leave(self, link: Link) -> None:
        """Close all requests to a peer."""
        if (asked := self._open.pop(link, None)) is not None:
            asked.deadline.cancel()
            link.peer.expects_history = False

    def _arm(self, link: Link) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ANSWER_TIMEOUT, self._give_up, link)

    def _give_up(self, link: Link) -> None:
        self._counters.add("history_unanswered", len(self._open[link].request_ids))
        self.leave(link)
