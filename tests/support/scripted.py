"""A mailserver over sockets that answers requests and batches as a test tells it."""

import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from tests.support.envelopes import newest_first
from tests.support.puppet import connection_config, node_config, request_policy
from wakumail.base import rlp
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.mail.request import Request, RequestKeys, read_request
from wakumail.node.link import Link
from wakumail.node.node import Node
from wakumail.waku.completion import Completion, CompletionForm, pack_cursor
from wakumail.waku.envelope import Envelope
from wakumail.waku.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku.packets import StatusOptions
from wakumail.waku.peer_events import EnvelopesReceived, HistoryRequested, PeerEvent, Ready

KEYS = RequestKeys(symmetric_key(DEFAULT_PASSWORD))
OnRequest = Callable[[Link, Request], None]
OnBatch = Callable[[Link, bytes], None]


class Scripted:
    """Calls the test's functions for each request and each batch."""

    node: Node
    enode: Enode

    def __init__(self, on_request: OnRequest | None, on_batch: OnBatch | None) -> None:
        self.on_request = on_request
        self.on_batch = on_batch
        self.on_ready: Callable[[Link], None] | None = None
        self.requests: list[Request] = []
        self.links: set[Link] = set()

    def on_event(self, link: Link, event: PeerEvent) -> None:
        match event:
            case Ready():
                self.links.add(link)
                if self.on_ready is not None:
                    self.on_ready(link)
            case HistoryRequested(packet) if self.on_request is not None:
                request = read_request(packet, KEYS, request_policy(), int(time.time()))
                self.requests.append(request)
                self.on_request(link, request)
            case EnvelopesReceived(batch) if self.on_batch is not None:
                for batch_hash, _ in batch.confirmations:
                    self.on_batch(link, batch_hash)
        link.outbox.flush()

    def on_writable(self, link: Link) -> None:
        pass

    def on_gone(self, link: Link) -> None:
        self.links.discard(link)


@asynccontextmanager
async def scripted(
    on_request: OnRequest | None = None,
    on_batch: OnBatch | None = None,
    server: Scripted | None = None,
    connection: dict[str, Any] | None = None,
) -> AsyncIterator[Scripted]:
    """A mailserver that behaves as told, or `server`, on loopback.

    connection: changes to its ConnectionConfig.
    """
    key = generate(os.urandom)
    server = server or Scripted(on_request, on_batch)
    options = StatusOptions(pow=0.0, confirmations=True)
    config = node_config(connection_config(key, **connection or {}), options=options)
    node = Node(config, server, Counters())
    host, port = await node.listen("127.0.0.1", 0)
    server.node = node
    server.enode = Enode(node_id(key.public_key), host, port, port)
    try:
        yield server
    finally:
        await node.close()


@asynccontextmanager
async def several(*answers: OnRequest) -> AsyncIterator[list[Scripted]]:
    """One mailserver for each of `answers`."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(scripted(answer)) for answer in answers]


def nobody() -> Enode:
    """The address of a mailserver that does not run."""
    return Enode(node_id(generate(os.urandom).public_key), "127.0.0.1", 1, 1)


@contextmanager
def silent() -> Iterator[Enode]:
    """A mailserver that accepts connections and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield replace(nobody(), port=listening.getsockname()[1])


def packet(envelopes: Sequence[Envelope]) -> bytes:
    return rlp.join_list([envelope.rlp for envelope in envelopes])


def complete(link: Link, request: Request, cursor: bytes = b"") -> None:
    completion = Completion(request.request_id, cursor=cursor)
    link.peer.complete_history(completion.encode(CompletionForm.LIST))


def refuse(link: Link, request: Request) -> None:
    completion = Completion(request.request_id, error="not today")
    link.peer.complete_history(completion.encode(CompletionForm.BYTES))


def stall(link: Link, request: Request) -> None:
    pass


def archive_of(envelopes: Sequence[Envelope]) -> OnRequest:
    """Answer as a mailserver with these envelopes would."""

    def answer(link: Link, request: Request) -> None:
        found = [
            e
            for e in newest_first(envelopes)
            if request.lower <= e.created <= request.upper
            and e.topic in request.topics
            and (not request.cursor or pack_cursor(e.created, e.hash) < request.cursor)
        ]
        page = found[: request.limit]
        if page:
            link.peer.deliver_history(packet(page))
        last = page[-1] if len(found) > len(page) else None
        complete(link, request, b"" if last is None else pack_cursor(last.created, last.hash))

    return answer
