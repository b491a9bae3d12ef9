"""`wakumail bench`: load a mailserver and measure it: a new `wakumail serve`, or one that runs.

The server and its clients are processes of their own, on loopback unless --enode names another
host. Without SCENARIO all scenarios run but `attacks`, `steps`, `cluster`, which starts servers of
NATS, and `soak`, which needs --seconds of many minutes.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from wakumail.cli.interruption import ignore_signals
from wakumail.cli.options import add_json, option, print_json
from wakumail.cli.peer_options import parse_enode
from wakumail.load.case_results import measure_cases
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.cluster_log import ClusterLog
from wakumail.load.filled_archives import FilledArchives, write_dump
from wakumail.load.measured_server import ForeignServer, MeasuredServer, OwnServer
from wakumail.load.report.html import html_report
from wakumail.load.report.machine import Machine
from wakumail.load.report.tables import json_report, text_report
from wakumail.load.scenarios.case_choice import DEFAULT_SCENARIOS, SCENARIOS, CaseChoice
from wakumail.load.scenarios.goals import DEFAULT_ARCHIVE, PlannedCase, goal_cases
from wakumail.load.workload.archived_traffic import DATA_SIZE, ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import REQUEST_KINDS, parse_kinds
from wakumail.ops.config import values
from wakumail.ops.file_limit import raise_file_limit

MAX_BENCH_ENVELOPES = 10_000_000
MAX_CONNECTIONS = 10_000
MAX_DATA_SIZE = 1 << 20
MAX_SECONDS = 3600.0

LOAD_OPTIONS = {
    "scenarios": "SCENARIO",
    "connections": "--connections",
    "count": "--count",
    "requests": "--requests",
    "batch": "--batch",
    "size": "--size",
    "topics": "--topics",
    "duplicates": "--duplicates",
    "confirm": "--no-confirm",
}
"""The options that choose a load. --targets takes none of them."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    parser.add_argument(
        "scenarios",
        nargs="*",
        default=DEFAULT_SCENARIOS,
        metavar="SCENARIO",
        help=f"scenarios to measure: {', '.join(SCENARIOS)}",
    )
    parser.add_argument(
        "--targets",
        action="store_true",
        help="measure the cases for which numbers of status-go are known, and print both",
    )
    add_target(parser.add_argument_group("server"))
    add_load(parser.add_argument_group("load"))
    parser.add_argument(
        "--runs",
        type=count_type(100),
        default=3,
        metavar="N",
        help="runs of each case (default: 3)",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a report with plots to FILE"
    )
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error, default=parser.get_default)


def add_target(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose the server."""
    servers = parser.add_mutually_exclusive_group()
    servers.add_argument(
        "--serve",
        dest="flags",
        type=shlex.split,
        action="append",
        default=[],
        metavar="FLAGS",
        help="more flags for `wakumail serve`, as in --serve='--workers 2'; twice: compare both",
    )
    servers.add_argument(
        "--enode",
        dest="enodes",
        type=parse_enode,
        action="append",
        default=[],
        metavar="ENODE",
        help="measure this mailserver, which runs already; twice: compare both",
    )
    parser.add_argument(
        "--pid",
        dest="pids",
        type=count_type(1 << 22),
        action="append",
        default=[],
        metavar="PID",
        help="its process on this machine, to measure CPU and memory; one for each --enode",
    )
    parser.add_argument(
        "--write-dump",
        type=Path,
        metavar="FILE",
        help="write the envelopes for the archive of a mailserver that runs already, and exit",
    )


def add_load(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose the load. Each entry of a list makes a case."""
    parser.add_argument(
        "--connections",
        type=count_list_type(MAX_CONNECTIONS),
        default=(),
        metavar="N,…",
        help="numbers of connections that send, listen, are idle, storm or read slowly",
    )
    parser.add_argument(
        "--count",
        type=count_list_type(MAX_BENCH_ENVELOPES),
        default=(),
        metavar="N,…",
        help="numbers of envelopes to send",
    )
    parser.add_argument(
        "--requests",
        type=option(parse_kinds),
        default=REQUEST_KINDS,
        metavar="NAME,…",
        help=f"requests to measure in `request`: {', '.join(kind.name for kind in REQUEST_KINDS)}",
    )
    parser.add_argument(
        "--batch",
        type=count_type(10_000),
        default=100,
        metavar="N",
        help="envelopes in each packet (default: 100)",
    )
    parser.add_argument(
        "--size",
        type=count_type(MAX_DATA_SIZE),
        default=DATA_SIZE,
        metavar="BYTES",
        help="bytes of data in each envelope (default: %(default)s)",
    )
    parser.add_argument(
        "--topics",
        type=count_type(100_000),
        default=1000,
        metavar="N",
        help="topics of the envelopes (default: 1000)",
    )
    parser.add_argument(
        "--duplicates",
        type=option(values.amount(0.99)),
        default=0.0,
        metavar="SHARE",
        help="share of the envelopes that were sent before, 0 to 0.99 (default: 0)",
    )
    parser.add_argument(
        "--no-confirm",
        dest="confirm",
        action="store_false",
        help="measure until the server has read the envelopes, not until it has confirmed them",
    )
    parser.add_argument(
        "--archive",
        type=count_type(MAX_BENCH_ENVELOPES),
        default=DEFAULT_ARCHIVE,
        metavar="N",
        help="envelopes in the archive for requests (default: 1,000,000)",
    )
    parser.add_argument(
        "--seconds",
        type=parse_seconds,
        default=1.5,
        metavar="N",
        help="length of the requests in each run (default: %(default)s)",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="directory for archives (default: the system's temporary one)",
    )


def count_type(most: int) -> Callable[[str], int]:
    """A type for argparse: a whole number from 1 to `most`."""
    return option(values.whole(1, most))


def count_list_type(most: int) -> Callable[[str], tuple[int, ...]]:
    """A type for argparse: several whole numbers, separated by commas."""
    read = values.whole(1, most)
    return option(lambda text: tuple(map(read, text.split(","))))


parse_seconds = option(values.amount(MAX_SECONDS))


def run(arguments: argparse.Namespace) -> int:
    """Measure and report. Returns 1 if a case failed, or held the loop for too long."""
    if unknown := set(arguments.scenarios) - set(SCENARIOS):
        arguments.usage_error(f"no such scenario: {', '.join(sorted(unknown))}")
    if arguments.requests != REQUEST_KINDS and "request" not in arguments.scenarios:
        arguments.usage_error("--requests needs the scenario `request`")
    if arguments.pids and len(arguments.pids) != len(arguments.enodes):
        arguments.usage_error("give one --pid for each --enode")
    if arguments.targets:
        check_targets(arguments)
    if arguments.write_dump is not None:
        write_dump(ArchivedTraffic.of(arguments.archive), arguments.write_dump)
        return 0
    raise_file_limit()
    machine = Machine.here(arguments.dir)
    with (
        tempfile.TemporaryDirectory(prefix="wakumail-bench-", dir=arguments.dir) as directory,
        ClientPool() as pool,
    ):
        servers = measured_servers(arguments, Path(directory))
        try:
            results = measure_cases(
                planned_cases(arguments, Path(directory)),
                servers,
                arguments.runs,
                pool,
                print_progress,
            )
        finally:
            ignore_signals()
            for server in servers:
                server.close()
    if arguments.html is not None:
        arguments.html.write_text(html_report(machine, results, len(servers)))
    if arguments.json:
        print_json(json_report(machine, results))
    else:
        print(text_report(machine, results, len(servers)))
    return 1 if any(result.bad for result in results) else 0


def check_targets(arguments: argparse.Namespace) -> None:
    """Refuse options that choose a load: --targets have their own."""
    for name, flag in LOAD_OPTIONS.items():
        if getattr(arguments, name) != arguments.default(name):
            arguments.usage_error(f"{flag} does not go with --targets, which has loads of its own")


def measured_servers(arguments: argparse.Namespace, directory: Path) -> list[MeasuredServer]:
    """Our own server with each set of flags, or the servers of --enode."""
    if not arguments.enodes:
        archives = FilledArchives(directory)
        return [OwnServer(archives, flags) for flags in arguments.flags or [[]]]
    pids = arguments.pids or [None] * len(arguments.enodes)
    return [ForeignServer(enode, pid) for enode, pid in zip(arguments.enodes, pids, strict=True)]


def planned_cases(arguments: argparse.Namespace, directory: Path) -> list[PlannedCase]:
    """The cases that the options choose; their files lie in `directory`."""
    if arguments.targets:
        return goal_cases(arguments.archive, arguments.seconds)
    choice = CaseChoice(
        scenarios=arguments.scenarios,
        live=LiveTraffic(arguments.size, arguments.topics, arguments.duplicates),
        connections=arguments.connections,
        counts=arguments.count,
        requests=arguments.requests,
        batch=arguments.batch,
        confirmed=arguments.confirm,
        archive=arguments.archive,
        seconds=arguments.seconds,
        open_log=partial(open_log, directory),
    )
    return choice.planned_cases()


def open_log(directory: Path) -> AbstractContextManager[ClusterLog]:
    """The log of a cluster on this machine. LoadFailed without the client of NATS."""
    try:
        from wakumail.ops.cluster.bench_log import open_bench_log  # an extra
    except ImportError as error:
        text = f'a cluster needs nats-py: pip install "nats-py>=2.16" ({error})'
        raise LoadFailed(text) from error
    return open_bench_log(directory)


def print_progress(what: str) -> None:
    """Print a line of progress on stderr."""
    print(f"bench: {what}", file=sys.stderr, flush=True)
