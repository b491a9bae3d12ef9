"""An identity goes into a backup and out of it."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.chosen_settings import CHOSEN, EXCLUSIVE, environ
from wakumail.archive.datadir import Datadir
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import generate, node_id
from wakumail.node.node_key import load_node_key
from wakumail.ops.config.layers import load
from wakumail.ops.identity import Identity

KEY = generate(os.urandom)
LISTS = ("static-nodes.json", "trusted-nodes.json", "discovered-nodes.json", "dns-lists.json")


def make(path: Path) -> Datadir:
    """An empty data directory."""
    datadir = Datadir(path)
    datadir.make()
    return datadir


def test_an_identity_is_whole_again(tmp_path: Path) -> None:
    chosen = {field: text for field, text in CHOSEN.items() if field not in EXCLUSIVE}
    secrets = {"password_file": "pw", "asymkey_file": "asym", "rpc_token_file": "token"}
    for field, name in secrets.items():
        (tmp_path / name).write_text(f"the {name}")
        chosen[field] = str(tmp_path / name)
    chosen.pop("password", None)
    loaded = load({}, environ(chosen))
    old, new = make(tmp_path / "old"), make(tmp_path / "new")
    for name in LISTS:
        (old.path / name).write_text(f"[{name!r}]")
    record = Enr.make(KEY, 7, {b"ip": bytes([203, 0, 113, 7]), b"tcp": 30303})
    old.enr.write_text(str(record))
    saved = Identity(tmp_path / "saved")
    assert not saved.saved
    saved.save(loaded, old, KEY)
    settings = saved.restore(new)
    files = [path for path in (*saved.path.iterdir(), *new.path.iterdir()) if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(saved.path.stat().st_mode) == 0o700
    assert load_node_key(new.nodekey).secret == KEY.secret
    assert new.enr.read_text() == str(record)
    for name in LISTS:
        assert (new.path / name).read_text() == f"[{name!r}]"
    restored = load({}, {}, str(settings)).settings
    assert restored.password_file is not None
    assert restored.password_file.read_text() == "the pw"
    assert restored == replace(
        loaded.settings,
        datadir=new.path,
        nodekey=None,
        nodekeyhex=None,
        password_file=new.path / "password",
        asymkey_file=new.path / "asymkey",
        rpc_token_file=new.path / "rpc-token",
    )
    places = [Enode.parse(text) for text in json.loads(new.restored.read_text())]
    assert {place.node_id for place in places} == {node_id(KEY.public_key)}
    assert {"203.0.113.7:30303", "127.0.0.1:30303"} <= {place.address for place in places}
    # A file that is gone is not in the next backup, and no other node's key is replaced.
    old.static_nodes.unlink()
    saved.save(load({}, {}), old, KEY)
    assert not (saved.path / "static-nodes.json").exists()
    assert not (saved.path / "password").exists()
    saved.restore(new)
    saved.save(load({}, {}), old, generate(os.urandom))
    with pytest.raises(FileExistsError, match="is the key of another node"):
        saved.restore(new)
    assert load_node_key(new.nodekey).secret == KEY.secret
