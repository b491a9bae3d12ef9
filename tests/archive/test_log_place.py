"""The place in the log of a cluster, stored with the envelopes in one commit."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_model import START, batch_of, envelope
from tests.support.independent import check_sound
from wakumail.archive.archive import Archive
from wakumail.archive.results import LogPlace

PLACE = LogPlace("fleet", 1_764_451_586_498_683_188, 7)


def test_an_archive_without_a_log_has_no_place(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        assert archive.log_place() is None
        archive.append([])
        assert archive.log_place() is None


def test_the_place_is_stored_with_and_without_envelopes(tmp_path: Path) -> None:
    batch = batch_of([envelope(START, b"topi", 1)])
    with Archive(tmp_path / "archive") as archive:
        assert archive.append([batch], PLACE).stored == 1
        assert archive.log_place() == PLACE
        assert archive.append([batch], PLACE._replace(sequence=8)).stored == 0
        archive.append([])
        assert archive.log_place() == PLACE._replace(sequence=8)
        archive.copy(tmp_path / "copy")
    with Archive(tmp_path / "archive") as archive, Archive(tmp_path / "copy") as copy:
        assert archive.log_place() == copy.log_place() == PLACE._replace(sequence=8)
    assert check_sound(tmp_path / "copy") == 1


@settings(max_examples=20, deadline=None)
@given(
    st.builds(
        LogPlace,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
        st.integers(0, (1 << 64) - 1),
        st.integers(0, (1 << 64) - 1),
    )
)
def test_every_place_comes_back(tmp_path_factory: pytest.TempPathFactory, place: LogPlace) -> None:
    with Archive(tmp_path_factory.mktemp("place"), sync=False) as archive:
        archive.append([], place)
        assert archive.log_place() == place
