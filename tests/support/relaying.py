"""For tests of the relay: peers with wishes, marks, and a clock that stands still."""

import time
from collections.abc import Sequence

import pytest

from tests.support.envelopes import TTL
from tests.support.exchanges import messages
from tests.support.patience import eventually
from tests.support.puppet import Puppet
from wakumail.mail.server import Server
from wakumail.node.link import Link
from wakumail.waku.envelope import Envelope, make_envelope, parse
from wakumail.waku.packets import Code, StatusOptions

ALL = StatusOptions(pow=0.0)
MARK = b"mark"
"""The topic of the envelope that is sent last. When it arrives, all others have arrived."""


class Clock:
    """The clock of the relay. It stands still until a test sets `now`."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = int(time.time())
        monkeypatch.setattr("wakumail.node.relay.time", self)

    def time(self) -> int:
        """Unix seconds."""
        return self.now


def mark(data: bytes = b"", ttl: int = TTL) -> Envelope:
    now = int(time.time())
    return make_envelope(now + ttl, ttl, MARK, data, 0)


def wanting(*topics: bytes, bloom: bytes | None = None) -> StatusOptions:
    return StatusOptions(pow=0.0, topic_interest=(*topics, MARK), bloom=bloom)


async def received(puppet: Puppet) -> list[Envelope]:
    """The envelopes that come before the mark."""
    envelopes: list[Envelope] = []
    while not any(envelope.topic == MARK for envelope in envelopes):
        envelopes += parse(await puppet.packet(Code.MESSAGES))
    assert len({envelope.hash for envelope in envelopes}) == len(envelopes), "something came twice"
    return [envelope for envelope in envelopes if envelope.topic != MARK]


async def change(puppet: Puppet, link: Link, options: StatusOptions) -> None:
    """Send a Status Update; `link` is the server's end."""
    puppet.update(options)
    settings = link.peer.settings.updated(options)
    await eventually(lambda: link.peer.settings == settings)


def link_of(server: Server, puppet: Puppet) -> Link:
    """The server's end of a puppet's connection."""
    (link,) = (link for link in server.node.links.values() if link.port == puppet.port)
    return link


def send(puppet: Puppet, *envelopes: Envelope) -> None:
    puppet.send(Code.MESSAGES, messages(envelopes))


def by_hash(envelopes: Sequence[Envelope]) -> set[bytes]:
    return {envelope.hash for envelope in envelopes}
