"""Real servers that sync with each other. Their keys and ports are known before they start."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.support.independent import arrival_hashes, check_sound
from tests.support.networks import free_port
from tests.support.processes import Server
from wakumail.archive.archive import Archive
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id, private_key
from wakumail.errors import ArchiveError


class SyncServer(Server):
    """A server that will sync with others."""

    def __init__(self, datadir: Path, number: int, *flags: object) -> None:
        key = bytes([number]) * 32
        port = free_port()
        self.at = Enode(node_id(private_key(key).public_key), "127.0.0.1", port, port)
        own = ("--nodekeyhex", key.hex(), "--min-pow", 0, "--verbosity", "debug")
        super().__init__(datadir, *own, *flags)
        self._command += ["--port", str(port)]

    def sync_with(self, *others: "SyncServer") -> None:
        """Name the others, before the start."""
        self._command += ["--sync-peers", ",".join(str(other.at) for other in others)]

    @property
    def archive(self) -> Path:
        """The directory of its archive."""
        return self.datadir / "archive"

    def count(self) -> int:
        """The number of envelopes in its archive; 0 if there is none."""
        try:
            with Archive(self.archive, readonly=True) as archive:
                return archive.stat().envelopes
        except (ArchiveError, OSError):
            return 0

    def has(self) -> set[bytes]:
        """The hashes of all envelopes in its archive, as the independent reader finds them."""
        hashes = arrival_hashes(self.archive)
        assert len(hashes) == len(set(hashes))
        return set(hashes)


def are_equal(servers: Sequence[SyncServer], count: int) -> bool:
    """True if all archives have the same `count` envelopes, of which each is read then."""
    if any(server.count() != count for server in servers):
        return False
    held = [server.has() for server in servers]
    return len(held[0]) == count and all(other == held[0] for other in held)


def check_all_sound(servers: Iterable[SyncServer], count: int) -> None:
    """Check that each archive is sound and has `count` envelopes."""
    for server in servers:
        assert check_sound(server.archive) == count
