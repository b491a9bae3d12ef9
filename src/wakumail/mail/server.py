"""The server: a whole Waku node, with an archive behind it or without.

The envelopes of Messages packets are judged by the peer. Then they go to the relay, to the filters
and to the archive, and their packet is confirmed after the archive's commit. Requests for history
are answered from the archive. History from trusted mailservers goes to the filters alone.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wakumail.archive.gaps import Gaps
from wakumail.archive.store import Store
from wakumail.base.histograms import ENVELOPE_BYTES, Histogram
from wakumail.base.rlp import join_list
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.errors import PeerGone, WakumailError
from wakumail.mail.confirmation_queue import ConfirmationQueue
from wakumail.mail.history import History, MailConfig, turn_away
from wakumail.mail.requester import Requester
from wakumail.mail.sync.sync_config import SyncConfig
from wakumail.node.dialer import Dialer
from wakumail.node.filters import Filters
from wakumail.node.keystore import KeyStore
from wakumail.node.link import Link
from wakumail.node.node import Node, NodeConfig
from wakumail.node.presence import Presence
from wakumail.node.relay import Relay
from wakumail.waku import packets as waku
from wakumail.waku.envelope import REFUSALS, Batch, Rules, Verdict, judge
from wakumail.waku.interest import EVERYTHING
from wakumail.waku.peer_events import (
    Confirmed,
    EnvelopesReceived,
    HistoryCompleted,
    HistoryDelivered,
    HistoryRequested,
    OversizedRequest,
    PeerEvent,
    Ready,
    SettingsChanged,
    SyncReceived,
)

if TYPE_CHECKING:
    from wakumail.mail.sync.items import Window
    from wakumail.mail.sync.partners import Partners

log = logging.getLogger(__name__)

LARGE_POW_RATIO = 1000
"""PoW required of envelopes below 50,000 bytes, divided by that required of larger ones: 0.002 and
0.000002 (WAKU-USAGE)."""


class PublishRefused(WakumailError):
    """An envelope of our own is not published; the text says why."""

    counter = "publish_refused"


class PublishUnstored(WakumailError):
    """An envelope of our own went out, and may never be stored; the text says why."""

    counter = "publish_unstored"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The settings of a server. Sizes are bytes."""

    node: NodeConfig
    mail: MailConfig | None
    """The settings for requests; None for a node without an archive."""
    relay_memory: int
    """Limits the live envelopes kept for the relay."""
    max_reply: int
    """Limits the envelopes of one packet to a peer. Every known node accepts 1 MiB."""
    external_host: str
    """The host in our enode, if others do not reach us where we listen."""
    sync: SyncConfig
    largest_envelope: int | None = None
    """Bounds the largest envelope that may be set later; None: nothing does."""
    record_file: Path | None = None
    """The file of our node record; None keeps it in memory only."""


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
        self.presence = Presence(
            self.node,
            external_host=config.external_host,
            is_mailserver=store is not None,
            record_file=config.record_file,
        )
        self.envelope_bytes = Histogram(ENVELOPE_BYTES)
        """Bytes of each envelope that was good and new."""
        self.requester = Requester(config.node.connection.node_key, counters)
        self.on_unarchived: Callable[[Batch], None] | None = None
        """Called with good and new envelopes, if there is no archive to find them in."""
        self.confirmations = ConfirmationQueue(counters)
        self.history: History | None = None
        self.gaps: Gaps | None = None
        """The gaps of the archive, in the process that keeps account of them."""
        self.partners: Partners | None = None
        """The peers that we sync with; None until there is one."""
        self.on_equal: Callable[[int, int], None] | None = None
        """Called with the first and last second in which a peer has the same as we, if another
        process keeps account of the gaps."""
        self._publishing: set[asyncio.Future[None]] = set()
        """A future for each envelope of our own that waits for its commit."""
        self.rules = config.node.rules
        """Our current rules. Those of `node.status`, by which peers are judged, allow what the old
        ones did for a while after a change."""
        self.node.status.known = self.relay.pool
        if store is not None:
            assert config.mail is not None
            self.history = History(config.mail, store, counters, max_reply=config.max_reply)
            store.on_room = self._resume

    async def close(self) -> None:
        """Accept nothing more, finish the commit, confirm it, and disconnect the peers."""
        await self.dialer.close()
        self.node.quiesce()
        self.relay.close()
        if self.history is not None:
            await self.history.close()
        if self.partners is not None:
            await self.partners.close()
        await self.filters.close()
        if self.store is not None:
            self.store.on_room = None
            await self.store.close()
            self._fail_publishers(self.store.degraded or "the server ends")
        await self.confirmations.close()
        await self.node.close()

    @property
    def enode(self) -> Enode:
        """Our enode as others reach it. The server has to listen."""
        return self.presence.enode

    @property
    def own_enode(self) -> Enode:
        """Our enode as this machine reaches it. The server has to listen."""
        return self.presence.own_enode

    # -- sync ---------------------------------------------------------------------------------

    def sync(self, store: Store) -> "Partners":
        """The peers that we sync with; `store` is our own."""
        if self.partners is None:
            from wakumail.mail.sync.partners import Partners  # a server without them needs none

            self.partners = Partners(
                self.config.sync,
                self.node,
                self.dialer,
                store,
                self.counters,
                rules=lambda: self.rules,
                on_batch=self._take_synced,
                on_equal=self._note_equal,
            )
        return self.partners

    def _take_synced(self, link: Link, batch: Batch) -> None:
        """Take envelopes of a peer's archive. They are not live, so that nobody is relayed them."""
        store = self.store
        assert store is not None
        self.counters.add("envelopes_synced", batch.accepted)
        self.filters.offer(batch, p2p=True)
        if store.full and not store.degraded:
            self.node.pause_reading(link)

    def _note_equal(self, window: "Window") -> None:
        if self.gaps is not None:
            self.gaps.fill(window.first, window.end - 1)
        elif self.on_equal is not None:
            self.on_equal(window.first, window.end - 1)

    # -- what an operator and the RPC API do --------------------------------------------------

    def set_min_pow(self, min_pow: float) -> None:
        """Accept only envelopes of at least this PoW from now on; ValueError for less than 0."""
        rules = self.rules.replace(min_pow=min_pow, min_pow_large=min_pow / LARGE_POW_RATIO)
        self.change(replace(self.node.status.options, pow=min_pow), rules)

    def set_max_envelope(self, size: int) -> None:
        """Accept and publish only envelopes of at most `size` bytes from now on."""
        self.change(self.node.status.options, self.rules.replace(max_envelope=size))

    def change(self, options: waku.StatusOptions, rules: Rules) -> None:
        """Judge envelopes by these rules from now on, and tell the peers."""
        self.rules = rules
        self.node.change_status(options, rules)

    async def publish(self, envelope: bytes) -> None:
        """Send an envelope of our own (its RLP) to the network.

        Returns after its commit, if there is an archive: whatever we publish has to be archived.
        PublishRefused if our own rules refuse it (the topics that we want do not count), if the
        archive takes nothing now, or if it is new and there is no room. PublishUnstored if the
        archive stops taking anything before the commit; it is stored once the archive goes on.
        """
        rules = self.rules.replace(interest=EVERYTHING)
        batch = judge(join_list([envelope]), rules, int(time.time()), self.relay.pool)
        verdict = batch.verdict(0)
        if verdict not in (Verdict.ACCEPTED, Verdict.DUPLICATE):
            raise PublishRefused(REFUSALS[verdict][1])
        store = self.store
        if store is not None and store.degraded:
            raise PublishRefused(f"the archive takes nothing now: {store.degraded}")
        if batch.accepted and store is not None and store.full:
            raise PublishRefused("the archive is behind: try again")
        if batch.accepted:
            self.relay.take(batch, None)
            self.filters.offer(batch, p2p=False)
            self.counters.add("envelopes_published")
            if self.on_unarchived is not None:
                self.on_unarchived(batch)
        if store is not None:
            await self._archive(batch, store)

    async def _archive(self, batch: Batch, store: Store) -> None:
        """Wait until a batch is on disk; PublishUnstored if the archive stops before."""
        archived = asyncio.get_running_loop().create_future()
        self._publishing.add(archived)
        try:
            store.put(batch, partial(_settle, archived))
            await archived
        finally:
            self._publishing.discard(archived)

    def relay_committed(self, batch: Batch) -> None:
        """Relay a batch that another process of this server has committed."""
        self.relay.take(batch, None)
        self.counters.add("envelopes_followed", batch.accepted)
        self.filters.offer(batch, p2p=False)

    async def send_direct(self, identity: bytes, envelope: bytes) -> None:
        """Send an envelope (its RLP) to one peer, as a P2P Message, once its rate limits allow it.

        PeerGone if it is not connected, PeerLimited if the envelope would wait for too long.
        """
        link = self.connected(identity)
        packet = join_list([envelope])
        await link.outbox.wait_in_line(len(packet))
        link.peer.deliver_history(packet)
        link.outbox.flush()

    def connected(self, identity: bytes) -> Link:
        """The link to a peer, by its node id (64 bytes); PeerGone if it is not connected."""
        link = self.node.links.get(identity)
        if link is None or not link.ready:
            raise PeerGone("the peer is not connected")
        return link

    # -- node.Handler -------------------------------------------------------------------------

    def on_event(self, link: Link, event: PeerEvent) -> None:
        """Route the event of a ready peer to the part that handles it."""
        match event:
            case EnvelopesReceived(batch):
                self._receive(link, batch)
            case HistoryRequested(packet) if self.history is not None:
                self.history.request(link, packet)
            case OversizedRequest(start) if self.history is not None:
                self.history.refuse_oversized(link, start)
            case HistoryRequested(packet):
                turn_away(link, packet, self.counters)
            case HistoryDelivered(batch):
                self.counters.add("history_received", len(batch))
                self.counters.add("history_too_large", len(batch) - batch.accepted)
                self.requester.heard(link, len(batch))
                self.filters.offer(batch, p2p=True)
            case HistoryCompleted(completion):
                self.requester.completed(link, completion)
            case SyncReceived(code, packet) if self.partners is not None:
                self.partners.received(link, code, packet)
            case Ready(hello):
                log.debug("peer %s: %s, %s", link.address, hello.client_id, link.peer.name)
                self.relay.join(link)
                if self.partners is not None:
                    self.partners.join(link)
            case SettingsChanged():
                self.relay.wishes_changed(link)
            case Confirmed():
                self.counters.add("confirmations_received")
            case _:
                self.counters.add("packets_unasked")

    def on_writable(self, link: Link) -> None:
        """Let the relay send the peer the envelopes that it had no room for."""
        self.relay.on_writable(link)

    def on_gone(self, link: Link) -> None:
        """Forget the peer."""
        self.relay.leave(link)
        self.requester.leave(link)
        if self.partners is not None:
            self.partners.leave(link)
        if self.history is not None:
            self.history.leave(link)

    # -- envelopes ----------------------------------------------------------------------------

    def _receive(self, link: Link, batch: Batch) -> None:
        limits = self.node.config.incoming_limits
        if limits is not None and limits.by_topic:
            limits.check_topics(link.node_id, link.address, batch, time.monotonic())
        store = self.store
        shed = store is not None and (store.overfull or (store.full and bool(store.degraded)))
        if not shed:
            self.relay.take(batch, link)
        self.counters.add("envelopes_received", len(batch))
        if batch.accepted < len(batch):
            for verdict, count in batch.rejections.items():
                self.counters.add(f"envelopes_{verdict.name.lower()}", count)
        if shed:
            # The sender gets no confirmation. Pausing it would keep its requests from being read.
            self.counters.add("envelopes_shed", batch.accepted)
            return
        if batch.accepted:
            self.envelope_bytes.add_counts(batch.sizes(ENVELOPE_BYTES), batch.accepted_size)
            self.filters.offer(batch, p2p=False)
        if store is not None:
            store.put(batch, partial(self.confirmations.confirm, link, batch))
            if store.full and not store.degraded:
                self.node.pause_reading(link)
        elif self.on_unarchived is not None:
            self.on_unarchived(batch)

    def _resume(self) -> None:
        """Read again from the held peers: the store has room, or will have none for long."""
        store = self.store
        assert store is not None
        if store.degraded:
            self._fail_publishers(store.degraded)
        self.node.resume_reading(lambda: not store.full or bool(store.degraded))

    def _fail_publishers(self, problem: str) -> None:
        """Tell everybody who waits for a commit that none may come."""
        for archived in self._publishing:
            if not archived.done():
                archived.set_exception(PublishUnstored(f"sent, but not stored: {problem}"))


def _settle(archived: asyncio.Future[None]) -> None:
    """Note the commit, unless nobody waits for it any more."""
    if not archived.done():
        archived.set_result(None)
