from typing import Self

from typing_extensions import Buffer, disjoint_base

from wakumail.waku.envelope import Batch, Rules

SLOT_SIZE: int

@disjoint_base
class Judgements:
    def __new__(cls, memory: Buffer) -> Self: ...
    def judge(self, envelopes: bytes, following: int, rules: Rules, now: int) -> Batch: ...
