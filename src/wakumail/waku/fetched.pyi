from typing_extensions import disjoint_base

from wakumail.waku.envelope import Batch, Rules

@disjoint_base
class FetchRules(Rules): ...

def sort_ids(ids: bytes) -> bytes: ...
def judge_fetched(
    packet: bytes, rules: Rules, lower: int, upper: int, ids: bytes
) -> tuple[Batch, int]: ...
