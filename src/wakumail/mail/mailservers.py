"""Several trusted mailservers as one: when one fails, history goes on with the next.

async with mailservers([first, second]) as servers:
    async for page in servers.history(topics=[topic], lower=since, keys=[key]):
        for envelope, message in zip(page.envelopes, page.messages):
            ...
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from wakumail.base.tasks import end_tasks
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey
from wakumail.errors import WakumailError, reason
from wakumail.mail.answer import ANSWER_TIMEOUT, HistoryPage, Wanted, check_keys
from wakumail.mail.client import MailPeer, check_node_key, password_key, target_of, unfit
from wakumail.mail.history_progress import HistoryProgress
from wakumail.mail.merged_history import MergedHistory, MergedPage
from wakumail.mail.request import MAX_LIMIT, Form, check_cursor
from wakumail.node.messages import Key
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.message import DEFAULT_PASSWORD

log = logging.getLogger(__name__)

WINDOW = 24 * 3600
"""Seconds of history that one request spans; longer ranges are asked for in several."""

WINDOW_REST = 3600
"""Seconds. The oldest window takes up to this many more, rather than leave them to another."""

MAX_SEEN_HASHES = 1 << 20
"""Limits the hashes kept of a window, which are left out when the next mailserver sends them again.
They take some 120 MB."""

MAX_FAILED_WINDOWS = 3
"""Limits the windows in a row in which a mailserver fails, until a merge leaves it out."""

Failures = dict[Enode, Exception]
"""Mailservers that failed, with the error of each."""

Progress = dict[Enode, HistoryProgress]
"""The progress of each mailserver in one history."""


class NoMailserver(WakumailError):
    """Every mailserver was tried and failed; the text has the reason of each."""

    counter = "mailservers_failed"


class Mailservers:
    """Several mailservers that are trusted alike; made by `mailservers`."""

    def __init__(
        self,
        enodes: Collection[Enode],
        fastest: bool,
        node_key: PrivateKey | None,
        key: bytes | None,
        answer_timeout: float,
    ) -> None:
        if not enodes:
            raise ValueError("no mailserver is given")
        faults = {enode: unfit(enode, node_key) for enode in enodes}
        self._enodes = tuple(enode for enode, fault in faults.items() if not fault)
        for enode, fault in faults.items():
            if fault and not self._enodes:
                raise ValueError(f"{enode.address}: {fault}")
            if fault:
                log.warning("mailserver %s is left out: %s", enode.address, fault)
        self._fastest = fastest
        self._node_key = node_key
        self._key = key
        self._timeout = answer_timeout
        self.failures: Failures = {}
        """The latest error of each mailserver that ever failed."""
        self._peers: dict[Enode, MailPeer] = {}
        self._dialing = asyncio.Lock()

    @property
    def connected(self) -> tuple[Enode, ...]:
        """The connected mailservers: none before the first history, one in a single history."""
        return tuple(enode for enode, peer in self._peers.items() if not peer.gone)

    async def close(self) -> None:
        """Say goodbye to all."""
        await _close(self._peers.values())

    def history(
        self,
        *,
        lower: int,
        upper: int | None = None,
        topics: Collection[bytes] = (),
        bloom: bytes = b"",
        limit: int = MAX_LIMIT,
        cursor: bytes = b"",
        form: Form = Form.R3,
        keys: Sequence[Key] = (),
        window: int = WINDOW,
    ) -> AsyncGenerator[HistoryPage, None]:
        """Pages of `limit` envelopes created from `lower` to `upper`, newest first.

        Times are Unix seconds, inclusive; `upper` is now by default. `keys` open the messages in
        them. A range longer than `window` (seconds) is asked for window by window. When a
        mailserver fails, the next is asked for the whole window, without a cursor, and envelopes
        that came already are left out. Each mailserver has one try a window. `cursor` is the end of
        an earlier page. It is allowed with one mailserver only, the one that gave it, and puts the
        whole range into one window.

        The call itself raises ValueError or TypeError for arguments that no request can have (see
        Wanted), before anybody is asked. When all mailservers fail, the pages end with
        NoMailserver, or with the error of the only one there is.
        """
        if cursor and len(self._enodes) > 1:
            raise ValueError("a cursor is of use only to the mailserver that gave it")
        check_window(window)
        check_cursor(cursor, form)
        check_keys(keys)
        whole = Wanted.of(lower, upper, topics, bloom, limit)
        return self._pages(whole, cursor, form, keys, MAX_TIME if cursor else window)

    def merged_history(
        self,
        *,
        lower: int,
        upper: int | None = None,
        topics: Collection[bytes] = (),
        bloom: bytes = b"",
        limit: int = MAX_LIMIT,
        form: Form = Form.R3,
        keys: Sequence[Key] = (),
        window: int = WINDOW,
    ) -> AsyncGenerator[MergedPage, None]:
        """The same history from all mailservers at once, put together.

        Every page of each is asked for, `limit` envelopes at a time. An envelope comes once, with
        the mailservers that lack it, even if they are out of reach in another window. One that
        fails has its next try in the next window, unless it has failed in MAX_FAILED_WINDOWS in a
        row. NoMailserver if all fail in one window.
        """
        check_window(window)
        check_keys(keys)
        whole = Wanted.of(lower, upper, topics, bloom, limit)
        return self._merged_pages(whole, form, keys, window)

    async def _merged_pages(
        self, whole: Wanted, form: Form, keys: Sequence[Key], window: int
    ) -> AsyncGenerator[MergedPage, None]:
        progress: Progress = {}
        failed = dict.fromkeys(self._enodes, 0)
        for lower, upper in windows(whole.lower, whole.upper, window):
            failures: Failures = {
                enode: self.failures[enode]
                for enode, count in failed.items()
                if count == MAX_FAILED_WINDOWS
            }
            peers = await self._connect_all(failures)
            merged = MergedHistory(
                {peer: _progress(progress, peer, whole) for peer in peers},
                replace(whole, lower=lower, upper=upper),
                form,
            )
            try:
                async for page in merged.pages(keys, partial(self._note, failures=failures)):
                    yield page
            except asyncio.CancelledError:
                merged.abandon()
                raise
            await _close(peer for peer in peers if peer.enode in failures)
            if len(failures) == len(self._enodes):
                raise _verdict(failures)
            for enode, count in failed.items():
                failed[enode] = min(count + 1, MAX_FAILED_WINDOWS) if enode in failures else 0

    async def _connect_all(self, failures: Failures) -> list[MailPeer]:
        """All mailservers that can be reached and have not failed."""
        async with self._dialing:
            await self._drop_gone()
            wanted = [enode for enode in self._enodes if enode not in failures]
            absent = [enode for enode in wanted if enode not in self._peers]
            dialed = await asyncio.gather(*(self._dial(enode, failures) for enode in absent))
            self._peers |= {peer.enode: peer for peer in dialed if peer is not None}
            return [self._peers[enode] for enode in wanted if enode in self._peers]

    async def _pages(
        self, whole: Wanted, cursor: bytes, form: Form, keys: Sequence[Key], window: int
    ) -> AsyncGenerator[HistoryPage, None]:
        progress: Progress = {}
        for lower, upper in windows(whole.lower, whole.upper, window):
            wanted = replace(whole, lower=lower, upper=upper)
            async for page in self._window(wanted, cursor, form, keys, progress):
                yield page

    async def _window(
        self, wanted: Wanted, cursor: bytes, form: Form, keys: Sequence[Key], progress: Progress
    ) -> AsyncIterator[HistoryPage]:
        """The pages of one window. When a mailserver fails, the next is asked for all of it."""
        seen: set[bytes] = set()
        failures: Failures = {}
        while True:
            peer = await self._connect(failures)
            try:
                own = _progress(progress, peer, wanted)
                async for page in peer.pages(wanted, cursor, form, keys, own):
                    page = page.without(seen)
                    if len(self._enodes) > 1 and len(seen) < MAX_SEEN_HASHES:
                        seen.update(envelope.hash for envelope in page.envelopes)
                    yield page
                return
            except asyncio.CancelledError:
                peer.drop_abandoned()
                raise
            except (WakumailError, OSError) as error:
                self._note(peer.enode, error, failures)
                await peer.close()

    async def _connect(self, failures: Failures) -> MailPeer:
        """A mailserver that has not failed: a connected one, or else a new connection."""
        async with self._dialing:
            await self._drop_gone()
            for enode, peer in self._peers.items():
                if enode not in failures:
                    return peer
            rest = [enode for enode in self._enodes if enode not in failures]
            found = await (self._race if self._fastest else self._in_turn)(rest, failures)
            if found is None:
                raise _verdict(failures)
            self._peers[found.enode] = found
            return found

    async def _drop_gone(self) -> None:
        """Forget the mailservers whose connection has ended."""
        gone = [peer for peer in self._peers.values() if peer.gone]
        for peer in gone:
            del self._peers[peer.enode]
        await _close(gone)

    async def _in_turn(self, enodes: Sequence[Enode], failures: Failures) -> MailPeer | None:
        """The first of `enodes` that can be reached."""
        for enode in enodes:
            if (peer := await self._dial(enode, failures)) is not None:
                return peer
        return None

    async def _race(self, enodes: Sequence[Enode], failures: Failures) -> MailPeer | None:
        """The one of `enodes` whose status comes first. The others are closed."""
        dials = [asyncio.create_task(self._dial(enode, failures)) for enode in enodes]
        winner: MailPeer | None = None
        try:
            for dial in asyncio.as_completed(dials):
                if (winner := await dial) is not None:
                    break
            return winner
        finally:
            ends = await end_tasks(dials)
            await _close(p for p in ends if isinstance(p, MailPeer) and p is not winner)

    async def _dial(self, enode: Enode, failures: Failures) -> MailPeer | None:
        """A connection to a mailserver. None if it fails, and the failure is noted."""
        peer = MailPeer(enode, self._node_key, self._key, self._timeout)
        try:
            await peer.open()
        except (WakumailError, OSError) as error:
            self._note(enode, error, failures)
            await peer.close()
            return None
        except asyncio.CancelledError:
            await peer.close()
            raise
        return peer

    def _note(self, enode: Enode, error: Exception, failures: Failures) -> None:
        failures[enode] = self.failures[enode] = error
        if len(self._enodes) > 1:
            log.warning("mailserver %s: %s", enode.address, failure(error))


def _progress(progress: Progress, peer: MailPeer, wanted: Wanted) -> HistoryProgress:
    if peer.enode not in progress:
        progress[peer.enode] = HistoryProgress(wanted.limit, peer.answer_timeout)
    return progress[peer.enode]


def check_window(window: int) -> None:
    """ValueError for a window (seconds) that holds nothing."""
    if window < 1:
        raise ValueError("window is at least 1 second")


def windows(lower: int, upper: int, window: int = WINDOW) -> Iterator[tuple[int, int]]:
    """The parts of a range of Unix seconds (inclusive), newest first, of `window` seconds each.

    The oldest takes the rest, up to WINDOW_REST more.
    """
    while upper - lower >= window + WINDOW_REST:
        yield upper - window + 1, upper
        upper -= window
    yield lower, upper


def failure(error: Exception) -> str:
    """The reason why a mailserver failed, for a person, without the address of it."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return error.strerror
    return reason(error)


def _verdict(failures: Failures) -> Exception:
    if len(failures) == 1:
        return next(iter(failures.values()))
    reasons = "; ".join(f"{enode.address}: {failure(error)}" for enode, error in failures.items())
    return NoMailserver(f"no mailserver answered: {reasons}")


async def _close(peers: Iterable[MailPeer]) -> None:
    await asyncio.gather(*(peer.close() for peer in peers))


@asynccontextmanager
async def mailservers(
    enodes: Iterable[Enode | str],
    *,
    fastest: bool = False,
    node_key: PrivateKey | None = None,
    password: str | None = DEFAULT_PASSWORD,
    answer_timeout: float = ANSWER_TIMEOUT,
) -> AsyncIterator[Mailservers]:
    """Use mailservers, in the order given or, if `fastest`, the one that answers first.

    They are dialed when history is asked for. `node_key`, `password` and `answer_timeout` are those
    of client.connect, for each of them. One that connect refuses is left out with a warning.
    ValueError if none is left, TypeError for a URL that is not in a list, and for arguments of
    other types.
    """
    if isinstance(enodes, (str, Enode)):
        raise TypeError("enodes is a list of mailservers, not one URL")
    targets = [target_of(enode) for enode in enodes]
    check_node_key(node_key)
    key = await password_key(password)
    servers = Mailservers(targets, fastest, node_key, key, answer_timeout)
    try:
        yield servers
    finally:
        await servers.close()
