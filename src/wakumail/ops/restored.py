"""A restored identity: another node's until that one is known to be gone.

Two nodes with one key take each other's peers. So the first start asks at the addresses at which
the other one was, and refuses if it answers.
"""

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace

from wakumail.archive.datadir import Datadir
from wakumail.base.edited_list import EditedList
from wakumail.devp2p.enode import Enode, enode_of
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.errors import WakumailError
from wakumail.node.own_record import kept_record
from wakumail.node.twin import proves_identity

log = logging.getLogger(__name__)

ASK_TIMEOUT = 3.0
"""Seconds that the other node has to prove that it is there."""

NOWHERE = ("192.0.2.1", 9)
"""An address that nobody has (RFC 5737): the route to it shows the address of this machine."""


class TwinRuns(WakumailError):
    """Another node runs with the identity that was restored here."""

    counter = "twin_runs"


def places_of(datadir: Datadir, key: PrivateKey) -> Iterator[Enode]:
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


async def refuse_twin(datadir: Datadir, key: PrivateKey) -> None:
    """At the first start with a restored identity: TwinRuns if its other node still answers."""
    if not datadir.restored.exists():
        return
    identity = node_id(key.public_key)
    silent = []
    for enode in EditedList.read(datadir.restored, Enode.parse).items:
        if enode.node_id != identity:
            continue  # this node was given another key since
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                answers = await proves_identity(enode)
        except OSError:  # a TimeoutError is one
            answers = False
        if answers:
            text = (
                f"the identity in {datadir.path} was restored from a backup, and its first node"
                f" still answers at {enode.address}: stop that for good, or restore with"
            )
            raise TwinRuns(f"{text} --new-identity")
        silent.append(enode.address)
    where = " and ".join(silent) or "any known address"
    log.warning("the restored identity is ours from now on: no other node has it at %s", where)
    datadir.restored.unlink()
