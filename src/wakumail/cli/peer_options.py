"""Options of the commands that talk to a mailserver, and its name in their errors."""

import argparse
import contextlib
from collections.abc import Iterator

from wakumail.cli.options import option, parse_timeout
from wakumail.devp2p.enode import Enode
from wakumail.errors import AnswerTimeout, HandshakeError, PeerGone, ProtocolError
from wakumail.mail.answer import ANSWER_TIMEOUT, RequestRefused
from wakumail.node.dns_resolver import NameServer

parse_enode = option(Enode.parse)
parse_name_server = option(NameServer.parse)


def add_enode(parser: argparse.ArgumentParser) -> None:
    """Add ENODE, the mailserver that a client command talks to."""
    parser.add_argument(
        "enode", type=parse_enode, metavar="ENODE", help="enode:// URL or enr: record"
    )


def add_name_server(parser: argparse._ActionsContainer) -> None:
    """Add --dns-server, where lists in the DNS are asked for."""
    parser.add_argument(
        "--dns-server",
        type=parse_name_server,
        metavar="ADDRESS[:PORT]",
        help="name server to ask for enrtree:// lists (default: those of the system)",
    )


def add_timeout(parser: argparse._ActionsContainer) -> None:
    """Add --timeout, the longest silence of a mailserver."""
    parser.add_argument(
        "--timeout",
        type=parse_timeout,
        default=ANSWER_TIMEOUT,
        metavar="SECONDS",
        help="give up a mailserver after this time of silence (default: %(default)g)",
    )


@contextlib.contextmanager
def naming(mailserver: Enode) -> Iterator[None]:
    """Name a mailserver in the errors of the connection to it."""
    try:
        yield
    except (AnswerTimeout, HandshakeError, PeerGone, ProtocolError, RequestRefused) as error:
        raise type(error)(f"{mailserver.address}: {error}") from None
