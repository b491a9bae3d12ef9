"""`wakumail request`: ask a mailserver for history, and open the messages in it."""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Self

from wakumail.base.edited_list import EditedList
from wakumail.base.main_task import run_main
from wakumail.base.text import counted
from wakumail.cli.history_listing import HistoryListing
from wakumail.cli.merge_report import MergeReport
from wakumail.cli.message_keys import add_message_keys, load_message_keys
from wakumail.cli.named_files import open_new, start_over
from wakumail.cli.options import (
    TIME_FORMS,
    add_json,
    add_topics,
    option,
    parse_bloom,
    parse_hex,
    parse_time,
    print_json,
    progress,
)
from wakumail.cli.peer_options import add_name_server, add_timeout, naming
from wakumail.cli.printing import line
from wakumail.devp2p.dns_tree import LINK_PREFIX, ListUrl
from wakumail.devp2p.enode import Enode
from wakumail.errors import WakumailError
from wakumail.mail.answer import HistoryPage
from wakumail.mail.mailservers import WINDOW, Mailservers, mailservers
from wakumail.mail.request import MAX_LIMIT, Form
from wakumail.node.messages import Key, ReceivedMessage
from wakumail.waku.envelope import MAX_TIME, Envelope
from wakumail.waku.message import DEFAULT_PASSWORD
from wakumail.waku.topics import public_chat_topic

DEFAULT_AGE = 24 * 3600
"""Seconds of history to ask for without --from."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    add_mailservers(parser.add_argument_group("mailservers"))
    add_wanted(parser.add_argument_group("history", "the envelopes that are asked for"))
    add_message_keys(parser)
    parser.add_argument("--out", metavar="FILE", help="write a dump of the envelopes; - is stdout")
    parser.add_argument("--force", action="store_true", help="overwrite an existing --out")
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def add_mailservers(parser: argparse._ActionsContainer) -> None:
    """Add the mailservers, and the options of how to ask them."""
    parser.add_argument(
        "enodes",
        type=option(parse_mailserver),
        nargs="*",
        metavar="ENODE",
        help="enode:// URL or enr: record of a mailserver, or enrtree:// URL of a list of some",
    )
    add_name_server(parser)
    parser.add_argument(
        "--mailservers",
        type=option(lambda name: EditedList.read(Path(name), Enode.parse)),
        metavar="FILE",
        help="file with more mailservers: a JSON list of enode:// URLs",
    )
    parser.add_argument(
        "--fastest",
        action="store_true",
        help="ask the mailserver that answers first, not the first in the list",
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="fetch every page of every mailserver, put them together, and say what each lacked",
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


def parse_mailserver(text: str) -> Enode | ListUrl:
    """A mailserver, or a list of some."""
    return ListUrl.parse(text) if text.startswith(LINK_PREFIX) else Enode.parse(text)


def add_wanted(parser: argparse._ActionsContainer) -> None:
    """Add the options of the history that is wanted."""
    parser.add_argument(
        "--from", dest="lower", type=parse_time, metavar="TIME", help=f"{TIME_FORMS} (default: 24h)"
    )
    parser.add_argument(
        "--to", dest="upper", type=parse_time, metavar="TIME", help=f"{TIME_FORMS} (default: now)"
    )
    parser.add_argument(
        "--bloom",
        type=parse_bloom,
        default=b"",
        metavar="HEX",
        help="bloom filter of topics, 128 hex digits; `full` asks for every topic",
    )
    add_topics(parser)
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
        arguments.enodes = [*arguments.enodes, *arguments.mailservers.items]
        for sentence in arguments.mailservers.malformed:
            print(f"wakumail request: {sentence}; it is left out", file=sys.stderr)
    arguments.topics = [*arguments.topics, *map(public_chat_topic, arguments.chats)]
    check(arguments)
    run_main(request, arguments)
    return 0


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if not arguments.enodes:
        arguments.usage_error("give at least one ENODE, or --mailservers")
    if not 1 <= arguments.limit <= MAX_LIMIT:
        arguments.usage_error(f"--limit is from 1 to {MAX_LIMIT}")
    has_list = any(isinstance(each, ListUrl) for each in arguments.enodes)
    if arguments.merge and len(set(arguments.enodes)) < 2 and not has_list:
        arguments.usage_error("--merge needs several mailservers")
    if arguments.merge and arguments.fastest:
        arguments.usage_error("--merge asks all mailservers, --fastest one of them")
    if arguments.cursor and (len(arguments.enodes) > 1 or has_list):
        arguments.usage_error("--cursor needs a single ENODE, the one that gave it")
    if arguments.json and arguments.out == "-":
        arguments.usage_error("--json and --out - both write to stdout")
    if None not in (arguments.lower, arguments.upper) and arguments.lower > arguments.upper:
        arguments.usage_error("--from is later than --to")
    if not arguments.topics and not arguments.bloom:
        arguments.usage_error("give at least one --topic or --chat, or a --bloom")


class HistoryWriter:
    """Writes envelopes to the dump, and a line of each to stdout."""

    def __init__(self, arguments: argparse.Namespace, listing: HistoryListing) -> None:
        self._shows_lines = not arguments.json and arguments.out != "-"
        self._listing = listing
        self._open = ExitStack()
        self._name: str = arguments.out
        self._out: BinaryIO | None = None
        if arguments.out is not None:
            writing = open_new(arguments.out, force=arguments.force)
            self._out = self._open.enter_context(writing)
        self._begun = False
        """True once the former content of the dump is gone: not before an answer has come."""
        self._bar = self._open.enter_context(progress("envelope"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self._begin()
        self._open.close()

    def write(
        self, envelopes: Sequence[Envelope], messages: Sequence[ReceivedMessage | None]
    ) -> None:
        """Take the envelopes of a page, and the message of each."""
        self._listing.add(envelopes, messages)
        self._begin()
        if self._out is not None:
            self._out.writelines(envelope.rlp for envelope in envelopes)
        if self._shows_lines:
            for envelope, message in zip(envelopes, messages, strict=True):
                if self._out is None or message is not None:
                    self._bar.write(line(envelope, message))
        self._bar.update(len(envelopes))

    def _begin(self) -> None:
        if self._out is not None and not self._begun:
            start_over(self._name, self._out)
        self._begun = True


class HistoryReport:
    """The pages of one history."""

    def __init__(self, listing: HistoryListing) -> None:
        self.mailserver: Enode | None = None
        """The one that answered, if there were several."""
        self.listing = listing
        self._pages = self._foreign = 0
        self._last: HistoryPage

    def add(self, page: HistoryPage) -> None:
        """Count a page."""
        self._last = page
        self._pages += 1
        self._foreign += page.foreign

    def result(self) -> dict[str, Any]:
        """The totals for a program."""
        result: dict[str, Any] = {
            "foreign": self._foreign,
            "pages": self._pages,
            "last_hash": self._last.last_hash,
            "cursor": self._last.cursor,
        }
        if self.mailserver is not None:
            result["mailserver"] = str(self.mailserver)
        return result

    def summary(self) -> str:
        """The totals for a person."""
        pages = counted(self._pages, "page")
        more = f"; more with --cursor {self._last.cursor.hex()}" if self._last.cursor else ""
        return f"{self.listing.summary(f' in {pages}')}{more}"


async def request(arguments: argparse.Namespace) -> None:
    """Fetch one page, or all, or those of all mailservers."""
    keys = load_message_keys(arguments)
    await resolve(arguments)
    listing = HistoryListing(detailed=arguments.json)
    async with AsyncExitStack() as connection:
        if len(arguments.enodes) == 1:  # the errors of several have their names
            connection.enter_context(naming(arguments.enodes[0]))
        asked = mailservers(
            arguments.enodes,
            fastest=arguments.fastest,
            password=None if arguments.asymmetric else arguments.password,
            answer_timeout=arguments.timeout,
        )
        servers = await connection.enter_async_context(asked)
        report: HistoryReport | MergeReport
        try:
            if arguments.merge:
                report = MergeReport(listing, arguments.enodes)
                await merge(arguments, servers, report, keys)
            else:
                report = HistoryReport(listing)
                await fetch(arguments, servers, report, keys)
        except (WakumailError, OSError):
            if listing.envelopes:  # what has come is told all the same
                tell(arguments, report)
            raise
    tell(arguments, report)


def tell(arguments: argparse.Namespace, report: HistoryReport | MergeReport) -> None:
    """Print the totals, and with --json the messages."""
    if arguments.json:
        print_json(report.result() | report.listing.result())
    else:
        print(report.summary(), file=sys.stderr)


async def resolve(arguments: argparse.Namespace) -> None:
    """Replace lists by mailservers that are on them, behind those that were given."""
    urls = [each for each in arguments.enodes if isinstance(each, ListUrl)]
    if urls:
        from wakumail.mail.listed_mailservers import listed_mailservers  # it takes long to import

        listed = await listed_mailservers(urls, arguments.timeout, arguments.dns_server)
        given = [each for each in arguments.enodes if isinstance(each, Enode)]
        known = {each.node_id for each in given}
        arguments.enodes = [*given, *(each for each in listed if each.node_id not in known)]


async def fetch(
    arguments: argparse.Namespace,
    servers: Mailservers,
    report: HistoryReport,
    keys: Sequence[Key],
) -> None:
    """Fetch one page, or all."""
    history = servers.history(
        **wanted(arguments),
        cursor=arguments.cursor,
        keys=keys,
        window=WINDOW if arguments.all else MAX_TIME,
    )
    with HistoryWriter(arguments, report.listing) as writer:
        async for page in history:
            report.add(page)
            writer.write(page.envelopes, page.messages)
            if not arguments.all:
                break
    if len(arguments.enodes) > 1:
        report.mailserver = servers.connected[0]


async def merge(
    arguments: argparse.Namespace,
    servers: Mailservers,
    report: MergeReport,
    keys: Sequence[Key],
) -> None:
    """Fetch every page of all mailservers."""
    report.failures = servers.failures
    with HistoryWriter(arguments, report.listing) as writer:
        async for page in servers.merged_history(**wanted(arguments), keys=keys):
            report.add(page)
            writer.write(page.envelopes, page.messages)


def wanted(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a history."""
    lower = int(time.time()) - DEFAULT_AGE if arguments.lower is None else arguments.lower
    return {
        "lower": lower,
        "upper": arguments.upper,
        "topics": arguments.topics,
        "bloom": arguments.bloom,
        "limit": arguments.limit,
        "form": Form[arguments.form],
    }
