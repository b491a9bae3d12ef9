"""Requests over sockets to servers on damaged archives: errors that are counted and told."""

import itertools
import random
from pathlib import Path

import pytest

from tests.support.archive_model import DAY, make
from tests.support.damaged_files import ask_once, damage, lay_out, make_archive
from tests.support.damaged_servers import Outcome, ask_server
from wakumail.archive.archive import Archive
from wakumail.errors import ArchiveError

REQUESTS = 60


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("intact")
    make_archive(path)
    return (path / "data.mdb").read_bytes()


def count_errors(path: Path) -> int:
    """The errors of calls in this process; 0 if the archive does not even open."""
    source = random.Random(1)
    errors = 0
    try:
        archive = Archive(path)
    except ArchiveError:
        return 0
    with archive:
        for number in range(REQUESTS):
            try:
                ask_once(archive, source, number)
            except ArchiveError:
                errors += 1
    return errors


def check(outcome: Outcome) -> None:
    assert outcome.refused_to_start == ""
    assert outcome.answered + outcome.failed == REQUESTS
    assert outcome.failed > 0
    assert outcome.damage_told
    assert outcome.damage_counted >= outcome.failed


@pytest.mark.parametrize("kind", ["pages", "swaps", "numbers"])
def test_a_server_answers_from_a_damaged_archive(tmp_path: Path, intact: bytes, kind: str) -> None:
    for seed in itertools.count():
        damaged = damage(intact, kind, seed)
        lay_out(tmp_path / "tried", damaged)
        if count_errors(tmp_path / "tried" / "archive") > REQUESTS // 3:  # more than write
            break
    lay_out(tmp_path / "data", damaged)
    check(ask_server(tmp_path / "data", seed, REQUESTS))


def test_a_server_sends_no_page_that_cannot_be_read(tmp_path: Path, intact: bytes) -> None:
    """A bit of an envelope's length is in no page's structure, and clients would hang up."""
    stored = make(500, first=3000, size=60, spread=4 * DAY)
    places = [intact.index(envelope.rlp) for envelope in stored[::10]]
    damaged = bytearray(intact)
    for place in places:
        damaged[place + 1] ^= 1
    lay_out(tmp_path / "data", bytes(damaged))
    check(ask_server(tmp_path / "data", 1, REQUESTS))
