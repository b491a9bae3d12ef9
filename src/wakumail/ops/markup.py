"""HTML elements as text. Whatever is not markup already is escaped."""

from collections.abc import Sequence
from html import escape
from typing import TypeAlias

VOID = {"input", "link", "meta"}
"""Elements without content, which have no end tag."""


class Markup(str):
    """A piece of HTML."""

    __slots__ = ()


Content: TypeAlias = "Markup | str | int | Sequence[Content] | None"


def element(tag: str, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """An element; `class_` and `data_x` are the attributes class and data-x.

    An attribute of False or None is left out, one of True has no value.
    """
    words = [tag]
    for name, value in attributes.items():
        if value is True:
            words.append(attribute_name(name))
        elif value is not None and value is not False:
            words.append(f'{attribute_name(name)}="{escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if tag in VOID else f"{start}{join(*content)}</{tag}>")


def attribute_name(name: str) -> str:
    """The name of an attribute."""
    return name.rstrip("_").replace("_", "-")


def join(*content: Content) -> Markup:
    """Pieces one after another."""
    return Markup("".join(map(_text, content)))


def _text(content: Content) -> str:
    match content:
        case None:
            return ""
        case Markup():
            return content
        case str() | int():
            return escape(str(content))
        case _:
            return join(*content)
