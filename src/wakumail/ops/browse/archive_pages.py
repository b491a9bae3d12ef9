"""The pages of an archive: its days, the topics of a day, envelopes, one envelope.

Links are relative to the page /, wherever that is.
"""

import time
from base64 import b64encode
from collections.abc import Sequence

from wakumail.archive.results import Day, Stat
from wakumail.base.text import counted, utc
from wakumail.ops.browse.archive_reading import Listing
from wakumail.ops.markup import Content, Markup, element, join
from wakumail.waku.envelope import Envelope
from wakumail.waku.waku2_message import content_topic, envelope_message_hash

MAX_SHOWN = 4096
"""Bytes of an envelope's data that its page shows as hexadecimal digits."""

MAX_OPENED_IN_LISTS = 8192
"""Bytes of an envelope's data up to which a list holds it, so that the browser can open it."""

SHORT_HASH = 12
"""Digits of a hash in a list."""

ROW_BYTES = 32
"""Bytes in a line of data."""


def days_page(stat: Stat, days: list[Day]) -> Markup:
    """The page /: totals, and a line for each day, the newest first."""
    most = max((day.envelopes for day in days), default=0)
    rows = [
        [
            link(f"day/{date(day.start)}", date(day.start)),
            number(day.envelopes),
            number(day.bytes),
            number(day.topics),
            element("meter", value=day.envelopes, max=most, aria_label="share of the largest day"),
        ]
        for day in reversed(days)
    ]
    ends = [None if at is None else utc(at) for at in (stat.oldest, stat.newest)]
    facts = [
        ("envelopes", number(stat.envelopes)),
        ("bytes", number(stat.bytes)),
        ("oldest", ends[0] or "none"),
        ("newest", ends[1] or "none"),
    ]
    columns = ["day (UTC)", "#envelopes", "#bytes", "#topics", "-"]
    return page(
        "Archive",
        "",
        card(fact_list(facts)),
        card(element("h2", "Search"), search_form()),
        card(
            element("h2", "Days"),
            table(columns, rows) if rows else element("p", "The archive is empty."),
        ),
    )


def day_page(day: Day, topics: list[tuple[bytes, int]]) -> Markup:
    """The page of a day: its topics, those with the most envelopes first."""
    of_day = f"day={date(day.start)}"
    rows = [
        [
            link(f"../topic/{topic.hex()}?{of_day}", topic.hex(), class_="hex"),
            number(envelopes),
            element("meter", value=envelopes, max=topics[0][1], aria_label="share"),
        ]
        for topic, envelopes in topics
    ]
    facts = [
        ("envelopes", number(day.envelopes)),
        ("bytes", number(day.bytes)),
        ("topics", number(day.topics)),
    ]
    rest = day.topics - len(topics)
    return page(
        date(day.start),
        "../",
        card(
            fact_list(facts),
            element("p", link(f"../topic/all?{of_day}", "All envelopes of the day")),
        ),
        card(
            element("h2", "Topics by envelopes"),
            table(["topic", "#envelopes", "-"], rows),
            element("p", f"{rest:,} more topics have fewer envelopes.") if rest > 0 else None,
        ),
    )


def listing_page(
    topic: bytes | None, day: int | None, listing: Listing, *, continued: bool
) -> Markup:
    """Envelopes of a topic, or of all; those of a day, or of all days. The newest first."""
    name = "all" if topic is None else topic.hex()
    title = "All envelopes" if topic is None else f"Topic {name}"
    rows = [
        [
            link(f"../envelope/{name_of(envelope)}", utc(envelope.created)),
            *([element("span", envelope.topic.hex(), class_="hex")] if topic is None else []),
            element("span", envelope.hash.hex()[:SHORT_HASH] + "…", class_="hex"),
            number(len(envelope.rlp)),
            sealed(envelope, MAX_OPENED_IN_LISTS),
        ]
        for envelope in listing.envelopes
    ]
    columns = ["created", *(["topic"] if topic is None else []), "~hash", "#~bytes", "message"]
    of_day = "" if day is None else f"day={date(day)}"
    links = []
    if continued:
        links.append(link(f"{name}?{of_day}", "Newest"))
    if listing.place:
        links.append(link(f"{name}?{of_day}&after={listing.place.hex()}", "Older"))
    return page(
        title if day is None else f"{title}, {date(day)}",
        "../",
        card(
            element("p", "Content topic: ", element("code", content_topic(topic)))
            if topic is not None
            else None,
            element("p", link(f"{name}?", "On all days")) if of_day else None,
            opening_form(topic),
        ),
        card(
            table(columns, rows) if rows else element("p", "No envelope here."),
            element("nav", *links) if links else None,
        ),
    )


def envelope_page(envelope: Envelope) -> Markup:
    """An envelope with every field."""
    shown = envelope.data[:MAX_SHOWN]
    lines = [
        f"{start:06x}  {shown[start : start + ROW_BYTES].hex(' ', 4)}"
        for start in range(0, len(shown), ROW_BYTES)
    ]
    rest = len(envelope.data) - len(shown)
    topic = envelope.topic.hex()
    facts = [
        ("created", f"{utc(envelope.created)} ({envelope.created})"),
        ("expiry", f"{utc(envelope.expiry)} ({envelope.expiry})"),
        ("ttl", counted(envelope.ttl, "second")),
        ("topic", link(f"../topic/{topic}", topic, class_="hex")),
        ("content topic", element("code", content_topic(envelope.topic))),
        ("hash", element("code", envelope.hash.hex())),
        ("message hash", element("code", envelope_message_hash(envelope).hex())),
        ("nonce", number(envelope.nonce)),
        ("PoW", f"{envelope.pow:.6g}"),
        ("size", counted(len(envelope.rlp), "byte")),
        ("data", counted(len(envelope.data), "byte")),
    ]
    return page(
        f"Envelope {envelope.hash.hex()[:SHORT_HASH]}…",
        "../",
        card(fact_list(facts)),
        card(
            element("h2", "Message"),
            opening_form(envelope.topic),
            element("p", sealed(envelope, len(envelope.data))),
        ),
        card(
            element("h2", "Data"),
            element("pre", "\n".join(lines), tabindex=0),
            element("p", f"{counted(rest, 'byte')} more are not shown.") if rest else None,
        ),
    )


def error_page(status: int, reason: str, root: str) -> Markup:
    """The page of a request that failed."""
    return page(f"Error {status}", root, card(element("p", reason)), card(search_form(root)))


# -- parts --------------------------------------------------------------------------------------


def page(title: str, root: str, *content: Content) -> Markup:
    """A whole page; `root` leads from it to the page /."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · wakumail"),
        element("link", rel="stylesheet", href=f"{root}page.css"),
        element("link", rel="stylesheet", href=f"{root}style.css"),
        element("script", src=f"{root}open.js", type="module"),
    )
    home = element("p", link(root or "./", "wakumail archive"), class_="name")
    body = element(
        "body",
        element("header", home, element("h1", title)),
        element("main", *content),
    )
    return join(Markup("<!doctype html>\n"), element("html", head, body, lang="en"))


def card(*content: Content) -> Markup:
    """A part of a page."""
    return element("section", *content, class_="card")


def search_form(root: str = "") -> Markup:
    """The form that leads to a topic."""
    field = element(
        "input", name="topic", id="topic", required=True, maxlength=200, autocomplete="off"
    )
    return element(
        "form",
        element("label", "Topic (eight hexadecimal digits) or name of a public chat", for_="topic"),
        field,
        element("button", "Show"),
        action=f"{root}find",
        method="get",
    )


def opening_form(topic: bytes | None) -> Markup:
    """The form for a key: the script shows it, and opens messages without the server.

    Without a script the page tells the command instead.
    """
    chosen = "" if topic is None else f" --topic {topic.hex()}"
    command = f"wakumail archive export --datadir DIR --json{chosen} --message-password TEXT"
    return join(
        element(
            "form",
            element("label", "Password, name of a public chat, or 64 digits of a key", for_="key"),
            element("input", id="key", type="password", autocomplete="off", required=True),
            element("button", "Open"),
            element("button", "Forget", type="button", id="forget", hidden=True),
            element("output", id="told", for_="key"),
            id="opening",
            hidden=True,
        ),
        element(
            "noscript",
            element("p", "Messages are opened on the command line: ", element("code", command)),
        ),
    )


def sealed(envelope: Envelope, limit: int) -> Markup:
    """The place of the message of an envelope, with its data if the browser may open it."""
    if len(envelope.data) > limit:
        return element("span", "too large for a list", class_="sealed")
    data = b64encode(envelope.data).decode()
    return element("span", "sealed", class_="sealed", data_sealed=data)


def table(columns: list[str], rows: Sequence[Sequence[Content]]) -> Markup:
    """A table; a column `#name` holds numbers, `~name` is for wide screens, `#~name` both.

    `-` stands for a column without a name.
    """
    marks = {"#": "number", "~": "roomy"}
    kinds = [" ".join(marks[m] for m in column[:2] if m in marks) or None for column in columns]
    head = [
        element("th", column.strip("#~-"), scope="col", class_=kind)
        for column, kind in zip(columns, kinds, strict=True)
    ]
    body = [
        element("tr", [element("td", c, class_=k) for c, k in zip(row, kinds, strict=True)])
        for row in rows
    ]
    whole = element("table", element("thead", element("tr", head)), element("tbody", body))
    return element("div", whole, class_="scroll", tabindex=0)


def fact_list(facts: Sequence[tuple[str, Content]]) -> Markup:
    """Names with their values."""
    return element("dl", [join(element("dt", name), element("dd", value)) for name, value in facts])


def link(to: str, text: str, class_: str | None = None) -> Markup:
    """A link."""
    return element("a", text, href=to, class_=class_)


def number(value: int) -> str:
    """A number with separators."""
    return f"{value:,}"


def date(seconds: int) -> str:
    """The day of Unix seconds."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def name_of(envelope: Envelope) -> str:
    """The name of an envelope in an address: its item, in hexadecimal digits."""
    return f"{envelope.created:08x}{envelope.hash.hex()}"
