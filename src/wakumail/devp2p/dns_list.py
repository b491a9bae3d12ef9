"""A list of nodes in the DNS as a client reads it (EIP-1459, "Client Protocol").

It asks for one name at a time, when somebody wants one more node, in random order:

    dns_list.start()
    while (step := dns_list.next(now)) is not None:
        if isinstance(step, Question):
            texts, ttl = ...                          # the TXT records at step.name
            record = dns_list.answer(step, texts, ttl, now)

`now` is seconds of a steady clock. Nothing that the DNS says raises: what is wrong with it is told
to `on_fault` and left out, and what a list said before still counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from wakumail.devp2p.dns_tree import (
    ROOT_PREFIX,
    Branch,
    DnsListError,
    Entry,
    ListUrl,
    TreeRoot,
    fits,
    is_entry,
    parse_entry,
)
from wakumail.devp2p.enr import Enr, EnrError
from wakumail.errors import WakumailError

MAX_LEAVES = 10_000
"""Node records and links, of a list and of those that it links to together."""

MAX_BRANCHES = 2_000
"""Branches of the same. A tree of 10,000 leaves has 836."""

MAX_ENTRIES = MAX_LEAVES + MAX_BRANCHES
"""Entries of one list that are kept; with more of them all are forgotten."""

MAX_LISTS = 100
"""Lists: that of the URL, and those that are linked to."""

MAX_DEPTH = 3
"""Links between the list of the URL and another."""

MIN_ROOT_TTL = 60.0
"""Seconds for which a root is not asked for again, whatever its TTL, also after a failure."""

MAX_ROOT_TTL = 3600.0
"""Seconds after which a root is asked for again, whatever its TTL."""


class DnsHashWrong(DnsListError):
    """A text in the DNS whose hash is not the label at which it stands."""

    counter = "dns_hash_wrong"


class DnsSeqFell(DnsListError):
    """The root of a DNS list with a lower sequence number than an earlier one."""

    counter = "dns_seq_fell"


class DnsMisplaced(DnsListError):
    """A link among the node records of a DNS list, or a node record among its links."""

    counter = "dns_misplaced"


class DnsListTooLarge(DnsListError):
    """A DNS list, with those that it links to, of too many lists, branches or leaves."""

    counter = "dns_too_large"


class DnsLinkSkipped(DnsListError):
    """A link of a DNS list that leads back to a list that is read already, or too far."""

    counter = "dns_links_skipped"


Place: TypeAlias = tuple[str, bool]
"""A label, and True below `l`, false below `e`."""

OnFault: TypeAlias = Callable[[str, WakumailError], None]
"""Takes a name in the DNS, and what was wrong with what stands there."""


@dataclass(frozen=True, slots=True)
class Question:
    """A name whose TXT records are wanted."""

    url: ListUrl
    """The list."""
    label: str
    """The label below the domain of the list; empty for its root."""
    of_links: bool
    """True below `l`, false below `e`."""

    @property
    def name(self) -> str:
        """The name in the DNS, without a dot at its end."""
        return f"{self.label}.{self.url.domain}" if self.label else self.url.domain


class _Tree:
    """The known parts of one list, and the progress of this round."""

    def __init__(self, min_seq: int) -> None:
        self.min_seq = min_seq
        self.root: TreeRoot | None = None
        self.root_due = float("-inf")
        self.entries: dict[str, Entry] = {}
        """By label. A label is the hash of what stands there, so that it is good until the root
        does not lead to it any more; the TTL of the root is the only one that matters."""
        self.start(0)

    def start(self, depth: int) -> None:
        """Begin a round."""
        self.depth = depth
        self.is_asked = False
        """True while the root is asked for."""
        self.given: set[str] = set()
        """The labels of the node records that were given."""
        self.links: set[ListUrl] = set()
        self.begin_again(follow=False)

    def begin_again(self, *, follow: bool = True) -> None:
        """Read from the root on, if `follow` and one is known; what was given is not given again.

        What is asked at the moment is not waited for.
        """
        self.branches = 0
        self.ahead: list[Place] = []
        """The places to be read, in no order."""
        self.asked: set[Place] = set()
        self._met: set[Place] = set()
        self.begun = follow and self.root is not None
        if self.begun and self.root is not None:
            self.meet(self.root.records, of_links=False)
            self.meet(self.root.links, of_links=True)

    def meet(self, label: str, *, of_links: bool) -> None:
        """Read a label later, unless it was met before."""
        place = label, of_links
        if place not in self._met:
            self._met.add(place)
            self.ahead.append(place)

    def replace_root(self, root: TreeRoot) -> None:
        """Read another tree from now on. It may lead to entries of the one before."""
        self.root = root
        self.min_seq = root.seq
        if len(self.entries) > MAX_ENTRIES:
            self.entries = {}
        self.begin_again()

    def sweep(self) -> None:
        """Forget the entries that the root does not lead to."""
        kept: dict[str, Entry] = {}
        below = [] if self.root is None else [self.root.records, self.root.links]
        while below and len(self.entries) <= MAX_ENTRIES:
            label = below.pop()
            if label not in kept and (entry := self.entries.get(label)) is not None:
                kept[label] = entry
                below += entry.labels if isinstance(entry, Branch) else ()
        self.entries = kept


class DnsList:
    """A list, and those that it links to.

    A round gives each node record once. A root is asked for again when its TTL is over, also within
    a round. The entries below it are asked for when one more node is wanted, and kept until the
    root leads to others. While the DNS fails, what it said before still counts.
    """

    def __init__(
        self,
        url: ListUrl,
        choose: Callable[[int], int],
        on_fault: OnFault,
        seqs: Mapping[ListUrl, int],
    ) -> None:
        """`choose(n)` is a random number from 0 to n - 1.

        `seqs` has the sequence numbers that were seen before, by list: no root with a lower one is
        taken.
        """
        self._url = url
        self._choose = choose
        self._on_fault = on_fault
        self._seqs_before = seqs
        self._known: dict[ListUrl, _Tree] = {}
        self._trees: dict[ListUrl, _Tree] = {}
        """The lists of this round."""

    @property
    def roots(self) -> dict[ListUrl, TreeRoot]:
        """The roots of the lists of this round."""
        return {url: tree.root for url, tree in self._trees.items() if tree.root is not None}

    @property
    def root_due(self) -> float:
        """The time at which the root of the list itself is to be asked for again."""
        return self._trees[self._url].root_due if self._trees else float("-inf")

    def start(self) -> None:
        """Begin a round. Lists that were not met in the last one are forgotten."""
        self._known, self._trees = self._trees, {}
        self._enter(self._url, 0)

    def next(self, now: float) -> Question | Enr | None:
        """The next question, or the next node record that is known already.

        None if there is nothing to ask: until a question is answered, or the round is over.
        """
        while True:
            if (question := self._begin(now)) is not None:
                return question
            unread = [url for url, tree in self._trees.items() if tree.ahead]
            if not unread:
                return None
            url = unread[self._choose(len(unread))]
            tree = self._trees[url]
            label, of_links = _take_any(tree.ahead, self._choose)
            question = Question(url, label, of_links)
            entry = tree.entries.get(label)
            if entry is None:
                tree.asked.add((label, of_links))
                return question
            if (record := self._read(question, tree, entry)) is not None:
                return record

    def answer(
        self, question: Question, texts: Sequence[str], ttl: float, now: float
    ) -> Enr | None:
        """Take the TXT records at a name, each as one text; the node record if one is there."""
        tree = self._trees.get(question.url)
        try:
            if tree is None:
                return None
            if not question.label:
                self._take_root(
                    question, tree, texts, now + min(max(ttl, MIN_ROOT_TTL), MAX_ROOT_TTL)
                )
                return None
            if (question.label, question.of_links) not in tree.asked:
                return None  # the root has changed meanwhile
            entry = _find_entry(question.label, texts)
        except (DnsListError, EnrError) as error:
            self._on_fault(question.name, error)
            self.fail(question, now)
            return None
        tree.entries[question.label] = entry
        return self._read(question, tree, entry)

    def fail(self, question: Question, now: float) -> None:
        """Give a question up for this round: the DNS has no answer of use."""
        tree = self._trees.get(question.url)
        if tree is not None and not question.label and tree.is_asked:
            tree.is_asked = False
            tree.root_due = now + MIN_ROOT_TTL

    def _begin(self, now: float) -> Question | None:
        """Ask for a root that is due, or begin with those that are known."""
        for url, tree in self._trees.items():
            if not tree.is_asked:
                if tree.root_due <= now:
                    tree.is_asked = True
                    return Question(url, "", of_links=False)
                if not tree.begun:
                    tree.begin_again()
        return None

    def _enter(self, url: ListUrl, depth: int) -> None:
        tree = self._known.pop(url, None) or _Tree(self._seqs_before.get(url, 0))
        tree.sweep()
        tree.start(depth)
        self._trees[url] = tree

    def _take_root(self, question: Question, tree: _Tree, texts: Sequence[str], due: float) -> None:
        root = _find_root(question.url, texts)
        if root.seq < tree.min_seq:
            raise DnsSeqFell(
                f"the sequence number of the DNS list fell from {tree.min_seq} to {root.seq}"
            )
        tree.is_asked = False
        tree.root_due = due
        if root != tree.root:
            tree.replace_root(root)

    def _read(self, question: Question, tree: _Tree, entry: Entry) -> Enr | None:
        """Go on from an entry, or give its record."""
        try:
            if isinstance(entry, Branch):
                self._read_branch(question, tree, entry)
            elif isinstance(entry, ListUrl) is not question.of_links:
                what = (
                    "a node record among the links"
                    if question.of_links
                    else "a link among the nodes"
                )
                raise DnsMisplaced(f"the DNS list has {what}")
            elif isinstance(entry, ListUrl):
                self._follow(tree, entry)
            elif question.label not in tree.given:
                self._count_leaf()
                tree.given.add(question.label)
                return entry
        except DnsListError as error:
            self._on_fault(question.name, error)
        return None

    def _read_branch(self, question: Question, tree: _Tree, branch: Branch) -> None:
        if sum(each.branches for each in self._trees.values()) >= MAX_BRANCHES:
            raise self._full(f"{MAX_BRANCHES} branches")
        tree.branches += 1
        for label in branch.labels:
            tree.meet(label, of_links=question.of_links)

    def _follow(self, tree: _Tree, url: ListUrl) -> None:
        """Read a linked list too; one that is read already, but from farther away, once more."""
        depth = tree.depth + 1
        if url not in tree.links:
            self._count_leaf()
            tree.links.add(url)
        if (known := self._trees.get(url)) is not None:
            if depth >= known.depth:
                raise DnsLinkSkipped(f"{url} is read already")
            known.depth = depth
            known.begin_again()
        elif depth > MAX_DEPTH:
            raise DnsLinkSkipped(f"{url} is more than {MAX_DEPTH} links away")
        elif len(self._trees) >= MAX_LISTS:
            raise DnsListTooLarge(f"{url} is left out: {MAX_LISTS} lists are read already")
        else:
            self._enter(url, depth)

    def _count_leaf(self) -> None:
        """Make room for one more leaf."""
        leaves = sum(len(tree.given) + len(tree.links) for tree in self._trees.values())
        if leaves >= MAX_LEAVES:
            raise self._full(f"{MAX_LEAVES:,} leaves")

    def _full(self, bound: str) -> DnsListTooLarge:
        """The error; what is not read is left out of this round."""
        for tree in self._trees.values():
            tree.ahead.clear()
            tree.asked.clear()
        return DnsListTooLarge(
            f"{self._url}: the list and those that it links to have over {bound}"
        )


def _take_any(places: list[Place], choose: Callable[[int], int]) -> Place:
    """Take one of some places out of a list, whose order does not matter."""
    at = choose(len(places))
    places[at], places[-1] = places[-1], places[at]
    return places.pop()


def _find_root(url: ListUrl, texts: Sequence[str]) -> TreeRoot:
    """The root among the TXT records of a domain, which may have others."""
    roots = [text for text in texts if text.startswith(ROOT_PREFIX)]
    if len(roots) != 1:
        raise DnsListError(f"{url.domain} has {len(roots) or 'no'} roots of a DNS list")
    return TreeRoot.parse(roots[0], url.key)


def _find_entry(label: str, texts: Sequence[str]) -> Entry:
    """The entry at a label, among other texts if the domain has them at all names (`*`)."""
    entries = [text for text in texts if is_entry(text)]
    if not entries:
        raise DnsListError("there is no part of a DNS list")
    for text in entries:
        if fits(text, label):
            return parse_entry(text)
    raise DnsHashWrong("the hash of the text is not its label: it was changed, or cut short")
