"""Lists read over a real DNS on loopback, and everything that a DNS does wrong."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest
import uvloop

from tests.support.dns_lists import record, tree, url
from tests.support.dns_server import TxtServer
from tests.support.open_files import open_files
from tests.support.patience import PATIENCE
from tests.vectors import DISCOVERY
from wakumail.counters import Counters
from wakumail.devp2p.dns_list import MIN_ROOT_TTL, DnsHashWrong
from wakumail.devp2p.dns_tree import DnsListError, ListUrl, label_of
from wakumail.devp2p.enr import Enr
from wakumail.errors import WakumailError
from wakumail.node import dns_resolver
from wakumail.node.dns_lists import CountedFaults, DnsLists
from wakumail.node.dns_resolver import (
    DnsNameMissing,
    DnsResolver,
    DnsTexts,
    DnsTimedOut,
    DnsUnanswered,
    NameServer,
)

DOMAIN = "list.example"
MADE = tree(DOMAIN, range(30), [url("other.example")])
OTHER = tree("other.example", range(30, 33), [url(DOMAIN)])
TEXTS = MADE.texts | OTHER.texts

Faults = list[tuple[str, WakumailError]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of a name server may be late on a machine with too much to do."""
    monkeypatch.setattr(dns_resolver, "QUESTION_TIMEOUT", PATIENCE)


@pytest.fixture
def server() -> Iterator[TxtServer]:
    with TxtServer(TEXTS) as server:
        yield server


def read(server: TxtServer, *urls: ListUrl, at_once: int = 8) -> tuple[list[Enr], Faults]:
    """The records of one round, and its faults."""
    faults: Faults = []

    async def main() -> list[Enr]:
        ask = DnsResolver(server.at).ask
        lists = DnsLists(urls or [MADE.url], ask, lambda *each: faults.append(each))
        return [found async for found in lists.round(at_once)]

    return uvloop.run(main()), faults


def ids(records: list[Enr]) -> set[bytes]:
    assert len({each.node_id for each in records}) == len(records)
    return {each.node_id for each in records}


def numbers(*of: int) -> set[bytes]:
    return {record(number).node_id for number in of}


def kinds(faults: Faults) -> list[type[WakumailError]]:
    return [type(error) for _, error in faults]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("turns", range(8))
def test_a_question_that_is_given_up_leaves_no_socket(
    server: TxtServer, turns: int, times: int
) -> None:
    """Wherever it is then; its socket is made within the first turns of the event loop."""
    server.silent.add(DOMAIN)

    async def main() -> None:
        before = open_files()
        asking = asyncio.ensure_future(DnsResolver(server.at).ask(DOMAIN))
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(times):
            asking.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0)
        assert open_files() <= before

    uvloop.run(main())


@pytest.mark.parametrize("turns", range(8))
def test_a_question_at_the_end_of_the_loop_leaves_no_socket(server: TxtServer, turns: int) -> None:
    server.silent.add(DOMAIN)

    async def main() -> asyncio.Task[DnsTexts]:
        asking = asyncio.ensure_future(DnsResolver(server.at).ask(DOMAIN))
        for _ in range(turns):
            await asyncio.sleep(0)
        return asking

    uvloop.run(asyncio.sleep(0))  # the first loop of a process makes a pipe that stays
    before = open_files()
    assert uvloop.run(main()).cancelled()
    assert open_files() <= before


@pytest.mark.parametrize("at_once", [1, 16])
def test_a_tree_of_ours_is_read_back(server: TxtServer, at_once: int) -> None:
    found, faults = read(server, at_once=at_once)
    assert ids(found) == numbers(*range(33))
    assert [error.counter for _, error in faults] == ["dns_links_skipped"]
    assert {name for name, _ in server.asked} == set(TEXTS)
    assert max(server.asked.values()) == 1


def test_the_tree_of_go_ethereum_is_read() -> None:
    with TxtServer(DISCOVERY["txt"]) as server:
        found, faults = read(server, ListUrl.parse(DISCOVERY["url"]))
    assert {str(each) for each in found} == {node["enr"] for node in DISCOVERY["nodes"]}
    assert faults == []


def test_several_lists_are_one_source(server: TxtServer) -> None:
    server.texts |= tree("third.example", [50]).texts
    found, _ = read(server, OTHER.url, url("third.example"), url("gone.example"))
    assert ids(found) == numbers(*range(33), 50)


def test_an_answer_that_udp_has_no_room_for_comes_over_tcp(server: TxtServer) -> None:
    server.texts[DOMAIN] = ["v=spf1 " + "ip4:192.0.2.1 " * 60, MADE.texts[DOMAIN], "x" * 1000]
    found, _ = read(server)
    assert ids(found) == numbers(*range(33))
    assert server.asked[DOMAIN, "udp"] == server.asked[DOMAIN, "tcp"] == 1
    assert sum(number for (_, over), number in server.asked.items() if over == "tcp") == 1


def test_what_the_dns_does_wrong_costs_what_is_there_alone(server: TxtServer) -> None:
    names = [f"{label_of(str(record(number)))}.{DOMAIN}" for number in range(5)]
    server.failing.add(names[0])
    del server.texts[names[1]]
    server.texts[names[2]] = TEXTS[names[2]][:100]  # cut short
    server.texts[names[3]] = TEXTS[names[4]]
    found, faults = read(server)
    assert ids(found) == numbers(*range(4, 33))
    wrong = {name: type(error) for name, error in faults}
    expected = [DnsUnanswered, DnsNameMissing, DnsHashWrong, DnsHashWrong]
    assert [wrong[name] for name in names[:4]] == expected


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are given up as soon as they were asked for."""
    monkeypatch.setattr(dns_resolver, "QUESTION_TIMEOUT", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["silent", "garbled"])
def test_a_name_server_that_never_answers_is_given_up(server: TxtServer, how: str) -> None:
    getattr(server, how).add(DOMAIN)
    found, faults = read(server)
    assert (found, kinds(faults)) == ([], [DnsTimedOut])


@pytest.mark.usefixtures("impatient")
def test_nobody_listens_there(server: TxtServer) -> None:
    server.__exit__(None, None, None)
    try:
        found, faults = read(server)
        assert (found, len(faults)) == ([], 1)
        assert isinstance(faults[0][1], DnsUnanswered)
    finally:
        server.__enter__()


@pytest.mark.parametrize(
    "held", [[], "", "\xff" * 300, ["a", "b"], "enrtree-root:v1 e=A l=B seq=1 sig=C", "enr:"]
)
def test_other_texts_are_no_list(server: TxtServer, held: str | list[str]) -> None:
    server.texts[DOMAIN] = held
    found, faults = read(server)
    assert found == []
    assert kinds(faults) in ([DnsListError], [DnsNameMissing])


# -- the client, with a DNS in memory ---------------------------------------------------------


def ask(name: str) -> Awaitable[DnsTexts]:
    async def answer() -> DnsTexts:
        if name not in TEXTS:
            raise DnsNameMissing("the DNS has no such name")
        return DnsTexts([TEXTS[name]], 60.0)

    return answer()


async def first(records: AsyncIterator[Enr], count: int) -> list[Enr]:
    return [await anext(records) for _ in range(count)]


def test_nothing_is_asked_before_it_is_wanted() -> None:
    async def main() -> None:
        asked: list[str] = []

        def noting(name: str) -> Awaitable[DnsTexts]:
            asked.append(name)
            return ask(name)

        records = DnsLists([MADE.url], noting, lambda *_: None).endless()
        assert asked == []
        await first(records, 1)
        assert len(asked) < 20
        before = len(asked)
        await asyncio.sleep(0)
        assert len(asked) == before
        await first(records, 32)
        assert max(Counter(asked).values()) == 1
        await records.aclose()

    uvloop.run(main())


def test_after_a_round_the_next_waits_for_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        slept: list[float] = []
        sleep = asyncio.sleep

        async def noting(delay: float) -> None:
            slept.append(delay)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", noting)
        records = DnsLists([MADE.url], ask, lambda *_: None).endless()
        two_rounds = await first(records, 66)
        assert Counter(each.node_id for each in two_rounds) == dict.fromkeys(numbers(*range(33)), 2)
        assert len(slept) == 1
        assert 0 < slept[0] <= MIN_ROOT_TTL
        await records.aclose()

    uvloop.run(main())


def test_a_reader_that_leaves_ends_its_questions() -> None:
    async def main() -> None:
        asked: asyncio.Queue[str] = asyncio.Queue()
        ended: asyncio.Queue[str] = asyncio.Queue()

        async def never(name: str) -> DnsTexts:
            if name == DOMAIN:
                return await ask(name)
            asked.put_nowait(name)
            try:
                await asyncio.Event().wait()
            finally:
                ended.put_nowait(name)
            raise AssertionError

        records = DnsLists([MADE.url], never, lambda *_: None).round(4)
        waiting = asyncio.ensure_future(anext(records))
        names = {await asked.get(), await asked.get()}
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert {await ended.get(), await ended.get()} == names

    uvloop.run(main())


def test_the_sequence_numbers_are_told_and_taken() -> None:
    async def main() -> None:
        faults: Faults = []
        lists = DnsLists([MADE.url], ask, lambda *_: None)
        assert [each async for each in lists.round(4)]
        assert lists.seqs == {MADE.url: 1, OTHER.url: 1}
        higher = DnsLists([MADE.url], ask, lambda *each: faults.append(each), {MADE.url: 2})
        assert [each async for each in higher.round(4)] == []
        assert [error.counter for _, error in faults] == ["dns_seq_fell"]

    uvloop.run(main())


def test_faults_are_counted_and_those_of_the_root_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counters = Counters()
    faults = CountedFaults([MADE.url], counters)
    for _ in range(3):
        faults(DOMAIN, DnsTimedOut("slow"))
        faults(f"A.{DOMAIN}", DnsHashWrong("wrong"))
    faults(DOMAIN, DnsUnanswered("gone"))
    assert counters == {"dns_timed_out": 3, "dns_hash_wrong": 3, "dns_unanswered": 1}
    assert [each.message for each in caplog.records] == [
        "DNS list: list.example: slow",
        "DNS list: list.example: gone",
    ]


# -- name servers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("::1", ("::1", 53)),
        ("[::1]", ("::1", 53)),
        ("[::1]:5353", ("::1", 5353)),
    ],
)
def test_name_servers(text: str, server: tuple[str, int]) -> None:
    assert NameServer.parse(text) == NameServer(*server)
    assert NameServer.parse(str(NameServer.parse(text))) == NameServer(*server)


@pytest.mark.parametrize(
    "text", ["", "dns.example", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:a", "1.2.3", ":53"]
)
def test_what_is_no_name_server(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        NameServer.parse(text)


def test_without_dnspython_a_line_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['dns'] = None\n"
        "from wakumail.node.dns_resolver import DnsResolver\n"
        "try: DnsResolver()\n"
        "except Exception as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ
    )
    assert 'pip install "dnspython' in told.stdout
