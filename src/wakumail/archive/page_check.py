"""Checks the pages of an archive's file with the lmdb package, whose check does not use LMDB.

Archive.verify reads an archive through LMDB and so trusts its pages. This check reads the pages
themselves: each must be sound, and either reached exactly once or free, and keys must be in order.
"""

import json
import os
import subprocess
import sys

from wakumail.archive.meta_pages import check_meta_pages
from wakumail.archive.results import MAX_PROBLEMS_TOLD
from wakumail.errors import ArchiveError

CHECK_PROGRAM = """
import json, sys
try:
    from lmdb import verify
except ImportError as error:
    sys.exit(f'it needs the package lmdb: pip install "lmdb>=3" ({error})')
try:
    problems = verify.verify(sys.argv[1])
except (OSError, verify.VerifyError) as error:
    sys.exit(str(error))
json.dump([len(problems), problems[:int(sys.argv[2])]], sys.stdout)
"""


def check_pages(directory: str | os.PathLike[str]) -> tuple[int, list[str]]:
    """The number of problems of the pages of directory/data.mdb, and texts of the first of them.

    The check runs in a process of its own, because the lmdb package brings another LMDB. The file
    must not change meanwhile: stop all writers, or check a copy (Archive.copy). It takes about a
    minute for 10 GB. ArchiveError if the lmdb package (3.0 or later) is not installed, if there is
    no file, or if it is no file of LMDB.
    """
    unfit = check_meta_pages(directory)
    file = os.path.join(os.fsdecode(directory), "data.mdb")
    command = [sys.executable, "-I", "-c", CHECK_PROGRAM, file, str(MAX_PROBLEMS_TOLD)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise ArchiveError(f"{file}: the pages cannot be checked: {reason}")
    count, told = json.loads(done.stdout)
    return count + len(unfit), [*unfit, *told][:MAX_PROBLEMS_TOLD]
