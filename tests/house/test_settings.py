"""A setting has one name wherever it stands, one default and one explanation."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wakumail.ops.config.setting import SECTIONS, Setting
from wakumail.ops.config.settings import SETTINGS
from wakumail.waku.envelope import Rules
from wakumail.waku.interest import Interest
from wakumail.waku.packets import StatusOptions

FIELDS = {setting.field: setting for setting in SETTINGS}
SETTINGS_PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
ASSEMBLING = ("cli.serve", "ops.assembly", "ops.endpoints", "ops.workers.worker")
"""The modules that hand settings to the parts of a server."""
ELSEWHERE = (Interest, Rules, StatusOptions)
"""Compiled ones, see tests/waku/test_envelope.py; None in StatusOptions leaves an option untold."""


class Passed(NamedTuple):
    """A setting, or what is made of some, given to a part by keyword."""

    part: Callable[..., Any]
    keyword: str
    field: str | None
    """None when it is not the setting as it stands."""


def field_of(node: ast.AST) -> str | None:
    """The setting in `settings.FIELD` and `self._settings.FIELD`."""
    match node:
        case ast.Attribute(ast.Name("settings"), field) | ast.Attribute(
            ast.Attribute(_, "_settings"), field
        ):
            return field
    return None


def passed() -> Iterator[Passed]:
    """All keywords of the assembling modules in whose values settings stand."""
    for name in ASSEMBLING:
        module = import_module(f"wakumail.{name}")
        for call in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(call, ast.Call):
                continue
            given = [k for k in call.keywords if k.arg and any(map(field_of, ast.walk(k.value)))]
            if given and (part := find(ast.unparse(call.func), module)) is not None:
                yield from (Passed(part, str(k.arg), field_of(k.value)) for k in given)


def find(name: str, module: Any) -> Callable[..., Any] | None:
    """The part of the package that a dotted name in a module stands for."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if str(getattr(found, "__module__", "")).startswith("wakumail.") else None


PASSED = sorted(set(passed()), key=lambda each: (each.part.__qualname__, each.keyword))


def names(setting: Setting) -> set[str]:
    """Its name, and that within its section."""
    section, _, rest = setting.field.partition("_")
    return {setting.field, rest} if section in SECTIONS and rest else {setting.field}


def test_the_parts_are_found() -> None:
    assert {"NodeConfig", "MailConfig", "ServerConfig", "ConnectionConfig", "Rules"} <= {
        each.part.__qualname__ for each in PASSED
    }


@pytest.mark.parametrize("each", PASSED, ids=lambda each: f"{each.part.__qualname__}-{each[1]}")
def test_a_setting_keeps_its_name_and_has_no_second_default(each: Passed) -> None:
    if each.field is not None and each.part is not StatusOptions:
        assert each.keyword in names(FIELDS[each.field])
    if each.part in ELSEWHERE:
        return
    for name, parameter in inspect.signature(each.part).parameters.items():
        if name == each.keyword or name in FIELDS:
            assert parameter.default is parameter.empty, f"{name} has a default of its own"


def row(setting: Setting) -> str:
    """The row of the settings table: what `wakumail serve --help` says of a setting."""
    meaning, _, own_words = setting.explanation.removesuffix(")").partition(" (default: ")
    match setting.default:
        case _ if own_words:
            default = own_words
        case None:
            default = ""
        case bool(value):
            default = "on" if value else "off"
        case tuple(items):
            default = ", ".join(f"`{item}`" for item in items)
        case int(size) if setting.metavar == "BYTES" and size:
            default = f"{size >> 20} MiB"
        case value:
            default = f"`{value}`"
    flag = setting.negated_flag if setting.default is True else setting.flag
    meaning = re.sub(r"(--[a-z0-9.-]*[a-z0-9])", r"`\1`", meaning)
    return f"| `{flag}` | {default} | {setting.reload} | {meaning} |"


def test_the_table_says_what_the_help_says() -> None:
    rows = re.findall(r"^\| `--.*", SETTINGS_PAGE.read_text(), re.MULTILINE)
    assert rows == [row(setting) for setting in SETTINGS]
