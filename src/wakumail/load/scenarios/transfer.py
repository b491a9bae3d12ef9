"""An empty archive that is filled by sync from a full one, beside the same by an import."""

import json
import secrets
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id, private_key
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.measured_server import MeasuredServer
from wakumail.load.measures import Measures, ratio
from wakumail.load.parent_death import kill, start
from wakumail.load.server_process import LENIENT_FLAGS, WAKUMAIL_COMMAND
from wakumail.load.workload.archived_traffic import ArchivedTraffic

NOWHERE = 9
"""The port at which the full server looks for the empty one. Nobody listens there."""


@dataclass(frozen=True, slots=True)
class TransferCase:
    """A full server, and an empty archive that takes all of it."""

    traffic: ArchivedTraffic
    scenario: str = "sync"

    @property
    def title(self) -> str:
        """The number of envelopes that move."""
        return f"an empty archive beside {self.traffic.envelopes:,} envelopes"

    def measure(self, server: MeasuredServer, pool: ClientPool) -> Measures:
        """Sync all, and import all; nothing if the server has its own archive.

        Both are commands in processes of their own, timed from start to end.
        """
        filled = server.filled(self.traffic)
        if filled is None:
            return {}
        key = private_key(secrets.token_bytes(32))
        own = Enode(node_id(key.public_key), "127.0.0.1", NOWHERE, NOWHERE)
        with tempfile.TemporaryDirectory(dir=filled.parent) as name:
            scratch = Path(name)
            dump = str(scratch / "dump")
            run("archive", "export", "--datadir", str(filled), dump)
            began = time.perf_counter()
            run("archive", "import", "--datadir", str(scratch / "imported"), dump)
            imported = time.perf_counter() - began
            with server.serving(self.traffic, flags=("--sync-peers", str(own))) as running:
                began = time.perf_counter()
                flags = ("--datadir", str(scratch / "synced"), *LENIENT_FLAGS)
                secret = ("--nodekeyhex", key.secret.hex())
                told = run("sync", str(running.enode), *flags, *secret, "--json")
                synced = time.perf_counter() - began
        outcome = json.loads(told)
        if not outcome["equal"] or outcome["stored"] != self.traffic.envelopes:
            raise LoadFailed(f"{outcome['stored']} of {self.traffic.envelopes} envelopes came")
        return {
            "stored": ratio(self.traffic.envelopes, synced),
            "import_time": ratio(synced, imported),
        }


def run(*words: str) -> bytes:
    """Run a command of ours to its end; its output. LoadFailed if it fails."""
    command: Sequence[str] = (*WAKUMAIL_COMMAND, *words)
    process = start(command, stdout=PIPE, stderr=PIPE)
    try:
        output, errors = process.communicate()
    except BaseException:
        kill(process)
        raise
    if process.returncode:
        raise LoadFailed(f"{shlex.join(command)}: {errors.decode(errors='replace')}")
    return bytes(output)
