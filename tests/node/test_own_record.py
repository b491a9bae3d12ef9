"""The sequence number of our record rises with each change, and never falls."""

import logging
from pathlib import Path

import pytest

from tests.support.discovery import node_key
from wakumail.devp2p.enr import Enr, Value
from wakumail.node.own_record import OwnRecord

KEY = node_key("own")
HERE: dict[bytes, Value] = {b"ip": bytes([10, 0, 0, 1]), b"tcp": 30303}
THERE: dict[bytes, Value] = HERE | {b"ip": bytes([10, 0, 0, 2])}


def test_the_number_rises_when_something_changes(tmp_path: Path) -> None:
    own = OwnRecord(tmp_path / "enr", KEY, lambda: 1000.0)
    first = own.sign(HERE)
    assert own.sign(HERE) is first
    assert first.seq == 1_000_000
    second = own.sign(THERE)
    assert second.seq == 1_000_001
    assert own.sign(HERE).seq == 1_000_002
    assert (tmp_path / "enr").read_text() == f"{own.last}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"enr"}


def test_nothing_is_signed_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "enr"
    first = OwnRecord(path, KEY).sign(HERE)
    monkeypatch.delattr(Enr, "make")
    assert OwnRecord(path, KEY).sign(HERE) == first


def test_it_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "enr"
    first = OwnRecord(path, KEY, lambda: 1000.0).sign(HERE)
    assert OwnRecord(path, KEY, lambda: 2000.0).sign(HERE) == first
    # A clock that went back does not make it fall.
    assert OwnRecord(path, KEY, lambda: 5.0).sign(THERE).seq == first.seq + 1
    # Nor does a lost file, unless the clock went back too.
    path.unlink()
    assert OwnRecord(path, KEY, lambda: 1001.0).sign(HERE).seq > first.seq + 1


def test_the_record_of_another_key_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "enr"
    OwnRecord(path, node_key("other"), lambda: 9000.0).sign(HERE)
    assert OwnRecord(path, KEY, lambda: 1.0).sign(HERE).seq == 1000


@pytest.mark.parametrize("content", [b"", b"enr:", b"\xff\xfe", b"enr:" + b"A" * 9])
def test_a_damaged_file_is_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "enr"
    path.write_bytes(content)
    record = OwnRecord(path, KEY).sign(HERE)
    assert Enr.parse(path.read_text().strip()) == record
    assert "holds no node record" in caplog.text


def test_a_disk_that_refuses_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = OwnRecord(tmp_path / "missing" / "enr", KEY)
    with caplog.at_level(logging.WARNING):
        assert own.sign(HERE).ip is not None
    assert "is not kept" in caplog.text
