from typing import Self, final

from typing_extensions import disjoint_base

from wakumail.waku.envelope import Batch, Rules

@disjoint_base
class FetchRules(Rules): ...

@final
class AskedIds:
    @property
    def ids(self) -> bytes: ...
    @property
    def left(self) -> int: ...
    def __new__(cls, ids: bytes) -> Self: ...

def judge_fetched(
    packet: bytes, rules: Rules, lower: int, upper: int, asked: AskedIds
) -> tuple[Batch, int]: ...
