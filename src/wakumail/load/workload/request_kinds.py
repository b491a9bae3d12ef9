"""The requests that are measured, of an archive with ArchivedTraffic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from wakumail.archive.archive import Query
from wakumail.load.workload.archived_traffic import DAY, TRAFFIC_END, ArchivedTraffic
from wakumail.waku.bloom import FULL_BLOOM, bloom_of

PAGE_LIMIT = 1000
"""Envelopes in one page: servers allow no more."""

TOPIC_CHOICES = 20
"""Requests of one kind that differ in their topics."""


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """One request. Times are Unix seconds, inclusive. No topics and no bloom: all envelopes."""

    lower: int
    upper: int
    topics: tuple[bytes, ...] = ()
    bloom: bytes = b""
    follows_cursor: bool = False
    """True to ask for page after page until nothing remains."""
    batch: bool = True
    """False to ask for each envelope in a packet of its own."""

    @property
    def query(self) -> Query:
        """The same request, for the archive itself."""
        topics, bloom = self.topics or None, self.bloom or None
        return Query(self.lower, self.upper, topics=topics, bloom=bloom)


@dataclass(frozen=True, slots=True)
class RequestKind:
    """A kind of request, and the number of clients that send it at once."""

    name: str
    """Its name in `--requests`."""
    title: str
    """Its name in reports."""
    clients: int = 1
    topics: int = 0
    """The number of topics in each request; 0: all envelopes."""
    absent: bool = False
    """True for topics of which the archive has no envelope."""
    by_bloom: bool = False
    days: int = 1
    envelopes: int = 0
    """The number of envelopes over which to follow the cursor; 0: one page only."""
    over: bool = False
    """True for days that are over when the traffic ends: a server has sorted those."""
    batch: bool = True
    """False to ask for each envelope in a packet of its own."""

    def specs(self, traffic: ArchivedTraffic) -> Sequence[RequestSpec]:
        """The requests of this kind, each with other topics. The clients repeat them."""
        source = Random(traffic.seed + 2)
        span = self.days * DAY
        if self.envelopes:
            span = min(DAY, self.envelopes * traffic.span // traffic.envelopes)
        upper = TRAFFIC_END // DAY * DAY - 1 if self.over else TRAFFIC_END
        lower = upper - span + 1
        spec = RequestSpec(lower, upper, batch=self.batch)
        if not self.topics:
            return [replace(spec, bloom=FULL_BLOOM, follows_cursor=self.envelopes > 0)]
        chosen = [self._choose(traffic, source) for _ in range(TOPIC_CHOICES)]
        if self.by_bloom:
            return [replace(spec, bloom=bloom_of(topics)) for topics in chosen]
        return [replace(spec, topics=topics) for topics in chosen]

    def _choose(self, traffic: ArchivedTraffic, source: Random) -> tuple[bytes, ...]:
        """The topics of one request."""
        if self.absent:
            return tuple(source.randbytes(4) for _ in range(self.topics))
        return tuple(source.sample(traffic.topics, min(self.topics, traffic.topic_count)))


ONE_TOPIC = RequestKind("one-topic", "1 topic, 24 h", topics=1)
ONE_TOPIC_BY_8 = RequestKind("one-topic-by-8", "1 topic, 24 h", clients=8, topics=1)
TEN_TOPICS = RequestKind("ten-topics", "bloom of 10 topics, 24 h", topics=10, by_bloom=True)
LONG_ABSENCE = RequestKind(
    "long-absence", "bloom of 1 topic, 30 days", topics=1, by_bloom=True, days=30
)
LONG_ABSENCE_APART = replace(
    LONG_ABSENCE, name="long-absence-apart", title=f"{LONG_ABSENCE.title}, batch = 0", batch=False
)
ABSENT_TOPICS = RequestKind(
    "absent-topics", "1000 topics that do not exist, 30 days", topics=1000, absent=True, days=30
)
TOPIC_DAY = RequestKind("topic-day", "1 topic, a day that is over", topics=1, over=True)
TOPIC_MONTH = RequestKind("topic-month", "1 topic, 30 days", topics=1, days=30)
OVER_MONTH = RequestKind("over-month", "1 topic, 29 days over", topics=1, days=29, over=True)
TOPICS_WEEK = RequestKind("topics-week", "10 topics, 7 days", topics=10, days=7)
OVER_WEEK = RequestKind("over-week", "10 topics, 7 days over", topics=10, days=7, over=True)
ALL_TOPICS = RequestKind("all-topics", "everything, 24 h")
ALL_APART = replace(
    ALL_TOPICS, name="all-apart", title=f"{ALL_TOPICS.title}, batch = 0", batch=False
)
ALL_DAY = RequestKind("all-day", "everything, a day that is over", over=True)
ALL_TOPICS_BY_8 = RequestKind("all-topics-by-8", "everything, 24 h", clients=8)
ALL_PAGES = RequestKind("all-pages", "following 33,334 envelopes", envelopes=33_334)

REQUEST_KINDS = (
    ONE_TOPIC,
    ONE_TOPIC_BY_8,
    TEN_TOPICS,
    LONG_ABSENCE,
    ALL_TOPICS,
    ALL_TOPICS_BY_8,
    ALL_PAGES,
)


def parse_kinds(text: str) -> tuple[RequestKind, ...]:
    """Kinds of requests from their names, separated by commas. ValueError for an unknown name."""
    known = {kind.name: kind for kind in REQUEST_KINDS}
    try:
        return tuple(known[name] for name in text.split(","))
    except KeyError as error:
        raise ValueError(f"no such request: {error.args[0]!r}") from None
