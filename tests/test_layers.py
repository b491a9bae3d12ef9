"""Who may import whom: every import goes down a floor, and the core knows no clock and no loop."""

import ast
import re
from pathlib import Path

import pytest

import wakumail

SOURCES = Path(wakumail.__file__).parent
KERNELS = Path(__file__).parent.parent / "ext" / "wakumail"

FLOORS = [
    ["errors", "text", "version"],
    ["rlp", "snappy", "bloom", "keccak", "jobs", "archive_results", "histograms", "report"],
    ["interest", "pow"],
    ["envelope", "frame", "seal", "keys"],
    ["judgements"],
    ["pool", "enode", "ecies", "archive", "counters", "dump", "datadir"],
    ["message", "handshake", "devp2p", "waku", "limits", "statusgo", "topics"],
    ["shaking"],
    ["completion", "connection", "whisper", "status", "traffic", "keystore", "roster"],
    ["request"],
    ["mail"],
    ["peer"],
    ["threads"],
    ["sealer"],
    ["link", "acceptor", "store", "page_check", "opening", "mining"],
    ["handshaker", "turns", "filters"],
    ["node"],
    ["answer", "posting"],
    ["relay", "dialer", "history", "requester"],
    ["server", "client"],
    ["mailservers", "rpc", "health", "client_names"],
    ["gauges", "config"],
    ["metrics"],
    ["reporter"],
    ["monitor"],
    ["load"],
    ["workers"],
    ["cli"],
]
PARTS = {p.stem for p in KERNELS.glob("*.pxd") if not p.with_suffix(".pyx").exists()}
ENVELOPE_PARTS = {"records", "judging"}
FRAME_PARTS = {"stream"}
JOBS_PARTS = {"pthread"}
ARCHIVE_PARTS = PARTS - ENVELOPE_PARTS - FRAME_PARTS - JOBS_PARTS
FLOOR = {module: number for number, modules in enumerate(FLOORS) for module in modules}
SANS_IO = [
    module
    for module in FLOOR
    if FLOOR[module] <= FLOOR["peer"] and (SOURCES / f"{module}.py").exists()
]
CLOCKS_AND_LOOPS = {
    "asyncio",
    "threading",
    "time",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "uvloop",
}
TRANSPORTS = re.compile(
    r"create_server|create_connection|connect_accepted|BufferedProtocol|get_extra_info"
)


def python_files() -> list[Path]:
    files = [path for path in SOURCES.rglob("*.py") if path.name != "__main__.py"]
    assert len(files) > 20
    return [path for path in files if path != SOURCES / "__init__.py"]


def module_of(path: Path) -> str:
    return path.relative_to(SOURCES).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """All dotted names that a Python file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def kernel_imports(path: Path) -> set[str]:
    """The modules of this package that a Cython file imports or cimports."""
    return set(re.findall(r"^from wakumail\.(\w+) c?import", path.read_text(), re.MULTILINE))


def test_every_module_has_a_floor() -> None:
    modules = {module_of(path) for path in python_files()}
    modules |= {path.stem for path in KERNELS.glob("*.pyx")}
    assert modules == set(FLOOR)


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(SOURCES)))
def test_imports_go_down(path: Path) -> None:
    module = module_of(path)
    own = {name.split(".")[1] for name in imports(path) if name.startswith("wakumail.")}
    wrong = {name for name in own - {module} if name in FLOOR and FLOOR[name] >= FLOOR[module]}
    assert not wrong, f"{module} stands on the floor of {wrong} or below"


@pytest.mark.parametrize("path", sorted(KERNELS.glob("*.p[yx]*")), ids=lambda p: p.name)
def test_kernel_imports_go_down(path: Path) -> None:
    module = path.stem
    if module in PARTS:
        wholes = {
            "envelope": ENVELOPE_PARTS,
            "frame": FRAME_PARTS,
            "jobs": JOBS_PARTS,
            "archive": ARCHIVE_PARTS,
        }
        (module,) = (whole for whole, parts in wholes.items() if module in parts)
    below = {name for name in FLOOR if FLOOR[name] < FLOOR[module]}
    parts = {
        "archive": ARCHIVE_PARTS | JOBS_PARTS,
        "envelope": ENVELOPE_PARTS | {"envelope"},
        "judgements": ENVELOPE_PARTS,
        "frame": FRAME_PARTS,
        "jobs": JOBS_PARTS,
        "seal": FRAME_PARTS,
    }
    assert kernel_imports(path) - {path.stem} <= below | parts.get(module, set())


def test_one_module_opens_lmdb() -> None:
    owners = {path.stem for path in KERNELS.glob("*.pyx") if "lmdb" in kernel_imports(path)}
    assert owners == {"archive"}


@pytest.mark.parametrize("module", SANS_IO)
def test_the_core_is_sans_io(module: str) -> None:
    used = {name.split(".")[0] for name in imports(SOURCES / f"{module}.py")}
    assert not used & CLOCKS_AND_LOOPS


def test_who_touches_transports() -> None:
    touching = {module_of(path) for path in python_files() if TRANSPORTS.search(path.read_text())}
    assert touching == {"link", "acceptor", "node", "load"}
