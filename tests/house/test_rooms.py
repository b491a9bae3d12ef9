"""The rooms of the house: imports go down, and what is sans-IO knows no clock, loop or file."""

import ast
import re
from pathlib import Path

import pytest

import wakumail

SOURCES = Path(wakumail.__file__).parent
KERNELS = Path(__file__).parents[2] / "ext" / "wakumail"

ROOMS = """
cli
ops
rpc load
mail
archive node
counters
waku
devp2p
base
errors version
"""
"""From the top down. A room imports rooms of the lines below it, none of its own line or above."""
FLOOR = {room: floor for floor, line in enumerate(ROOMS.split("\n")) for room in line.split()}

RECONCILIATION = """
items item_set message_reader message_writer message_errors reply initiator responder
"""
"""Files of mail/sync that know no network, no clock and no file."""

IO = "asyncio io os pathlib random secrets select shutil socket subprocess tempfile threading time"
TRANSPORTS = "create_server|create_connection|connect_accepted|BufferedProtocol|get_extra_info"

FILES = [p for p in sorted(SOURCES.rglob("*.py")) if p.parent != SOURCES or p.stem in FLOOR]
FILES += sorted(KERNELS.rglob("*.p[yx]*"))


def room_of(path: Path) -> str:
    root = SOURCES if path.is_relative_to(SOURCES) else KERNELS
    return path.relative_to(root).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """All dotted names that a file imports, or cimports."""
    if path.suffix != ".py":
        return set(re.findall(r"^\s*(?:from|c?import) ([\w.]+)", path.read_text(), re.MULTILINE))
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def test_every_file_has_a_room() -> None:
    inside = {path.name.removesuffix(".py") for path in SOURCES.iterdir()}
    assert inside - {"__init__", "__main__", "__pycache__", "py.typed"} == set(FLOOR)
    assert {path.name for path in KERNELS.iterdir()} <= set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_down(path: Path) -> None:
    room = room_of(path)
    own = {name.split(".")[1] for name in imports(path) if name.startswith("wakumail.")}
    wrong = {other for other in own - {room} if FLOOR[other] <= FLOOR[room]}
    assert not wrong, f"{room} imports {wrong}"
    is_reconciliation = path.parent.name == "sync" and path.stem in RECONCILIATION.split()
    if room in ("devp2p", "waku") or is_reconciliation:  # sans-IO
        assert not {name.split(".")[0] for name in imports(path)} & {*IO.split()}


def test_compiled_sources_have_lines_of_100_columns() -> None:
    """As Python's have: ruff sees only those."""
    sources = [*KERNELS.rglob("*.p[yx]*"), *KERNELS.rglob("*.h")]
    assert not [
        f"{path.name}:{number}"
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > 100
    ]


def test_only_the_archive_opens_lmdb() -> None:
    opening = [path for path in FILES if "wakumail.archive.lmdb" in imports(path)]
    assert set(map(room_of, opening)) == {"archive"}


def test_only_two_rooms_touch_transports() -> None:
    python = [path for path in FILES if path.suffix == ".py"]
    touching = {room_of(path) for path in python if re.search(TRANSPORTS, path.read_text())}
    assert touching == {"node", "load"}
