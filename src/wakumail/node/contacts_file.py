"""The nodes that discovery knew when the server stopped: those it starts from the next time."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wakumail.base.edited_file import read_edited
from wakumail.base.json_text import parse_json
from wakumail.base.whole_file import replace_file
from wakumail.devp2p.discovery.table import Contact
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint, parse_ip
from wakumail.devp2p.enode import MAX_PORT
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.keys import NODE_ID_SIZE
from wakumail.errors import reason

log = logging.getLogger(__name__)

MAX_KEPT = 1000
"""Nodes in the file, about 400 bytes each."""


def write_contacts(path: Path, contacts: Iterable[Contact]) -> None:
    """Replace the file: a JSON list of objects. A disk that refuses is told, and that is all."""
    listed = [
        {
            "id": contact.node_id.hex(),
            "ip": contact.endpoint.ip,
            "udp": contact.endpoint.udp,
            "tcp": contact.endpoint.tcp,
            "enr": None if contact.record is None else str(contact.record),
        }
        for contact in list(contacts)[:MAX_KEPT]
    ]
    try:
        replace_file(path, json.dumps(listed, indent=0).encode())
    except OSError as error:
        log.warning("%s: the nodes of discovery are not kept: %s", path, reason(error))


def read_contacts(path: Path) -> list[Contact]:
    """The nodes in the file, without malformed ones; none if it does not exist or is damaged."""
    try:
        listed = parse_json(read_edited(path, pipe=False))
        if not isinstance(listed, list):
            raise ValueError("it is no list")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("%s holds no nodes of discovery: %s", path, reason(error))
        return []
    contacts = []
    for number, entry in enumerate(listed[:MAX_KEPT], 1):
        try:
            contacts.append(_contact(entry))
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s: item %d: %r; it is left out", path, number, error)
    return contacts


def _contact(entry: Any) -> Contact:
    identity = bytes.fromhex(entry["id"])
    ip, udp, tcp = str(parse_ip(entry["ip"])), int(entry["udp"]), int(entry["tcp"])
    if len(identity) != NODE_ID_SIZE or not 0 < udp <= MAX_PORT or not 0 <= tcp <= MAX_PORT:
        raise ValueError("a node has no id, or no port")
    record = None if entry["enr"] is None else Enr.parse(entry["enr"])
    return Contact(identity, UdpEndpoint(ip, udp, tcp), record)
