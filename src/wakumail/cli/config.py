"""`wakumail config`: show the settings, check a file of them, or import those of status-go."""

import argparse
import codecs
import os
import sys
from argparse import BooleanOptionalAction
from collections.abc import Iterable, Iterator
from pathlib import Path

from wakumail.base.edited_file import MAX_EDITED_FILE
from wakumail.base.regular_file import read_regular
from wakumail.cli.named_files import read_whole
from wakumail.cli.options import Subparsers, add_json, print_json
from wakumail.cli.setting_groups import GROUPS, group_of
from wakumail.ops.config.layers import FILE_VARIABLE, ConfigError, Loaded, check_file, load
from wakumail.ops.config.setting import Setting, plain
from wakumail.ops.config.settings import SETTINGS
from wakumail.ops.config.statusgo_config import Translation
from wakumail.ops.config.toml import Line, document


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="show|check|import")
    add_show(actions)
    add_check(actions)
    add_import(actions)


def add_show(actions: Subparsers) -> None:
    """Add `config show`."""
    explanation = "print every setting as TOML, with the source of its value"
    parser = actions.add_parser("show", help=explanation, description=explanation)
    add_flags(parser)
    add_json(parser)
    parser.add_argument("--secrets", action="store_true", help="print passwords and keys too")
    parser.set_defaults(run=show)


def show(arguments: argparse.Namespace) -> int:
    """Print the settings that `wakumail serve` would run with."""
    loaded = load_settings(arguments)
    for sentence in loaded.remarks:
        print(f"wakumail config: {sentence}", file=sys.stderr)
    if arguments.json:
        print_json({s.name: entry(s, loaded, arguments.secrets) for s in SETTINGS})
    else:
        print(document(lines(loaded, arguments.secrets)), end="")
    return 0


def entry(setting: Setting, loaded: Loaded, secrets: bool) -> dict[str, object]:
    """A setting in JSON; for a secret only `is_set`."""
    value = plain(getattr(loaded.settings, setting.field))
    source = loaded.sources[setting.field]
    if setting.secret and not secrets:
        return {"is_set": value is not None, "source": source}
    return {"value": value, "source": source}


def lines(loaded: Loaded, secrets: bool) -> Iterator[Line]:
    """Each setting in TOML; for a secret only that it is set, or not."""
    for setting in SETTINGS:
        value = plain(getattr(loaded.settings, setting.field))
        source = loaded.sources[setting.field]
        if value is None:
            yield Line(setting.key, None, f"not set ({source})")
        elif setting.secret and not secrets:
            yield Line(setting.key, None, f"set ({source}), --secrets shows it")
        else:
            yield Line(setting.key, value, source)


def add_check(actions: Subparsers) -> None:
    """Add `config check`."""
    explanation = "tell each unknown key, wrong value, conflict and idle setting in a file"
    parser = actions.add_parser(
        "check",
        help=explanation,
        description=f"{explanation}. A status-go configuration is told what each key becomes of"
        " that has no counterpart. The exit code is 1 if there is a fault.",
    )
    parser.add_argument("file", metavar="FILE", help="TOML of wakumail, or JSON of status-go")
    parser.set_defaults(run=check)


def check(arguments: argparse.Namespace) -> int:
    """A line for each fault, and for each setting that has no effect; 1 if there is a fault."""
    path = Path(arguments.file)
    text = read_regular(path)
    if text.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        translation = translate(text, arguments.file)
        told, faults = [f"{path}: {each}" for each in translation.remarks], translation.faults
    else:
        faults, idle = check_file(path)
        told = [*faults, *idle]
    for line in told:
        print(line)
    if not told:
        print(f"{path}: no fault")
    return 1 if faults else 0


def add_import(actions: Subparsers) -> None:
    """Add `config import`."""
    explanation = "turn the JSON configuration of a status-go node into TOML"
    parser = actions.add_parser("import", help=explanation, description=explanation)
    parser.add_argument("file", metavar="FILE", help="the JSON file; - is stdin")
    parser.add_argument(
        "--out", metavar="FILE", help="write to a new file, mode 0600, instead of stdout"
    )
    parser.set_defaults(run=import_)


def import_(arguments: argparse.Namespace) -> int:
    """Translate; the file and stderr list what is left out."""
    text = read_whole(arguments.file, MAX_EDITED_FILE)
    translation = translate(text, arguments.file)
    for remark in translation.remarks:
        print(f"wakumail config: {remark}", file=sys.stderr)
    if arguments.out is None:
        print(translation, end="")
    else:
        # It may hold a password and a node key.
        descriptor = os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as target:
            target.write(str(translation))
    return 0


def translate(text: bytes, name: str) -> Translation:
    """The translation of a status-go configuration; ValueError names the file."""
    try:
        return Translation(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def add_flags(parser: argparse.ArgumentParser, settings: Iterable[Setting] = SETTINGS) -> None:
    """Add a flag for each of these settings, in groups, and `--config`."""
    parser.add_argument(
        "--config", metavar="FILE", help=f"TOML file with settings (default: ${FILE_VARIABLE})"
    )
    groups = {title: parser.add_argument_group(title) for title in GROUPS}
    for setting in settings:
        group = groups[group_of(setting)]
        if isinstance(setting.default, bool):
            group.add_argument(
                setting.flag,
                dest=setting.field,
                action=BooleanOptionalAction,
                default=None,
                help=explain(setting),
            )
        else:
            group.add_argument(
                setting.flag, dest=setting.field, metavar=metavar(setting), help=explain(setting)
            )


def load_settings(arguments: argparse.Namespace) -> Loaded:
    """The settings; exits with code 2, as argparse does, if one is wrong."""
    try:
        return load(vars(arguments), os.environ, arguments.config)
    except ConfigError as error:
        told = f"wakumail {arguments.command}: {error}; see wakumail serve --help"
        print(told, file=sys.stderr)
        raise SystemExit(2) from None


def metavar(setting: Setting) -> str:
    """The placeholder of a value in the help; a list is separated by commas."""
    return f"{setting.metavar}[,...]" if setting.is_list else setting.metavar


def explain(setting: Setting) -> str:
    """The help of a flag, with its default."""
    if setting.default is None or "(default:" in setting.explanation:
        return setting.explanation
    match plain(setting.default):
        case bool(value):
            default = "on" if value else "off"
        case list(items):
            default = ",".join(map(str, items)) or "none"
        case value:
            default = str(value)
    return f"{setting.explanation} (default: {default})"
