"""The roster: of one worker, and shared by several in a table in memory."""

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.open_files import open_files
from wakumail.node.roster import Entry, OwnRoster, Roster
from wakumail.ops.workers.registry import (
    COMMIT_BYTE,
    EXTRA_RECORDS,
    LOCK_BYTE,
    MAGIC,
    Registry,
    RegistryUnknown,
    SharedRoster,
)

HOST = "192.0.2.1"
IDS = [bytes([number]) * 64 for number in range(1, 200)]


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry.create(parts=4, maxpeers=2)
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
    for number in range(2 + EXTRA_RECORDS):
        assert roster.enter(number.to_bytes(64, "big"), HOST, None) is Entry.DONE
    assert roster.enter(IDS[0], HOST, None) is Entry.FULL
    assert roster_at(registry, 1).enter(IDS[0], HOST, None) is Entry.DONE


def test_ids_that_overlap_are_not_found(registry: Registry) -> None:
    """Half of one record and half of the next do not make a peer."""
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
from wakumail.ops.workers.registry import Registry
with Registry(int(sys.argv[1])).lock:
    print(flush=True)
    sys.stdin.read()
"""


def test_the_lock_goes_with_its_holder(registry: Registry) -> None:
    """A process is killed while it holds the lock; then the one that waits gets it."""
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


CROSS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from wakumail.ops.workers.registry import Registry
registry = Registry(int(sys.argv[1]))
def count(part, lock):
    for _ in range(int(sys.argv[2])):
        with lock:
            registry.set_head(part, registry.head(part)[0] + 1, 0)
print(flush=True)
sys.stdin.read()
with ThreadPoolExecutor() as threads:
    list(threads.map(count, (0, 1), (registry.lock, registry.commit_lock)))
registry.close()
"""
ROUNDS = 5000


def test_two_locks_of_two_threads_are_no_deadlock(registry: Registry) -> None:
    """Two processes wait for each other, but each with another of its threads."""
    own = registry.descriptor
    command = [sys.executable, "-c", CROSS, str(own), str(ROUNDS)]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, pass_fds=(own,), stdin=pipe, stdout=pipe) as one,
        subprocess.Popen(command, pass_fds=(own,), stdin=pipe, stdout=pipe) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.close()
    assert one.returncode == other.returncode == 0
    assert registry.head(0) == registry.head(1) == (2 * ROUNDS, 0)


def test_locks_of_processes_are_shut_out(registry: Registry) -> None:
    """Workers of an earlier version use these numbers."""
    for byte, lock in ((LOCK_BYTE, registry.lock), (COMMIT_BYTE, registry.commit_lock)):
        with lock, pytest.raises(BlockingIOError):
            fcntl.lockf(registry.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)


def test_nothing_stays_open() -> None:
    before = open_files()
    Registry.create(parts=1, maxpeers=1).close()
    assert open_files() <= before


def test_a_table_of_another_version(registry: Registry) -> None:
    os.pwrite(registry.descriptor, b"x" * len(MAGIC), 0)
    with pytest.raises(RegistryUnknown):
        Registry(registry.descriptor)
