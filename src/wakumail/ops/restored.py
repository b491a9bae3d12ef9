"""A restored identity: another node's until that one is known to be gone.

Two nodes with one key take each other's peers. So the first start asks at the addresses at which
the other one was, and refuses if it answers.
"""

import asyncio
import logging

from wakumail.archive.datadir import Datadir
from wakumail.base.edited_list import EditedList
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import PrivateKey, node_id
from wakumail.errors import WakumailError
from wakumail.node.twin import proves_identity

log = logging.getLogger(__name__)

ASK_TIMEOUT = 3.0
"""Seconds that the other node has to prove that it is there."""


class TwinRuns(WakumailError):
    """Another node runs with the identity that was restored here."""

    counter = "twin_runs"


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
