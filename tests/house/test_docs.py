"""The documentation has all that users rely on, and nothing that does not exist."""

import argparse
import ast
import contextlib
import fnmatch
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

import wakumail
from tests.support.parsers import subcommands
from wakumail.cli.command_line import parser
from wakumail.counters import COUNTERS
from wakumail.errors import WakumailError
from wakumail.ops.config.settings import SETTINGS
from wakumail.ops.config.statusgo_config import ADVICE, APART, KEY_READERS, NATURAL, SWITCHES
from wakumail.waku.envelope import Verdict

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
SETTINGS_PAGE = (DOCS / "settings.md").read_text()
COUNTERS_PAGE = (DOCS / "counters.md").read_text()
STATUS_GO_PAGE = (DOCS / "moving-over.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS.glob("*.md")]
CURRENT = [page for page in PAGES if page.stem != "CHANGELOG"]
"""Those that tell nothing of the past."""
LINKS = [
    (page, link)
    for page in (*PAGES, *(ROOT / "bench").glob("*.md"))
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    if "://" not in link
]
BASES = ["", "src/wakumail", "ext/wakumail", "docs", "tests"]
"""Folders that paths in the documentation begin at."""
SUFFIXES = "py|pyx|pxd|pyi|h|md|toml|html|svg|mjs"
MAPS = sorted(Path(wakumail.__file__).parent.glob("*/**/__init__.py"))
SOURCES = list(Path(wakumail.__file__).parent.rglob("*.py"))


def errors(root: type[WakumailError] = WakumailError) -> set[type[WakumailError]]:
    """All errors below `root`."""
    children = set(root.__subclasses__())
    return children.union(*(errors(child) for child in children))


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_index_names_every_page() -> None:
    linked = re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text())
    assert sorted([*linked, "README.md"]) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_imports_public_names_alone(page: Path) -> None:
    """From wakumail itself, beside the standard library."""
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "wakumail":
                assert {alias.name for alias in node.names} <= set(wakumail.__all__)
            elif isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] in sys.stdlib_module_names
            elif isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= sys.stdlib_module_names


def test_the_packages_to_install_are_those_of_the_extras() -> None:
    """Error texts name packages: the extras are of use in a clone only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sources = "".join(path.read_text() for path in SOURCES)
    for packages in project["optional-dependencies"].values():
        assert all(f'"{package.partition(";")[0]}"' in sources for package in packages)
    assert "pip install wakumail" not in sources
    assert not re.search(r"wakumail\[(discovery|leveldb|pages|postgres|upnp|verify)\]", sources)


def test_every_extra_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (DOCS / "deploying.md").read_text()
    assert all(f"`{name}`" in page for name in project["optional-dependencies"])


def test_every_setting_has_a_row() -> None:
    documented = re.findall(r"^\| `(--[\w.-]+)` \|", SETTINGS_PAGE, re.MULTILINE)
    flags = [s.negated_flag if s.default is True else s.flag for s in SETTINGS]
    assert documented == flags


def test_every_command_has_a_row() -> None:
    """In the first column of a table, and its actions in the row."""
    pages = (DOCS / name for name in ("commands.md", "archive.md"))
    lines = [line for page in pages for line in page.read_text().splitlines()]
    rows = [line.replace("\\|", "/") for line in lines if line.startswith("| `")]
    for name, command in subcommands(parser()).items():
        about = [row for row in rows if f"`wakumail {name}" in row.split("|")[1]]
        assert about, name
        for action in subcommands(command):
            assert any(re.search(rf"(`|/| ){action}\b", row) for row in about), action
            assert name != "archive" or any(row.startswith(f"| `{action}") for row in rows), action


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_every_path_and_module_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    for path in re.findall(rf"`([\w.-]+(?:/[\w.-]+)+\.(?:{SUFFIXES}))\b", text):
        assert any((ROOT / base / path).exists() for base in BASES), path
    for name in re.findall(r"`(wakumail(?:\.\w+)+)`", text):
        assert name == "wakumail.ipc" or exists(name), name


def flags(of: argparse.ArgumentParser) -> set[str]:
    """All flags of a command and of its subcommands."""
    own = {flag for action in of._actions for flag in action.option_strings}
    return own.union(*map(flags, subcommands(of).values()))


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_every_flag_that_is_named_exists(page: Path) -> None:
    """A star in it stands for anything: `--rate.*`."""
    known = flags(parser())
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`([^`\n]+)`", text):
        if code.startswith(("--", "wakumail ")):
            for flag in re.findall(r"(?<!\S)--[\w.*-]+", code):
                assert fnmatch.filter(known, flag), code


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_every_target_that_is_named_exists(page: Path) -> None:
    """Of the Makefile."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:`|^    (?:\$ )?)make ([a-z]\w*)", page.read_text(), re.MULTILINE)
    assert set(named) <= set(targets)


def exists(name: str) -> bool:
    """True if a dotted name is a module, or something in one."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return bool(module) and exists(module) and hasattr(sys.modules[module], attribute)
    return True


def test_every_room_is_in_the_architecture() -> None:
    text = (DOCS / "architecture.md").read_text()
    plan = re.search(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert plan is not None
    inside = {path.stem for path in Path(wakumail.__file__).parent.iterdir()}
    rooms = inside - {"__init__", "__main__", "__pycache__", "py"}
    named = re.findall(r"^(\w+)(?: +(\w+)(?=  ))?", plan[1], re.MULTILINE)
    assert {name for names in named for name in names if name} == rooms


def table(heading: str) -> dict[str, list[str]]:
    """The rows of a table of the page on status-go: what is named in the second column, by key."""
    text = STATUS_GO_PAGE.partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \|", text, re.MULTILINE)
    return {key: re.findall("`(.*?)`", named) for key, named in rows}


def test_every_key_of_status_go_is_documented() -> None:
    """Those that are translated with the settings that they become."""
    flags = {s.field: s.negated_flag if s.default is True else s.flag for s in SETTINGS}
    becoming = table("What becomes a setting")
    assert becoming.keys() == KEY_READERS.keys()
    for key, named in becoming.items():
        assert named
        assert set(named) <= set(flags.values())
        with contextlib.suppress(ValueError):  # of those that take no number
            assert named == [flags[field] for field in KEY_READERS[key](1)]
    switches = {key: list(others) for key, others in SWITCHES.items()}
    assert table("What puts others out of force") == switches
    assert table("What has no counterpart").keys() == ADVICE.keys() | NATURAL.keys()
    assert all(f"`{key}`" in STATUS_GO_PAGE for key in APART)


@pytest.mark.parametrize("room", MAPS, ids=lambda path: path.parent.name)
def test_every_room_maps_its_files(room: Path) -> None:
    """A docstring line for each file and folder, `name  what it is`, and no line for another."""
    inside = {path.name.partition(".")[0] for path in room.parent.iterdir()}
    told = re.findall(r"^ *(\w+)  +\S", room.read_text().split('"""')[1], re.MULTILINE)
    assert sorted(told) == sorted(inside - {"__init__", "__pycache__", "py"})
    assert len(ast.parse(room.read_text()).body) == 1, "a map imports nothing"


def test_the_archive_maps_its_parts() -> None:
    """Its parts are no modules, so the docstring of archive.pyx is their map."""
    archive = ROOT / "ext" / "wakumail" / "archive" / "archive.pyx"
    parts = {path.stem.removesuffix("_in_mdb") for path in archive.parent.glob("*.[ph]*")}
    told = re.findall(r"^(\w+)  +\S", archive.read_text().split('"""')[1], re.MULTILINE)
    assert sorted(told) == sorted(parts - {"archive"})


def test_every_counter_has_a_line_and_is_counted() -> None:
    named = {error.counter for error in errors()}
    verdicts = {f"envelopes_{verdict.name.lower()}" for verdict in Verdict}
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "counters.py")
    for name in COUNTERS:
        counted = f'"{name}"' in text or name in named or name in verdicts
        assert counted, f"{name} is never counted"
    for name, explanation in COUNTERS.items():
        assert f"| `{name}` | {explanation} |\n" in COUNTERS_PAGE
    for name in {*COUNTERS, *re.findall(r'(?:add|_count)\("(\w+)"', text)}:
        assert f"| `{name}` |" in COUNTERS_PAGE, f"{name} is not in docs/counters.md"


def test_every_counter_of_an_error_has_the_text_of_its_docstring() -> None:
    """As /metrics tells it."""
    for source in SOURCES:
        for each in ast.walk(ast.parse(source.read_text())):
            if isinstance(each, ast.ClassDef) and (name := counter_of(each)) not in COUNTERS:
                text = (ast.get_docstring(each) or "").partition("\n")[0].removesuffix(".")
                assert name is None or f"| `{name}` | {text} |\n" in COUNTERS_PAGE, text


def counter_of(error: ast.ClassDef) -> str | None:
    """The name of the counter that a class of errors sets, if it is one."""
    for each in error.body:
        match each:
            case ast.Assign([ast.Name("counter")], ast.Constant(str(name))):
                return name
    return None


@pytest.mark.parametrize("error", sorted(errors(), key=str))
def test_every_error_a_peer_can_cause_has_a_counter_of_its_own(error: type[WakumailError]) -> None:
    assert f"| `{error.counter}` |" in COUNTERS_PAGE
    assert error.__doc__
    sharing = {e for e in errors() if e.counter == error.counter and e is not error}
    assert not {e for e in sharing if not issubclass(e, error) and not issubclass(error, e)}


def test_the_format_of_the_archive_is_the_one_of_the_code() -> None:
    layout = (ROOT / "ext/wakumail/archive/layout.pxd").read_text()
    (number,) = re.findall(r"\bFORMAT = (\d+)", layout)
    told = [
        each
        for page in (DOCS / "archive.md", DOCS / "upgrading.md", ROOT / "CHANGELOG.md")
        for each in re.findall(r"has format (\d+)|\| the archive \| (\d+) \|", page.read_text())
    ]
    assert ["".join(each) for each in told] == [number] * 3


def test_every_switch_with_a_table_is_named() -> None:
    """`--http` is `enabled` in `[http]`."""
    switches = {setting.flag for setting in SETTINGS if setting.key.endswith(".enabled")}
    (sentence,) = re.findall(r"The switches ([^.]+) are `enabled` in their tables", SETTINGS_PAGE)
    assert set(re.findall(r"`(--[\w.]+)`", sentence)) == switches


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: str(value).split("/")[-1])
def test_links_lead_somewhere(page: Path, link: str) -> None:
    """A file of the repository, and a heading in it if the link names one."""
    file, _, heading = link.partition("#")
    target = page.parent / file if file else page
    assert target.exists(), target
    if heading:
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
        assert heading in map(anchor, headings), f"{target.name} has no {heading}"


def anchor(heading: str) -> str:
    """The name of a heading in links, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
