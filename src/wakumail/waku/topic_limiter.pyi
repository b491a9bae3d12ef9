from typing import Self

from typing_extensions import disjoint_base

from wakumail.waku.envelope import Batch

MAX_TOPICS: int

@disjoint_base
class TopicLimiter:
    def __new__(cls, envelope_rate: float, size_rate: float, least_burst: float) -> Self: ...
    def take(self, node_id: bytes, batch: Batch, now: float) -> tuple[bool, bool]: ...
