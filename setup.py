"""The extension modules, and the LMDB sources that one of them carries inside."""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from setuptools import Extension, setup

LIBLMDB = Path("ext/liblmdb")
LIBLMDB_FILES = ("lib/lmdb.h", "lib/mdb.c", "lib/midl.c", "lib/midl.h", "LICENSE")
ROOMS = [str(path) for path in sorted(Path("ext/wakumail").iterdir()) if path.is_dir()]
CFLAGS = ["-O3", "-g0", "-Wall", "-Wno-unused-function"]
if os.environ.get("SANITIZE"):
    CFLAGS += ["-g", "-O1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]


def fetch_liblmdb() -> None:
    """Unpack the pinned LMDB sources; a source distribution has them already."""
    with tempfile.TemporaryDirectory() as tmp:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        pip += ["--no-build-isolation", "--require-hashes", "--dest", tmp]
        # LMDB_PURE: leave the sources as upstream wrote them (and need no patch program).
        env = os.environ | {"LMDB_PURE": "1"}
        subprocess.run([*pip, "-r", "ext/liblmdb.txt"], check=True, env=env)
        with tarfile.open(next(Path(tmp).glob("lmdb-*.tar.gz"))) as archive:
            LIBLMDB.mkdir(exist_ok=True)
            for name in LIBLMDB_FILES:
                member = archive.extractfile(f"{Path(archive.getnames()[0]).parts[0]}/{name}")
                assert member is not None, name
                (LIBLMDB / Path(name).name).write_bytes(member.read())


def kernel(name: str, *sources: str) -> Extension:
    """One compiled kernel; the ext tree mirrors the package so that Cython finds each .pxd."""
    return Extension(
        f"wakumail.{name}",
        [f"ext/wakumail/{name.replace('.', '/')}.pyx", *sources],
        include_dirs=[*ROOMS, str(LIBLMDB)],
        depends=[str(path) for path in Path("ext/wakumail").rglob("*.[hp]*")],
        extra_compile_args=CFLAGS,
        extra_link_args=[flag for flag in CFLAGS if flag.startswith("-fsanitize")],
    )


if not all((LIBLMDB / Path(name).name).exists() for name in LIBLMDB_FILES):
    fetch_liblmdb()

setup(
    ext_modules=[
        kernel("base.keccak"),
        kernel("base.rlp"),
        kernel("base.snappy"),
        kernel("waku.bloom"),
        kernel("waku.interest"),
        kernel("waku.pow"),
        kernel("waku.envelope"),
        kernel("waku.judgements"),
        kernel("waku.pool"),
        kernel("devp2p.frame_reader"),
        kernel("base.jobs"),
        kernel("devp2p.frame_writer"),
        kernel("archive.archive", str(LIBLMDB / "mdb.c"), str(LIBLMDB / "midl.c")),
    ],
    options={"build_ext": {"cython_include_dirs": ["ext"]}},
)
