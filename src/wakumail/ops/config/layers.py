"""The sources of settings: a TOML file, the environment, flags; each overrides those before it."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from wakumail.base.edited_file import read_edited
from wakumail.ops.config.setting import PREFIX, SECTIONS, Setting
from wakumail.ops.config.settings import SETTINGS, Contradiction, Settings
from wakumail.ops.config.unused import unused

FILE_VARIABLE = f"{PREFIX}CONFIG"
"""The variable that names the file if no flag does."""

DEFAULT = "default"
"""The source of a setting that nobody chose."""


LEFT_OUT = "; it is left out"

MAX_TABLE_DEPTH = 4
"""Tables in tables that are looked into for keys. Known keys lie in one."""

MAX_KEY_PARTS = 64
"""Parts of a dotted key. The time and memory that it takes to read one grow with their square."""

_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
DEEP_KEY = re.compile(rf"(?<![\w.-]){_PART}(?:[ \t]*\.[ \t]*{_PART}){{{MAX_KEY_PARTS}}}")
"""More parts with points between them, in a key or in a string: no setting has such a value."""


class ConfigError(ValueError):
    """A setting is unknown, or its value is wrong; the text names the source."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and the source of each."""

    settings: Settings
    sources: Mapping[str, str]
    """By field: DEFAULT, a path, a variable or a flag."""
    remarks: tuple[str, ...] = ()
    """Entries of lists of nodes that are left out, with their fault, and settings that have no
    effect, each with its source."""


class Given(NamedTuple):
    """A value that somebody chose, and its source."""

    field: str
    value: Any
    source: str


def load(
    flags: Mapping[str, str | bool], environ: Mapping[str, str], file: str | None = None
) -> Loaded:
    """The settings that apply; ConfigError names a wrong one and its source.

    `flags` are by field. `file` is the one that `--config` names; without it WAKUMAIL_CONFIG may
    name one, otherwise no file is read.
    """
    file = file or environ.get(FILE_VARIABLE)
    left_out: list[str] = []
    path = Path(file) if file else None
    of_file = read_file(path, left_out) if path else ()
    values: dict[str, Any] = {}
    sources = {setting.field: DEFAULT for setting in SETTINGS}
    for given in chain(of_file, read_environment(environ, left_out), read_flags(flags, left_out)):
        values[given.field] = given.value
        sources[given.field] = given.source
    try:
        settings = Settings(**values)
    except Contradiction as error:
        places = dict.fromkeys(sources[f] for f in error.fields if sources[f] != DEFAULT)
        raise ConfigError(f"{error} ({', '.join(places)})") from None
    keys = {setting.field: f"{path}: {setting.key}" for setting in SETTINGS}
    idle = (
        f"{keys[field] if sources[field] == str(path) else sources[field]}: {why}"
        for field, why in unused(settings)
    )
    return Loaded(settings, sources, (*left_out, *idle))


def check_file(path: Path) -> tuple[list[str], list[str]]:
    """Sentences on a TOML file, with the keys: its faults, and the settings that have no effect.

    Settings elsewhere do not count.
    """
    faults: list[str] = []
    left_out: list[str] = []
    idle: list[str] = []
    keys = {setting.field: setting.key for setting in SETTINGS}
    try:
        settings = Settings(**{g.field: g.value for g in read_file(path, left_out, faults)})
        idle += (f"{path}: {keys[field]}: {why}" for field, why in unused(settings))
    except ConfigError as error:
        return [str(error)], []
    except Contradiction as error:
        for each in (error, *error.others):
            faults.append(f"{path}: {', '.join(keys[field] for field in each.fields)}: {each}")
    return [*faults, *left_out], idle


def read_file(path: Path, left_out: list[str], faults: list[str] | None = None) -> Iterator[Given]:
    """The settings in a TOML file. The first fault is a ConfigError, unless `faults` takes them.

    A file that cannot be read, or is no TOML, is a ConfigError in any case.
    """
    try:
        text = read_edited(path)
        if DEEP_KEY.search(text):
            raise ValueError("nested too deep")
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deep") from None
    known = {setting.key: setting for setting in SETTINGS}
    for key, value in flatten(document):
        try:
            given = _read_entry(path, key, value, known, left_out)
        except ConfigError as error:
            if faults is None:
                raise
            faults.append(str(error))
        else:
            yield given


def read_environment(environ: Mapping[str, str], left_out: list[str]) -> Iterator[Given]:
    """The settings in the variables that begin with PREFIX."""
    known = {setting.variable: setting for setting in SETTINGS}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable not in known:
            meant = nearest(variable, known)
            raise ConfigError(f"unknown variable {variable}, the nearest known one is {meant}")
        yield _read_text(known[variable], text, variable, left_out)


def read_flags(flags: Mapping[str, str | bool], left_out: list[str]) -> Iterator[Given]:
    """The settings on the command line; a flag without a value is True or False."""
    for setting in SETTINGS:
        match flags.get(setting.field):
            case bool(value):
                source = setting.flag if value else setting.negated_flag
                yield Given(setting.field, value, source)
            case str(text):
                yield _read_text(setting, text, setting.flag, left_out)


def flatten(
    document: Mapping[str, Any], prefix: str = "", depth: int = MAX_TABLE_DEPTH
) -> Iterator[tuple[str, Any]]:
    """The values of a TOML document with dotted keys; tables below MAX_TABLE_DEPTH are values."""
    for name, value in document.items():
        key = f"{prefix}{name}"
        if depth and isinstance(value, dict) and (value or key in SECTIONS):
            yield from flatten(value, f"{key}.", depth - 1)
        else:
            yield key, value


def nearest(name: str, known: Mapping[str, Setting]) -> str:
    """The known name that is most similar."""
    return get_close_matches(name, known, 1, cutoff=0.0)[0]


def _read_entry(
    path: Path, key: str, value: Any, known: Mapping[str, Setting], left_out: list[str]
) -> Given:
    if key not in known:
        meant = f"{key}.enabled" if key in SECTIONS else nearest(key, known)
        raise ConfigError(f"{path}: unknown key {key!r}, the nearest known one is {meant!r}")
    faults: list[str] = []
    try:
        given = Given(known[key].field, known[key].read_toml(value, faults), str(path))
    except ValueError as error:
        raise ConfigError(f"{path}: {key}: {error}") from None
    left_out += (f"{path}: {key}: {fault}{LEFT_OUT}" for fault in faults)
    return given


def _read_text(setting: Setting, text: str, source: str, left_out: list[str]) -> Given:
    faults: list[str] = []
    try:
        given = Given(setting.field, setting.read_text(text, faults), source)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    left_out += (f"{source}: {fault}{LEFT_OUT}" for fault in faults)
    return given
