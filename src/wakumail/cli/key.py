"""`wakumail key`: make a node key, or show its node id."""

import argparse
import os

from wakumail.cli.options import add_json, print_json
from wakumail.devp2p.keys import node_id
from wakumail.node.node_key import load_node_key, load_or_create_node_key


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="new|show")
    for name, explanation, file in (
        (
            "new",
            "make a node key in a new file, mode 0600, and print its node id",
            "the new file; it gets the key as 64 hex digits",
        ),
        ("show", "print the node id of the key in a file", "file of 64 hex digits"),
    ):
        action = actions.add_parser(name, help=explanation, description=explanation)
        action.add_argument("file", metavar="FILE", help=file)
        add_json(action)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the key, or read it; print its node id."""
    if arguments.action == "show":
        key = load_node_key(arguments.file)
    elif os.path.lexists(arguments.file):
        raise FileExistsError(f"{arguments.file} already exists")
    else:
        key = load_or_create_node_key(arguments.file, os.urandom)
    identity = node_id(key.public_key)
    if arguments.json:
        print_json({"file": arguments.file, "node_id": identity})
    else:
        print(identity.hex())
    return 0
