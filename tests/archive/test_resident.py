"""The part of an archive that counts as memory of the process that writes and reads it."""

import re
from pathlib import Path

import pytest

from tests.support.archive_model import batch_of, everything, make, sorted_down
from wakumail.archive.archive import MAX_RESIDENT_WRITING, RESIDENT_CHECK_ROWS, Archive

SMAPS = Path("/proc/self/smaps")


def resident(directory: Path) -> int:
    """Bytes of an archive's file that are mapped now."""
    name = re.escape(str(directory / "data.mdb"))
    found = re.search(
        rf"^.* {name}\nSize:.*\n(?:\w+:.*\n)*?Rss: +(\d+) kB$", SMAPS.read_text(), re.M
    )
    return int(found[1]) << 10 if found else 0


@pytest.mark.skipif(not SMAPS.exists(), reason="no /proc")
def test_what_is_written_gives_back_what_was_mapped(tmp_path: Path) -> None:
    large = make(600, size=100_000)
    small = make(2 * RESIDENT_CHECK_ROWS, first=len(large))
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(large)])
        assert everything(archive) == sorted_down(large)
        assert resident(tmp_path) > 50 << 20, "else this test shows nothing"
        archive.append([batch_of(small[:RESIDENT_CHECK_ROWS])])
        assert resident(tmp_path) < MAX_RESIDENT_WRITING
        archive.append([batch_of(small[RESIDENT_CHECK_ROWS:])])
        assert everything(archive) == sorted_down([*large, *small])


@pytest.mark.skipif(not SMAPS.exists(), reason="no /proc")
def test_a_map_that_was_made_again_is_found_again(tmp_path: Path) -> None:
    large = make(600, size=100_000)
    with Archive(tmp_path, sync=False, map_size=32 << 20) as archive:
        for at in range(0, 600, 200):
            archive.append([batch_of(large[at : at + 200])])
            everything(archive)
            archive.append(
                [batch_of(make(RESIDENT_CHECK_ROWS, first=10_000 + at * RESIDENT_CHECK_ROWS))]
            )
            assert resident(tmp_path) < MAX_RESIDENT_WRITING


@pytest.mark.skipif(not SMAPS.exists(), reason="no /proc")
def test_a_small_archive_stays_mapped(tmp_path: Path) -> None:
    stored = make(3 * RESIDENT_CHECK_ROWS, size=1000)
    with Archive(tmp_path, sync=False) as archive:
        archive.append([batch_of(stored[:-RESIDENT_CHECK_ROWS])])
        everything(archive)
        before = resident(tmp_path)
        archive.append([batch_of(stored[-RESIDENT_CHECK_ROWS:])])
        assert before > 1 << 20
        assert resident(tmp_path) >= before
