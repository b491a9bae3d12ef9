"""`wakumail sync`: make our archive and that of another server equal, or tell how they differ.

If a server runs on the data directory, it is asked to. Otherwise this command opens the archive and
the node key itself, with the settings that the server would have. The other server has to name this
node in its --sync-peers.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from wakumail.archive.datadir import Datadir, DatadirInUse
from wakumail.base.main_task import run_main
from wakumail.base.tasks import end_tasks
from wakumail.base.text import counted, utc
from wakumail.cli.config import add_flags, load_settings
from wakumail.cli.options import TIME_FORMS, add_json, parse_time, print_json, progress
from wakumail.cli.peer_options import add_enode
from wakumail.counters import Counters
from wakumail.devp2p.enode import Enode
from wakumail.mail.server import Server
from wakumail.ops import assembly
from wakumail.ops.config.settings import Settings
from wakumail.ops.gap_watch import GapWatch
from wakumail.ops.heap import collect_rarely, keep_freed
from wakumail.rpc.client import CallFailed, call, connect_ipc
from wakumail.rpc.jsonrpc import RpcError, Session
from wakumail.rpc.methods.sync import SyncMethods
from wakumail.waku.bloom import BLOOM_SIZE

LOOK_INTERVAL = 0.5
"""Seconds between two looks at the progress."""

Call = Callable[..., Awaitable[Any]]
"""Calls a method of the server's API; CallFailed."""


def set_up(parser: argparse.ArgumentParser) -> None:
    """Tell the parser of this command what it takes."""
    parser.description = __doc__
    add_enode(parser)
    parser.add_argument(
        "--from",
        dest="lower",
        type=parse_time,
        metavar="TIME",
        help=f"{TIME_FORMS} (default: that of --sync-window)",
    )
    parser.add_argument(
        "--to",
        dest="upper",
        type=parse_time,
        metavar="TIME",
        help=f"{TIME_FORMS} (default: 10 s ago)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="move nothing; tell what differs, by the hour"
    )
    add_json(parser)
    add_flags(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if both archives have the same now; of a dry run, if they could be compared."""
    settings = load_settings(arguments).settings
    if not settings.mailserver:
        raise ValueError("no mailserver: there is no archive to sync")
    limits = {"from": arguments.lower, "to": arguments.upper, "dryRun": arguments.dry_run}
    choice = {name: limit for name, limit in limits.items() if limit is not None}
    outcome = run_main(sync, settings, arguments.enode, choice)
    if arguments.json:
        print_json(outcome)
    elif arguments.dry_run:
        print_hours(outcome)
    else:
        print_outcome(outcome)
    return 0 if arguments.dry_run or outcome["equal"] else 1


def check_own(settings: Settings, datadir: Datadir, *, dry_run: bool) -> None:
    """ValueError for a data directory without a server from which nothing can be synced.

    Its name may be mistyped. The other server lists our node key, and cannot know a new one.
    """
    is_known = settings.nodekeyhex is not None or settings.nodekey is not None
    if not is_known and not datadir.nodekey.exists():
        hint = "is --datadir that of the server, and does it need its --nodekey?"
        raise ValueError(f"{datadir.nodekey}: no such file; {hint}")
    if dry_run and not datadir.archive.exists():
        raise ValueError(f"{datadir.archive}: no such archive; there is nothing to compare")


async def sync(settings: Settings, enode: Enode, choice: dict[str, Any]) -> dict[str, Any]:
    """The outcome, as admin_sync tells it. CallFailed, and what opening the archive raises."""
    datadir = Datadir(settings.datadir)
    if not datadir.path.exists():
        check_own(settings, datadir, dry_run=choice["dryRun"])
    datadir.make()
    async with AsyncExitStack() as running:
        try:
            running.enter_context(datadir.serving())
            check_own(settings, datadir, dry_run=choice["dryRun"])
            if not datadir.archive.exists():
                print(f"wakumail sync: {datadir.archive} is a new archive", file=sys.stderr)
            keep_freed()
            collect_rarely()
            where = calls_to_own_server(settings, datadir)
        except DatadirInUse:
            where = calls_to(settings.ipcpath or datadir.ipc)
        call_server = await running.enter_async_context(where)
        watching = asyncio.create_task(show_progress(call_server, enode.node_id.hex()))
        try:
            outcome: dict[str, Any] = await call_server("admin_sync", str(enode), choice)
        finally:
            await end_tasks([watching])
        return outcome


@asynccontextmanager
async def calls_to(path: Path) -> AsyncIterator[Call]:
    """Calls to the server that runs. Each has a connection of its own, for one may take long."""

    async def call_server(method: str, *params: Any) -> Any:
        async with connect_ipc(path) as wire:
            return await call(wire, method, *params)

    yield call_server


@asynccontextmanager
async def calls_to_own_server(settings: Settings, datadir: Datadir) -> AsyncIterator[Call]:
    """Calls to a server of our own, which neither listens nor relays."""
    counters = Counters()
    key = assembly.node_key(settings, datadir)
    config = assembly.server_config(settings, datadir, key, counters)
    deaf = replace(config.node.options, bloom=bytes(BLOOM_SIZE), topic_interest=None)
    config = replace(
        config,
        node=replace(config.node, options=deaf),
        sync=replace(config.sync, sync_interval=0.0),
    )
    store = assembly.open_store(settings, datadir, counters, prunes=False)
    server = Server(config, store, counters)
    gap_watch = GapWatch(server, store, datadir.gaps)
    await gap_watch.start()
    methods = SyncMethods(server).methods()

    async def call_method(method: str, *params: Any) -> Any:
        try:
            result = methods[method](Session(), *params)
            return await result if isinstance(result, Awaitable) else result
        except RpcError as error:
            raise CallFailed(error.message) from None

    try:
        yield call_method
    finally:
        await gap_watch.close()
        await server.close()


async def show_progress(call_server: Call, peer: str) -> None:
    """Show a progress bar of the envelopes moved."""
    before: dict[str, Any] | None = None
    with progress("") as bar:
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            peers = await call_server("admin_syncPeers")
            now = next((each for each in peers if each["id"] == peer), None)
            if now is None:
                continue
            before = before or now
            bar.total = sum(now[name] - before[name] for name in ("had", "needed"))
            bar.update(sum(now[name] - before[name] for name in ("stored", "sent")) - bar.n)


def print_outcome(outcome: dict[str, Any]) -> None:
    """Print what was moved."""
    refused = sum(outcome["refused"].values())
    taken = counted(outcome["stored"], "envelope")
    print(f"{taken} taken, {outcome['given']:,} given, {refused:,} refused here")
    if outcome["equal"]:
        print(f"both archives have the same {span(outcome)}")
    else:
        print(f"the archives still differ {span(outcome)}")


def print_hours(outcome: dict[str, Any]) -> None:
    """Print a table of what differs."""
    if not outcome["had"] and not outcome["needed"]:
        print(f"both archives have the same {span(outcome)}")
        return
    print(f"{'hour':20}  {'only here':>10}  {'only there':>10}")
    for row in outcome["hours"]:
        print(f"{utc(row['hour'])}  {row['had']:>10}  {row['needed']:>10}")
    print(f"{'all':20}  {outcome['had']:>10}  {outcome['needed']:>10}")
    if not outcome["complete"]:
        print("more differs than is counted here")


def span(outcome: dict[str, Any]) -> str:
    """The times that were compared."""
    since = f"from {utc(outcome['from'])} " if outcome["from"] else ""
    return f"{since}to {utc(outcome['to'])}"
