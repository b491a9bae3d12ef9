"""`wakumail request`: ask a mailserver for history."""

import argparse
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

import uvloop

from wakumail.cli.options import (
    Subparsers,
    add_enode,
    add_json,
    add_topics,
    counted,
    open_dump,
    parse_bloom,
    parse_hex,
    parse_time,
    print_json,
    progress,
)
from wakumail.client import connect
from wakumail.envelope import Envelope
from wakumail.mail import MAX_LIMIT, Form
from wakumail.message import DEFAULT_PASSWORD


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("request", help="ask for history", description=__doc__)
    add_enode(parser)
    when = "Unix seconds, or an age like 24h"
    parser.add_argument(
        "--from", dest="lower", type=parse_time, metavar="TIME", help=f"{when} (default: 24h)"
    )
    parser.add_argument(
        "--to", dest="upper", type=parse_time, metavar="TIME", help=f"{when} (default: now)"
    )
    add_topics(parser)
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
    parser.add_argument("--all", action="store_true", help="follow the cursor to the end")
    parser.add_argument(
        "--form",
        type=str.upper,
        choices=[form.name for form in Form],
        default=Form.R3.name,
        help="dialect of the request (default: %(default)s, status-go's)",
    )
    parser.add_argument(
        "--password", default=DEFAULT_PASSWORD, metavar="TEXT", help="the mailserver's"
    )
    parser.add_argument(
        "--asymmetric", action="store_true", help="seal for the mailserver's node key instead"
    )
    parser.add_argument("--out", metavar="FILE", help="write a dump of the envelopes; - is stdout")
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Ask, write, report."""
    if not 1 <= arguments.limit <= MAX_LIMIT:
        arguments.usage_error(f"--limit is from 1 to {MAX_LIMIT}")
    if arguments.json and arguments.out == "-":
        arguments.usage_error("--json and --out - both want stdout")
    if not arguments.topics and not arguments.bloom:
        arguments.usage_error("give at least one --topic or a --bloom")
    uvloop.run(request(arguments))
    return 0


async def request(arguments: argparse.Namespace) -> None:
    """Fetch the pages that were asked for."""
    password = None if arguments.asymmetric else arguments.password
    pages = count = foreign = 0
    async with connect(arguments.enode, password=password) as peer:
        history = peer.history(
            lower=int(time.time()) - 86400 if arguments.lower is None else arguments.lower,
            upper=arguments.upper,
            topics=arguments.topics,
            bloom=arguments.bloom,
            limit=arguments.limit,
            cursor=arguments.cursor,
            form=Form[arguments.form],
        )
        with open_output(arguments.out) as out, progress("envelope") as bar:
            async for page in history:
                pages += 1
                count += len(page.envelopes)
                foreign += page.foreign
                for envelope in page.envelopes:
                    if out is not None:
                        out.write(envelope.rlp)
                    elif not arguments.json:
                        bar.write(line(envelope))
                bar.update(len(page.envelopes))
                if not arguments.all:
                    break
    if arguments.json:
        result = {"envelopes": count, "foreign": foreign, "pages": pages}
        print_json(result | {"last_hash": page.last_hash, "cursor": page.cursor})
    else:
        more = f"; more with --cursor {page.cursor.hex()}" if page.cursor else ""
        answered = f"{counted(count, 'envelope')} in {counted(pages, 'page')}"
        print(answered + more, file=sys.stderr)


def open_output(name: str | None) -> AbstractContextManager[BinaryIO | None]:
    """Where the dump goes, if one was asked for."""
    return nullcontext() if name is None else open_dump(name, "wb")


def line(envelope: Envelope) -> str:
    """One envelope for a person: creation time, topic, hash, size."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(envelope.created))
    return f"{created} {envelope.topic.hex()} {envelope.hash.hex()} {len(envelope.rlp)}"
