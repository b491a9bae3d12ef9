"""The server: a whole Waku node, with an archive behind it or without.

What comes in Messages packets is judged by the peer, then goes the same way whoever sent it: to
the relay, to the filters, to the archive, whose commit is what a confirmation waits for. Requests
for history are answered from the archive; history that trusted mailservers send goes to the
filters alone.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from wakumail.archive.store import Store
from wakumail.base.histograms import ENVELOPE_BYTES, Histogram
from wakumail.base.rlp import join_list
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id
from wakumail.errors import PeerGone, WakumailError
from wakumail.mail.history import History, MailConfig
from wakumail.mail.requester import Requester
from wakumail.node.dialer import Dialer
from wakumail.node.filters import Filters
from wakumail.node.keystore import KeyStore
from wakumail.node.link import Link
from wakumail.node.node import Node, NodeConfig
from wakumail.node.relay import Relay
from wakumail.waku import packets as waku
from wakumail.waku.confirmations import TIME_SYNC_ERROR, EnvelopeError, MessageResponse
from wakumail.waku.envelope import Batch, Rules, Verdict, judge
from wakumail.waku.interest import EVERYTHING
from wakumail.waku.peer_events import (
    Confirmed,
    EnvelopesReceived,
    HistoryCompleted,
    HistoryDelivered,
    HistoryRequested,
    PeerEvent,
    Ready,
    SettingsChanged,
)

log = logging.getLogger(__name__)

LARGE_POW_RATIO = 1000
"""Envelopes of 50,000 bytes and more need 0.000002 where others need 0.002 (WAKU-USAGE)."""

VERDICT_TEXTS = {
    Verdict.VERY_OLD: "very old envelope",
    Verdict.FROM_FUTURE: "envelope from future",
}
"""The texts of status-go, for the errors of a Message Response."""


class PublishRefused(WakumailError):
    """An envelope of our own is not published; the text says why."""

    counter = "publish_refused"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What a server is to its peers; sizes in bytes."""

    node: NodeConfig
    mail: MailConfig | None
    """How requests are answered; None for a node without an archive."""
    relay_memory: int
    """Live envelopes that are kept for the relay."""
    max_reply: int
    """Envelopes of one packet that is sent; every known node takes 1 MiB."""
    external_host: str
    """Where others reach us, if that is not where we listen."""


class Server:
    """A node, its relay, its filters, and its archive if it has one."""

    def __init__(self, config: ServerConfig, store: Store | None, counters: Counters) -> None:
        self.config = config
        self.counters = counters
        self.store = store
        self.node = Node(config.node, self, counters)
        self.relay = Relay(
            counters,
            light=bool(config.node.options.light),
            relay_memory=config.relay_memory,
            max_reply=config.max_reply,
        )
        self.filters = Filters(counters)
        self.keys = KeyStore(os.urandom)
        self.dialer = Dialer(self.node, counters)
        self.envelope_bytes = Histogram(ENVELOPE_BYTES)
        """Sizes of the envelopes that were good and new."""
        self.requester = Requester(config.node.connection.node_key, counters)
        self.on_unarchived: Callable[[Batch], None] | None = None
        """Called with what is good and new, where there is no archive to find it in."""
        self.history: History | None = None
        self._publishing: set[asyncio.Event] = set()
        """Of our own envelopes that wait for their commit."""
        self.rules = config.node.rules
        """What we take; the peers' envelopes are judged by `node.status.rules`, which is slower."""
        self.node.status.known = self.relay.pool
        if store is not None:
            assert config.mail is not None
            self.history = History(config.mail, store, counters, max_reply=config.max_reply)
            store.on_room = self._resume

    async def close(self) -> None:
        """Take nothing more, finish the commit, confirm it, say goodbye to the peers."""
        await self.dialer.close()
        self.node.quiesce()
        self.relay.close()
        if self.history is not None:
            await self.history.close()
        await self.filters.close()
        if self.store is not None:
            self.store.on_room = None
            await self.store.close()
            self._let_go()
        await self.node.close()

    @property
    def enode(self) -> Enode:
        """Where others reach us, or as seen from this machine; the server has to listen."""
        own = self.own_enode
        return replace(own, host=self.config.external_host or own.host)

    @property
    def own_enode(self) -> Enode:
        """Where the server listens, as seen from this machine."""
        assert self.node.listening is not None
        host, port = self.node.listening
        own_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        identity = node_id(self.config.node.connection.node_key.public_key)
        return Enode(identity, own_host, port, port)

    # -- what an operator and the RPC API do --------------------------------------------------

    def set_min_pow(self, min_pow: float) -> None:
        """Take only envelopes of this PoW from now on; ValueError for less than 0."""
        rules = self.rules.replace(min_pow=min_pow, min_pow_large=min_pow / LARGE_POW_RATIO)
        self._change(replace(self.node.status.options, pow=min_pow), rules)

    def set_max_envelope(self, size: int) -> None:
        """Take and publish only envelopes of so many bytes from now on."""
        self._change(self.node.status.options, self.rules.replace(max_envelope=size))

    def _change(self, options: waku.StatusOptions, rules: Rules) -> None:
        self.rules = rules
        self.node.change_status(options, rules)

    async def publish(self, envelope: bytes) -> None:
        """Send an envelope of our own (its RLP) to the network.

        Returns when it is in the archive too, if there is one whose disk takes writes.
        PublishRefused when our own rules, but for the topics that we want, refuse it; and when it
        is new while the archive has no room: what the network has of us has to be archived.
        """
        rules = self.rules.replace(interest=EVERYTHING)
        batch = judge(join_list([envelope]), rules, int(time.time()), self.relay.pool)
        verdict = batch.verdict(0)
        if verdict not in (Verdict.ACCEPTED, Verdict.DUPLICATE):
            raise PublishRefused(verdict.name.lower().replace("_", " "))
        if batch.accepted and self.store is not None and self.store.full:
            raise PublishRefused(f"the archive is behind: {self.store.degraded or 'try again'}")
        if batch.accepted:
            self.relay.take(batch, None)
            self.filters.offer(batch, p2p=False)
            self.counters.add("envelopes_published")
            if self.on_unarchived is not None:
                self.on_unarchived(batch)
        if self.store is not None:
            await self._archive(batch, self.store)

    async def _archive(self, batch: Batch, store: Store) -> None:
        """Wait until a batch is on disk, unless the disk refuses."""
        archived = asyncio.Event()
        store.put(batch, archived.set)
        self._publishing.add(archived)
        try:
            if not store.degraded:
                await archived.wait()
        finally:
            self._publishing.discard(archived)

    def relay_committed(self, batch: Batch) -> None:
        """Relay what another process of this server has taken."""
        self.relay.take(batch, None)
        self.counters.add("envelopes_followed", batch.accepted)
        self.filters.offer(batch, p2p=False)

    def send_direct(self, identity: bytes, envelope: bytes) -> None:
        """Send an envelope (its RLP) to one connected peer, as a P2P Message; else PeerGone."""
        link = self.connected(identity)
        link.peer.deliver_history(join_list([envelope]))
        link.outbox.flush()

    def connected(self, identity: bytes) -> Link:
        """The link to a peer (64 bytes of node id); PeerGone when it is not connected."""
        link = self.node.links.get(identity)
        if link is None or not link.ready:
            raise PeerGone("the peer is not connected")
        return link

    # -- node.Handler -------------------------------------------------------------------------

    def on_event(self, link: Link, event: PeerEvent) -> None:
        """Route what a ready peer did."""
        match event:
            case EnvelopesReceived(batch):
                self._receive(link, batch)
            case HistoryRequested(packet) if self.history is not None:
                self.history.request(link, packet)
            case HistoryDelivered(batch):
                self.counters.add("history_received", len(batch))
                self.counters.add("history_too_large", len(batch) - batch.accepted)
                self.requester.heard(link)
                self.filters.offer(batch, p2p=True)
            case HistoryCompleted(completion):
                self.requester.completed(link, completion)
            case Ready(hello):
                log.debug("peer %s: %s, %s", link.address, hello.client_id, link.peer.name)
                self.relay.join(link)
            case SettingsChanged():
                self.relay.wishes_changed(link)
            case Confirmed():
                self.counters.add("confirmations_received")
            case _:
                self.counters.add("packets_unasked")

    def on_writable(self, link: Link) -> None:
        """Let the relay send the peer what it was passed over with."""
        self.relay.on_writable(link)

    def on_gone(self, link: Link) -> None:
        """Forget the peer."""
        self.relay.leave(link)
        self.requester.leave(link)
        if self.history is not None:
            self.history.leave(link)

    # -- envelopes ----------------------------------------------------------------------------

    def _receive(self, link: Link, batch: Batch) -> None:
        traffic = self.config.node.traffic
        if traffic is not None and traffic.by_topic:
            sizes = batch.topic_sizes()
            traffic.check_topics(link.node_id, link.address, sizes, time.monotonic())
        store = self.store
        shed = store is not None and (store.overfull or (store.full and bool(store.degraded)))
        if not shed:
            self.relay.take(batch, link)
        self.counters.add("envelopes_received", len(batch))
        if batch.accepted < len(batch):
            for verdict, count in batch.rejections.items():
                self.counters.add(f"envelopes_{verdict.name.lower()}", count)
        if shed:
            # Not confirmed, so the sender knows; to wait would keep requests from being read.
            self.counters.add("envelopes_shed", batch.accepted)
            return
        if batch.accepted:
            self.envelope_bytes.add_counts(batch.sizes(ENVELOPE_BYTES), batch.accepted_size)
            self.filters.offer(batch, p2p=False)
        if store is not None:
            store.put(batch, partial(self._confirm, link, batch))
            if store.full and not store.degraded:
                self.node.pause_reading(link)
        elif self.on_unarchived is not None:
            self.on_unarchived(batch)

    def _confirm(self, link: Link, batch: Batch) -> None:
        """Tell the peer: what was good of these packets is on disk."""
        if link.closed is not None:
            return
        responses = [
            MessageResponse(
                packet_hash,
                tuple(
                    EnvelopeError(envelope_hash, TIME_SYNC_ERROR, VERDICT_TEXTS[verdict])
                    for envelope_hash, verdict in errors
                ),
            )
            for packet_hash, errors in batch.confirmations
        ]
        link.peer.confirm(responses)
        link.outbox.flush_soon()
        self.counters.add("messages_confirmed", len(responses))

    def _resume(self) -> None:
        """The store has room, or none for long: whoever was held is read again."""
        store = self.store
        assert store is not None
        if store.degraded:
            self._let_go()
        self.node.resume_reading(lambda: not store.full or bool(store.degraded))

    def _let_go(self) -> None:
        """Let nobody wait for a disk that takes nothing."""
        for archived in self._publishing:
            archived.set()
