"""The partners: the peers that we sync with, connected or not."""

import asyncio
import logging
import time
from collections.abc import Callable

from wakumail.archive.retention import MAX_AHEAD, TrustedClock
from wakumail.archive.store import Store
from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.packets import SYNC
from wakumail.errors import ArchiveError, DisconnectReason, PeerGone, ProtocolError
from wakumail.mail.sync.desk import Desk
from wakumail.mail.sync.items import Window
from wakumail.mail.sync.outcome import Outcome
from wakumail.mail.sync.packets import Status
from wakumail.mail.sync.remembered import Remembered
from wakumail.mail.sync.session import Session
from wakumail.mail.sync.side import Side
from wakumail.mail.sync.sync_config import SyncConfig
from wakumail.mail.sync.tally import Tally
from wakumail.mail.sync.window import topics_digest
from wakumail.mail.sync.wire import Wire
from wakumail.node.dialer import Dialer
from wakumail.node.link import Link
from wakumail.node.node import Node
from wakumail.waku.envelope import Batch, Rules

log = logging.getLogger(__name__)

MIN_REST, MAX_REST = 60.0, 3600.0
"""Seconds for which a peer that broke a rule is not offered to sync. They double each time, and
begin anew once both have the same."""

HORIZON_INTERVAL = 30.0
"""Seconds between two looks at what the archive has."""

MEET_TIMEOUT = 30.0
"""Seconds in which a peer that somebody asks to sync with has to be connected."""

NOT_OFFERED = "it does not offer to sync: this node has to be among its --sync-peers too"


class Partner:
    """A peer that we sync with."""

    def __init__(self, enode: Enode) -> None:
        self.enode = enode
        self.tally = Tally()
        self.session: Session | None = None
        self.met = asyncio.Event()
        """Set while there is a session, or once the peer has shown that it offers none."""
        self.rest = 0.0
        """Seconds of the last rest."""
        self.rested = 0.0
        """The time at which it began (time.monotonic)."""

    @property
    def name(self) -> str:
        """The peer in log lines and labels."""
        return f"{self.enode.node_id[:4].hex()}@{self.enode.address}"


class Partners:
    """The peers that we sync with. Made on the loop.

    `rules` gives the conditions for envelopes; `on_batch` gets each batch of a peer that goes to
    the store; `on_equal` is called when a peer has the same as we in a window.
    """

    def __init__(
        self,
        config: SyncConfig,
        node: Node,
        dialer: Dialer,
        store: Store,
        counters: Counters,
        *,
        rules: Callable[[], Rules],
        on_batch: Callable[[Link, Batch], None],
        on_equal: Callable[[Window], None],
    ) -> None:
        self.partners: dict[bytes, Partner] = {}
        """By node id (64 bytes)."""
        self._config = config
        self._node = node
        self._dialer = dialer
        self._counters = counters
        self._rules = rules
        self._on_batch = on_batch
        self._digest = topics_digest(config.topics)
        totals = store.stat()
        self._pruned = 0 if totals is None else totals.pruned
        self._shown = time.time()
        """The newest creation time that the archive shows (Unix seconds); at first the time of the
        clock, which is believed at the start."""
        self._clock = TrustedClock()
        self._side = Side(
            desk=Desk(store.archive),
            store=store,
            status=self._status,
            rules=rules,
            refused=Remembered(),
            on_equal=on_equal,
            sync_interval=config.sync_interval,
            sync_window=config.sync_window,
        )
        self._rests: set[asyncio.TimerHandle] = set()
        self._watching = asyncio.get_running_loop().create_task(self._watch_horizon())

    def configure(self, config: SyncConfig) -> None:
        """Make later rounds by another configuration.

        Other topics have to be agreed on from the start, so the peers connect anew.
        """
        self._config = config
        self._side.sync_interval, self._side.sync_window = config.sync_interval, config.sync_window
        if (digest := topics_digest(config.topics)) != self._digest:
            self._digest = digest
            for node_id in self.partners:
                if (link := self._node.links.get(node_id)) is not None:
                    link.disconnect(DisconnectReason.REQUESTED)

    async def close(self) -> None:
        """End all sessions. Connections stay."""
        for timer in self._rests:
            timer.cancel()
        for partner in self.partners.values():
            self._part(partner)
        await end_tasks([self._watching])
        self._side.desk.close()

    def add(self, enode: Enode) -> Partner:
        """Sync with this peer whenever it is connected. ValueError for this node itself."""
        if enode.node_id == self._node.own_id:
            raise ValueError("it is the id of this node itself")
        partner = self.partners.setdefault(enode.node_id, Partner(enode))
        self._offer(enode.node_id)
        return partner

    def remove(self, node_id: bytes) -> None:
        """Sync with this peer no more."""
        self._node.admission.syncing.discard(node_id)
        if (partner := self.partners.pop(node_id, None)) is not None:
            self._part(partner)

    async def make_round(self, enode: Enode, window: Window | None, *, moves: bool) -> Outcome:
        """Make rounds with a peer, as soon as it is connected (see Session.make_round).

        It may be one that was not added: then it is only for these rounds. ValueError for this node
        itself, RoundFailed, ArchiveError; PeerGone if it is not there or the connection ends.
        """
        if (partner := self.partners.get(enode.node_id)) is not None:
            return await self._make_round(partner, window, moves=moves)
        is_dialed = enode.node_id in self._dialer.targets
        partner = self.add(enode)
        try:
            if not is_dialed:
                self._dialer.add(enode)
            return await self._make_round(partner, window, moves=moves)
        finally:
            self.remove(enode.node_id)
            if not is_dialed:
                self._dialer.remove(enode.node_id)

    async def _make_round(self, partner: Partner, window: Window | None, *, moves: bool) -> Outcome:
        if partner.enode.node_id not in self._node.admission.syncing:
            raise PeerGone(f"{partner.name} is left alone for a while: {partner.tally.problem}")
        try:
            async with asyncio.timeout(MEET_TIMEOUT):
                await partner.met.wait()
        except TimeoutError:
            raise PeerGone(f"{partner.name} is not connected") from None
        if partner.session is None:
            raise PeerGone(f"{partner.name}: {partner.tally.problem}")
        rested = partner.rested
        try:
            return await partner.session.make_round(window, moves=moves)
        except PeerGone:
            if partner.rested == rested:
                raise
            raise PeerGone(f"{partner.name}: {partner.tally.problem}") from None

    # -- for the server ---------------------------------------------------------------------------

    def join(self, link: Link) -> None:
        """A peer is ready."""
        partner = self.partners.get(link.node_id)
        if partner is None:
            return
        if not link.peer.syncs:
            self._join_without_sync(partner, link)
            return
        partner.session = Session(
            partner.name,
            Wire(link, partner.tally),
            self._side,
            partner.tally,
            drives=not link.inbound,
            on_batch=lambda batch: self._on_batch(link, batch),
            on_fault=lambda error: self._rest(partner, error),
        )
        partner.session.open()
        partner.met.set()

    def leave(self, link: Link) -> None:
        """A peer is gone."""
        if (partner := self.partners.get(link.node_id)) is not None:
            self._part(partner)

    def received(self, link: Link, code: int, packet: bytes) -> None:
        """Take a packet of a peer. ProtocolError if it breaks a rule."""
        partner = self.partners.get(link.node_id)
        if partner is None or partner.session is None:
            self._counters.add("packets_unasked")
            return
        try:
            partner.session.received(code, packet)
        except ProtocolError as error:
            self._rest(partner, error)
            raise

    # -- inside -----------------------------------------------------------------------------------

    def _join_without_sync(self, partner: Partner, link: Link) -> None:
        if link.node_id not in self._node.admission.syncing:
            return  # it is left alone for a while
        connection = link.peer.connection
        if SYNC not in connection.offered:
            # The peer was added between our hello and its own.
            connection.disconnect(DisconnectReason.REQUESTED)
            return
        if partner.tally.problem != NOT_OFFERED:
            log.warning("no sync with %s: %s", partner.name, NOT_OFFERED)
        partner.tally.problem = NOT_OFFERED
        partner.met.set()

    def _part(self, partner: Partner) -> None:
        partner.met.clear()
        if partner.session is not None:
            partner.session.close()
            partner.session = None

    def _rest(self, partner: Partner, error: ProtocolError) -> None:
        """Leave a peer that broke a rule alone for a while."""
        tally = partner.tally
        if tally.agreed is not None and tally.agreed > partner.rested:
            partner.rest = 0.0
        partner.rested = time.monotonic()
        partner.rest = min(MAX_REST, max(MIN_REST, 2 * partner.rest))
        tally.problem = str(error)
        text = "sync with %s ends: %s; the next try is in %.0f s"
        log.warning(text, partner.name, error, partner.rest)
        node_id = partner.enode.node_id
        self._node.admission.syncing.discard(node_id)

        def go_on() -> None:
            self._rests.discard(timer)
            if node_id in self.partners:
                self._offer(node_id)

        timer = asyncio.get_running_loop().call_later(partner.rest, go_on)
        self._rests.add(timer)

    def _offer(self, node_id: bytes) -> None:
        """Offer to sync; a peer that is connected without has to connect anew."""
        self._node.admission.syncing.add(node_id)
        link = self._node.links.get(node_id)
        if link is not None and not link.peer.syncs:
            link.disconnect(DisconnectReason.REQUESTED)

    def _status(self) -> Status:
        # A horizon by a clock that jumps ahead would leave no time that both sides keep.
        trusted, _ = self._clock.now(self._shown)
        kept = self._config.retention
        rules = self._rules()
        return Status(
            max(int(trusted) - kept if kept else 0, self._pruned),
            int(time.time()),
            self._digest,
            rules.min_pow,
            rules.max_envelope,
        )

    async def _watch_horizon(self) -> None:
        while True:
            await asyncio.sleep(HORIZON_INTERVAL)
            try:
                until = time.time() + MAX_AHEAD
                self._pruned, self._shown = await self._side.desk.reach(until)
            except ArchiveError as error:
                log.debug("the horizon of the archive is not known: %s", error)
