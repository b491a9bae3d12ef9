"""Uses an installed wheel from outside the source tree: run by `make wheels`, not by pytest.

With --extras, uses the packages of all extras with it.
"""

import json
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import wakumail
from wakumail.base.keccak import _keccak256_many_with
from wakumail.devp2p.frame_reader import _aes_ways
from wakumail.waku.envelope import make_envelope

COMMAND = str(Path(sys.executable).with_name("wakumail"))
COUNT = 100
EXPIRY = int(time.time()) + 50
SHARED = (
    "man/man1/wakumail.1",
    "bash-completion/completions/wakumail",
    "wakumail/wakumail.service",
)
LEVELDB = Path(__file__).parent / "vectors/leveldb"
LEVELDB_COUNT = 300
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
    for name in ("page.html", "page.css", "page.js"):
        assert (package / "ops/monitoring/static" / name).exists(), name
    for name in ("style.css", "open.js"):
        assert (package / "ops/browse" / name).exists(), name
    for file in SHARED:
        assert Path(sys.prefix, "share", file).stat().st_size, file
    for name in wakumail.__all__:
        getattr(wakumail, name)
    # A compiler may leave out what asks the processor: then all works, but at a fifth of the speed.
    features = Path("/proc/cpuinfo").read_text().split()
    assert ("instructions" in _aes_ways()) == ("aes" in features)
    if "avx2" in features:
        _keccak256_many_with("avx2", [])
    with TemporaryDirectory() as datadir:
        archive("import", datadir, dump=DUMP)
        assert json.loads(archive("stat", datadir, "--json"))["envelopes"] == COUNT
        assert len(archive("export", datadir)) == len(DUMP)
    print(f"{COMMAND}: imports, archives, exports")


def use_extras() -> None:
    """Import a LevelDB, and check the archive with packages of others."""
    with TemporaryDirectory() as datadir:
        leveldb = shutil.copytree(LEVELDB, f"{datadir}/leveldb")
        archive("import", datadir, "--leveldb", str(leveldb))
        told = json.loads(archive("verify", datadir, "--pages", "--independent", "--json"))
        assert (told["envelopes"], told["problems"]) == (LEVELDB_COUNT, [])
    for module in ("async_upnp_client", "dns", "nats", "psycopg"):
        import_module(module)
    print(f"{COMMAND}: imports a LevelDB, and is verified independently")


use_extras() if "--extras" in sys.argv else main()
