"""Micro benches: each kernel beside its plain Python or library counterpart, in the same run.

`make bench` prints the tables: in brackets stands how many times as long as the best of its group
each takes; compare within a group, for the machine's speed drifts. Each bench checks that both
sides give the same result.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest
import rlp as library_rlp
from Crypto.Hash import keccak as library_keccak
from pytest_benchmark.fixture import BenchmarkFixture

from wakumail.base import rlp
from wakumail.base.keccak import keccak256, keccak256_many
from wakumail.waku.bloom import bloom_of, covered, topic_bloom
from wakumail.waku.envelope import Rules, judge, make_envelope, parse
from wakumail.waku.interest import Interest
from wakumail.waku.pow import mine

NOW = 1_700_000_000
TTL = 60
DATA_SIZE = 512
SOURCE = random.Random(7)
TOPICS = [SOURCE.randbytes(4) for _ in range(1000)]
ENVELOPES = [
    make_envelope(NOW + TTL, TTL, SOURCE.choice(TOPICS), SOURCE.randbytes(DATA_SIZE), number)
    for number in range(100)
]
PACKET = rlp.join_list([envelope.rlp for envelope in ENVELOPES])


def library_keccak256(data: bytes) -> bytes:
    return library_keccak.new(digest_bits=256, data=data).digest()


@pytest.mark.benchmark(group="keccak of 538 bytes")
@pytest.mark.parametrize("hash_", [keccak256, library_keccak256], ids=["ours", "pycryptodome"])
def test_keccak(benchmark: BenchmarkFixture, hash_: Callable[[bytes], bytes]) -> None:
    assert benchmark(hash_, ENVELOPES[0].rlp) == ENVELOPES[0].hash


@pytest.mark.benchmark(group="keccak of 100 x 538 bytes")
@pytest.mark.parametrize(
    "many",
    [keccak256_many, lambda messages: [library_keccak256(m) for m in messages]],
    ids=["ours", "pycryptodome"],
)
def test_keccak_many(benchmark: BenchmarkFixture, many: Callable[[Any], list[bytes]]) -> None:
    messages = [envelope.rlp for envelope in ENVELOPES]
    assert benchmark(many, messages) == [envelope.hash for envelope in ENVELOPES]


@pytest.mark.benchmark(group="RLP of 100 envelopes")
@pytest.mark.parametrize("decode", [rlp.decode, library_rlp.decode], ids=["ours", "rlp"])
def test_rlp(benchmark: BenchmarkFixture, decode: Callable[[bytes], Any]) -> None:
    assert len(benchmark(decode, PACKET)) == len(ENVELOPES)


def judge_in_python(packet: bytes) -> int:
    """The work of the envelope pass, with the parts of the library."""
    accepted = 0
    for item in library_rlp.decode(packet):
        expiry, ttl, topic, data, nonce = item
        raw = library_rlp.encode(item)
        proven = library_rlp.encode([expiry, ttl, topic, data])
        work = library_keccak256(proven + nonce.rjust(8, b"\0"))
        zeros = 256 - int.from_bytes(work, "big").bit_length()
        pow_ = 2**zeros / len(proven) / int.from_bytes(ttl, "big")
        created = int.from_bytes(expiry, "big") - int.from_bytes(ttl, "big")
        accepted += pow_ >= 0 and created <= NOW + 10 and len(library_keccak256(raw)) == 32
    return accepted


@pytest.mark.benchmark(group="envelope pass over 100 envelopes")
@pytest.mark.parametrize("side", ["ours", "python"])
def test_envelope_pass(benchmark: BenchmarkFixture, side: str) -> None:
    rules = Rules(min_pow=0.0, min_pow_large=0.0, max_envelope=1 << 20)
    if side == "ours":
        assert benchmark(lambda: judge(PACKET, rules, NOW).accepted) == len(ENVELOPES)
    else:
        assert benchmark(judge_in_python, PACKET) == len(ENVELOPES)


def covered_in_python(bloom: bytes, topics: bytes) -> bytes:
    wanted = int.from_bytes(bloom, "big")
    found = []
    for start in range(0, len(topics), 4):
        topic = topics[start : start + 4]
        if not int.from_bytes(topic_bloom(topic), "big") & ~wanted:
            found.append(topic)
    return b"".join(found)


@pytest.mark.benchmark(group="bloom of 10 topics over 1000 topics")
@pytest.mark.parametrize("find", [covered, covered_in_python], ids=["ours", "python"])
def test_bloom(benchmark: BenchmarkFixture, find: Callable[[bytes, bytes], bytes]) -> None:
    bloom, packed = bloom_of(TOPICS[:10]), b"".join(TOPICS)
    assert len(benchmark(find, bloom, packed)) >= 40


@pytest.mark.benchmark(group="interest in 500 topics over 100 envelopes")
@pytest.mark.parametrize("side", ["ours", "python"])
def test_interest(benchmark: BenchmarkFixture, side: str) -> None:
    batch, wanted = parse(PACKET), TOPICS[:500]
    topics = [envelope.topic for envelope in batch]
    expected = [number for number, topic in enumerate(topics) if topic in set(wanted)]
    interest, known = Interest(topics=wanted), frozenset(wanted)

    def select_in_python() -> list[int]:
        return [number for number, envelope in enumerate(batch) if envelope.topic in known]

    select = (lambda: batch.select(interest)) if side == "ours" else select_in_python
    assert benchmark(select) == expected


def mine_in_python(proven: bytes, divisor: int, nonces: int) -> float:
    best = 0
    for nonce in range(nonces):
        work = library_keccak256(proven + nonce.to_bytes(8, "big"))
        best = max(best, 256 - int.from_bytes(work, "big").bit_length())
    return float(2**best / divisor)


@pytest.mark.benchmark(group="PoW: 1000 nonces")
@pytest.mark.parametrize("side", ["ours", "python"])
def test_pow(benchmark: BenchmarkFixture, side: str) -> None:
    one = ENVELOPES[0]
    fields = one.expiry, one.ttl, one.topic, one.data
    if side == "ours":
        assert benchmark(mine, *fields, target=1e9, max_nonces=1000) is None
    else:
        proven = rlp.encode(fields)
        assert 0 < benchmark(mine_in_python, proven, len(proven) * TTL, 1000) < 1e9
