"""A host as a member of a cluster: it joins the log, and watches whether all goes well."""

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wakumail.archive.results import LogPlace
from wakumail.base.tasks import end_tasks
from wakumail.base.text import counted
from wakumail.counters import Counters
from wakumail.errors import ArchiveError, PeerGone
from wakumail.mail.server import Server
from wakumail.ops.cluster.filled_gaps import fill_gaps, told_gaps
from wakumail.ops.cluster.intake import Intake
from wakumail.ops.cluster.log import Log
from wakumail.ops.cluster.log_errors import LogRefused, LogUnavailable
from wakumail.ops.cluster.log_facts import Facts, foreign, refusals
from wakumail.ops.cluster.log_reader import MAX_HOLES, LogReader
from wakumail.ops.cluster.log_status import HOSTS_TIMEOUT
from wakumail.ops.cluster.logged_store import LoggedStore
from wakumail.ops.cluster.publisher import OwnMessage, Publisher
from wakumail.ops.cluster.unread import Unread

if TYPE_CHECKING:
    from wakumail.mail.sync.partners import Partners

log = logging.getLogger(__name__)

JOIN_TIMEOUT = 5.0
"""Seconds in which the log may refuse us at the start. A server that does not reach it goes on: it
answers requests."""

LOOK_INTERVAL = 10.0
"""Seconds between two looks at what the log is."""

JOIN_INTERVAL = 1.0
"""The same until we have joined it."""

SHORT_LOOKS = 3
"""Looks in a row after which a log has lost messages: a new leader may lag for a moment."""

TICK = 0.5
"""Seconds between two looks at how we are."""

STALLED = 5.0
"""Seconds in which the log took nothing, though something waited, after which it is a problem."""

BEHIND = 10.0
"""Seconds for which messages of the log may wait to be read, before it is a problem."""

SYNC_INTERVAL = 20.0
"""Seconds between two tries to fill holes from the archive of another host."""

SYNC_REST = 30.0
"""Seconds from when a hole was found to the first: a round leaves out the last seconds."""

GAPS_INTERVAL = 10.0
"""Seconds between two looks at whether the log has filled gaps of the archive."""

CLOSE_TIMEOUT = 5.0
"""Seconds that the log has for the last messages when the server stops."""


class Member:
    """This host in the cluster `name`, whose log is at `servers`. Made on the loop."""

    def __init__(
        self, servers: tuple[str, ...], name: str, server: Server, store: LoggedStore
    ) -> None:
        self.facts: Facts | None = None
        """The last facts of the log."""
        self.intake: Intake | None = None
        """None until we have joined the log."""
        self.reader: LogReader | None = None
        self._log = Log(servers, name)
        self._server = server
        self._store = store
        self._counters: Counters = server.counters
        self._publisher = store.publisher = Publisher(
            self._log, self._counters, self._acknowledged, self._has_passed
        )
        self._refusal = ""
        self._short_looks = 0
        """Looks in a row that found less in the log than in the archive."""
        self._unreachable = "it has not been reached yet"
        self._unread = Unread()
        self._holes_since = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._joined = asyncio.Event()
        self._notices: set[asyncio.Task[None]] = set()
        self._said_untold = False

    async def start(self) -> None:
        """Join the log. LogRefused if it is not one on which a confirmation would be true.

        The same if the archive does not tell its place. If the log is not reached in time, it is
        joined later.
        """
        try:
            self._store.archive.log_place()
        except ArchiveError as error:
            text = f"the archive does not tell its place in the log: {error}"
            raise LogRefused(text) from error
        self._store.log_problem = self._problem()
        self._begin(self._watch())
        self._begin(self._look_after())
        self._begin(self._watch_gaps())
        try:
            async with asyncio.timeout(JOIN_TIMEOUT):
                await self._joined.wait()
        except TimeoutError:
            log.warning("the log of the cluster is not there: requests are answered, and no more")
        if self._refusal:
            raise LogRefused(self._refusal)

    async def close(self) -> None:
        """Give the log some seconds for what waits, then leave it."""
        deadline = time.monotonic() + CLOSE_TIMEOUT
        last = self._publisher.newest
        while not (  # noqa: ASYNC110 - three things may end it
            last.reported or self._store.log_problem or time.monotonic() > deadline
        ):
            await asyncio.sleep(TICK / 10)
        await end_tasks(self._tasks)
        await self._publisher.close()
        if not last.reported:
            log.error("closing: the log did not take the last envelopes, none was confirmed")
        await self._log.close()

    @property
    def behind(self) -> str:
        """The reason for which the archive lacks what the log has; empty if it does not."""
        if self.intake is None or self.reader is None:
            return f"the log has not been read: {self._refusal or self._unreachable}"
        order = self.intake.order
        if len(order.holes) >= MAX_HOLES:
            return f"{len(order.holes)} holes: make the archive anew from another host's backup"
        if order.missing:
            hole = order.holes[0]
            return (
                f"{counted(order.missing, 'message')} of the log missing, from number "
                f"{hole.first} on: they come from another host that is named in --sync-peers"
            )
        if self._unread.seconds > BEHIND:
            return f"{counted(self.reader.lag, 'message')} of the log not read yet"
        return ""

    async def answer(self) -> dict[str, Any]:
        """Our state, for whoever asks through the log."""
        loop = asyncio.get_running_loop()
        try:
            envelopes = (await loop.run_in_executor(None, self._store.archive.stat)).envelopes
        except ArchiveError:
            envelopes = None
        order = self.intake.order if self.intake is not None else None
        return {
            "host": self._server.node.own_id[:4].hex(),
            "node_id": self._server.node.own_id.hex(),
            "log_server": self._log.server,
            "place": order.place if order is not None else None,
            "lag": self.reader.lag if self.reader is not None else None,
            "missing": order.missing if order is not None else None,
            "envelopes": envelopes,
            "confirmed": self._counters["messages_confirmed"],
            "problem": self._store.degraded or self.behind,
            **told_gaps(self._server.gaps),
        }

    def gauges(self) -> dict[str, tuple[str, float]]:
        """Numbers for the metrics, with their texts, by name."""
        intake, reader = self.intake, self.reader
        order = intake.order if intake is not None else None
        return {
            "log_connected": ("1 if we are connected to a server of the log", self._log.connected),
            "log_last": ("Number of the last message of the log", reader.last if reader else 0),
            "place": (
                "Number of the message up to which the archive has all of the log",
                order.place if order is not None else 0,
            ),
            "lag_messages": (
                "Messages of the log that are not read yet",
                reader.lag if reader else 0,
            ),
            "missing_messages": (
                "Messages of the log that no server gave us",
                order.missing if order is not None else 0,
            ),
            "awaited_bytes": ("Bytes of memory that wait for the log", self._store.awaited_bytes),
            "lagging_servers": (
                "Servers of the log that are down or behind their leader",
                len(self.facts.lagging) if self.facts else 0,
            ),
            "untold_servers": (
                "Servers of the log that do not tell whether they sync",
                len(self.facts.untold) if self.facts else 0,
            ),
        }

    # -- inside -------------------------------------------------------------------------------

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_tell_failure)
        self._tasks.append(task)

    def _acknowledged(self, message: OwnMessage, sequence: int) -> None:
        assert self.intake is not None
        assert self.reader is not None
        self.intake.acknowledged(message, sequence)
        self.reader.notice(sequence)
        self._begin_notice(sequence)

    def _begin_notice(self, sequence: int) -> None:
        task = asyncio.get_running_loop().create_task(self._log.tell(sequence))
        self._notices.add(task)
        task.add_done_callback(self._notices.discard)

    def _has_passed(self, sequence: int) -> bool:
        return self.intake is not None and sequence <= self.intake.order.head

    async def _watch(self) -> None:
        """Connect, then look at what the log is, again and again."""
        await self._log.open()
        while True:
            try:
                await self._look()
            except LogUnavailable as error:
                self._unreachable = str(error)
            except Exception as error:
                if self._unreachable != repr(error):
                    log.exception("the log cannot be looked at")
                self._unreachable = repr(error)
            is_unsure = self.intake is None or self._short_looks
            await asyncio.sleep(JOIN_INTERVAL if is_unsure else LOOK_INTERVAL)

    async def _look(self) -> None:
        # Read before the log is asked: it goes on meanwhile.
        place = self._store.archive.log_place() if self.intake is None else self.intake.place
        facts = await self._log.facts()
        is_short = facts is not None and place is not None and place.sequence > facts.last
        self._short_looks = self._short_looks + 1 if is_short else 0
        if 0 < self._short_looks < SHORT_LOOKS:
            raise LogUnavailable("its leader does not have all of it yet")
        self._refusal = self._judge(facts, place)
        if self.reader is not None:
            self.reader.is_on = not self._refusal
        if self._refusal or facts is None:
            self._publisher.go(on=False)
            self._joined.set()
            return
        self.facts, self._unreachable = facts, ""
        self._log.subject = facts.subject
        if self.intake is None:
            await self._join(facts)
        assert self.reader is not None
        self.reader.first = max(self.reader.first, facts.first)
        self.reader.notice(facts.last)
        self._publisher.go(on=True)
        if not self._joined.is_set():
            self._store.log_problem = ""
        self._joined.set()

    def _judge(self, facts: Facts | None, place: LogPlace | None) -> str:
        """The reasons for which nothing may be confirmed; empty if there are none."""
        if facts is None:
            return f"there is no stream {self._log.name}: make it with `wakumail cluster init`"
        reasons = [*refusals(facts), foreign(facts, place)]
        if self.reader is not None:
            reasons.append(self.reader.refusal)
        if facts.untold and not self._said_untold:
            self._said_untold = True
            log.warning(
                "servers of the log do not tell whether they sync what they acknowledge: %s; "
                "see docs/cluster.md",
                ", ".join(facts.untold),
            )
        return "; ".join(reason for reason in reasons if reason)

    async def _join(self, facts: Facts) -> None:
        place = self._store.archive.log_place() or LogPlace(facts.name, facts.made, 0)
        intake = Intake(self._store, place, self._counters, self._server.relay_committed)
        reader = LogReader(self._log, intake, self._publisher, self._counters)
        await self._log.listen(reader.notice, self.answer)
        self.intake, self.reader = intake, reader
        log.info("follows the log %s from message %d on", facts.name, place.sequence + 1)
        self._begin(reader.run())

    async def _look_after(self) -> None:
        """Tell problems as they come and go, and get what is missing from other hosts."""
        synced = 0.0
        missing = 0
        while True:
            await asyncio.sleep(TICK)
            self._tell()
            if self.intake is None or self.reader is None:
                continue
            now = time.monotonic()
            self._unread.look(self.intake.order.head, self.reader.last, now)
            if self.intake.order.missing > missing:
                self._holes_since = now
            missing = self.intake.order.missing
            partners = self._server.partners
            if (
                missing
                and partners is not None
                and now - self._holes_since > SYNC_REST
                and now - synced > SYNC_INTERVAL
            ):
                await self._fill_by_sync(self.intake, partners)
                synced = time.monotonic()

    async def _watch_gaps(self) -> None:
        """Fill the gaps of the archive with what other hosts have put into the log."""
        while True:
            gaps, intake = self._server.gaps, self.intake
            if gaps is None or not gaps.known or intake is None or self.behind:
                await asyncio.sleep(JOIN_INTERVAL)
                continue
            lacked = gaps.seconds
            with suppress(LogUnavailable):
                hosts = await self._log.hosts(HOSTS_TIMEOUT)
                fill_gaps(gaps, hosts, intake.order.place, int(time.time()))
            if filled := lacked - gaps.seconds:
                log.warning("%d s of history that the archive lacked are in the log", filled)
            await asyncio.sleep(GAPS_INTERVAL)

    def _tell(self) -> None:
        """Set the problem of the store, and log it when it comes and goes."""
        problem = self._problem()
        had = self._store.log_problem
        self._store.log_problem = problem
        if problem and not had:
            log.error("nothing is confirmed: %s", problem)
            if self._store.on_room is not None:
                self._store.on_room()
        elif had and not problem:
            log.warning("the log takes messages, what waits is confirmed")

    def _problem(self) -> str:
        if self._refusal:
            return self._refusal
        if self.reader is not None and self.reader.refusal:
            return self.reader.refusal
        if self.intake is None or not self._log.connected:
            return f"the log of the cluster is not there: {self._unreachable or 'no connection'}"
        waited = time.monotonic() - self._publisher.waits_since
        if self._publisher.waits and waited > STALLED:
            failure = self._publisher.failure or "it has not answered yet"
            return f"the log takes no messages: {failure}"
        return ""

    async def _fill_by_sync(self, intake: Intake, partners: "Partners") -> None:
        """Make our archive equal with that of a host that has what is missing."""
        try:
            hosts = await self._log.hosts(HOSTS_TIMEOUT)
        except LogUnavailable:
            return
        for host in hosts:
            partner = partners.partners.get(_node_id(host))
            last = host.get("place")
            if partner is None or not isinstance(last, int) or last <= intake.order.place:
                continue
            try:
                outcome = await partners.make_round(partner.enode, None, moves=True)
            except (PeerGone, ArchiveError) as error:
                log.warning("no sync with %s: %s", partner.name, error)
                continue
            if outcome.agreed:
                missing = intake.order.missing
                intake.fill(intake.order.place + 1, last)
                came = counted(missing - intake.order.missing, "missing message")
                log.warning("what %s of the log had came by sync with %s", came, partner.name)
                self._counters.add("cluster_holes_synced")


def _node_id(host: dict[str, Any]) -> bytes:
    try:
        return bytes.fromhex(host["node_id"])
    except (KeyError, ValueError, TypeError):
        return b""


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("an error of ours ended a part of the cluster", exc_info=error)
