"""`wakumail cluster`: make the log of a cluster, look at it, and show what it withstands."""

import argparse
import asyncio
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from wakumail.archive.archive import Archive
from wakumail.archive.results import LogPlace
from wakumail.base.main_task import run_main
from wakumail.base.text import counted
from wakumail.cli.interruption import ignore_signals
from wakumail.cli.options import add_datadir, add_json, option, parse_path, print_json
from wakumail.ops.cluster.log_errors import ClusterFailed
from wakumail.ops.cluster.log_facts import (
    KEEP_DAYS,
    MIN_REPLICAS,
    moment,
)
from wakumail.ops.cluster.log_status import describe, look
from wakumail.ops.cluster.making import make_stream
from wakumail.ops.cluster.server_config import LogServer, configuration
from wakumail.ops.config.values import amount, log_name, log_server, whole

CONNECT_TIMEOUT = 15.0
"""Seconds in which a server of the log has to be reached."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    explanation = "print the configuration of the servers of the log, and make its stream"
    init = actions.add_parser("init", help=explanation, description=explanation)
    _add_log(init)
    init.add_argument(
        "--keep-days",
        type=option(amount(10_000)),
        default=KEEP_DAYS,
        metavar="DAYS",
        help=f"days that the log keeps its messages (default: {KEEP_DAYS})",
    )
    init.set_defaults(run=run_init)
    explanation = "tell how the log and the hosts are"
    ending = "The exit code is 0 if all is well."
    status = actions.add_parser("status", help=explanation, description=f"{explanation}. {ending}")
    _add_log(status)
    add_json(status)
    status.set_defaults(run=run_status)
    explanation = "let the archive of a stopped server follow another log, from its beginning"
    adopt = actions.add_parser("adopt", help=explanation, description=explanation)
    _add_log(adopt)
    add_datadir(adopt)
    adopt.set_defaults(run=run_adopt)
    explanation = "run three servers of the log and three hosts here, and kill some of them"
    demo = actions.add_parser("demo", help=explanation, description=f"{explanation}. {ending}")
    demo.add_argument(
        "--rounds",
        type=option(whole(1, 1000)),
        default=3,
        metavar="N",
        help="rounds of kills (default: 3)",
    )
    demo.add_argument(
        "--seed",
        type=option(whole(0)),
        default=None,
        metavar="N",
        help="makes the same choices again",
    )
    demo.add_argument(
        "--directory",
        type=parse_path,
        default=None,
        metavar="DIR",
        help="keep all files here (default: a temporary one)",
    )
    demo.add_argument(
        "--freeze",
        type=option(amount(3600)),
        default=10.0,
        metavar="SECONDS",
        help="time for which a leader is stopped or two servers are dead (default: 10)",
    )
    add_json(demo)
    demo.set_defaults(run=run_demo)


def _add_log(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cluster",
        required=True,
        type=option(_servers),
        metavar="URL,...",
        help="the servers of the log, nats://HOST:PORT each",
    )
    parser.add_argument(
        "--cluster-name",
        type=option(log_name),
        default="wakumail",
        metavar="NAME",
        help="name of the log (default: wakumail)",
    )


def _servers(text: str) -> tuple[str, ...]:
    return tuple(log_server(url.strip()) for url in text.split(","))


# -- init -------------------------------------------------------------------------------------


def run_init(arguments: argparse.Namespace) -> int:
    """Print the configuration of each server, then make the stream."""
    name, urls = arguments.cluster_name, arguments.cluster
    servers = [LogServer(name, url, place) for place, url in enumerate(urls, 1)]
    for server in servers:
        print(f"# {server.name}.conf, for nats-server on {server.host}")
        store = f"/var/lib/nats/{server.name}"
        print(configuration(name, servers, server, store=store))
    sys.stdout.flush()
    if len(urls) < MIN_REPLICAS:
        raise ClusterFailed(f"{counted(len(urls), 'server')}: name {MIN_REPLICAS}")
    told = run_main(_with_log, arguments, lambda log: make_stream(log, arguments.keep_days))
    print(f"# {told}")
    return 0


# -- status and adopt -------------------------------------------------------------------------


def run_status(arguments: argparse.Namespace) -> int:
    """Print the state of the log and of each host; 0 if all is well."""
    status = run_main(_with_log, arguments, look)
    if arguments.json:
        print_json(status)
    else:
        for line in describe(status):
            print(line)
    return 0 if status["ok"] else 1


def run_adopt(arguments: argparse.Namespace) -> int:
    """Let an archive follow another log from its beginning."""
    datadir = arguments.datadir
    datadir.require_archive()
    facts = run_main(_with_log, arguments, lambda log: log.facts())
    if facts is None:
        raise ClusterFailed(f"there is no stream {arguments.cluster_name}")
    with datadir.serving(), Archive(datadir.archive) as archive:
        archive.append([], LogPlace(facts.name, facts.made, 0))
    print(f"{datadir.path} follows the stream {facts.name}, made {moment(facts.made)}")
    return 0


async def _with_log(arguments: argparse.Namespace, work: Any) -> Any:
    """The result of `work` over a connection to the log."""
    try:
        from wakumail.ops.cluster.log import Log  # an extra, and takes long to import
    except ImportError as error:
        text = f'a cluster needs nats-py: pip install "nats-py>=2.16" ({error})'
        raise ClusterFailed(text) from error
    log = Log(arguments.cluster, arguments.cluster_name)
    try:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await log.open()
        except TimeoutError:
            raise ClusterFailed("no server of the log can be reached") from None
        return await work(log)
    finally:
        with suppress(Exception):
            await log.close()


# -- demo -------------------------------------------------------------------------------------


def run_demo(arguments: argparse.Namespace) -> int:
    """Show what a cluster withstands; 0 if nothing that was confirmed is lost or there twice."""
    from wakumail.ops.cluster.demo import Demo  # the other actions need none

    with tempfile.TemporaryDirectory(prefix="wakumail-cluster-") as temporary:
        directory = arguments.directory or Path(temporary)
        demo = Demo(
            directory, rounds=arguments.rounds, seed=arguments.seed, freeze=arguments.freeze
        )
        try:
            result = run_main(demo.run)
        finally:
            ignore_signals()
    if arguments.json:
        print_json(result)
    else:
        for host in result["hosts"]:
            print(f"host {host['host']}: {counted(host['envelopes'], 'envelope')}")
        print(
            f"{counted(result['confirmed'], 'envelope')} confirmed in "
            f"{counted(result['rounds'], 'round')}: "
            f"{result['lost']} lost, {result['twice']} twice"
        )
        for problem in result["problems"]:
            print(f"problem: {problem}")
    return 0 if result["ok"] else 1
