"""The pages of an archive's file, checked by the lmdb package, which never lets LMDB near them.

Archive.verify reads an archive as LMDB presents it and so trusts its pages; this looks at the
pages themselves: that each is sound, reached once or free, and that keys are in order.
"""

import json
import os
import subprocess
import sys

from wakumail.errors import ArchiveError

PROGRAM = """
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

MAX_TOLD = 100
"""Problems that are told; all are counted."""


def check_pages(directory: str | os.PathLike[str]) -> tuple[int, list[str]]:
    """How many problems the pages of directory/data.mdb have, and the first of them.

    In a process of its own, for the lmdb package brings another LMDB. The file must not change
    meanwhile: stop what writes to it, or check a copy (Archive.copy). It takes about a minute for
    10 GB. ArchiveError when the lmdb package (3.0 or later) is not installed, when there is no
    file, or when it is not one of LMDB.
    """
    file = os.path.join(os.fsdecode(directory), "data.mdb")
    command = [sys.executable, "-I", "-c", PROGRAM, file, str(MAX_TOLD)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise ArchiveError(f"{file}: the pages cannot be checked: {reason}")
    count, told = json.loads(done.stdout)
    return count, told
