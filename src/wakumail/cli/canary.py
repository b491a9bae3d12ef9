"""`wakumail canary`: check a mailserver with a hello, a status and one request."""

import argparse
import time

from wakumail.base.main_task import run_main
from wakumail.cli.options import add_json, print_json
from wakumail.cli.peer_options import add_enode, add_timeout
from wakumail.errors import WakumailError, reason
from wakumail.mail.answer import Wanted
from wakumail.mail.client import connect
from wakumail.mail.request import Form
from wakumail.waku.message import DEFAULT_PASSWORD


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    add_enode(parser)
    parser.add_argument(
        "--password", default=DEFAULT_PASSWORD, metavar="TEXT", help="password of the mailserver"
    )
    add_timeout(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if every step worked, otherwise 1 and the reason."""
    result: dict[str, object] = {"ok": False, "step": "connect"}
    try:
        run_main(check, arguments, result)
    except (WakumailError, OSError, ValueError) as error:
        result["reason"] = reason(error)
    if arguments.json:
        print_json(result)
    elif result["ok"]:
        print(f"ok: {result['client_id']}, answered in {result['seconds']} s")
    else:
        print(f"failed at {result['step']}: {result['reason']}")
    return 0 if result["ok"] else 1


async def check(arguments: argparse.Namespace, result: dict[str, object]) -> None:
    """Record in `result` each step that worked."""
    async with connect(
        arguments.enode, password=arguments.password, answer_timeout=arguments.timeout
    ) as peer:
        result |= {"step": "request", "client_id": peer.hello.client_id}
        started = time.monotonic()
        # One second of a topic that nobody uses: little work, and yet the whole path.
        now = int(time.time())
        await peer.request(Wanted(now - 1, now, (b"\xff\x00\xff\x00",), limit=1), form=Form.R3)
        result |= {"ok": True, "step": "done", "seconds": round(time.monotonic() - started, 3)}
