"""`wakumail request`: ask a mailserver for history, and open the messages in it."""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import uvloop

from wakumail.archive.datadir import read_enodes
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
from wakumail.devp2p.enode import Enode
from wakumail.mail.answer import HistoryPage
from wakumail.mail.mailservers import WINDOW, mailservers
from wakumail.mail.request import MAX_LIMIT, Form
from wakumail.waku.envelope import MAX_TIME
from wakumail.waku.message import DEFAULT_PASSWORD
from wakumail.waku.topics import public_chat_topic

DEFAULT_AGE = 24 * 3600
"""Seconds of history to ask for without --from."""


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
    """Add the mailservers, and the options of how to ask them."""
    parser.add_argument(
        "enodes", type=parse_enode, nargs="*", metavar="ENODE", help="enode:// URL of a mailserver"
    )
    parser.add_argument(
        "--mailservers",
        type=option(lambda name: read_enodes(Path(name))),
        metavar="FILE",
        help="file with more mailservers: a JSON list of enode:// URLs",
    )
    parser.add_argument(
        "--fastest",
        action="store_true",
        help="ask the mailserver that answers first, not the first in the list",
    )
    add_timeout(parser)
    parser.add_argument(
        "--form",
        type=str.upper,
        choices=[form.name for form in Form],
        default=Form.R3.name,
        help="form of the request (default: %(default)s, that of status-go)",
    )
    parser.add_argument(
        "--password", default=DEFAULT_PASSWORD, metavar="TEXT", help="password of the mailservers"
    )
    parser.add_argument(
        "--asymmetric", action="store_true", help="seal for the mailserver's node key instead"
    )


def add_wanted(parser: argparse.ArgumentParser) -> None:
    """Add the options of the history that is wanted."""
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
        "--cursor",
        type=parse_hex,
        default=b"",
        metavar="HEX",
        help="continue after an earlier page",
    )
    parser.add_argument(
        "--all", action="store_true", help="fetch every page, the newest first, one day at a time"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, write, report."""
    if arguments.mailservers is not None:
        arguments.enodes = [*arguments.enodes, *arguments.mailservers.enodes]
        for sentence in arguments.mailservers.left_out:
            print(f"wakumail request: {sentence}", file=sys.stderr)
    arguments.topics = [*arguments.topics, *map(public_chat_topic, arguments.chats)]
    check(arguments)
    uvloop.run(request(arguments))
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if not arguments.enodes:
        arguments.usage_error("give at least one ENODE, or --mailservers")
    if not 1 <= arguments.limit <= MAX_LIMIT:
        arguments.usage_error(f"--limit is from 1 to {MAX_LIMIT}")
    if arguments.cursor and len(arguments.enodes) > 1:
        arguments.usage_error("--cursor needs a single ENODE, the one that gave it")
    if arguments.json and arguments.out == "-":
        arguments.usage_error("--json and --out - both write to stdout")
    if None not in (arguments.lower, arguments.upper) and arguments.lower > arguments.upper:
        arguments.usage_error("--from is later than --to")
    if not arguments.topics and not arguments.bloom:
        arguments.usage_error("give at least one --topic or --chat, or a --bloom")


async def request(arguments: argparse.Namespace) -> None:
    """Fetch one page, or all."""
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
    """The file of the dump; None without --out."""
    return nullcontext() if name is None else open_binary(name, "wb")


def lines(page: HistoryPage, *, unopened: bool) -> Iterator[str]:
    """A line for each message and, if `unopened`, for each envelope that no key opened."""
    for envelope, message in zip(page.envelopes, page.messages, strict=True):
        if unopened or message is not None:
            yield line(envelope, message)


class HistoryReport:
    """The totals of the pages; if `listing`, also a list of their content."""

    def __init__(self, *, listing: bool) -> None:
        self._listing = listing
        self._pages = self._envelopes = self._foreign = self._opened = 0
        self._last: HistoryPage
        self._messages: list[dict[str, Any]] = []
        self._unopened: list[dict[str, Any]] = []

    def add(self, page: HistoryPage) -> None:
        """Count a page, and list its content."""
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
        """The totals for a program; `mailserver` is the one that answered if there were several."""
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
        """The totals for a person."""
        answered = f"{counted(self._envelopes, 'envelope')} in {counted(self._pages, 'page')}"
        opened = f", {self._opened} opened" if self._opened else ""
        more = f"; more with --cursor {self._last.cursor.hex()}" if self._last.cursor else ""
        return answered + opened + more
