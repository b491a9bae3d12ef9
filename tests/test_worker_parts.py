"""What workers are made of, each part by itself."""

import asyncio
import json
import logging
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.archive_model import batch_of
from tests.envelopes import make
from tests.puppet import asynchronous, eventually
from wakumail.archive import Archive
from wakumail.cli.logs import JsonFormatter
from wakumail.envelope import Batch, parse_stream
from wakumail.errors import WakumailError
from wakumail.judgements import SLOT_SIZE, Judgements
from wakumail.report import Family, Problem, Report, Sample, together
from wakumail.roster import Entry, OwnRoster, Roster
from wakumail.rpc.jsonrpc import Session
from wakumail.workers import channel as channel_module
from wakumail.workers import place as place_module
from wakumail.workers.bells import Bells, make_bells
from wakumail.workers.channel import CallRefused, Channel, ChannelClosed, open_channel
from wakumail.workers.follower import Follower
from wakumail.workers.methods import GATHERED, ORDERS, all_peers, for_all, sum_of_all
from wakumail.workers.place import MAX_DEATHS, Place, Worker, WorkerFailed, describe
from wakumail.workers.registry import MAGIC, ROOM, Registry, RegistryUnknown, SharedRoster
from wakumail.workers.supervisor import Plan, Supervisor

HOST = "192.0.2.1"
IDS = [bytes([number]) * 64 for number in range(1, 200)]


# -- rosters ------------------------------------------------------------------------------------


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry.create(parts=4, max_peers=2)
    yield registry
    registry.close()


def roster_at(registry: Registry, part: int) -> SharedRoster:
    return SharedRoster(registry, part, lambda node_id: None)


@pytest.fixture(params=["own", "shared"])
def roster(request: pytest.FixtureRequest, registry: Registry) -> Roster:
    return OwnRoster() if request.param == "own" else roster_at(registry, 0)


def test_guests_are_limited_and_others_are_not(roster: Roster) -> None:
    assert roster.enter(IDS[0], HOST, 2) is Entry.DONE
    assert roster.enter(IDS[1], HOST, 2) is Entry.DONE
    assert roster.enter(IDS[2], HOST, 2) is Entry.FULL
    assert roster.enter(IDS[2], HOST, None) is Entry.DONE
    roster.leave(IDS[2])
    assert roster.enter(IDS[2], HOST, 2) is Entry.FULL
    roster.leave(IDS[0])
    assert roster.enter(IDS[2], HOST, 2) is Entry.DONE


def test_who_is_trusted_later_makes_room(roster: Roster) -> None:
    assert roster.enter(IDS[0], HOST, 1) is Entry.DONE
    assert roster.enter(IDS[1], HOST, 1) is Entry.FULL
    roster.set_guest(IDS[0], None)
    assert roster.enter(IDS[1], HOST, 1) is Entry.DONE
    roster.leave(IDS[1])
    roster.set_guest(IDS[0], HOST)
    assert roster.enter(IDS[1], HOST, 1) is Entry.FULL


def test_workers_see_each_other(registry: Registry) -> None:
    asked: list[bytes] = []
    one = roster_at(registry, 0)
    other = SharedRoster(registry, 3, asked.append)
    assert one.enter(IDS[0], HOST, 2) is Entry.DONE
    assert other.enter(IDS[0], HOST, None) is Entry.DUPLICATE
    assert asked == [IDS[0]]
    assert other.enter(IDS[1], HOST, 2) is Entry.DONE
    assert one.enter(IDS[2], HOST, 2) is other.enter(IDS[2], HOST, 2) is Entry.FULL
    one.leave(IDS[0])
    assert other.enter(IDS[0], HOST, 2) is Entry.DONE


def test_hosts_are_counted_at_all_workers(registry: Registry) -> None:
    one, other = roster_at(registry, 0), roster_at(registry, 3)
    crowd = "ffff:ffff:ffff:ffff::/64"
    for number, roster in enumerate((one, other, other)):
        roster.enter(IDS[number], crowd, 9)
    one.enter(IDS[3], HOST, None)
    one.enter(IDS[4], HOST, 9)
    assert one.hosts() == other.hosts() == {crowd: 3, HOST: 1}
    one.set_guest(IDS[3], HOST)
    other.set_guest(IDS[1], None)
    one.leave(IDS[0])
    assert one.hosts() == {crowd: 1, HOST: 2}
    registry.clear(3)
    assert one.hosts() == {HOST: 2}


def test_a_record_is_used_again(registry: Registry) -> None:
    roster = roster_at(registry, 1)
    for node_id in IDS:
        assert roster.enter(node_id, HOST, 1) is Entry.DONE
        roster.leave(node_id)
    assert registry.head(1) == (1, 0)


def test_no_record_is_left(registry: Registry) -> None:
    roster = roster_at(registry, 0)
    for number in range(2 + ROOM):
        assert roster.enter(number.to_bytes(64, "big"), HOST, None) is Entry.DONE
    assert roster.enter(IDS[0], HOST, None) is Entry.FULL
    assert roster_at(registry, 1).enter(IDS[0], HOST, None) is Entry.DONE


def test_ids_that_overlap_are_not_found(registry: Registry) -> None:
    """Half of one record and half of the next are no peer."""
    one, other = roster_at(registry, 0), roster_at(registry, 1)
    one.enter(IDS[0], HOST, None)
    one.enter(IDS[1], HOST, None)
    between = IDS[0][32:] + IDS[1][:32]
    assert other.enter(between, HOST, None) is Entry.DONE
    assert one.enter(between, HOST, None) is Entry.DUPLICATE


def test_what_the_dead_leave_is_cleared(registry: Registry) -> None:
    dead, alive = roster_at(registry, 0), roster_at(registry, 1)
    dead.enter(IDS[0], HOST, 2)
    alive.enter(IDS[1], HOST, 2)
    registry.clear(0)
    assert registry.guests() == 1
    assert alive.enter(IDS[0], HOST, 2) is Entry.DONE
    assert roster_at(registry, 0).enter(IDS[1], HOST, None) is Entry.DUPLICATE


HOLD = """
import sys
from wakumail.workers.registry import Registry
with Registry(int(sys.argv[1])).lock:
    print(flush=True)
    sys.stdin.read()
"""


def test_the_lock_goes_with_its_holder(registry: Registry) -> None:
    """One process takes the lock and is killed with it; then the other that waited has it."""
    own = registry.descriptor
    command = [sys.executable, "-c", HOLD, str(own)]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, pass_fds=(own,), stdin=pipe, stdout=pipe) as one,
        subprocess.Popen(command, pass_fds=(own,), stdin=pipe, stdout=pipe) as other,
    ):
        assert one.stdout is not None
        assert other.stdout is not None
        (first,), _, _ = select.select((one.stdout.fileno(), other.stdout.fileno()), [], [])
        holder, waiter = (one, other) if first == one.stdout.fileno() else (other, one)
        assert waiter.stdout is not None
        assert not select.select((waiter.stdout.fileno(),), [], [], 0)[0]
        holder.kill()
        assert waiter.stdout.readline() == b"\n"
        waiter.communicate()
        assert waiter.returncode == 0


def test_a_table_of_another_version(registry: Registry) -> None:
    os.pwrite(registry.descriptor, b"x" * len(MAGIC), 0)
    with pytest.raises(RegistryUnknown):
        Registry(registry.descriptor)


# -- channels -----------------------------------------------------------------------------------


async def channels(one: Any, other: Any) -> tuple[Channel, Channel]:
    ends = socket.socketpair()
    return await open_channel(ends[0], one), await open_channel(ends[1], other)


async def echo(method: str, params: list[Any]) -> Any:
    if method == "refuse":
        raise WakumailError("not this")
    if method == "fail":
        raise ValueError("broken")
    if method == "hang":
        await asyncio.Event().wait()
    return [method, *params]


@asynchronous
async def test_calls_are_answered_in_any_order() -> None:
    one, other = await channels(echo, echo)
    hanging = asyncio.create_task(one.call("hang"))
    answers = await asyncio.gather(one.call("a", 1), other.call("b", [2]), one.call("c", {"d": 3}))
    assert list(answers) == [["a", 1], ["b", [2]], ["c", {"d": 3}]]
    with pytest.raises(CallRefused, match="not this"):
        await one.call("refuse")
    with pytest.raises(CallRefused, match="fail failed: broken"):
        await one.call("fail")
    await other.close()
    with pytest.raises(ChannelClosed):
        await hanging
    with pytest.raises(ChannelClosed):
        await one.call("a")
    one.note("a")
    await one.close()


@asynchronous
async def test_a_message_that_is_too_long_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await channels(echo, echo)
    monkeypatch.setattr(channel_module, "MAX_MESSAGE", 100)
    assert await one.call("a", "b" * 50) == ["a", "b" * 50]
    with pytest.raises(ChannelClosed):
        await one.call("a", "b" * 100)
    await one.close()
    await other.close()


# -- logs ---------------------------------------------------------------------------------------


def test_a_line_names_its_worker() -> None:
    record = logging.makeLogRecord({"msg": "said"})
    assert json.loads(JsonFormatter(2).format(record))["worker"] == 2
    assert "worker" not in json.loads(JsonFormatter(None).format(record))


# -- reports ------------------------------------------------------------------------------------


def family(name: str, kind: str, *samples: tuple[str, str, float]) -> Family:
    told = [Sample(name + suffix, (("l", label),), value) for suffix, label, value in samples]
    return Family(name, "text", kind, told)


def values(report: Report) -> dict[tuple[str, str], float]:
    return {(s.name, s.labels[0][1]): s.value for f in report.families for s in f.samples}


def test_reports_add_up_where_they_should() -> None:
    one = Report(
        [
            family("c", "counter", ("_total", "x", 1), ("_total", "y", 2)),
            family("h", "histogram", ("_bucket", "1", 3), ("_sum", "", 0.5)),
            family("wakumail_pool_bytes", "gauge", ("", "", 10)),
            family("wakumail_archive_bytes", "gauge", ("", "", 10)),
        ],
        [Problem("archive", "full", 1.0)],
    )
    other = Report(
        [
            family("c", "counter", ("_total", "y", 20), ("_total", "z", 30)),
            family("h", "histogram", ("_bucket", "1", 1), ("_sum", "", 0.25)),
            family("wakumail_pool_bytes", "gauge", ("", "", 1)),
            family("wakumail_archive_bytes", "gauge", ("", "", 11)),
        ],
        [],
    )
    sum_of_both = {
        ("c_total", "x"): 1,
        ("c_total", "y"): 22,
        ("c_total", "z"): 30,
        ("h_bucket", "1"): 4,
        ("h_sum", ""): 0.75,
        ("wakumail_pool_bytes", ""): 11,
        ("wakumail_archive_bytes", ""): 11,
    }
    both = together((one, other))
    assert values(both) == sum_of_both
    assert both.problems == one.problems
    ended = together((one.last_words(), other))
    assert values(ended) == sum_of_both | {("wakumail_pool_bytes", ""): 1}
    assert ended.problems == []


# -- the API ------------------------------------------------------------------------------------


def test_answers_are_put_together() -> None:
    assert sum_of_all(["0x1", "0xa", "0x0"]) == "0xb"
    assert all_peers([[{"id": "b"}], [], [{"id": "c"}, {"id": "a"}]]) == [
        {"id": "a"},
        {"id": "b"},
        {"id": "c"},
    ]


@asynchronous
async def test_an_order_that_fails_is_not_passed_on() -> None:
    asked: list[tuple[str, list[Any]]] = []

    async def supervisor(method: str, params: list[Any]) -> Any:
        asked.append((method, params))
        return []

    def refuse(session: Session, min_pow: Any) -> bool:
        if min_pow < 0:
            raise WakumailError("less than 0")
        return True

    def other(session: Session, *params: Any) -> Any:
        return []

    own, theirs = await channels(echo, supervisor)
    methods = dict.fromkeys((*GATHERED, *ORDERS, "waku_version"), other)
    made = for_all(methods | {"waku_setMinPoW": refuse}, own)
    assert made["waku_version"] is other
    with pytest.raises(WakumailError, match="less than 0"):
        await made["waku_setMinPoW"](Session(), -1)
    assert await made["waku_setMinPoW"](Session(), 0.5) is True
    assert asked == [("order", ["waku_setMinPoW", [0.5]])]
    await own.close()
    await theirs.close()


# -- the follower -------------------------------------------------------------------------------


def test_following_stops_where_it_is_told_to(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        for seed in range(4):
            archive.append([batch_of(make(5, [b"aaaa"], seed=seed))])
        for until in range(21):
            dump, following = archive.follow(3, max_bytes=1 << 20, until=until)
            assert len(parse_stream(dump, final=True)[0]) == max(0, until - 3)
            assert following == max(3, until)
        for wrong in (-1, 2**48 + 1):
            with pytest.raises(ValueError, match="48 bits"):
                archive.follow(0, max_bytes=1, until=wrong)


def hashes_of(batch: Batch) -> list[bytes]:
    return [envelope.hash for envelope in batch]


@asynchronous
async def test_what_we_have_committed_is_passed_over(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        taken: list[bytes] = []
        before = make(3, [b"aaaa"], seed=99, created=1_600_000_000)
        archive.append([batch_of(before)])
        archive.judgements = Judgements(bytearray(50 * SLOT_SIZE))
        follower = Follower(
            archive, archive.judgements, lambda batch: taken.extend(hashes_of(batch))
        )
        theirs: list[bytes] = []
        for seed in range(20):
            envelopes = make(7, [b"aaaa"], seed=seed, created=1_600_000_000)
            appended = archive.append([batch_of(envelopes)])
            if seed % 3 == 1:
                theirs += [envelope.hash for envelope in envelopes]
            else:
                follower.committed(appended)
            if seed % 4 == 3:
                follower.wake()
                await eventually(lambda: sorted(set(taken)) == sorted(theirs))  # noqa: B023
        follower.wake()
        await eventually(lambda: len(taken) >= len(theirs))
        await follower.close()
        assert sorted(taken) == sorted(theirs)


@asynchronous
async def test_what_is_live_is_read_at_the_beginning(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        live = make(50, [b"aaaa"])
        archive.append([batch_of(live), batch_of(make(50, [b"aaaa"], created=1_600_000_000))])
        taken: list[bytes] = []
        judgements = Judgements(bytearray(SLOT_SIZE))
        follower = Follower(archive, judgements, lambda batch: taken.extend(hashes_of(batch)))
        await eventually(lambda: sorted(taken) == sorted(e.hash for e in live))
        await follower.close()


@asynchronous
async def test_bells_wake_all_others() -> None:
    descriptors = make_bells(3)
    heard = [0, 0, 0]
    bells = [Bells(descriptors, own) for own in range(3)]

    def hear(number: int) -> None:
        heard[number] += 1

    bells[0].ring()  # before anybody listens
    for number, bell in enumerate(bells):
        bell.listen(lambda number=number: hear(number))  # type: ignore[misc]
    await eventually(lambda: heard == [0, 1, 1])
    bells[2].ring()
    bells[2].ring()
    await eventually(lambda: heard[0] >= 1 and heard[1] >= 2)
    assert heard[2] == 1
    for bell in bells:
        bell.close()
    for descriptor in descriptors:
        os.close(descriptor)


# -- places -------------------------------------------------------------------------------------


class Starter:
    """Starts workers that are no processes, and that end as it is told."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.ready = True

    async def start(self, place: Place, part: int) -> Worker:
        process = SimpleNamespace(pid=1, returncode=None, kill=lambda: None)
        worker = Worker(cast(Any, process), cast(Any, None), part)
        process.send_signal = lambda number: self.end(worker, 0)
        self.workers.append(worker)
        if self.ready:
            worker.ready_at = asyncio.get_running_loop().time()
            worker.settled.set()
        else:
            self.end(worker, 1)
        return worker

    def end(self, worker: Worker, code: int) -> None:
        cast(Any, worker.process).returncode = code
        worker.ended.set()
        worker.settled.set()


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Starter:
    monkeypatch.setattr(place_module, "FIRST_DELAY", 0.0)
    monkeypatch.setattr(place_module, "STOP_TIMEOUT", 0.01)
    return Starter()


def with_a_place(test: Any) -> Any:
    async def run(starter: Starter) -> None:
        place = Place(0, cast(Any, None), starter.start)
        await place.begin()
        keeping = asyncio.create_task(place.keep())
        try:
            await test(starter, place, keeping)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    return asynchronous(run)


@with_a_place
async def test_who_dies_again_and_again_is_given_up(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    for number in range(MAX_DEATHS):
        await eventually(lambda: len(starter.workers) == number + 1)  # noqa: B023
        starter.end(starter.workers[-1], -9)
    with pytest.raises(WorkerFailed, match=f"worker 0 died {MAX_DEATHS} times in a row"):
        await keeping
    assert {worker.part for worker in starter.workers} == {0, 1}


@with_a_place
async def test_who_lasts_in_between_is_not(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    for number in range(2 * MAX_DEATHS):
        await eventually(lambda: len(starter.workers) == number + 1)  # noqa: B023
        worker = starter.workers[-1]
        if number % 2:
            assert worker.ready_at is not None
            worker.ready_at -= place_module.STABLE
        starter.end(worker, -9)
    await eventually(lambda: len(starter.workers) == 2 * MAX_DEATHS + 1)
    assert not keeping.done()


@with_a_place
async def test_a_successor_that_does_not_start_leaves_all_as_it_is(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    first = place.serving
    starter.ready = False
    with pytest.raises(WorkerFailed, match="worker 0 did not start: exit code 1"):
        await place.renew()
    assert place.serving is first is not None
    starter.ready = True
    await place.renew()
    assert place.serving is starter.workers[-1]
    assert first.ended.is_set()
    for _ in range(10):
        await asyncio.sleep(0)  # so that `keep` sees the end of the first
    assert len(starter.workers) == 3
    assert not keeping.done()


@with_a_place
async def test_who_does_not_stop_is_killed(
    starter: Starter, place: Place, keeping: asyncio.Task[None]
) -> None:
    worker = place.serving
    assert worker is not None
    process = cast(Any, worker.process)
    process.send_signal = lambda number: None
    process.kill = lambda: starter.end(worker, -9)
    worker.leave()
    assert await worker.end() == -9


@asynchronous
async def test_who_comes_back_elsewhere_is_looked_for_by_all_others(starter: Starter) -> None:
    supervisor = Supervisor(Plan((), (), 1, "", False), on_ready=lambda enode: None)
    notes: list[tuple[int, tuple[str, ...]]] = []
    workers = [await starter.start(cast(Any, None), part) for part in range(3)]
    for part, worker in enumerate(workers):
        worker.channel = cast(
            Any, SimpleNamespace(note=lambda *note, part=part: notes.append((part, note)))
        )
        supervisor._running[worker] = cast(Any, None)
    await supervisor._handle(cast(Any, None), workers[1], "probe", ["abcd"])
    assert notes == [(0, ("probe", "abcd")), (2, ("probe", "abcd"))]


def test_how_a_process_ended() -> None:
    assert describe(None) == "it did not end"
    assert describe(1) == "exit code 1"
    assert describe(-9) == "killed by SIGKILL"
    assert describe(-127) == "killed by signal 127"
