from typing_extensions import Buffer

from wakumail.waku.envelope import Batch, Rules

SLOT_SIZE: int

class Judgements:
    def __init__(self, memory: Buffer) -> None: ...
    def judge(self, envelopes: bytes, following: int, rules: Rules, now: int) -> Batch: ...
