"""`wakumail key enr`: the record that a node has signed, or a new one."""

import json
import time
from pathlib import Path

import pytest

from tests.support.discovery import node_key
from wakumail.cli.command_line import main
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import node_id
from wakumail.node.own_record import OwnRecord

KEY = node_key("cli")


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "nodekey"
    path.write_text(KEY.secret.hex())
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Enr:
    assert main(["key", "enr", *arguments]) == 0
    return Enr.parse(capsys.readouterr().out.strip())


def test_a_record_of_a_key(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    record = printed(capsys, file)
    assert record.node_id == node_id(KEY.public_key)
    assert (str(record.ip), record.tcp, record.udp) == ("127.0.0.1", 30303, 30303)
    assert record.is_mailserver
    assert abs(record.seq / 1000 - time.time()) < 3600


def test_a_record_with_chosen_values(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--ip", "2001:db8::1", "--tcp", "443", "--udp", "0", "--seq", "7", "--no-mailserver"]
    record = printed(capsys, file, *options)
    assert (str(record.ip), record.tcp, record.udp, record.seq) == ("2001:db8::1", 443, 0, 7)
    assert record.speaks_waku
    assert not record.is_mailserver
    assert main(["key", "enr", file, *options, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["enr"] == str(record)


def test_the_record_that_the_node_has_signed(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = OwnRecord(tmp_path / "enr", KEY).sign({b"ip": bytes([203, 0, 113, 1]), b"tcp": 5})
    assert printed(capsys, file) == kept
    assert printed(capsys, file, "--tcp", "6").tcp == 6
    OwnRecord(tmp_path / "enr", node_key("other")).sign({b"tcp": 5})
    assert printed(capsys, file).tcp == 30303


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--ip", "here"], "does not appear to be an IPv4 or IPv6 address"),
        (["--tcp", "65536"], "65536"),
        (["--seq", "-1"], "-1"),
    ],
)
def test_wrong_options(
    file: str, options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["key", "enr", file, *options])
    assert caught.value.code == 2
    assert text in capsys.readouterr().err
