"""`wakumail key`: make a node key, or show its node id or its node record."""

import argparse
import ipaddress
import os
import time
from pathlib import Path

from wakumail.archive.datadir import Datadir
from wakumail.cli.options import add_json, option, print_json
from wakumail.devp2p.addresses import read_node_address
from wakumail.devp2p.enode import MAX_PORT
from wakumail.devp2p.enr import Enr, Value
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.node.node_key import load_node_key, load_or_create_node_key
from wakumail.node.own_record import kept_record, waku_value
from wakumail.ops.config import values

DEFAULT_IP = "127.0.0.1"
DEFAULT_PORT = 30303


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|show|enr")
    for name, explanation, file in (
        (
            "new",
            "make a node key in a new file, mode 0600, and print its node id",
            "the new file; it gets the key as 64 hex digits",
        ),
        ("show", "print the node id of the key in a file", "file of 64 hex digits"),
        (
            "enr",
            "print a node record of the key in a file: without an option the one that the node of "
            "this data directory has signed last, else a new one",
            "file of 64 hex digits",
        ),
    ):
        action = actions.add_parser(name, help=explanation, description=explanation)
        action.add_argument("file", metavar="FILE", help=file)
        add_json(action)
        if name == "enr":
            _set_up_record(action)
    parser.set_defaults(run=run)


def _set_up_record(action: argparse.ArgumentParser) -> None:
    port = option(values.whole(0, MAX_PORT))
    for flag, metavar, read, explanation in (
        ("--ip", "ADDRESS", option(read_node_address), f"the address (default: {DEFAULT_IP})"),
        ("--tcp", "PORT", port, f"the TCP port; 0 = none (default: {DEFAULT_PORT})"),
        ("--udp", "PORT", port, "the UDP port of discovery; 0 = none (default: the TCP port)"),
        (
            "--seq",
            "N",
            option(values.whole(0, (1 << 64) - 1)),
            "the sequence number (default: the time in milliseconds)",
        ),
    ):
        action.add_argument(flag, metavar=metavar, type=read, help=explanation)
    action.add_argument(
        "--no-mailserver", action="store_true", help="the node answers no requests for history"
    )


def run(arguments: argparse.Namespace) -> int:
    """Make the key, or read it; print its node id, or a record of it."""
    if arguments.action == "new":
        if os.path.lexists(arguments.file):
            raise FileExistsError(f"{arguments.file} already exists")
        key = load_or_create_node_key(arguments.file, os.urandom)
    else:
        key = load_node_key(arguments.file)
    identity = node_id(key.public_key)
    shown: dict[str, object] = {"file": arguments.file, "node_id": identity}
    text = identity.hex()
    if arguments.action == "enr":
        text = shown["enr"] = str(record(arguments, key))
    if arguments.json:
        print_json(shown)
    else:
        print(text)
    return 0


def record(arguments: argparse.Namespace, key: PrivateKey) -> Enr:
    """The record that the options ask for."""
    chosen = (arguments.ip, arguments.tcp, arguments.udp, arguments.seq)
    if all(option is None for option in chosen) and not arguments.no_mailserver:
        kept = kept_record(Datadir(Path(arguments.file).parent).enr, node_id(key.public_key))
        if kept is not None:
            return kept
    ip = arguments.ip or ipaddress.ip_address(DEFAULT_IP)
    tcp = DEFAULT_PORT if arguments.tcp is None else arguments.tcp
    udp = tcp if arguments.udp is None else arguments.udp
    named: dict[bytes, Value] = {
        b"ip" if ip.version == 4 else b"ip6": ip.packed,
        b"waku": waku_value(is_mailserver=not arguments.no_mailserver),
    }
    named |= {name: port for name, port in ((b"tcp", tcp), (b"udp", udp)) if port}
    seq = int(time.time() * 1000) if arguments.seq is None else arguments.seq
    return Enr.make(key, seq, named)
