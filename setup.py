"""Builds the extension modules. One of them contains LMDB, whose sources are fetched here."""

import os
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

from setuptools import Extension, setup

LIBLMDB = Path("ext/liblmdb")
LIBLMDB_FILES = ("lib/lmdb.h", "lib/mdb.c", "lib/midl.c", "lib/midl.h", "LICENSE")
CHECKED_MDB = LIBLMDB / "checked_mdb.c"
PAGE = "MDB_cursor *mc, pgno_t pgno, MDB_page **mp, int *lvl"
TABLE_SIZE = "(env->me_maxreaders-1)*sizeof(MDB_reader)+sizeof(MDB_txninfo)"
CHECKS = [
    # Each call with which LMDB gets a page: its number in mdb.c, the call, the checked call.
    (2, "get(mc, NODEPGNO(node), &mp, NULL)", "tree_page(mc, NODEPGNO(node), &mp, NULL, NULL)"),
    (1, "get(mc, root, &mc->mc_pg[0], NULL)", "tree_page(mc, root, &mc->mc_pg[0], NULL, NULL)"),
    (
        1,
        "get(mc, mc->mc_db->md_root, &mc->mc_pg[0], NULL)",
        "tree_page(mc, mc->mc_db->md_root, &mc->mc_pg[0], NULL, NULL)",
    ),
    (
        1,
        "get(mc, NODEPGNO(indx), &mp, NULL)",
        "tree_page(mc, NODEPGNO(indx), &mp, NULL, mc->mc_pg[mc->mc_snum])",
    ),
    (
        2,
        "get(mc, NODEPGNO(node), &mn.mc_pg[mn.mc_top], NULL)",
        "tree_page(mc, NODEPGNO(node), &mn.mc_pg[mn.mc_top], NULL, mc->mc_pg[mc->mc_top])",
    ),
    (1, "get(&mc, *pg, &mc.mc_pg[0], NULL)", "tree_page(&mc, *pg, &mc.mc_pg[0], NULL, NULL)"),
    (1, "get(&mc, pg, &mp, NULL)", "tree_page(&mc, pg, &mp, NULL, mc.mc_pg[mc.mc_snum])"),
    (1, "get(mc, pgno, &omp, NULL)", "value_pages(mc, pgno, &omp, NULL, data->mv_size)"),
    (1, "get(mc, pg, &omp, &level)", "value_pages(mc, pg, &omp, &level, olddata.mv_size)"),
    (1, "get(mc, pg, &omp, NULL)) ||", "value_pages(mc, pg, &omp, NULL, NODEDSZ(leaf))) ||"),
    (1, "get(&mc, pg, &omp, NULL)", "value_pages(&mc, pg, &omp, NULL, NODEDSZ(ni))"),
]
INSERTS = [
    # Lines of mdb.c, and the lines to insert after them.
    (f"static int  mdb_page_get({PAGE});", '#include "checks_in_mdb.h"\n#include "ahead.h"'),
    (
        "if ((rc = mdb_node_read(&m2, leaf, &data)) != MDB_SUCCESS)\n\t\t\tgoto fail;",
        "if ((rc = checks_free_record(txn, &data)) != MDB_SUCCESS)\ngoto fail;",
    ),
    (
        "mdb_midl_xmerge(mop, idl);",
        "if ((rc = checks_free_list(txn, mop, idl)) != MDB_SUCCESS)\ngoto fail;",
    ),
    (
        "if (IS_LEAF(mp)) {\n\t\t\tif (!IS_LEAF2(mp) && !(flags & F_DUPDATA)) {",
        "ahead_copy(&mc);",
    ),
    ('DPUTS("new mdbenv");', "if (env->me_flags & MDB_RDONLY)\nreturn CHECKS_EMPTY;"),
    # Else the next who opens the file finds half of a new one.
    ("rc = ENOSPC;\n\tfree(p);", "if (rc && ftruncate(env->me_fd, 0))\nrc = ErrCode();"),
    ("return MDB_VERSION_MISMATCH;\n\t\t}", "if (!checks_is_psize(m))\nreturn MDB_CORRUPTED;"),
    (
        "\t\t\t*meta = *m;\n\t}",
        "if (!checks_is_meta(meta))\nreturn MDB_CORRUPTED;\n"
        "if ((rc = checks_metas(env, meta->mm_psize)))\nreturn rc;",
    ),
    (
        "} else if (ni->mn_flags & F_SUBDATA) {\n\t\t\t\t\t\tMDB_db db;",
        # Only the main database contains databases, so the recursion ends.
        "if (flags & F_SUBDATA) {\nrc = MDB_CORRUPTED;\ngoto done;\n}",
    ),
]
REPLACES = [
    # Keep LMDB's assertions: checks_guard turns them into errors.
    ("#ifndef NDEBUG\n# define mdb_assert0", "#if 1\n# define mdb_assert0"),
    ("#ifndef NDEBUG\n\tenv->me_assert_func = func;\n#endif", "\tenv->me_assert_func = func;"),
    ("&db.md_root, ni->mn_flags & F_DUPDATA)", "&db.md_root, F_SUBDATA)"),
    ("rc = mdb_env_cwalk(&my, &root, 0);", "rc = checks_cwalk(env, &my, &root);"),
    (
        "MDB_cursor mc;\n\t\tMDB_val key, data;\n\t\tmdb_cursor_init(&mc, txn, FREE_DBI, NULL);\n"
        "\t\twhile ((rc = mdb_cursor_get(&mc, &key, &data, MDB_NEXT)) == 0)\n"
        "\t\t\tfreecount += *(MDB_ID *)data.mv_data;\n\t\tif",
        "rc = checks_count_free(txn, &freecount);\n\t\tif",
    ),
    ("fd = open(fname->mn_val, which &", "fd = checks_open(fname->mn_val, which &"),
    # The locks lie in shared memory, see locks_in_mdb.h.
    (
        "/** Open and/or initialize the lock region",
        '#include "locks_in_mdb.h"\n\n/** Open and/or initialize the lock region',
    ),
    ("if ((rc = mdb_env_excl_lock(env, excl)))", "if ((rc = locks_begin(env, excl)))"),
    ("size = lseek(env->me_lfd, 0, SEEK_END);", "size = LOCKS_SIZE(env);"),
    (
        "void *m = mmap(NULL, rsize, PROT_READ|PROT_WRITE, MAP_SHARED,\n\t\t\tenv->me_lfd, 0);\n"
        "\t\tif (m == MAP_FAILED) goto fail_errno;\n\t\tenv->me_txns = m;\n",
        "",
    ),
    ("munmap((void *)env->me_txns, " + TABLE_SIZE + ");", "shmdt(env->me_txns);"),
]
ROOMS = [str(path) for path in sorted(Path("ext/wakumail").iterdir()) if path.is_dir()]
CFLAGS = ["-O3", "-g0", "-Wall", "-Wno-unused-function"]
if os.environ.get("SANITIZE"):
    CFLAGS += ["-g", "-O1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"]


SHARE = [
    # A man page and completions; .ci/share.py makes them, a source distribution contains them.
    *((str(file.parent), [str(file)]) for file in sorted(Path("share").rglob("*akumail*"))),
    ("share/wakumail", [str(file) for file in sorted(Path("deploy").glob("*"))]),
]
"""The files that a wheel installs below its prefix, by their directories."""
BUILDS = {"bdist_wheel", "build_ext", "editable_wheel"}
"""The commands that compile."""


def check_compiler() -> None:
    """End with one line if a C file that includes Python.h cannot be compiled."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as tmp:
        source = Path(tmp, "probe.c")
        source.write_text("#include <Python.h>\n")
        flags = [f"-I{sysconfig.get_path('include')}", "-c", str(source), "-o", f"{tmp}/probe.o"]
        try:
            done = subprocess.run([*compiler, *flags], capture_output=True, text=True, check=False)
        except OSError as error:
            lacks = f"{compiler[0]}: {error.strerror}"
        else:
            if not done.returncode:
                return
            lacks = next((line for line in done.stderr.splitlines() if "error" in line), "it fails")
            lacks = f"{compiler[0]}: {lacks.partition('error: ')[2] or lacks}"
    packages = "gcc libc6-dev python3-dev"
    sys.exit(
        f"wakumail is compiled with a C compiler and the headers of Python, which are missing "
        f"({lacks}); on Debian: apt install {packages}"
    )


def fetch_liblmdb() -> None:
    """Download and unpack the pinned LMDB sources. A source distribution contains them."""
    with tempfile.TemporaryDirectory() as tmp:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        pip += ["--no-build-isolation", "--require-hashes", "--dest", tmp]
        # LMDB_PURE: do not patch the sources of upstream (that needs a patch program too).
        env = os.environ | {"LMDB_PURE": "1"}
        subprocess.run([*pip, "-r", "ext/liblmdb.txt"], check=True, env=env)
        with tarfile.open(next(Path(tmp).glob("lmdb-*.tar.gz"))) as archive:
            LIBLMDB.mkdir(exist_ok=True)
            for name in LIBLMDB_FILES:
                member = archive.extractfile(f"{Path(archive.getnames()[0]).parts[0]}/{name}")
                assert member is not None, name
                (LIBLMDB / Path(name).name).write_bytes(member.read())


def check_liblmdb() -> None:
    """Write checked_mdb.c: mdb.c with our checks, locks and ways to read.

    checks.h, presence.h, locks.h, ahead.h and leaf.h in ext/wakumail/archive describe them.
    """
    source = (LIBLMDB / "mdb.c").read_text()
    edits = [(count, f"mdb_page_{old}", f"checks_{new}") for count, old, new in CHECKS]
    edits += [(1, old, f"{old}\n{new}") for old, new in INSERTS]
    edits += [(1, old, new) for old, new in REPLACES]
    for count, old, new in edits:
        assert source.count(old) == count, f"mdb.c is not as setup.py expects: {old}"
        source = source.replace(old, new)
    source += '#include "ahead_in_mdb.h"\n#include "leaf_in_mdb.h"\n'
    if not CHECKED_MDB.exists() or CHECKED_MDB.read_text() != source:
        CHECKED_MDB.write_text(source)


def kernel(name: str, *sources: str) -> Extension:
    """One extension module. ext/ mirrors the package, so that Cython finds each .pxd."""
    return Extension(
        f"wakumail.{name}",
        [f"ext/wakumail/{name.replace('.', '/')}.pyx", *sources],
        include_dirs=[*ROOMS, str(LIBLMDB)],
        depends=[str(path) for path in Path("ext/wakumail").rglob("*.[hp]*")],
        extra_compile_args=CFLAGS,
        extra_link_args=[flag for flag in CFLAGS if flag.startswith("-fsanitize")],
    )


if BUILDS & set(sys.argv):
    check_compiler()
if not all((LIBLMDB / Path(name).name).exists() for name in LIBLMDB_FILES):
    fetch_liblmdb()
check_liblmdb()

setup(
    ext_modules=[
        kernel("base.keccak"),
        kernel("base.rlp"),
        kernel("base.snappy"),
        kernel("waku.bloom"),
        kernel("waku.interest"),
        kernel("waku.pow"),
        kernel("waku.envelope"),
        kernel("waku.fetched"),
        kernel("waku.judgements"),
        kernel("waku.pool"),
        kernel("waku.topic_limiter"),
        kernel("devp2p.frame_reader"),
        kernel("base.jobs"),
        kernel("devp2p.frame_writer"),
        kernel("mail.sync.message_reader"),
        kernel("mail.sync.message_writer"),
        kernel("mail.sync.id_set"),
        kernel("mail.sync.item_set"),
        kernel("archive.archive", str(CHECKED_MDB), str(LIBLMDB / "midl.c")),
    ],
    data_files=SHARE,
    options={"build_ext": {"cython_include_dirs": ["ext"]}},
)
