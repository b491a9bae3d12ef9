"""Passes over a whole archive, with a progress bar: verify it, copy it."""

import contextlib
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.independent import Opinion, verify_independently
from wakumail.cli.options import progress

BAR_INTERVAL = 0.1
"""Seconds between two updates of the progress bar of a copy."""


def walk_rows(directory: Path) -> Opinion:
    """Verify with the archive's own code."""
    with (
        Archive(directory, readonly=True) as archive,
        archive.verify() as verification,
        progress("B", verification.total) as bar,
    ):
        for done in verification:
            bar.update(done)
        return Opinion(verification.envelopes, verification.problems, verification.describe())


def walk_independently(directory: Path) -> Opinion:
    """Verify with the packages of the extra `verify` alone."""
    with progress("B") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done)

        return verify_independently(directory, advance)


def copy(source: Path, target: Path) -> None:
    """Copy an archive, with a progress bar."""
    with (
        Archive(source, readonly=True) as archive,
        progress("B", archive.stat().file_bytes) as bar,
        ThreadPoolExecutor(1) as worker,
    ):
        copying = worker.submit(archive.copy, target)
        while wait([copying], BAR_INTERVAL).not_done:
            with contextlib.suppress(FileNotFoundError):  # the copy is renamed meanwhile
                bar.update(sum(file.stat().st_size for file in target.glob("*")) - bar.n)
        copying.result()
    size, old = ((path / "data.mdb").stat().st_size for path in (target, source))
    print(f"{size:,} bytes; the file had {old:,}")
