"""The fuzzer (make fuzz): it has a target for every compiled module that reads foreign bytes."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import FILE_TARGETS, PARSER_TARGETS
from tests.fuzz.targets import TARGETS, run

EXT = Path(__file__).parents[2] / "ext" / "wakumail"

FUZZED = {
    "archive.archive": {"cursors", *FILE_TARGETS},
    "base.keccak": {"discovery"},
    "base.rlp": {"rlp"},
    "base.snappy": {"snappy"},
    "devp2p.frame_reader": {"frames"},
    "devp2p.frame_writer": {"frames"},
    "mail.sync.id_set": {"sync"},
    "mail.sync.item_set": {"negentropy"},
    "mail.sync.message_reader": {"negentropy"},
    "mail.sync.message_writer": {"negentropy"},
    "waku.bloom": {"interests"},
    "waku.envelope": {"envelopes"},
    "waku.fetched": {"envelopes"},
    "waku.interest": {"interests"},
    "waku.pool": {"pool"},
    "waku.topic_limiter": {"pool"},
}
"""The targets of each module."""

UNFUZZED = {
    "base.jobs": "runs jobs of other modules, and reads nothing",
    "waku.judgements": "reads envelopes that our own workers have judged, in memory of ours",
    "waku.pow": "makes envelopes, of arguments that the API has checked",
}
"""Modules that need none, and the reason."""

TRIES = 40


def test_every_compiled_module_is_fuzzed_or_needs_it_not() -> None:
    modules = {".".join(path.relative_to(EXT).with_suffix("").parts) for path in EXT.rglob("*.pyx")}
    assert modules == FUZZED.keys() | UNFUZZED.keys()
    assert not FUZZED.keys() & UNFUZZED.keys()


def test_every_target_is_run() -> None:
    assert set(TARGETS) == set(PARSER_TARGETS)
    assert not set(PARSER_TARGETS) & set(FILE_TARGETS)
    assert set().union(*FUZZED.values()) == {*PARSER_TARGETS, *FILE_TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_the_first_tries_find_nothing(target: str) -> None:
    for seed in range(TRIES):
        run(target, seed)
