"""Node records from lists in the DNS, asked for as they are wanted (EIP-1459)."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from wakumail.base.tasks import end_tasks
from wakumail.counters import Counters
from wakumail.devp2p.dns_list import DnsList, OnFault, Question
from wakumail.devp2p.dns_tree import ListUrl
from wakumail.devp2p.enr import Enr
from wakumail.errors import WakumailError
from wakumail.node.dns_resolver import DnsTexts, DnsUnanswered

log = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[str], Awaitable[DnsTexts]]
"""Gets the TXT records at a name; DnsUnanswered."""


class DnsLists:
    """Some lists, and those that they link to, as one source of node records.

    What is wrong with them is told to `on_fault`, with its name in the DNS, and left out.
    """

    def __init__(
        self,
        urls: Iterable[ListUrl],
        ask: Ask,
        on_fault: OnFault,
        seqs: Mapping[ListUrl, int] | None = None,
    ) -> None:
        """`seqs` has the sequence numbers that were seen before, by list."""
        self._lists = [DnsList(url, random.randrange, on_fault, seqs or {}) for url in urls]
        self._ask = ask
        self._on_fault = on_fault

    @property
    def seqs(self) -> dict[ListUrl, int]:
        """The sequence number of each list that was read in this round, also of linked ones."""
        return {url: root.seq for each in self._lists for url, root in each.roots.items()}

    async def endless(self) -> AsyncGenerator[Enr, None]:
        """Records one after the other, each again in every round; a name is asked for on demand.

        When all were given, the next waits until the root of a list is to be asked for again.
        """
        loop = asyncio.get_running_loop()
        while True:
            async for record in self.round(1):
                yield record
            due = min(each.root_due for each in self._lists)
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def round(self, at_once: int) -> AsyncGenerator[Enr, None]:
        """Each record once, in random order; up to `at_once` names are asked for at once."""
        for each in self._lists:
            each.start()
        asking: dict[asyncio.Task[DnsTexts], tuple[DnsList, Question]] = {}
        try:
            while True:
                while len(asking) < at_once and (step := self._next()) is not None:
                    of, what = step
                    if isinstance(what, Question):
                        asking[asyncio.ensure_future(self._ask(what.name))] = of, what
                    else:
                        yield what
                if not asking:
                    return
                done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if (record := self._answer(*asking.pop(task), task)) is not None:
                        yield record
        finally:
            await end_tasks(asking)

    def _next(self) -> tuple[DnsList, Question | Enr] | None:
        """The next step of any list."""
        now = asyncio.get_running_loop().time()
        for each in random.sample(self._lists, len(self._lists)):
            if (step := each.next(now)) is not None:
                return each, step
        return None

    def _answer(
        self, of: DnsList, question: Question, task: "asyncio.Task[DnsTexts]"
    ) -> Enr | None:
        now = asyncio.get_running_loop().time()
        try:
            found = task.result()
        except DnsUnanswered as error:
            self._on_fault(question.name, error)
            of.fail(question, now)
            return None
        return of.answer(question, found.texts, found.ttl, now)


class CountedFaults:
    """Counts faults by their kind; those of a list as a whole also go to the log."""

    def __init__(self, urls: Iterable[ListUrl], counters: Counters) -> None:
        self._domains = {url.domain for url in urls}
        self._counters = counters
        self._told: dict[str, str] = {}

    def __call__(self, name: str, error: WakumailError) -> None:
        """Take a fault; one that stays is logged once."""
        self._counters.add(error.counter)
        text = str(error)
        is_news = name in self._domains and self._told.get(name) != text
        log.log(logging.WARNING if is_news else logging.DEBUG, "DNS list: %s: %s", name, text)
        if is_news:
            self._told[name] = text
