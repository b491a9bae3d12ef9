"""`wakumail dns`: sign a list of nodes for the DNS, verify one, and write its zone file."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from wakumail.archive.datadir import Datadir
from wakumail.base.edited_file import edited_text
from wakumail.base.edited_list import EditedList
from wakumail.base.main_task import run_main
from wakumail.cli.list_check import FilesForDns, ListCheck
from wakumail.cli.named_files import open_binary
from wakumail.cli.options import Subparsers, add_json, option, parse_timeout, print_json
from wakumail.cli.peer_options import add_name_server
from wakumail.cli.tree_file import TreeFile, read_zone
from wakumail.devp2p.dns_tree import LINK_PREFIX, MAX_SEQ, DnsTree, ListUrl
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.enr import Enr
from wakumail.node.dns_resolver import DnsResolver
from wakumail.node.node_key import load_node_key
from wakumail.rpc.client import call, connect_ipc

Texts: TypeAlias = dict[str, str]
"""The text of each TXT record by its name."""

RECORD_TIMEOUT = 10.0
"""Seconds that a node has to tell its record."""

MAX_TREE_FILE = 64 << 20
"""Bytes of a file that is read; a list of 10,000 nodes has 5 MB."""

VERIFY_TIMEOUT = 300.0
"""Seconds for one list, by default."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="sign|verify|zone")
    add_sign(actions)
    add_verify(actions)
    add_zone(actions)


# -- sign -------------------------------------------------------------------------------------


def add_sign(actions: Subparsers) -> None:
    """Add `dns sign`."""
    explanation = "sign a list of nodes, and write it as JSON"
    parser = actions.add_parser("sign", help=explanation, description=explanation)
    parser.add_argument(
        "nodes",
        type=option(parse_node),
        nargs="*",
        metavar="NODE",
        help="enr: record of a node, or enode:// URL of one that tells its record by discovery v4",
    )
    parser.add_argument(
        "--nodes",
        dest="files",
        type=option(read_nodes),
        action="append",
        default=[],
        metavar="FILE",
        help="file with more nodes: a JSON list of them; may be repeated",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--datadir",
        type=Path,
        metavar="DIR",
        help="list a running node, by its data directory, and the mailservers that it knows",
    )
    where.add_argument(
        "--ipcpath", type=Path, metavar="PATH", help="the same, by the node's Unix socket"
    )
    parser.add_argument(
        "--link",
        dest="links",
        type=option(ListUrl.parse),
        action="append",
        default=[],
        metavar="URL",
        help="enrtree:// URL of another list that this one recommends; may be repeated",
    )
    parser.add_argument(
        "--key",
        type=option(load_node_key),
        required=True,
        metavar="FILE",
        help="file of the key that signs the list, 64 hex digits; `wakumail key new` makes one",
    )
    parser.add_argument(
        "--domain", required=True, metavar="NAME", help="domain whose TXT records it will be"
    )
    parser.add_argument(
        "--seq",
        type=int,
        metavar="N",
        help="sequence number (default: one more than in --out if something changes, or 1)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to FILE instead of stdout")
    add_json(parser)
    parser.set_defaults(run=sign, usage_error=parser.error)


def sign(arguments: argparse.Namespace) -> int:
    """Sign the list, write it, and tell its URL."""
    if arguments.seq is not None and not 0 <= arguments.seq <= MAX_SEQ:
        arguments.usage_error("--seq has 64 bits")
    records = told_records([*arguments.nodes, *(each for file in arguments.files for each in file)])
    socket = arguments.ipcpath
    if arguments.datadir is not None:
        socket = Datadir(arguments.datadir).ipc
    if socket is not None:
        records += run_main(known_mailservers, socket)
    if not records and not arguments.links:
        arguments.usage_error("give at least one NODE, --nodes, --datadir, --ipcpath or --link")
    before = read_before(arguments.out)
    domain = arguments.domain.lower().removesuffix(".")

    def make(seq: int) -> TreeFile:
        return TreeFile.of(DnsTree(arguments.key, domain, seq, records, arguments.links))

    tree = next_tree(make, before, arguments.seq)
    if arguments.out is None:
        print(json.dumps(tree.content(), indent=None if arguments.json else 1))
        return 0
    if tree != before:
        tree.write(arguments.out)
    if arguments.json:
        print_json({"url": str(tree.url), "seq": tree.seq, "texts": len(tree.texts)})
    else:
        print(tree.url)
    return 0


def read_before(path: Path | None) -> TreeFile | None:
    """The list that a file has; None without a file."""
    return None if path is None or not path.exists() else read_tree(str(path))


def next_tree(
    make: Callable[[int], TreeFile], before: TreeFile | None, seq: int | None
) -> TreeFile:
    """The tree with a sequence number that clients take after the one before.

    ValueError for a number that is lower, or the same for another content.
    """
    if before is None:
        return make(1 if seq is None else seq)
    tree = make(before.seq)
    if tree.url != before.url:
        raise ValueError(f"the file has another list, {before.url}")
    is_same = tree.texts == before.texts
    if seq is None:
        return tree if is_same else make(before.seq + 1)
    if seq < before.seq or (seq == before.seq and not is_same):
        raise ValueError(
            f"the list has the sequence number {before.seq} already: clients take a higher one"
        )
    return make(seq)


def parse_node(text: str) -> Enr | Enode:
    """A node by its record or its enode URL; ValueError."""
    return Enode.parse(text) if text.startswith("enode:") else Enr.parse(text)


def told_records(nodes: Sequence[Enr | Enode]) -> list[Enr]:
    """The records of nodes; those given by enode URL are asked. ValueError if one tells none."""
    records = [node for node in nodes if isinstance(node, Enr)]
    enodes = [node for node in nodes if isinstance(node, Enode)]
    if enodes:
        from wakumail.node.asked_records import ask_records  # it takes long to import

        told = run_main(ask_records, enodes, RECORD_TIMEOUT)
        for enode in enodes:
            if enode not in told:
                raise ValueError(
                    f"{enode} does not tell its record: give the record (enr:…), or let it run"
                    " with --discovery.v4"
                )
        records += told.values()
    return records


def read_nodes(name: str) -> list[Enr | Enode]:
    """The nodes in a file; ValueError for a malformed one: a list is signed whole or not at all."""
    nodes, malformed = EditedList.read(Path(name), parse_node)
    if malformed:
        raise ValueError("; ".join(malformed))
    return nodes


async def known_mailservers(socket: Path) -> list[Enr]:
    """The record of a running node, and those of the mailservers that it knows."""
    async with connect_ipc(socket) as wire:
        own = await call(wire, "admin_nodeInfo")
        found = await call(wire, "admin_discoveredNodes")
    records = [Enr.parse(own["enr"])]
    records += [Enr.parse(node["enr"]) for node in found if node["enr"] is not None]
    return [record for record in records if record.is_mailserver]


# -- verify --------------------------------------------------------------------------------------


def add_verify(actions: Subparsers) -> None:
    """Add `dns verify`."""
    explanation = "read lists as clients do, in the DNS or in files, and tell what is wrong"
    parser = actions.add_parser("verify", help=explanation, description=explanation)
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="URL|FILE",
        help="enrtree:// URL; or a file of `wakumail dns sign`, or with a URL a zone file, which"
        " is read instead of the DNS",
    )
    parser.add_argument(
        "--timeout",
        type=parse_timeout,
        default=VERIFY_TIMEOUT,
        metavar="SECONDS",
        help="give up a list after this time (default: %(default)g)",
    )
    add_name_server(parser)
    add_json(parser)
    parser.set_defaults(run=verify, usage_error=parser.error)


def verify(arguments: argparse.Namespace) -> int:
    """Read the lists; 1 if anything is wrong with one."""
    names = [text for text in arguments.targets if not text.startswith(LINK_PREFIX)]
    try:
        urls = [ListUrl.parse(text) for text in arguments.targets if text not in names]
    except ValueError as error:
        arguments.usage_error(str(error))
    files = None
    if names:
        in_files, texts = read_files(names, urls)
        urls, files = urls or in_files, FilesForDns(texts)
    ask = DnsResolver(arguments.dns_server).ask if files is None else files.ask
    checks = list(map(ListCheck, dict.fromkeys(urls)))
    for check in checks:
        run_main(check.read, ask, arguments.timeout, files)
        for name, fault in (*check.faults, *check.remarks):
            print(f"wakumail dns: {name}: {fault}", file=sys.stderr)
        if not arguments.json:
            print(check.summary())
    if arguments.json:
        print_json({"lists": [check.result() for check in checks]})
    return int(not all(check.is_good for check in checks))


def read_files(names: Sequence[str], urls: Sequence[ListUrl]) -> tuple[list[ListUrl], Texts]:
    """The URLs of the lists in some files, and all their texts; ValueError.

    A zone file has no URL. Its names are below the domain of the first of `urls`.
    """
    found: list[ListUrl] = []
    texts: Texts = {}
    for name in names:
        try:
            text = read_text(name)
            if text.startswith("{"):
                tree = TreeFile.parse(text)
                found.append(tree.url)
                texts |= tree.texts
            elif urls:
                texts |= read_zone(text, urls[0].domain)
            else:
                raise ValueError("a zone file does not tell the key: give the enrtree:// URL too")
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found, texts


# -- zone -------------------------------------------------------------------------------------


def add_zone(actions: Subparsers) -> None:
    """Add `dns zone`."""
    explanation = "print a signed list as the TXT records of a zone file"
    parser = actions.add_parser("zone", help=explanation, description=explanation)
    parser.add_argument("file", metavar="FILE", help="file of `wakumail dns sign`; - is stdin")
    add_json(parser)
    parser.set_defaults(run=zone)


def zone(arguments: argparse.Namespace) -> int:
    """Print the records of a list that verifies; ValueError for one that does not."""
    tree = read_tree(arguments.file)
    check = ListCheck(tree.url)
    files = FilesForDns(tree.texts)
    run_main(check.read, files.ask, VERIFY_TIMEOUT, files)
    if not check.is_good:
        faults = "; ".join(f"{name}: {fault}" for name, fault in check.faults)
        raise ValueError(f"{arguments.file}: {faults}")
    if arguments.json:
        print_json({"url": str(tree.url), "records": [each._asdict() for each in tree.zone()]})
        return 0
    print(f"; {tree.url}")
    for each in tree.zone():
        print(each)
    return 0


def read_tree(name: str) -> TreeFile:
    """The list in a file; ValueError that names it."""
    try:
        return TreeFile.parse(read_text(name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_text(name: str) -> str:
    """The text of a file, `-` for standard input; ValueError that does not name it."""
    with open_binary(name, "rb") as file:
        raw = file.read(MAX_TREE_FILE + 1)
    if len(raw) > MAX_TREE_FILE:
        raise ValueError(f"it has more than {MAX_TREE_FILE} bytes")
    return edited_text(raw)
