"""`wakumail post`: send envelopes to a mailserver and wait until they are on its disk."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from typing import NamedTuple

from wakumail.archive.dump import read_dump
from wakumail.base.main_task import run_main
from wakumail.base.text import counted
from wakumail.cli.named_files import open_binary, read_whole
from wakumail.cli.options import add_json, option, parse_amount, parse_topic, print_json, progress
from wakumail.cli.peer_options import add_enode, add_timeout, naming
from wakumail.devp2p.keys import NODE_ID_SIZE, PublicKey, public_key
from wakumail.mail.client import connect
from wakumail.node.messages import DEFAULT_MINING_TIME, DEFAULT_TARGET, DEFAULT_TTL, compose
from wakumail.node.node_key import load_node_key
from wakumail.ops.config.values import hexadecimal
from wakumail.waku.envelope import MAX_STREAM_ENVELOPE
from wakumail.waku.message import symmetric_key
from wakumail.waku.topics import public_chat_topic

MIN_TTL = 10
"""Least time to live in seconds (WAKU-USAGE, "Waku node configuration")."""

SEALING_OPTIONS = ("topic", "chat", "password", "public_key", "sign_with", "ttl")
"""Options that say how to seal a payload; the envelopes of a dump are sealed already."""


class Group(NamedTuple):
    """Envelopes to send, as RLP, and the number of items between them that were none."""

    envelopes: list[bytes]
    left_out: int = 0


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    add_enode(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--payload", metavar="TEXT", help="seal this text")
    source.add_argument("--payload-file", metavar="FILE", help="seal these bytes; - is stdin")
    source.add_argument("--dump", metavar="FILE", help="send these envelopes; - is stdin")
    parser.add_argument("--topic", type=parse_topic, metavar="TOPIC", help="8 hex digits")
    recipient = parser.add_mutually_exclusive_group()
    recipient.add_argument("--password", metavar="TEXT", help="seal with a password")
    recipient.add_argument(
        "--public-key",
        type=option(read_public_key),
        metavar="HEX",
        help="seal for a public key, 128 hex digits, or 130 with its 04",
    )
    recipient.add_argument(
        "--chat", metavar="NAME", help="seal for a public chat, with its key and on its topic"
    )
    parser.add_argument(
        "--sign-with", metavar="FILE", help="sign with the private key in a file, 64 hex digits"
    )
    parser.add_argument(
        "--ttl",
        type=int,
        metavar="SECONDS",
        help=f"time to live (default: {DEFAULT_TTL})",
    )
    parser.add_argument(
        "--pow",
        type=parse_amount,
        default=DEFAULT_TARGET,
        help="PoW to mine (default: %(default)s)",
    )
    parser.add_argument(
        "--pow-time",
        type=parse_amount,
        default=DEFAULT_MINING_TIME,
        metavar="SECONDS",
        help="give up mining after this time (default: %(default)g)",
    )
    parser.add_argument(
        "--unconfirmed",
        action="store_true",
        help="succeed though the node confirms nothing",
    )
    add_timeout(parser)
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Seal or read, send, report; 1 if any envelope was not sent, not confirmed or refused."""
    if arguments.dump is None:
        check_payload(arguments)
    else:
        check_dump(arguments)
    return run_main(post, arguments)


def check_dump(arguments: argparse.Namespace) -> None:
    """Refuse options that seal: the envelopes of a dump are sealed already."""
    for name in SEALING_OPTIONS:
        if getattr(arguments, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            arguments.usage_error(f"{flag} is for a payload; a --dump is sealed already")


def check_payload(arguments: argparse.Namespace) -> None:
    """Refuse a payload without a topic or a key."""
    if arguments.chat is not None and arguments.topic is not None:
        arguments.usage_error("--chat has a topic of its own: leave out --topic")
    sealed = arguments.password is not None or arguments.public_key is not None
    if arguments.chat is None and (arguments.topic is None or not sealed):
        arguments.usage_error("a payload needs --chat, or --topic and --password or --public-key")
    if arguments.ttl is None:
        arguments.ttl = DEFAULT_TTL
    if arguments.ttl < MIN_TTL:
        arguments.usage_error(f"--ttl must be at least {MIN_TTL}")


async def post(arguments: argparse.Namespace) -> int:
    """Send all envelopes, a group at a time."""
    sent = confirmed = left_out = 0
    errors: list[dict[str, object]] = []
    withheld: list[dict[str, object]] = []
    groups: Iterable[Group]
    groups = [Group([await sealed(arguments)])] if arguments.dump is None else read(arguments.dump)
    async with AsyncExitStack() as connection:
        connection.enter_context(naming(arguments.enode))
        connecting = connect(arguments.enode, answer_timeout=arguments.timeout)
        peer = await connection.enter_async_context(connecting)
        with progress("envelope") as bar:
            for group in groups:
                posted = await peer.post(group.envelopes)
                sent += posted.sent
                confirmed += posted.confirmed
                errors += [{"hash": e.hash, "code": e.code, "text": e.text} for e in posted.errors]
                withheld += [{"hash": w.hash, "reason": str(w)} for w in posted.withheld]
                left_out += group.left_out
                bar.update(len(group.envelopes))
    unconfirmed = sent - confirmed - len(errors)
    missed = unconfirmed > 0 and not arguments.unconfirmed
    if arguments.json:
        print_json(
            {
                "sent": sent,
                "confirmed": confirmed,
                "unconfirmed": unconfirmed,
                "errors": errors,
                "withheld": withheld,
                "left_out": left_out,
            }
        )
    else:
        print(f"{counted(sent, 'envelope')} sent, {confirmed} confirmed")
        for error in errors:
            print(f"refused: {error['text']} ({error['code']})")
        for each in withheld:
            print(f"withheld: {each['reason']}")
    if missed:
        print("not confirmed: the node does not say what it has stored", file=sys.stderr)
    if left_out:
        text = f"left out: {counted(left_out, 'item')} of the dump that are not envelopes"
        print(text, file=sys.stderr)
    return 1 if errors or withheld or missed or left_out else 0


def read(dump: str) -> Iterator[Group]:
    """The envelopes of a dump, in groups of bounded size."""
    with open_binary(dump, "rb") as file:
        for chunk in read_dump(file):
            yield Group([envelope.rlp for envelope in chunk.batch], chunk.malformed)


async def sealed(arguments: argparse.Namespace) -> bytes:
    """The RLP of one envelope around the payload, with its PoW mined."""
    if arguments.payload is not None:
        payload = arguments.payload.encode()
    else:
        payload = read_whole(arguments.payload_file, MAX_STREAM_ENVELOPE)
    signer = arguments.sign_with
    envelope = await compose(
        payload,
        topic=arguments.topic if arguments.chat is None else public_chat_topic(arguments.chat),
        key=receiver(arguments),
        sign_with=None if signer is None else load_node_key(signer),
        ttl=arguments.ttl,
        pow_target=arguments.pow,
        pow_time=arguments.pow_time,
    )
    return envelope.rlp


def receiver(arguments: argparse.Namespace) -> bytes | PublicKey:
    """The key to seal with."""
    if arguments.public_key is not None:
        key: PublicKey = arguments.public_key
        return key
    return symmetric_key(arguments.password if arguments.chat is None else arguments.chat)


def read_public_key(text: str) -> PublicKey:
    """A public key, bare or as waku_getPublicKey writes it, with 04 before it. ValueError."""
    point = hexadecimal(text)
    try:
        return public_key(point[1:] if len(point) > NODE_ID_SIZE and point[0] == 4 else point)
    except ValueError:
        raise ValueError("a public key is 128 hex digits, or 130 that begin with 04") from None
