"""The requests that are measured, of an archive with ArchivedTraffic."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    by_bloom: bool = False
    days: int = 1
    envelopes: int = 0
    """The number of envelopes over which to follow the cursor; 0: one page only."""
    over: bool = False
    """True for days that are over when the traffic ends: a server has sorted those."""

    def specs(self, traffic: ArchivedTraffic) -> Sequence[RequestSpec]:
        """The requests of this kind, each with other topics. The clients repeat them."""
        source = Random(traffic.seed + 2)
        span = self.days * DAY
        if self.envelopes:
            span = min(DAY, self.envelopes * traffic.span // traffic.envelopes)
        upper = TRAFFIC_END // DAY * DAY - 1 if self.over else TRAFFIC_END
        lower = upper - span + 1
        if not self.topics:
            return [RequestSpec(lower, upper, bloom=FULL_BLOOM, follows_cursor=self.envelopes > 0)]
        size = min(self.topics, traffic.topic_count)
        chosen = [tuple(source.sample(traffic.topics, size)) for _ in range(TOPIC_CHOICES)]
        if self.by_bloom:
            return [RequestSpec(lower, upper, bloom=bloom_of(topics)) for topics in chosen]
        return [RequestSpec(lower, upper, topics=topics) for topics in chosen]


ONE_TOPIC = RequestKind("one-topic", "1 topic, 24 h", topics=1)
ONE_TOPIC_BY_8 = RequestKind("one-topic-by-8", "1 topic, 24 h", clients=8, topics=1)
TEN_TOPICS = RequestKind("ten-topics", "bloom of 10 topics, 24 h", topics=10, by_bloom=True)
LONG_ABSENCE = RequestKind(
    "long-absence", "bloom of 1 topic, 30 days", topics=1, by_bloom=True, days=30
)
TOPIC_DAY = RequestKind("topic-day", "1 topic, a day that is over", topics=1, over=True)
TOPIC_MONTH = RequestKind("topic-month", "1 topic, 30 days", topics=1, days=30)
TOPICS_WEEK = RequestKind("topics-week", "10 topics, 7 days", topics=10, days=7)
OVER_WEEK = RequestKind("over-week", "10 topics, 7 days over", topics=10, days=7, over=True)
ALL_TOPICS = RequestKind("all-topics", "everything, 24 h")
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
