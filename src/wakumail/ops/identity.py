"""The identity of a node: its key, its record, its lists of nodes and its settings.

A backup keeps it in a folder of its own.
"""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wakumail.archive.datadir import Datadir
from wakumail.base.regular_file import read_regular
from wakumail.base.whole_file import replace_file, sync_names
from wakumail.devp2p.enode import Enode, enode_of
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.node.node_key import load_node_key
from wakumail.node.own_record import kept_record
from wakumail.ops.config.layers import DEFAULT, Loaded, read_file
from wakumail.ops.config.setting import plain
from wakumail.ops.config.settings import SETTINGS
from wakumail.ops.config.toml import Line, document

SETTINGS_NAME = "settings.toml"
"""The file of the settings."""

SECRET_FILES = {
    "password_file": "password",
    "asymkey_file": "asymkey",
    "rpc_token_file": "rpc-token",
}
"""Settings that name a file, and the name that it has in a backup and in a data directory."""

LEFT_OUT = ("datadir", "nodekey", "nodekeyhex")
"""Settings of the place that a backup was taken from; the key itself is in a file."""

NOWHERE = ("192.0.2.1", 9)
"""An address that nobody has (RFC 5737): the route to it shows the address of this machine."""


class Identity:
    """The identity of a node in a folder of a backup."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def saved(self) -> bool:
        """True if the backup has an identity."""
        return self._nodekey.exists()

    @property
    def _nodekey(self) -> Path:
        return self.path / "nodekey"

    def save(self, loaded: Loaded, datadir: Datadir, key: PrivateKey) -> None:
        """Keep the identity of the node with these settings. The key comes last."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        named = {name: getattr(loaded.settings, field) for field, name in SECRET_FILES.items()}
        for name, path in (*named.items(), *((path.name, path) for path in _files(datadir))):
            if path is not None and path.exists():
                replace_file(self.path / name, read_regular(path))
            else:
                (self.path / name).unlink(missing_ok=True)
        values = {
            field: getattr(loaded.settings, field)
            for field, source in loaded.sources.items()
            if field not in LEFT_OUT and source != DEFAULT
        }
        _write_settings(self.path / SETTINGS_NAME, values, "in force at the backup")
        places = [str(enode) for enode in _places_of(datadir, key)]
        replace_file(self.path / datadir.restored.name, json.dumps(places).encode())
        replace_file(self._nodekey, f"{key.secret.hex()}\n".encode())
        sync_names(self.path)
        sync_names(self.path.parent)

    def restore(self, datadir: Datadir) -> Path:
        """Put it into a data directory, marked as restored. Returns the file of the settings.

        FileExistsError if another node key is there. For the mark see restored.py.
        """
        key = load_node_key(self._nodekey)
        if datadir.nodekey.exists() and load_node_key(datadir.nodekey).secret != key.secret:
            raise FileExistsError(f"{datadir.nodekey} is the key of another node")
        replace_file(datadir.restored, read_regular(self.path / datadir.restored.name))
        values = {given.field: given.value for given in read_file(self.path / SETTINGS_NAME, [])}
        values["datadir"] = datadir.path.resolve()
        for field, name in SECRET_FILES.items():
            if field in values:
                values[field] = values["datadir"] / name
        for source in (
            *_files(Datadir(self.path)),
            *map(self.path.joinpath, SECRET_FILES.values()),
        ):
            if source.exists():
                replace_file(datadir.path / source.name, read_regular(source))
        settings = datadir.path / SETTINGS_NAME
        _write_settings(settings, values, "restored")
        replace_file(datadir.nodekey, read_regular(self._nodekey))
        return settings


def _places_of(datadir: Datadir, key: PrivateKey) -> Iterator[Enode]:
    """The places of a node: that of its last record, and its port on this machine."""
    record = kept_record(datadir.enr, node_id(key.public_key))
    if record is None or not record.tcp:
        return
    enode = enode_of(record)
    hosts = [enode.host, "127.0.0.1"]
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(NOWHERE)  # sends nothing
            hosts.append(probe.getsockname()[0])
    except OSError:
        pass  # this machine has no route to others
    for host in dict.fromkeys(hosts):
        yield replace(enode, host=host)


def _files(datadir: Datadir) -> tuple[Path, ...]:
    """The files of an identity that a data directory has, beside the key."""
    return (
        datadir.static_nodes,
        datadir.trusted_nodes,
        datadir.enr,
        datadir.discovered_nodes,
        datadir.dns_lists,
    )


def _write_settings(path: Path, values: dict[str, object], source: str) -> None:
    lines = [
        Line(setting.key, value, source)
        for setting in SETTINGS
        if (value := plain(values.get(setting.field))) is not None
    ]
    replace_file(path, document(lines).encode())
