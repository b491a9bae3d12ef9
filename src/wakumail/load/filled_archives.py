"""Archives that the bench fills with traffic. Each is made once, and sorted as a server's is."""

import shlex
import subprocess
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.datadir import Datadir
from wakumail.archive.day_sorting import SORT_SLICE
from wakumail.load.clients.role import LoadFailed
from wakumail.load.parent_death import kill, start
from wakumail.load.server_process import WAKUMAIL_COMMAND
from wakumail.load.workload.archived_traffic import ArchivedTraffic


class FilledArchives:
    """Data directories with traffic in their archives. Each is made at its first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._filled: dict[ArchivedTraffic, Path] = {}

    def filled(self, traffic: ArchivedTraffic) -> Path:
        """The data directory with this traffic. LoadFailed if it cannot be made."""
        if traffic not in self._filled:
            path = self.directory / f"archive-{len(self._filled)}"
            dump = path.with_suffix(".dump")
            write_dump(traffic, dump)
            import_dump(path, dump)
            dump.unlink()
            sort_days(path)
            self._filled[traffic] = path
        return self._filled[traffic]


def write_dump(traffic: ArchivedTraffic, path: Path) -> None:
    """Write the traffic as a dump, for `wakumail archive import`. Half a dump does not stay."""
    try:
        with path.open("wb") as file:
            file.writelines(traffic.dump())
    except BaseException:
        if path.is_file():  # else a pipe or a device, or it could not be made
            path.unlink()
        raise


def import_dump(datadir: Path, dump: Path) -> None:
    """Run `wakumail archive import`. LoadFailed if it fails."""
    command = (*WAKUMAIL_COMMAND, "archive", "import", "--datadir", str(datadir), str(dump))
    process = start(command, stdout=subprocess.DEVNULL)
    try:
        code = process.wait()
    except BaseException:
        kill(process)
        raise
    if code:
        raise LoadFailed(f"the archive could not be filled: {shlex.join(command)}")


def sort_days(datadir: Path) -> None:
    """Sort all days but the last, which is not over."""
    with Archive(Datadir(datadir).archive, sync=False) as archive:
        for day in archive.days()[:-1]:
            while archive.sort(day.start, max_bytes=SORT_SLICE, max_seconds=1.0).more:
                pass
