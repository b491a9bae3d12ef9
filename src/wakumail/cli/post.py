"""`wakumail post`: send envelopes to a mailserver and wait until it has them on disk."""

import argparse
import os
import sys
import time
from collections.abc import Iterator

import uvloop

from wakumail.cli.options import (
    Subparsers,
    add_enode,
    add_json,
    counted,
    open_dump,
    parse_hex,
    parse_topic,
    print_json,
    progress,
)
from wakumail.client import connect
from wakumail.dump import read_dump
from wakumail.envelope import make_envelope, mine
from wakumail.keys import PublicKey, public_key
from wakumail.message import seal, symmetric_key

MIN_TTL = 10
"""Seconds: clients live at least so long (WAKU-USAGE, "Waku node configuration")."""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("post", help="send envelopes", description=__doc__)
    add_enode(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--payload", metavar="TEXT", help="seal this text")
    source.add_argument("--payload-file", metavar="FILE", help="seal these bytes; - is stdin")
    source.add_argument("--dump", metavar="FILE", help="send these envelopes; - is stdin")
    parser.add_argument("--topic", type=parse_topic, metavar="TOPIC", help="8 hex digits")
    recipient = parser.add_mutually_exclusive_group()
    recipient.add_argument("--password", metavar="TEXT", help="seal with a password")
    recipient.add_argument(
        "--public-key", type=parse_hex, metavar="HEX", help="seal for a public key, 128 hex digits"
    )
    parser.add_argument(
        "--ttl", type=int, default=50, metavar="SECONDS", help="time to live (default: %(default)s)"
    )
    parser.add_argument(
        "--pow", type=float, default=0.002, help="PoW to mine (default: %(default)s)"
    )
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Seal or read, send, report; 1 when the server refused any envelope."""
    if arguments.dump is None:
        if arguments.topic is None or not (arguments.password or arguments.public_key):
            arguments.usage_error("a payload needs --topic, and --password or --public-key")
        if not MIN_TTL <= arguments.ttl < 1 << 31:
            arguments.usage_error(f"--ttl is at least {MIN_TTL}")
    return uvloop.run(post(arguments))


async def post(arguments: argparse.Namespace) -> int:
    """Send what there is, a window at a time."""
    sent = confirmed = 0
    errors: list[dict[str, object]] = []
    async with connect(arguments.enode) as peer:
        with progress("envelope") as bar:
            for group in groups(arguments):
                posted = await peer.post(group)
                sent += posted.sent
                confirmed += posted.confirmed
                errors += [{"hash": e.hash, "code": e.code, "text": e.text} for e in posted.errors]
                bar.update(posted.sent)
    if arguments.json:
        print_json({"sent": sent, "confirmed": confirmed, "errors": errors})
    else:
        print(f"{counted(sent, 'envelope')} sent, {confirmed} confirmed", file=sys.stderr)
        for error in errors:
            print(f"refused: {error['text']} ({error['code']})", file=sys.stderr)
    return 1 if errors else 0


def groups(arguments: argparse.Namespace) -> Iterator[list[bytes]]:
    """The envelopes to send, each its RLP, in groups of bounded size."""
    if arguments.dump is None:
        yield [sealed(arguments)]
    else:
        with open_dump(arguments.dump, "rb") as file:
            for chunk in read_dump(file):
                if chunk.malformed:
                    text = f"left out: {counted(chunk.malformed, 'item')} of the dump"
                    print(f"{text}, no envelopes", file=sys.stderr)
                yield [envelope.rlp for envelope in chunk.batch]


def sealed(arguments: argparse.Namespace) -> bytes:
    """One envelope around the payload, with its PoW mined."""
    if arguments.payload is not None:
        payload = arguments.payload.encode()
    else:
        with open_dump(arguments.payload_file, "rb") as file:
            payload = file.read()
    if arguments.public_key is None:
        key: bytes | PublicKey = symmetric_key(arguments.password)
    else:
        key = public_key(arguments.public_key)
    data = seal(payload, key=key, random=os.urandom)
    expiry = int(time.time()) + arguments.ttl
    nonce = mine(expiry, arguments.ttl, arguments.topic, data, target=arguments.pow)
    assert nonce is not None, "mining without a bound ends with a nonce"
    return make_envelope(expiry, arguments.ttl, arguments.topic, data, nonce).rlp
