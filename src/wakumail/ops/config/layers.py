"""The sources of settings: a TOML file, the environment, flags; each overrides those before it."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from wakumail.ops.config.setting import PREFIX, SECTIONS, Setting
from wakumail.ops.config.settings import SETTINGS, Contradiction, Settings

FILE_VARIABLE = f"{PREFIX}CONFIG"
"""The variable that names the file if no flag does."""

DEFAULT = "default"
"""The source of a setting that nobody chose."""


class ConfigError(ValueError):
    """A setting is unknown, or its value is wrong; the text names the source."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and the source of each."""

    settings: Settings
    sources: Mapping[str, str]
    """By field: DEFAULT, a path, a variable or a flag."""


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
    of_file = read_file(Path(file)) if file else ()
    values: dict[str, Any] = {}
    sources = {setting.field: DEFAULT for setting in SETTINGS}
    for given in chain(of_file, read_environment(environ), read_flags(flags)):
        values[given.field] = given.value
        sources[given.field] = given.source
    try:
        settings = Settings(**values)
    except Contradiction as error:
        places = dict.fromkeys(sources[f] for f in error.fields if sources[f] != DEFAULT)
        raise ConfigError(f"{error} ({', '.join(places)})") from None
    return Loaded(settings, sources)


def read_file(path: Path) -> Iterator[Given]:
    """The settings in a TOML file."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    known = {setting.key: setting for setting in SETTINGS}
    for key, value in flatten(document):
        if key not in known:
            meant = f"{key}.enabled" if key in SECTIONS else nearest(key, known)
            raise ConfigError(f"{path}: unknown key {key!r}, the nearest known one is {meant!r}")
        try:
            yield Given(known[key].field, known[key].read_toml(value), str(path))
        except ValueError as error:
            raise ConfigError(f"{path}: {key}: {error}") from None


def read_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """The settings in the variables that begin with PREFIX."""
    known = {setting.variable: setting for setting in SETTINGS}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable not in known:
            meant = nearest(variable, known)
            raise ConfigError(f"unknown variable {variable}, the nearest known one is {meant}")
        yield _read_text(known[variable], text, variable)


def read_flags(flags: Mapping[str, str | bool]) -> Iterator[Given]:
    """The settings on the command line; a flag without a value is True or False."""
    for setting in SETTINGS:
        match flags.get(setting.field):
            case bool(value):
                source = setting.flag if value else setting.negated_flag
                yield Given(setting.field, value, source)
            case str(text):
                yield _read_text(setting, text, setting.flag)


def flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a TOML document with its dotted key."""
    for name, value in document.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and (value or key in SECTIONS):
            yield from flatten(value, f"{key}.")
        else:
            yield key, value


def nearest(name: str, known: Mapping[str, Setting]) -> str:
    """The known name that is most similar."""
    return get_close_matches(name, known, 1, cutoff=0.0)[0]


def _read_text(setting: Setting, text: str, source: str) -> Given:
    try:
        return Given(setting.field, setting.read_text(text), source)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
