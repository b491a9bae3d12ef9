"""A backup equals its original after any history, and one that is killed leaves the former one."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import DAY, START, batch_of, envelope, everything, make
from wakumail.archive import backup as module
from wakumail.archive.archive import Archive
from wakumail.archive.backup import Backup, BackupRefused
from wakumail.archive.datadir import Datadir, DatadirInUse, IsBackup
from wakumail.archive.results import LogPlace
from wakumail.base import whole_file
from wakumail.waku.envelope import Envelope

NODE = "ab" * 64
ALL = [
    envelope(START + day * DAY + second, b"topc", 100 * day + second)
    for day in range(3)
    for second in (0, 0, 0, 1, 5, 60, 3600)
    for second in [second, second + 7]
]
"""Some of one second: pruning may stop between them."""


class Killed(Exception):
    """The backup ends here."""


def take(backup: Backup, original: Path) -> bool:
    """Bring a backup up to date as the command does; True if that was enough."""
    with Archive(original, readonly=True) as archive, backup.updating(NODE):
        updated = backup.datadir.holds_archive and backup.update(archive, lambda count: None)
        if not updated:
            with backup.datadir.scratch() as scratch:
                archive.copy(scratch)
                backup.replace(scratch)
    return updated


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ITEMS_AT_ONCE", 3)
        patch.setattr(module, "COMMIT_BYTES", 200)
        patch.setattr(module, "PRUNE_STEP", 2)
        yield


def content(archive: Path) -> list[Envelope]:
    """All envelopes; the archive has to be sound."""
    with Archive(archive, readonly=True) as opened, opened.verify() as verification:
        assert sum(verification) >= 0
        assert verification.describe() == []
        return everything(opened)


class Put(NamedTuple):
    """Some envelopes arrive, new ones and others."""

    numbers: list[int]


class Prune(NamedTuple):
    """One slice of pruning."""

    before: int
    limit: int


class TakeBackup(NamedTuple):
    """A backup that is killed after some steps, or never."""

    steps: int | None


class Renew(NamedTuple):
    """The original is replaced by its backup: its sequences are others now."""


STEPS = st.lists(
    st.one_of(
        st.builds(Put, st.lists(st.integers(0, len(ALL) - 1), max_size=12)),
        st.builds(Prune, st.integers(START - 1, START + 3 * DAY), st.integers(1, 20)),
        st.builds(TakeBackup, st.none() | st.integers(0, 3)),
        st.builds(Renew),
    ),
    max_size=14,
)


@settings(max_examples=25)
@given(STEPS)
def test_a_backup_equals_its_original_after_any_history(steps: list[NamedTuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        original = Datadir(Path(folder) / "original")
        original.make()
        backup = Backup(Path(folder) / "backup")
        Archive(original.archive).close()
        for step in [*steps, TakeBackup(None)]:
            match step:
                case Put(numbers):
                    with Archive(original.archive) as archive:
                        archive.append([batch_of(ALL[number] for number in numbers)])
                case Prune(before, limit):
                    with Archive(original.archive) as archive:
                        archive.prune(before, limit=limit)
                case Renew() if backup.datadir.holds_archive:
                    with original.alone(), original.scratch() as scratch:
                        with Archive(backup.datadir.archive, readonly=True) as copy:
                            copy.copy(scratch)
                        original.replace_archive(scratch)
                case TakeBackup(None):
                    take(backup, original.archive)
                    assert content(backup.datadir.archive) == content(original.archive)
                case TakeBackup(int(notes)):
                    check_killed(backup, original.archive, notes)


def check_killed(backup: Backup, original: Path, notes: int) -> None:
    """Kill a backup when it keeps its place; it lost at most what the original has not either."""
    before = content(backup.datadir.archive) if backup.taken else []
    present = content(original)

    def replace_file(path: Path, text: bytes) -> None:
        nonlocal notes
        notes -= 1
        if notes < 0:
            raise Killed
        whole_file.replace_file(path, text)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(module, "replace_file", replace_file)
        take(backup, original)
    if backup.taken:
        after = content(backup.datadir.archive)
        assert {e.hash for e in before} & {e.hash for e in present} <= {e.hash for e in after}


def test_a_later_backup_copies_only_what_arrived(tmp_path: Path) -> None:
    original, backup = tmp_path / "original", Backup(tmp_path / "backup")
    first, second = make(500), make(40, first=1000)
    with Archive(original) as archive:
        archive.append([batch_of(first)])
    assert not take(backup, original)
    inode = (backup.datadir.archive / "data.mdb").stat().st_ino
    with Archive(original) as archive:
        archive.append([batch_of(second)])
        archive.prune(START + DAY, limit=10**6)
        with backup.updating(NODE):
            counts: list[int] = []
            assert backup.update(archive, counts.append)
        kept = [each for each in second if each.created >= START + DAY]
        assert sum(counts) == len(kept) < 40
    assert content(backup.datadir.archive) == content(original)
    assert (backup.datadir.archive / "data.mdb").stat().st_ino == inode


def test_sorting_is_no_news_to_a_backup(tmp_path: Path) -> None:
    backup = Backup(tmp_path / "backup")
    first, late = make(60, spread=DAY), make(5, first=60, spread=DAY)
    looked_at: list[int] = []
    with Archive(tmp_path / "original", sync=False) as original:
        original.append([batch_of(first)])
    assert not take(backup, tmp_path / "original")
    with Archive(tmp_path / "original", sync=False) as original:
        original.append([batch_of(late)])
        while original.sort(START, max_bytes=3000, max_seconds=60).more:
            pass
        with backup.updating(NODE):
            assert backup.update(original, looked_at.append)
    assert sum(looked_at) == len(late)
    assert content(backup.datadir.archive) == content(tmp_path / "original")


def test_the_place_in_the_log_of_a_cluster_goes_along(tmp_path: Path) -> None:
    original, backup = tmp_path / "original", Backup(tmp_path / "backup")
    for sequence in range(3):
        with Archive(original) as archive:
            batch = batch_of(make(50, first=50 * sequence))
            archive.append([batch], LogPlace("log", 7, sequence))
        assert take(backup, original) is (sequence > 0)
        with Archive(backup.datadir.archive, readonly=True) as copy:
            assert copy.log_place() == LogPlace("log", 7, sequence)


def test_a_late_envelope_that_outlives_younger_ones_costs_a_new_copy(tmp_path: Path) -> None:
    original, backup = tmp_path / "original", Backup(tmp_path / "backup")
    with Archive(original) as archive:
        archive.append([batch_of(make(50))])
    take(backup, original)
    with Archive(original) as archive:
        archive.prune(START + DAY, limit=10**6)
        archive.append([batch_of([envelope(START, b"late", 1)])])
    assert not take(backup, original)
    assert content(backup.datadir.archive) == content(original)
    assert take(backup, original)


def test_what_is_no_backup_of_this_node_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    original = Datadir(tmp_path / "original")
    original.make()
    with Archive(original.archive) as archive:
        archive.append([batch_of(make(20))])
    with pytest.raises(BackupRefused, match=r"is no backup: it has no backup\.json"):
        Backup(original.path).read_note()
    with pytest.raises(BackupRefused, match="has an archive that is no backup"):
        take(Backup(original.path), original.archive)
    backup = Backup(tmp_path / "backup")
    take(backup, original.archive)
    with pytest.raises(BackupRefused, match=f"node {'ab' * 8}…, not of node {'cd' * 8}…"):
        backup.updating("cd" * 64).__enter__()
    with pytest.raises(BackupRefused, match="not of a directory without a node key"):
        backup.updating("").__enter__()
    with pytest.raises(IsBackup, match=r"restore .*backup --datadir DIR"):
        backup.datadir.serving().__enter__()
    with pytest.raises(IsBackup):
        backup.datadir.writing().__enter__()
    with backup.updating(NODE), pytest.raises(DatadirInUse):
        backup.updating(NODE).__enter__()
    for note in ("[]", "{", '{"node": 1, "next_sequence": 2, "taken": 3}', '{"node": "ab"}'):
        backup.datadir.backup.write_text(note)
        with pytest.raises(BackupRefused, match="is not what a backup writes"):
            backup.read_note()
    assert content(backup.datadir.archive) == content(original.archive)
