"""One window of history from several mailservers, put together."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from wakumail.devp2p.enode import Enode
from wakumail.errors import WakumailError
from wakumail.mail.answer import HistoryPage, Wanted
from wakumail.mail.client import MailPeer
from wakumail.mail.history_progress import HistoryDisordered, HistoryProgress
from wakumail.mail.request import Form
from wakumail.node.messages import Key, ReceivedMessage, open_envelopes
from wakumail.waku.envelope import Envelope


@dataclass(frozen=True, slots=True)
class MergedPage:
    """Envelopes of several mailservers, each once."""

    envelopes: tuple[Envelope, ...]
    """The newest first; those of one second by their hash, the highest first."""
    messages: tuple[ReceivedMessage | None, ...]
    """The opened message of each envelope, in the same order; None where no key opens it."""
    lacking: tuple[tuple[Enode, ...], ...]
    """The mailservers that lack each envelope, in the same order. One that failed counts only for
    envelopes newer than the last one that it sent."""


class _Source:
    """The history of one mailserver, page by page."""

    def __init__(
        self, peer: MailPeer, wanted: Wanted, form: Form, progress: HistoryProgress
    ) -> None:
        self.peer = peer
        self.behind = wanted.upper + 1
        """Everything created after this has come (Unix seconds); -1 once all has come."""
        self.failed: Exception | None = None
        self._pages: AsyncIterator[HistoryPage] = peer.pages(wanted, form=form, progress=progress)

    @property
    def live(self) -> bool:
        """True if more may come."""
        return self.behind >= 0 and self.failed is None

    async def advance(self) -> tuple[Envelope, ...]:
        """The envelopes of the next page; none at the end, and none if the mailserver fails."""
        try:
            page = await anext(self._pages, None)
            if page is None:
                self.behind = -1
                return ()
            self._pass(page.envelopes)
        except (WakumailError, OSError) as error:
            self.failed = error
            return ()
        return page.envelopes

    def _pass(self, envelopes: Collection[Envelope]) -> None:
        """Move `behind` to the oldest of a page."""
        times = [envelope.created for envelope in envelopes]
        if times and max(times) > self.behind:
            raise HistoryDisordered("its history is not in order, the newest first")
        self.behind = min(times, default=self.behind)


class MergedHistory:
    """Puts the histories of several mailservers together while they come in.

    The mailserver whose history has come the least far is asked next, so that about a page of each
    is held at a time.
    """

    def __init__(
        self, peers: Mapping[MailPeer, HistoryProgress], wanted: Wanted, form: Form
    ) -> None:
        self._sources = [_Source(peer, wanted, form, peers[peer]) for peer in peers]
        self._held: dict[bytes, Envelope] = {}
        """Envelopes that a mailserver may still send too."""
        self._holders: dict[bytes, set[Enode]] = {}
        """The mailservers that have sent each of them."""

    async def pages(
        self, keys: Sequence[Key], on_failure: Callable[[Enode, Exception], None]
    ) -> AsyncGenerator[MergedPage, None]:
        """The pages, until the last mailserver has ended or failed."""
        while behind := [source for source in self._sources if source.live]:
            newest = max(source.behind for source in behind)
            await self._advance([source for source in behind if source.behind == newest])
            for source in behind:
                if source.failed is not None:
                    on_failure(source.peer.enode, source.failed)
            if complete := self._take_complete():
                yield MergedPage(
                    complete,
                    await open_envelopes(complete, keys),
                    tuple(map(self._take_lacking, complete)),
                )

    def abandon(self) -> None:
        """Say that no more pages are wanted, though answers may be on their way."""
        for source in self._sources:
            source.peer.drop_abandoned()

    async def _advance(self, sources: Sequence[_Source]) -> None:
        pages = await asyncio.gather(*(source.advance() for source in sources))
        for source, envelopes in zip(sources, pages, strict=True):
            for envelope in envelopes:
                self._held.setdefault(envelope.hash, envelope)
                self._holders.setdefault(envelope.hash, set()).add(source.peer.enode)

    def _take_complete(self) -> tuple[Envelope, ...]:
        """The held envelopes that no mailserver will send any more, out of those held."""
        behind = max((source.behind for source in self._sources if source.live), default=-1)
        found = [envelope for envelope in self._held.values() if envelope.created > behind]
        for envelope in found:
            del self._held[envelope.hash]
        return tuple(sorted(found, key=lambda e: (e.created, e.hash), reverse=True))

    def _take_lacking(self, envelope: Envelope) -> tuple[Enode, ...]:
        holders = self._holders.pop(envelope.hash)
        return tuple(
            source.peer.enode
            for source in self._sources
            if source.behind < envelope.created and source.peer.enode not in holders
        )
