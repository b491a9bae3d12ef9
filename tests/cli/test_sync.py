"""`wakumail sync`: what cannot be synced is told; the rest is in tests/system/test_sync.py."""

from pathlib import Path

import pytest

from tests.support.discovery import node_key
from wakumail.cli.command_line import main
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id

ENODE = str(Enode(node_id(node_key("cli").public_key), "192.0.2.7", 30303, 30303))


def test_a_node_without_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", ENODE, "--datadir", str(tmp_path / "data"), "--no-mailserver"]) == 1
    told = capsys.readouterr().err
    assert told == "wakumail sync: no mailserver: there is no archive to sync\n"
    assert not (tmp_path / "data").exists()


def test_a_key_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before the archive is open: its writer would keep the process from ending."""
    key = tmp_path / "nowhere" / "nodekey"
    words = ["sync", ENODE, "--datadir", str(tmp_path / "data"), "--nodekey", str(key)]
    assert main(words) == 1
    assert f"{key.parent}: No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "data" / "archive").exists()


def test_a_mistyped_data_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is made: no server can list a key that is new."""
    data = tmp_path / "dtaa"
    assert main(["sync", ENODE, "--datadir", str(data)]) == 1
    told = f"{data}/nodekey: no such file; is --datadir that of the server"
    assert told in capsys.readouterr().err
    assert not data.exists()


def test_a_dry_run_without_an_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert (
        main(["sync", ENODE, "--datadir", str(data), "--nodekeyhex", "01" * 32, "--dry-run"]) == 1
    )
    told = f"{data}/archive: no such archive; there is nothing to compare"
    assert told in capsys.readouterr().err
    assert not data.exists()


def test_a_data_directory_without_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", ENODE, "--datadir", str(tmp_path)]) == 1
    assert f"{tmp_path}/nodekey: no such file" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "writers"}
