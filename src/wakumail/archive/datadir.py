"""The data directory of a node: its files, and the locks that show who uses it.

nodekey     64 hex digits, mode 0600
archive/    the archive's data.mdb and lock.mdb
gaps.json   the times of which the archive lacks envelopes, and the one trusted last (see gaps.py)
lock        held by the server; a second one is refused
static-nodes.json, trusted-nodes.json    JSON lists of enode URLs; optional
enr         our node record, as it was last signed
discovered-nodes.json    the nodes that discovery knew when the server stopped
dns-lists.json    the sequence numbers of lists in the DNS that were seen
relay/      envelopes that workers without an archive pass to each other; only while they run
wakumail.ipc    the socket of the RPC API
copying.*       the copy that a compaction, a backup or a restore is making; beside data.mdb
backup.json     marks a backup, which nobody serves (see backup.py)
restored.json   the addresses of the node whose identity was restored here; until the first start
writers     locked shared by all that write to the archive, exclusively by a compaction
"""

import errno
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wakumail.base.naming import naming
from wakumail.base.regular_file import open_regular
from wakumail.base.whole_file import sweep_folder, sync_names
from wakumail.errors import WakumailError

log = logging.getLogger(__name__)

SCRATCH_PREFIX = "copying."
"""Of the folder in which a new copy of a file is made; the name of the file follows."""


class DatadirInUse(WakumailError):
    """Another process holds the data directory."""

    counter = "datadir_in_use"


class IsBackup(WakumailError):
    """The data directory is a backup, which nothing but a backup may change."""

    counter = "datadir_is_backup"


class Datadir:
    """A data directory. The server, an import and a backup create it, mode 0700."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = path / "archive"
        self.relay = path / "relay"
        self.gaps = path / "gaps.json"
        self.nodekey = path / "nodekey"
        self.static_nodes = path / "static-nodes.json"
        self.trusted_nodes = path / "trusted-nodes.json"
        self.enr = path / "enr"
        self.discovered_nodes = path / "discovered-nodes.json"
        self.dns_lists = path / "dns-lists.json"
        self.ipc = path / "wakumail.ipc"
        self.backup = path / "backup.json"
        self.restored = path / "restored.json"

    @property
    def holds_archive(self) -> bool:
        """True if there is the file of an archive."""
        return (self.archive / "data.mdb").exists()

    def require_archive(self) -> None:
        """OSError, which names the file, if there is no archive: writers would make one.

        So a mistyped name does not pass for an empty archive.
        """
        (self.archive / "data.mdb").stat()

    def make(self) -> None:
        """Create the directory unless it exists."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold the directory as its only server. IsBackup, DatadirInUse."""
        with self.writing(), self._lock("lock", fcntl.LOCK_EX):
            self._sweep()
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the archive as one of several writers. IsBackup, DatadirInUse."""
        if self.backup.exists():
            text = f"{self.path} is a backup: make a data directory of it with wakumail archive"
            raise IsBackup(f"{text} restore {self.path} --datadir DIR")
        with self._lock("writers", fcntl.LOCK_SH):
            self._tell_if_empty()
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the archive as its only writer. DatadirInUse."""
        with self._lock("writers", fcntl.LOCK_EX):
            self._sweep()
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for a copy of the archive that is being made; hold the archive alone.

        It is on the disk of the archive, which may be another than ours: behind a link, or mounted.
        """
        beside = self._file.parent
        scratch = self._scratch(beside if beside.is_dir() else self.path)
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def replace_archive(self, made: Path) -> None:
        """Put the archive of the directory `made`, a scratch, in place of ours. Links stay."""
        self.archive.mkdir(mode=0o700, exist_ok=True)
        file = self._file
        if not os.geteuid():
            self._give_to_owner_of(file, made / "data.mdb")
        with naming(file):
            os.replace(made / "data.mdb", file)
        # The lock file is about the old file; the next process that opens the archive makes one.
        (self.archive / "lock.mdb").unlink(missing_ok=True)
        for directory in {file.parent, self.archive, self.path}:
            sync_names(directory)

    def _give_to_owner_of(self, file: Path, made: Path) -> None:
        """Give what root made the owner of the file that it will replace, or of the file's folder.

        It may lie outside of our directory, all of which our owner gets. But our owner may have put
        the link there: root replaces nothing of others for them. PermissionError.
        """
        former = (file if file.exists() else file.parent).stat()
        if file.exists() and self.path.stat().st_uid not in (0, former.st_uid):
            text = f"it does not belong to the owner of {self.path}"
            raise PermissionError(errno.EPERM, text, str(file))
        with suppress(OSError):  # the file system has no owners
            os.chown(made, former.st_uid, former.st_gid)

    @property
    def _file(self) -> Path:
        """The file of the archive itself, where data.mdb or its folder are symbolic links."""
        return Path(os.path.realpath(self.archive / "data.mdb"))

    def _scratch(self, directory: Path) -> Path:
        """The scratch in a directory, in which archives of other data directories may lie too."""
        return directory / f"{SCRATCH_PREFIX}{self._file.name}"

    def _tell_if_empty(self) -> None:
        """Tell of a data.mdb without content: LMDB begins a new archive in it.

        A process that is killed in its first moment leaves such a file, so this is no error.
        """
        file = self.archive / "data.mdb"
        with suppress(OSError):  # of which the opening tells
            if file.is_file() and not file.stat().st_size:
                text = "%s is empty: a new archive begins; if it held envelopes, restore a backup"
                log.warning(text, file)

    def _sweep(self) -> None:
        """Remove what a killed process left unfinished; who makes it holds the directory."""
        for directory in (self.path, self._file.parent):
            shutil.rmtree(self._scratch(directory), ignore_errors=True)
        sweep_folder(self.path)

    @contextmanager
    def _lock(self, name: str, kind: int) -> Iterator[None]:
        """Hold a lock file; DatadirInUse if another process does. The system frees it if we die."""
        descriptor = open_regular(self.path / name, os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DatadirInUse(f"{self.path} is in use by {self._holder()}") from None
            give_to_owner(self.path)  # a server may start beside us
            try:
                yield
            finally:
                give_to_owner(self.path)
        finally:
            os.close(descriptor)

    def _holder(self) -> str:
        """The process that has a lock that we did not get, and how it goes away."""
        try:
            with open(self.path / "lock", opener=open_regular) as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "a running server: stop it first"
        except FileNotFoundError:
            pass
        return "another wakumail command: wait until it ends"


def give_to_owner(directory: Path) -> None:
    """If we are root: give all that root made below a directory to the owner of the directory.

    A server that runs as that owner can then use what a command of root has written. Files with
    several names stay as they are: the owner may have given another's file a name here.
    """
    owner = directory.stat()
    if os.geteuid() or not owner.st_uid:
        return
    for _, folders, files, descriptor in os.fwalk(directory):  # follows no symbolic link
        for name in (*folders, *files):
            with suppress(OSError):  # it is gone, or the file system has no owners
                made = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if not made.st_uid and (made.st_nlink == 1 or stat.S_ISDIR(made.st_mode)):
                    os.chown(
                        name, owner.st_uid, owner.st_gid, dir_fd=descriptor, follow_symlinks=False
                    )
