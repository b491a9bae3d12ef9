"""`wakumail bench`: what a mailserver takes under load, its own or any other.

The server and its clients are processes of their own, on loopback unless --enode names another
host. Without SCENARIO every scenario is run but `soak`, which is for --seconds of many minutes.
"""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from wakumail.cli.options import Subparsers, add_json, option, parse_enode, print_json
from wakumail.load.case_results import measure
from wakumail.load.clients.processes import Crew
from wakumail.load.filled_archives import Archives, write_dump
from wakumail.load.measured_server import Foreign, Own, Target
from wakumail.load.report.html import page
from wakumail.load.report.machine import Machine
from wakumail.load.report.tables import as_json, report
from wakumail.load.scenarios.case_choice import MILLION, SCENARIOS, SOAK, Choice, Entry, targets
from wakumail.load.workload.archived_traffic import DATA_SIZE, Traffic
from wakumail.load.workload.live_traffic import Live
from wakumail.ops.config import values
from wakumail.ops.file_limit import raise_file_limit

NAMES = (*SCENARIOS, SOAK)

MOST_ENVELOPES = 10_000_000
MOST_CONNECTIONS = 10_000
MOST_DATA = 1 << 20
MOST_SECONDS = 3600.0

CHOOSING = {
    "scenarios": "SCENARIO",
    "connections": "--connections",
    "count": "--count",
    "batch": "--batch",
    "size": "--size",
    "topics": "--topics",
    "duplicates": "--duplicates",
    "confirm": "--no-confirm",
}
"""What chooses a load, and means nothing for --targets."""


def add(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("bench", help="measure a mailserver", description=__doc__)
    parser.add_argument(
        "scenarios",
        nargs="*",
        default=SCENARIOS,
        metavar="SCENARIO",
        help=f"any of: {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--targets",
        action="store_true",
        help="measure what is known of status-go's mailserver, and print both",
    )
    add_target(parser)
    add_load(parser)
    parser.add_argument(
        "--runs", type=number(100), default=3, metavar="N", help="of each case (default: 3)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots")
    add_json(parser)
    parser.set_defaults(run=run, usage_error=parser.error, default=parser.get_default)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Whom to measure."""
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument(
        "--serve",
        dest="flags",
        type=shlex.split,
        action="append",
        default=[],
        metavar="FLAGS",
        help="more flags for `wakumail serve`, as in --serve='--workers 2'; twice: compare two",
    )
    whom.add_argument(
        "--enode",
        dest="enodes",
        type=parse_enode,
        action="append",
        default=[],
        metavar="ENODE",
        help="measure this mailserver instead; twice: compare two",
    )
    parser.add_argument(
        "--pid",
        dest="pids",
        type=number(1 << 22),
        action="append",
        default=[],
        metavar="PID",
        help="its process on this machine, for CPU and memory; one for each --enode",
    )
    parser.add_argument(
        "--write-dump",
        type=Path,
        metavar="FILE",
        help="write the archive that is asked of, to import it into such a mailserver, and stop",
    )


def add_load(parser: argparse.ArgumentParser) -> None:
    """How much; lists are separated by commas and make a case of each entry."""
    parser.add_argument(
        "--connections",
        type=numbers(MOST_CONNECTIONS),
        default=(),
        metavar="N,…",
        help="that send, listen, idle, storm or read slowly",
    )
    parser.add_argument(
        "--count", type=numbers(MOST_ENVELOPES), default=(), metavar="N,…", help="envelopes to send"
    )
    parser.add_argument(
        "--batch", type=number(10_000), default=100, metavar="N", help="envelopes in a packet (100)"
    )
    parser.add_argument(
        "--size",
        type=number(MOST_DATA),
        default=DATA_SIZE,
        metavar="BYTES",
        help="data of an envelope (%(default)s)",
    )
    parser.add_argument(
        "--topics", type=number(100_000), default=1000, metavar="N", help="of envelopes (1000)"
    )
    parser.add_argument(
        "--duplicates",
        type=option(values.amount(0.99)),
        default=0.0,
        metavar="SHARE",
        help="of envelopes that were sent before, 0 to 0.99",
    )
    parser.add_argument(
        "--no-confirm",
        dest="confirm",
        action="store_false",
        help="measure until the server has read them, not until they are confirmed",
    )
    parser.add_argument(
        "--archive",
        type=number(MOST_ENVELOPES),
        default=MILLION,
        metavar="N",
        help="envelopes in the archive that is asked of (1,000,000)",
    )
    parser.add_argument(
        "--seconds",
        type=parse_seconds,
        default=1.5,
        metavar="N",
        help="of requests in a run (%(default)s)",
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where to make archives (the system's temporary)"
    )


def number(most: int) -> Callable[[str], int]:
    """A type for whole numbers from 1."""
    return option(values.whole(1, most))


def numbers(most: int) -> Callable[[str], tuple[int, ...]]:
    """A type for several of them."""
    read = values.whole(1, most)
    return option(lambda text: tuple(map(read, text.split(","))))


parse_seconds = option(values.amount(MOST_SECONDS))


def run(arguments: argparse.Namespace) -> int:
    """Measure and report; 1 when a case failed."""
    if unknown := set(arguments.scenarios) - set(NAMES):
        arguments.usage_error(f"no such scenario: {', '.join(sorted(unknown))}")
    if arguments.pids and len(arguments.pids) != len(arguments.enodes):
        arguments.usage_error("give one --pid for each --enode")
    if arguments.targets:
        check_targets(arguments)
    if arguments.write_dump is not None:
        write_dump(Traffic.of(arguments.archive), arguments.write_dump)
        return 0
    raise_file_limit()
    machine = Machine.here()
    with tempfile.TemporaryDirectory(prefix="wakumail-bench-", dir=arguments.dir) as directory:
        whom = measured(arguments, Path(directory))
        with Crew() as crew:
            results = measure(entries(arguments), whom, arguments.runs, crew, say)
    if arguments.html is not None:
        arguments.html.write_text(page(machine, results, len(whom)))
    if arguments.json:
        print_json(as_json(machine, results))
    else:
        print(report(machine, results, len(whom)))
    return 1 if any(result.failure for result in results) else 0


def check_targets(arguments: argparse.Namespace) -> None:
    """Refuse to choose another load than what the targets were measured with."""
    for name, flag in CHOOSING.items():
        if getattr(arguments, name) != arguments.default(name):
            arguments.usage_error(f"{flag} is for scenarios: --targets have loads of their own")


def measured(arguments: argparse.Namespace, directory: Path) -> list[Target]:
    """Our own server, with each set of flags, or those that are named."""
    if not arguments.enodes:
        archives = Archives(directory)
        return [Own(archives, flags) for flags in arguments.flags or [[]]]
    pids = arguments.pids or [None] * len(arguments.enodes)
    return [Foreign(enode, pid) for enode, pid in zip(arguments.enodes, pids, strict=True)]


def entries(arguments: argparse.Namespace) -> list[Entry]:
    """What is to be measured."""
    if arguments.targets:
        return targets(arguments.archive, arguments.seconds)
    choice = Choice(
        scenarios=arguments.scenarios,
        live=Live(arguments.size, arguments.topics, arguments.duplicates),
        connections=arguments.connections,
        counts=arguments.count,
        batch=arguments.batch,
        confirmed=arguments.confirm,
        archive=arguments.archive,
        seconds=arguments.seconds,
    )
    return choice.entries()


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"bench: {what}", file=sys.stderr, flush=True)
