"""Uses an installed wheel from outside the source tree: run by `make wheel`, not by pytest."""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import wakumail
from wakumail.waku.envelope import make_envelope

COMMAND = str(Path(sys.executable).with_name("wakumail"))
COUNT = 100
EXPIRY = int(time.time()) + 50
DUMP = b"".join(make_envelope(EXPIRY, 60, b"test", b"data", n).rlp for n in range(COUNT))


def archive(action: str, datadir: str, *flags: str, dump: bytes = b"") -> bytes:
    """Run one archive command of the installed package."""
    command = [COMMAND, "archive", action, "--datadir", datadir, *flags]
    return subprocess.run(command, input=dump, check=True, stdout=subprocess.PIPE).stdout


def main() -> None:
    """Import a dump, look at it, export it: the compiled kernels and the console script work."""
    package = Path(wakumail.__file__).parent
    assert "site-packages" in package.parts, package
    assert (package / "py.typed").exists()
    for name in wakumail.__all__:
        getattr(wakumail, name)
    with TemporaryDirectory() as datadir:
        archive("import", datadir, dump=DUMP)
        assert json.loads(archive("stat", datadir, "--json"))["envelopes"] == COUNT
        assert len(archive("export", datadir)) == len(DUMP)
    print(f"{COMMAND}: imports, archives, exports")


main()
