"""One setting: its name in each source, how its value is read, and how it is shown."""

from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

Plain: TypeAlias = bool | int | float | str | list["Plain"]
"""The values that TOML and JSON can hold."""

PREFIX = "WAKUMAIL_"
"""The beginning of every environment variable of ours."""

SECTIONS = ("discovery", "rate", "http", "ws", "ipc", "rpc", "store", "metrics", "log")
"""The tables of the file; a field `http_addr` is `http.addr`."""

TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a table",
}


class Reload(StrEnum):
    """The servers that take a new value of a setting at SIGHUP, while they run."""

    YES = "yes"
    """All of them."""
    WORKERS = "workers"
    """Those with several workers: each is replaced."""
    ALONE = "alone"
    """Those without."""
    NO = "no"
    """None: it needs a restart."""


class Kind(NamedTuple):
    """A kind of value: how it is written and read."""

    metavar: str
    parse: Callable[[str], Any]
    """Reads the value from a text; a ValueError names what is wrong with it."""
    types: tuple[type, ...] = (str,)
    """The types that it may have in TOML."""
    needs_item: bool = False
    """True if a list without items would turn off what it is for."""
    leaves_out: bool = False
    """True if a malformed item of a list is left out and told, and the others kept."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting; `field` is its name in Settings."""

    field: str
    default: Any
    explanation: str
    kind: Kind
    metavar: str
    secret: bool
    reload: Reload

    def reloads(self, *, workers: bool) -> bool:
        """True if a server takes a new value at SIGHUP. `workers`: it has several."""
        return self.reload in (Reload.YES, Reload.WORKERS if workers else Reload.ALONE)

    @property
    def name(self) -> str:
        """Its name: `http.addr`."""
        section, _, rest = self.field.partition("_")
        return f"{section}.{rest}" if section in SECTIONS and rest else self.field

    @property
    def key(self) -> str:
        """Its key in a TOML file, with the table: `http.addr`, and `http.enabled` for `http`."""
        return f"{self.field}.enabled" if self.field in SECTIONS else self.name

    @property
    def flag(self) -> str:
        """Its flag: `--http.addr`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def negated_flag(self) -> str:
        """The flag that turns it off: `--no-http`."""
        return f"--no-{self.flag.removeprefix('--')}"

    @property
    def variable(self) -> str:
        """Its environment variable: `WAKUMAIL_HTTP_ADDR`."""
        return f"{PREFIX}{self.field.upper()}"

    @property
    def is_list(self) -> bool:
        """True if it is a list of values."""
        return isinstance(self.default, tuple)

    def read_text(self, text: str, faults: list[str] | None = None) -> Any:
        """The value in a flag or variable; a list is separated by commas. ValueError.

        `faults` takes the faults of items that are left out; None refuses those too.
        """
        if not self.is_list:
            return self.kind.parse(text)
        items = text.split(",") if text.strip() else ()
        return self._read_each((item.strip() for item in items), self.kind.parse, faults)

    def read_toml(self, value: object, faults: list[str] | None = None) -> Any:
        """The value in a TOML file; ValueError if it is of another type, or wrong.

        `faults` takes the faults of items that are left out; None refuses those too.
        """
        if not self.is_list:
            return self._read_item(value)
        if not isinstance(value, list):
            raise ValueError(f"a list is expected, not {type_name(value)}")
        return self._read_each(value, self._read_item, faults)

    def _read_each(
        self, items: Iterable[Any], read: Callable[[Any], Any], faults: list[str] | None
    ) -> tuple[Any, ...]:
        result = []
        for number, item in enumerate(items, 1):
            try:
                result.append(read(item))
            except ValueError as error:
                if faults is None or not self.kind.leaves_out:
                    raise ValueError(f"item {number}: {error}") from None
                faults.append(f"item {number}: {error}")
        if self.kind.needs_item and not result:
            raise ValueError("it is empty")
        return tuple(result)

    def _read_item(self, item: object) -> Any:
        """Every type is read from its text, so that one check serves all sources."""
        if type(item) not in self.kind.types:
            expected = TYPE_NAMES[self.kind.types[0]]
            raise ValueError(f"{expected} is expected, not {type_name(item)}")
        return self.kind.parse(str(item).lower() if isinstance(item, bool) else str(item))


def setting(
    default: T,
    explanation: str,
    kind: Kind,
    metavar: str | None = None,
    *,
    secret: bool = False,
    reload: Reload = Reload.WORKERS,
) -> T:
    """A field of Settings: default, explanation, kind, and the placeholder of its value.

    A secret is shown on demand only.
    """
    metadata = {
        "explanation": explanation,
        "kind": kind,
        "metavar": metavar or kind.metavar,
        "secret": secret,
        "reload": reload,
    }
    return field(default=default, metadata=metadata, repr=not secret)


def describe(item: "Field[Any]") -> Setting:
    """The setting of a field of Settings."""
    return Setting(item.name, item.default, **item.metadata)


def plain(value: Any) -> Plain | None:
    """A value as TOML and JSON can hold it; `read_toml` reads it back."""
    match value:
        case None | bool() | int() | float():
            return value
        case tuple():
            return [item for entry in value if (item := plain(entry)) is not None]
        case bytes():
            return value.hex()
        case _:
            return str(value)


def type_name(value: object) -> str:
    """The type of a value in a file, for a person."""
    return TYPE_NAMES.get(type(value), type(value).__name__)
