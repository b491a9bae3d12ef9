"""Starts the second opinion on an archive (independent_reader.py) and collects its report."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wakumail.archive.archive import Archive
from wakumail.archive.meta_pages import check_meta_pages
from wakumail.archive.results import MAX_PROBLEMS_TOLD
from wakumail.errors import ArchiveError

READER_PROGRAM = Path(__file__).with_name("independent_reader.py")


@dataclass
class Opinion:
    """The report: sound envelopes, the number of problems, and the first of them as texts."""

    envelopes: int = 0
    count: int = 0
    problems: list[str] = field(default_factory=list)


@contextlib.contextmanager
def snapshot(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keep what is committed now as it is: the lmdb package does not know the locks of a server.

    An archive that cannot be opened takes no writes, so it is left as it is.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ArchiveError):
            stack.enter_context(stack.enter_context(Archive(directory, readonly=True)).verify())
        yield


def verify_independently(
    directory: str | os.PathLike[str], progress: Callable[[int, int], object] | None = None
) -> Opinion:
    """Check the archive in `directory` with a program that shares no code with its writer.

    progress: called with (bytes checked since the last call, bytes in all). A server may run
    meanwhile; the state that is committed at the beginning is checked. ArchiveError if the packages
    of the extra `verify` are not installed, or if the file is no archive. A damaged page that ends
    the process is one more problem; the problems found before are kept.
    """
    command = [
        sys.executable,
        "-I",
        str(READER_PROGRAM),
        os.fsdecode(directory),
        str(MAX_PROBLEMS_TOLD),
    ]
    unfit = check_meta_pages(directory)
    opinion = Opinion(count=len(unfit), problems=unfit)
    total = 0
    with (
        snapshot(directory),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader,
    ):
        assert reader.stdout is not None
        assert reader.stderr is not None
        ended = False
        for text in reader.stdout:
            line = json.loads(text)
            total = line.get("total", total)
            if "problem" in line:
                opinion.problems.append(line["problem"])
            elif "count" in line:
                opinion.envelopes = line["envelopes"]
                opinion.count += line["count"]
                ended = True
            elif progress is not None:
                progress(line.get("done", 0), total)
        reason = reader.stderr.read().decode(errors="replace").strip()
    if reader.returncode < 0:
        name = signal.Signals(-reader.returncode).name
        opinion.problems.append(f"a damaged page ended LMDB ({name}): the rest was not checked")
        opinion.count = len(opinion.problems)
    elif reader.returncode or not ended:
        last = reason.splitlines()[-1] if reason else "it ended early"
        raise ArchiveError(f"{os.fsdecode(directory)}: it cannot be checked: {last}")
    return opinion
