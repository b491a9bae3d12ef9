from typing import final

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
    def __init__(self, ids: bytes) -> None: ...

def judge_fetched(
    packet: bytes, rules: Rules, lower: int, upper: int, asked: AskedIds
) -> tuple[Batch, int]: ...
