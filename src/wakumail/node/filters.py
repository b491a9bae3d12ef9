"""Filters: messages that subscribers want, and the way from an envelope to them (9/WAKU-RPC).

All envelopes that arrive, live or as history, are offered here. Compiled code leaves out those of
no wanted topic at once. The others wait in a bounded queue for a thread that opens them, once for
each key that may fit. Then the loop hands the messages, in the order of their arrival, to the
owners of the filters: to a callback, or to a bounded queue that is polled.
"""

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from wakumail.base.threads import Threads
from wakumail.base.turns import Turns
from wakumail.counters import Counters
from wakumail.devp2p.keys import PrivateKey, PublicKey
from wakumail.errors import WakumailError
from wakumail.node.messages import ReceivedMessage, open_envelope
from wakumail.waku.envelope import TOPIC_SIZE, Batch, Envelope
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.message import checked_key
from wakumail.waku.packets import MAX_TOPIC_INTEREST

log = logging.getLogger(__name__)

MAX_FILTERS = 1000
"""Filters at the same time."""

MAX_FILTER_TOPICS = MAX_TOPIC_INTEREST
"""Topics of all filters together, no more than a topic interest can name."""

MAX_UNOPENED_BYTES = 32 << 20
"""Bytes of memory of batches that wait to be opened. Later batches are dropped."""

SLICE_ENVELOPES = 16
"""Envelopes that are opened before the loop hands out their messages."""

SLICE_BYTES = 512 << 10
"""Bytes of their data, after which a slice ends too, so that readers of the messages keep up."""

MAX_UNPOLLED_BYTES = 8 << 20
"""Bytes of memory of messages that wait for the poll of one filter. Later ones are dropped; they
may come again from history."""

MAX_UNPOLLED_BYTES_OF_ALL = 128 << 20
"""Bytes of memory of messages that wait for the polls of all filters."""

POLL_TIMEOUT = 300.0
"""Seconds without a poll after which a polled filter is forgotten, as in geth."""

MAX_TOLD_HASHES = 1024
"""Hashes of envelopes that a filter keeps, so that it hands out no message twice."""

FILTER_ID_SIZE = 32
"""Bytes of a filter's id, which is written in hexadecimal digits."""


class FilterUnknown(WakumailError):
    """No polled filter has this id. It may have been forgotten because nobody polled it."""

    counter = "filter_unknown"


class FiltersFull(WakumailError):
    """There are 1,000 filters, or 10,000 topics of filters."""

    counter = "filters_full"


@dataclass(frozen=True, eq=False, slots=True)
class Filter:
    """The properties of wanted messages (9/WAKU-RPC, "Filter").

    ValueError for a topic or a symmetric key of another size, for a symmetric key without topics,
    and for a PoW that is no number from 0 on.
    """

    topics: tuple[bytes, ...]
    """1 to 4 bytes each: the first bytes of a topic. None: all topics, with a private key only."""
    key: bytes | PrivateKey
    """Opens the message: a symmetric key or a private one."""
    signer: PublicKey | None = None
    """The signer that the message must have; None: anyone or none."""
    min_pow: float = 0.0
    allow_p2p: bool = False
    """True if p2p messages are wanted too: history and direct messages."""

    def __post_init__(self) -> None:
        if not all(1 <= len(topic) <= TOPIC_SIZE for topic in self.topics):
            raise ValueError(f"a topic of a filter has 1 to {TOPIC_SIZE} bytes")
        if isinstance(self.key, bytes):
            checked_key(self.key)
            if not self.topics:
                raise ValueError("a filter with a symmetric key needs topics")
        if not 0 <= self.min_pow < math.inf:
            raise ValueError(f"{self.min_pow} is no PoW")

    def admits(self, envelope: Envelope, p2p: bool) -> bool:
        """True if an envelope with a wanted topic is worth opening."""
        return (self.allow_p2p or not p2p) and (not self.min_pow or envelope.pow >= self.min_pow)

    def trusts(self, signer: PublicKey | None) -> bool:
        """True if a message with this signer, or with none, is wanted."""
        return self.signer is None or (signer is not None and signer == self.signer)

    @property
    def key_name(self) -> tuple[type, bytes]:
        """Distinguishes the key from all others, also from the other kind with the same bytes."""
        return type(self.key), self.key if isinstance(self.key, bytes) else self.key.secret


OnMessage = Callable[[ReceivedMessage], None]


@dataclass(eq=False, slots=True)
class _Installed:
    """A filter, and the messages that wait for its owner."""

    filter_id: str
    filter: Filter
    on_message: OnMessage | None
    owner: object = None
    told_hashes: dict[bytes, None] = field(default_factory=dict)
    """Hashes of envelopes, oldest first."""
    waiting: list[ReceivedMessage] = field(default_factory=list)
    waiting_bytes: int = 0
    polled: float = 0.0
    """The loop's time of the last poll."""
    timer: asyncio.TimerHandle | None = None


class _Table:
    """The filters at one moment, by the first bytes of a topic. The thread reads it."""

    def __init__(self, installed: Iterable[_Installed]) -> None:
        self._by_topic: dict[bytes, list[_Installed]] = {}
        for each in installed:
            for topic in dict.fromkeys(each.filter.topics or (b"",)):
                self._by_topic.setdefault(topic, []).append(each)
        whole = all(len(topic) == TOPIC_SIZE for topic in self._by_topic)
        self.interest = Interest(topics=self._by_topic) if whole else EVERYTHING

    def open(self, envelope: Envelope, p2p: bool) -> Iterator[tuple[_Installed, ReceivedMessage]]:
        """The filters that take an envelope, with the message in it. Each key is tried once."""
        opened: dict[tuple[type, bytes], ReceivedMessage | None] = {}
        for each in self._candidates(envelope.topic):
            wanted = each.filter
            if not wanted.admits(envelope, p2p):
                continue
            if wanted.key_name not in opened:
                opened[wanted.key_name] = open_envelope(envelope, wanted.key)
            message = opened[wanted.key_name]
            if message is not None and wanted.trusts(message.signer):
                yield each, message

    def _candidates(self, topic: bytes) -> Iterable[_Installed]:
        """The filters with a topic that `topic` begins with, none twice."""
        starts = (topic[:size] for size in range(TOPIC_SIZE + 1))
        return dict.fromkeys(each for start in starts for each in self._by_topic.get(start, ()))


class Filters:
    """The filters of a node, behind one event loop."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._installed: dict[str, _Installed] = {}
        self._topics = 0
        self._waiting_bytes = 0
        self._table: _Table | None = None
        """Made when it is needed; None after the filters have changed."""
        self._thread = Threads(1, "filters")
        self._turns = Turns()
        self._queue: deque[tuple[Batch, list[int], bool]] = deque()
        self._queued_bytes = 0
        self._opening: asyncio.Task[None] | None = None

    # -- for owners of filters ----------------------------------------------------------------

    def install(
        self, wanted: Filter, on_message: OnMessage | None = None, *, owner: object = None
    ) -> str:
        """Hand messages for `wanted` to `on_message`, or keep them for `poll`; the filter's id.

        `owner` is what `owner_of` answers for a filter that is polled.
        FiltersFull when there are MAX_FILTERS, or MAX_FILTER_TOPICS topics with its own.
        """
        if len(self._installed) >= MAX_FILTERS:
            raise FiltersFull(f"there are {MAX_FILTERS} filters")
        if self._topics + len(wanted.topics) > MAX_FILTER_TOPICS:
            raise FiltersFull(f"all filters together have at most {MAX_FILTER_TOPICS} topics")
        installed = _Installed(os.urandom(FILTER_ID_SIZE).hex(), wanted, on_message, owner)
        self._installed[installed.filter_id] = installed
        self._topics += len(wanted.topics)
        self._table = None
        if on_message is None:
            installed.polled = self._loop.time()
            self._forget_unpolled(installed)
        return installed.filter_id

    def uninstall(self, filter_id: str) -> bool:
        """Forget a filter and its waiting messages. False if there is none with this id."""
        installed = self._installed.pop(filter_id, None)
        if installed is None:
            return False
        self._topics -= len(installed.filter.topics)
        self._waiting_bytes -= installed.waiting_bytes
        self._table = None
        if installed.timer is not None:
            installed.timer.cancel()
        return True

    def poll(self, filter_id: str) -> list[ReceivedMessage]:
        """Messages since the last poll of a filter, in the order of arrival. FilterUnknown."""
        installed = self._polled(filter_id)
        installed.polled = self._loop.time()
        messages, installed.waiting = installed.waiting, []
        self._waiting_bytes -= installed.waiting_bytes
        installed.waiting_bytes = 0
        return messages

    def owner_of(self, filter_id: str) -> object:
        """The owner that installed a polled filter. FilterUnknown."""
        return self._polled(filter_id).owner

    def _polled(self, filter_id: str) -> _Installed:
        """The polled filter with this id. FilterUnknown, also for one with a callback."""
        installed = self._installed.get(filter_id)
        if installed is None or installed.on_message is not None:
            raise FilterUnknown(f"no filter to poll has the id {filter_id}")
        return installed

    @property
    def interest(self) -> Interest | None:
        """The topics that any filter wants; None when there is no filter."""
        return self._current().interest if self._installed else None

    # -- for receivers of envelopes -----------------------------------------------------------

    def offer(self, batch: Batch, *, p2p: bool) -> None:
        """Queue the accepted envelopes of `batch` that some filter may want. Returns at once.

        `p2p`: they came as p2p messages, so only filters that allow these see them.
        """
        if not self._installed:
            return
        chosen = batch.select(self._current().interest)
        if not chosen:
            return
        if self._queue and self._queued_bytes + batch.memory > MAX_UNOPENED_BYTES:
            self._counters.add("filters_overloaded", len(chosen))
            return
        self._queue.append((batch, chosen, p2p))
        self._queued_bytes += batch.memory
        if self._opening is None:
            self._opening = self._loop.create_task(self._open_queued())

    async def close(self) -> None:
        """Forget all filters and their waiting messages, and end the thread."""
        for filter_id in list(self._installed):
            self.uninstall(filter_id)
        if self._opening is not None:
            await self._opening
        self._thread.close()

    # -- from an envelope to the filters ------------------------------------------------------

    async def _open_queued(self) -> None:
        while self._queue:
            batch, chosen, p2p = self._queue[0]
            left = deque(chosen)
            while left:
                found = await self._thread.run(
                    partial(_open_some, self._current(), batch, left, p2p)
                )
                for installed, message in found:
                    await self._turns.turn()
                    self._deliver(installed, message)
            self._queue.popleft()
            self._queued_bytes -= batch.memory
        self._opening = None

    def _deliver(self, installed: _Installed, message: ReceivedMessage) -> None:
        """Hand a message to the owner of a filter, unless it has gone or has had the message."""
        envelope_hash = message.envelope.hash
        if installed.filter_id not in self._installed or envelope_hash in installed.told_hashes:
            return
        if installed.on_message is None:
            if not self._keep(installed, message):
                return
        else:
            try:
                installed.on_message(message)
            except Exception:
                log.exception("a subscriber failed on a message")
        installed.told_hashes[envelope_hash] = None
        if len(installed.told_hashes) > MAX_TOLD_HASHES:
            del installed.told_hashes[next(iter(installed.told_hashes))]
        self._counters.add("messages_opened")

    def _keep(self, installed: _Installed, message: ReceivedMessage) -> bool:
        """Keep a message for the next poll. False if there is no room."""
        cost = message.cost
        if (
            installed.waiting_bytes + cost > MAX_UNPOLLED_BYTES
            or self._waiting_bytes + cost > MAX_UNPOLLED_BYTES_OF_ALL
        ):
            self._counters.add("filters_overflowed")
            return False
        installed.waiting.append(message)
        installed.waiting_bytes += cost
        self._waiting_bytes += cost
        return True

    def _forget_unpolled(self, installed: _Installed) -> None:
        due = installed.polled + POLL_TIMEOUT
        if self._loop.time() >= due:
            self.uninstall(installed.filter_id)
        else:
            installed.timer = self._loop.call_at(due, self._forget_unpolled, installed)

    def _current(self) -> _Table:
        if self._table is None:
            self._table = _Table(self._installed.values())
        return self._table


def _open_some(
    table: _Table, batch: Batch, left: deque[int], p2p: bool
) -> list[tuple[_Installed, ReceivedMessage]]:
    """Open the first envelopes of `left`, and take them out: one slice."""
    found: list[tuple[_Installed, ReceivedMessage]] = []
    count = size = 0
    while left and count < SLICE_ENVELOPES and size < SLICE_BYTES:
        envelope = batch[left.popleft()]
        count += 1
        size += len(envelope.data)
        try:
            found += table.open(envelope, p2p)
        except Exception:
            log.exception("an envelope could not be matched with the filters")
    return found
