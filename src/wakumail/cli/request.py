"""`wakumail request`: ask a mailserver for history, and open the messages in it."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import uvloop

from wakumail.cli.options import (
    add_json,
    add_message_keys,
    add_timeout,
    add_topics,
    counted,
    load_message_keys,
    open_binary,
    option,
    parse_bloom,
    parse_enode,
    parse_hex,
    parse_time,
    print_json,
    progress,
)
from wakumail.cli.printing import entry, line, message_entry
from wakumail.devp2p.enode import Enode, read_enodes
from wakumail.mail.answer import HistoryPage
from wakumail.mail.mailservers import WINDOW, mailservers
from wakumail.mail.request import MAX_LIMIT, Form
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.message import DEFAULT_PASSWORD
from wakumail.waku.topics import public_chat_topic

DEFAULT_AGE = 24 * 3600
"""Seconds of history that are asked for when --from does not say."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    add_mailservers(parser)
    add_wanted(parser)
    add_topics(parser)
    add_message_keys(parser)
    parser.add_argument("--out", metavar="FILE", help="write a dump of the envelopes; - is stdout")
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def add_mailservers(parser: argparse.ArgumentParser) -> None:
    """Whom to ask, and how."""
    parser.add_argument(
        "enodes", type=parse_enode, nargs="*", metavar="ENODE", help="enode:// URL of a mailserver"
    )
    parser.add_argument(
        "--mailservers",
        type=option(lambda name: read_enodes(Path(name))),
        default=[],
        metavar="FILE",
        help="more of them: a JSON list of enode:// URLs",
    )
    parser.add_argument(
        "--fastest",
        action="store_true",
        help="ask the mailserver that answers first, not the one that stands first",
    )
    add_timeout(parser)
    parser.add_argument(
        "--form",
        type=str.upper,
        choices=[form.name for form in Form],
        default=Form.R3.name,
        help="dialect of the request (default: %(default)s, status-go's)",
    )
    parser.add_argument(
        "--password", default=DEFAULT_PASSWORD, metavar="TEXT", help="the mailservers'"
    )
    parser.add_argument(
        "--asymmetric", action="store_true", help="seal for the mailserver's node key instead"
    )


def add_wanted(parser: argparse.ArgumentParser) -> None:
    """What to ask for."""
    when = "Unix seconds, or an age like 24h"
    parser.add_argument(
        "--from", dest="lower", type=parse_time, metavar="TIME", help=f"{when} (default: 24h)"
    )
    parser.add_argument(
        "--to", dest="upper", type=parse_time, metavar="TIME", help=f"{when} (default: now)"
    )
    parser.add_argument(
        "--bloom",
        type=parse_bloom,
        default=b"",
        metavar="HEX",
        help="bloom filter of topics, 128 hex digits; `full` asks for every topic",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=MAX_LIMIT,
        metavar="N",
        help="envelopes per page (default: %(default)s)",
    )
    parser.add_argument(
        "--cursor", type=parse_hex, default=b"", metavar="HEX", help="go on from an earlier page"
    )
    parser.add_argument(
        "--all", action="store_true", help="ask for every page, day after day, the newest first"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, write, report."""
    arguments.enodes = [*arguments.enodes, *arguments.mailservers]
    arguments.topics = [*arguments.topics, *map(public_chat_topic, arguments.chats)]
    check(arguments)
    uvloop.run(request(arguments))
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together."""
    if not arguments.enodes:
        arguments.usage_error("give at least one ENODE, or --mailservers")
    if not 1 <= arguments.limit <= MAX_LIMIT:
        arguments.usage_error(f"--limit is from 1 to {MAX_LIMIT}")
    if arguments.cursor and len(arguments.enodes) > 1:
        arguments.usage_error("--cursor is for one ENODE: the one that gave it")
    if arguments.json and arguments.out == "-":
        arguments.usage_error("--json and --out - both want stdout")
    if not arguments.topics and not arguments.bloom:
        arguments.usage_error("give at least one --topic or --chat, or a --bloom")


async def request(arguments: argparse.Namespace) -> None:
    """Fetch the pages that were asked for."""
    keys = load_message_keys(arguments)
    lower = int(time.time()) - DEFAULT_AGE if arguments.lower is None else arguments.lower
    report = HistoryReport(listing=arguments.json and bool(keys))
    async with mailservers(
        arguments.enodes,
        fastest=arguments.fastest,
        password=None if arguments.asymmetric else arguments.password,
        answer_timeout=arguments.timeout,
    ) as servers:
        history = servers.history(
            lower=lower,
            upper=arguments.upper,
            topics=arguments.topics,
            bloom=arguments.bloom,
            limit=arguments.limit,
            cursor=arguments.cursor,
            form=Form[arguments.form],
            keys=keys,
            window=WINDOW if arguments.all else MAX_TIME,
        )
        with open_output(arguments.out) as out, progress("envelope") as bar:
            async for page in history:
                report.add(page)
                if out is not None:
                    out.writelines(envelope.rlp for envelope in page.envelopes)
                if not arguments.json and arguments.out != "-":
                    for text in lines(page, unopened=out is None):
                        bar.write(text)
                bar.update(len(page.envelopes))
                if not arguments.all:
                    break
        answered = servers.connected[0] if len(arguments.enodes) > 1 else None
    if arguments.json:
        print_json(report.result(answered))
    else:
        print(report.summary(), file=sys.stderr)


def open_output(name: str | None) -> AbstractContextManager[BinaryIO | None]:
    """Where the dump goes, if one was asked for."""
    return nullcontext() if name is None else open_binary(name, "wb")


def lines(page: HistoryPage, *, unopened: bool) -> Iterator[str]:
    """A line for each message, and for each envelope that is not opened if they are wanted."""
    for envelope, message in zip(page.envelopes, page.messages, strict=True):
        if unopened or message is not None:
            yield line(envelope, message)


class HistoryReport:
    """What came, page by page; with a list of all of it only if there is to be one."""

    def __init__(self, *, listing: bool) -> None:
        self._listing = listing
        self._pages = self._envelopes = self._foreign = self._opened = 0
        self._last: HistoryPage
        self._messages: list[dict[str, Any]] = []
        self._unopened: list[dict[str, Any]] = []

    def add(self, page: HistoryPage) -> None:
        """Count a page, and list what is in it."""
        self._last = page
        self._pages += 1
        self._envelopes += len(page.envelopes)
        self._foreign += page.foreign
        self._opened += sum(message is not None for message in page.messages)
        if self._listing:
            for envelope, message in zip(page.envelopes, page.messages, strict=True):
                if message is None:
                    self._unopened.append(entry(envelope))
                else:
                    self._messages.append(message_entry(message))

    def result(self, mailserver: Enode | None) -> dict[str, Any]:
        """For a program; with the mailserver that answered when there were several."""
        result: dict[str, Any] = {
            "envelopes": self._envelopes,
            "foreign": self._foreign,
            "pages": self._pages,
            "last_hash": self._last.last_hash,
            "cursor": self._last.cursor,
        }
        if mailserver is not None:
            result["mailserver"] = str(mailserver)
        if self._listing:
            result |= {"messages": self._messages, "unopened": self._unopened}
        return result

    def summary(self) -> str:
        """For a person."""
        answered = f"{counted(self._envelopes, 'envelope')} in {counted(self._pages, 'page')}"
        opened = f", {self._opened} opened" if self._opened else ""
        more = f"; more with --cursor {self._last.cursor.hex()}" if self._last.cursor else ""
        return answered + opened + more
