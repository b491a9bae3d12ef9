"""Damaged data files, made from a seed, and commands and requests on them, each in a fork.

The process that forks has all modules imported and no archive open, so a try takes milliseconds.
If a signal ends a child, its name is reported.
"""

import contextlib
import os
import random
import select
import shutil
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

# Or each child would import them.
import tqdm  # noqa: F401

import wakumail.archive.independent
import wakumail.cli.archive  # noqa: F401
from tests.support.archive_model import DAY, START, batch_of, envelope, make
from tests.support.full_tmpfs import fill, free
from tests.support.patience import PATIENCE
from wakumail.archive.archive import Archive, PageState, Query
from wakumail.cli.command_line import main
from wakumail.errors import ArchiveError

PAGE = 4096
FLAGS_AT, P_BRANCH, P_LEAF, PAGE_HEAD = 10, 1, 2, 16
"""The place of the flags in a page of LMDB, two of them, and the size of the head of a page."""
NODE_HEAD = 8
FREE_ROOT_AT, TRANSACTION_AT = 80, 144
"""The places in a meta page of the root of the free pages, and of the number of the commit."""

COMMANDS = {
    "stat": ["stat"],
    "verify": ["verify"],
    "pages": ["verify", "--pages"],
    "independent": ["verify", "--independent"],
    "export": ["export", "/dev/null"],
    "prune": ["prune", "--before", str(START + DAY)],
    "prune all": ["prune", "--before", "1d"],
    "compact": ["compact"],
    "backup": ["backup"],
}


def make_archive(path: Path) -> None:
    """An archive with index pages on several levels, free pages, and values of many pages."""
    with Archive(path, sync=False) as archive:
        for first in range(0, 4000, 500):
            archive.append([batch_of(make(500, first=first, size=60, spread=4 * DAY))])
        archive.append([batch_of([envelope(START + 2 * DAY, b"vast", 9, 90_000)])])
        archive.prune(START + DAY // 2, limit=400)
        archive.append([batch_of(make(100, first=5000, size=60, spread=4 * DAY))])


def flip_bits(data: bytearray, source: random.Random) -> None:
    """Flip one to eight bits, mostly in the headers of pages."""
    for _ in range(source.randrange(1, 9)):
        page = source.randrange(len(data) // PAGE)
        inside = source.choice([source.randrange(PAGE), source.randrange(64)])
        data[page * PAGE + inside] ^= 1 << source.randrange(8)


def overwrite_pages(data: bytearray, source: random.Random) -> None:
    """Fill one to three pages, or their second halves, with zeros, noise or ones."""
    for _ in range(source.randrange(1, 4)):
        start = source.randrange(2, len(data) // PAGE) * PAGE
        half = start + source.choice([0, PAGE // 2])
        size = start + PAGE - half
        data[half : half + size] = source.choice(
            [bytes(size), source.randbytes(size), b"\xff" * size]
        )


def swap_pages(data: bytearray, source: random.Random) -> None:
    """Swap two pages, or copy one over another. Their page numbers may be corrected."""
    for _ in range(source.randrange(1, 4)):
        one, other = (source.randrange(2, len(data) // PAGE) * PAGE for _ in range(2))
        first, second = bytes(data[one : one + PAGE]), bytes(data[other : other + PAGE])
        if source.random() < 0.5:
            first, second = first[:8] + second[8:], second[:8] + first[8:]
            data[one : one + PAGE] = first
        else:
            data[one : one + PAGE] = second
        if source.random() < 0.5:
            data[other : other + PAGE] = second if source.random() < 0.5 else first


def truncate(data: bytearray, source: random.Random) -> None:
    """Cut off the end, at any byte or page."""
    size = source.randrange(len(data))
    del data[source.choice([size, size // PAGE * PAGE, len(data) - source.randrange(3 * PAGE)]) :]


def change_numbers(data: bytearray, source: random.Random) -> None:
    """Set words in headers and pointers of pages to other plausible numbers."""
    for _ in range(source.randrange(1, 6)):
        page = source.randrange(len(data) // PAGE)
        at = page * PAGE + source.choice([0, 8, 10, 12, 14, *range(16, 60, 2), 4000, 4010])
        word = source.choice([0, 1, 2, 4, 16, 17, 4094, 4096, 65535, source.randrange(4096)])
        data[at : at + 2] = word.to_bytes(2, "little")


def blank_pages(data: bytearray, source: random.Random) -> None:
    """Leave out a third of the pages, or most, or all but the first two."""
    share = source.choice([0.3, 0.9, 1.0])
    for page in range(2, len(data) // PAGE):
        if source.random() < share:
            data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def nodes_of(data: bytearray, page: int) -> range | None:
    """The places of the pointers to the nodes of a page; None if it is not a page of nodes."""
    number, _, flags, lower, upper = struct.unpack_from("<QHHHH", data, page * PAGE)
    if number != page or flags not in {P_BRANCH, P_LEAF} or not PAGE_HEAD < lower <= upper <= PAGE:
        return None
    return range(page * PAGE + PAGE_HEAD, page * PAGE + lower, 2)


def exchange_nodes(data: bytearray, source: random.Random) -> None:
    """Exchange nodes inside pages: all is sound but the order of the keys."""
    pages = [nodes_of(data, page) for page in range(2, len(data) // PAGE)]
    places = [nodes for nodes in pages if nodes is not None and len(nodes) > 1]
    for _ in range(source.randrange(1, 40)):
        one, other = source.sample(source.choice(places), 2)
        first = data[one : one + 2]
        data[one : one + 2] = data[other : other + 2]
        data[other : other + 2] = first


def free_used_pages(data: bytearray, source: random.Random) -> None:
    """Name pages in use in a list of free pages, one or as many as there are."""
    newest = max((0, PAGE), key=lambda at: struct.unpack_from("<Q", data, at + TRANSACTION_AT))
    (root,) = struct.unpack_from("<Q", data, newest + FREE_ROOT_AT)
    nodes = nodes_of(data, root)
    assert nodes is not None
    (place,) = struct.unpack_from("<H", data, source.choice(nodes))
    place += root * PAGE
    flags, key_size = struct.unpack_from("<HH", data, place + 4)
    place += NODE_HEAD + key_size
    if flags:  # the list has pages of its own
        place = struct.unpack_from("<Q", data, place)[0] * PAGE + PAGE_HEAD
    (count,) = struct.unpack_from("<Q", data, place)
    free = struct.unpack_from(f"<{count}Q", data, place + 8)
    used = [page for page in range(2, len(data) // PAGE) if nodes_of(data, page) is not None]
    wrong = (
        {source.choice(used), *free[1:]} if source.random() < 0.5 else source.sample(used, count)
    )
    listed = sorted(set(wrong), reverse=True)
    struct.pack_into(f"<{1 + len(listed)}Q", data, place, len(listed), *listed)


DAMAGES: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bits": flip_bits,
    "pages": overwrite_pages,
    "swaps": swap_pages,
    "truncations": truncate,
    "numbers": change_numbers,
    "blanks": blank_pages,
    "nodes": exchange_nodes,
    "free": free_used_pages,
}


def damage(content: bytes, kind: str, seed: int) -> bytes:
    """The content of a file, damaged; the same for the same seed."""
    data = bytearray(content)
    DAMAGES[kind](data, random.Random(f"{kind} {seed}"))
    return bytes(data)


def ask(path: Path, seed: int, count: int) -> None:
    """Send requests of all kinds, follow, look up, and write. Each is answered or refused."""
    source = random.Random(seed)
    try:
        archive = Archive(path)
    except ArchiveError:
        return
    with archive:
        for number in range(count):
            with contextlib.suppress(ArchiveError):
                ask_once(archive, source, number)


def ask_once(archive: Archive, source: random.Random, number: int) -> None:
    """One call of any kind."""
    kind = source.randrange(9)
    if kind < 5:
        lower = START + source.randrange(4 * DAY)
        topics = [bytes([0, 0, 0, source.randrange(24)]) for _ in range(source.randrange(1, 5))]
        query = Query(
            lower if kind else 0,
            lower + source.randrange(2 * DAY) if kind else 2**32 - 1,
            topics=topics if kind in (1, 2) else None,
            bloom=source.randbytes(64) if kind == 3 else None,
            newest_first=source.random() < 0.7,
        )
        position = b""
        archive._read_ahead_always(source.random() < 0.5)
        for _ in range(20):
            reading = archive.page_job(
                query, position, limit=source.randrange(500), max_bytes=200_000
            )
            page = reading.do()
            position = page.position
            if page.state is PageState.EXHAUSTED:
                break
    elif kind == 5:
        archive.follow(source.randrange(4500), max_bytes=100_000)
        archive.contains(START + source.randrange(DAY), source.randbytes(32))
        for day in archive.days()[:3]:
            archive.topics(day.start, 1000)
            archive.read_branches(day.start)
        archive.stat()
    elif kind == 6:
        archive.append([batch_of(make(20, first=10_000 + 20 * number, spread=4 * DAY))])
    elif kind == 7:
        synchronise(archive, source)
    else:
        archive.prune(START + source.randrange(DAY), limit=30)
        archive.page_job(Query(0, 2**32 - 1), limit=2**31, max_bytes=2**31).do()


def synchronise(archive: Archive, source: random.Random) -> None:
    """All that one archive asks of another, as far as the damage lets it go."""
    lower, upper = sorted((START + source.randrange(4 * DAY), source.randbytes(2)) for _ in "ab")
    with archive.items() as items:
        for ask in (
            lambda: items.fold(lower, upper),
            lambda: items.split(lower, upper, source.choice([2, 16, 1000])),
            lambda: items.ids(lower, upper, source.randrange(1, 5000)),
            lambda: archive.arrived(source.randrange(4500), limit=1000),
            lambda: name(archive, items.ids(lower, upper, 300)),
        ):
            with contextlib.suppress(ArchiveError):
                ask()


def name(archive: Archive, items: bytes) -> None:
    """Ask for envelopes by their items and hashes."""
    archive.missing(items)
    archive.envelopes(items, max_bytes=100_000)
    hashes = b"".join(items[at + 4 : at + 36] for at in range(0, len(items), 36))
    archive.find(START, START + 4 * DAY, hashes)


def in_fork(work: Callable[[], object], log: Path) -> str:
    """Work in a child. "" if it ended by itself; else the signal, or that it took too long."""
    child = os.fork()
    if not child:
        code = 70
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            result = work()
            code = result if isinstance(result, int) else 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    end = os.pidfd_open(child)
    ended, _, _ = select.select([end], [], [], PATIENCE)
    os.close(end)
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not ended:
        return "took too long"
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return "a traceback" if os.WEXITSTATUS(status) == 70 else ""


def tries(
    directory: Path, content: bytes, kind: str, seed: int, disk: Path | None
) -> Iterator[tuple[str, str]]:
    """Run each command and the requests on a damaged file: pairs of a name and a failure or ""."""
    damaged = damage(content, kind, seed)
    slow = seed % 8 == 0  # these start Python again
    datadir, log = (disk or directory) / "data", directory / "log"
    for name, command in COMMANDS.items():
        if len(command) > 1 and command[0] == "verify" and not slow:
            continue
        lay_out(datadir, damaged, disk)
        shutil.rmtree(directory / "copy", ignore_errors=True)
        arguments = ["archive", command[0], "--datadir", str(datadir), *command[1:]]
        if name == "backup":
            arguments.append(str(directory / "copy"))
        yield name, in_fork(lambda arguments=arguments: main(arguments), log)  # type: ignore[misc]
    lay_out(datadir, damaged, disk)
    yield "requests", in_fork(lambda: ask(datadir / "archive", seed, 200), log)


def lay_out(datadir: Path, damaged: bytes, disk: Path | None = None) -> None:
    """Put a damaged file in an otherwise empty data directory; blank pages are holes of the file.

    disk: a tmpfs to fill up. A hole cannot be read through a map there, as a bad sector elsewhere.
    """
    if disk is not None:
        free(disk)
    shutil.rmtree(datadir, ignore_errors=True)
    (datadir / "archive").mkdir(parents=True)
    with (datadir / "archive" / "data.mdb").open("wb") as file:
        file.truncate(len(damaged))
        for start in range(0, len(damaged), PAGE):
            page = damaged[start : start + PAGE]
            if any(page):
                file.seek(start)
                file.write(page)
    if disk is not None:
        fill(disk)


def run(directory: Path, kind: str, seeds: range, disk: Path | None = None) -> int:
    """Try all. Each failure is a line on stdout. Returns the number of failures."""
    directory.mkdir(parents=True, exist_ok=True)
    make_archive(directory / "intact")
    content = (directory / "intact" / "data.mdb").read_bytes()
    failures = 0
    for seed in seeds:
        for name, failure in tries(directory, content, kind, seed, disk):
            if failure:
                failures += 1
                print(f"{kind} {seed}: {name}: {failure}: {(directory / 'log').read_text()[-600:]}")
    return failures


if __name__ == "__main__":
    first, end = map(int, sys.argv[3:5])
    at = Path(sys.argv[5]) if len(sys.argv) > 5 else None
    sys.exit(min(1, run(Path(sys.argv[1]), sys.argv[2], range(first, end), at)))
