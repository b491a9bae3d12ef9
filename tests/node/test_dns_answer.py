"""Answers of name servers: the costly ones are refused before dnspython parses them."""

import asyncio
import struct
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import dns.message
import pytest
import uvloop
from dns.rrset import from_text
from hypothesis import given
from hypothesis import strategies as st

from wakumail.load.scenarios.steps import step_limit
from wakumail.node.dns_answer import MAX_ANSWER, DnsAnswerRefused, reduced
from wakumail.node.dns_resolver import DnsResolver, DnsUnanswered, NameServer

NAME = "x.example.org"
TXT, CNAME, SOA, HIP = 16, 5, 6, 55
TRUNCATED = 0x8380
DEEP = b"".join(b"\1" + bytes([97 + label % 26]) for label in range(115)) + b"\0"

Record = Callable[[int, int], bytes]
"""A record by its number, and the place of DEEP in the answer."""


def record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


def pointer(place: int) -> bytes:
    return struct.pack(">H", 0xC000 | place)


COSTLY: dict[str, Record] = {
    "names that share their labels": lambda _, deep: record(pointer(deep), TXT, b"\0"),
    "distinct names": lambda n, deep: record(b"\3%03x" % (n % 4096) + pointer(deep), TXT, b"\0"),
    "aliases": lambda n, deep: record(pointer(12), CNAME, b"\3%03x" % (n % 4096) + pointer(deep)),
    "zones": lambda _, deep: record(pointer(deep), SOA, 2 * pointer(deep) + bytes(20)),
    "texts": lambda n, _: record(pointer(12), TXT, b"\2%02x" % (n % 256)),
    "one text of empty strings": lambda n, _: record(pointer(12), TXT, bytes(60_000)),
    "a type with many names": lambda _, deep: record(pointer(12), HIP, 20 * pointer(deep)),
}


def answer_to(question: bytes, each: Record, size: int) -> bytes:
    """An answer of records, as many as `size` bytes hold, or one."""
    head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, 0, 0, 0) + question[12:]
    body = record(DEEP, TXT, b"\0")
    number = 1
    while number < 2 or len(head) + len(body) + 20 < size:
        body += each(number, len(head))
        number += 1
    return (head[:6] + struct.pack(">H", number) + head[8:] + body)[:65535]


class CostlyServer(asyncio.DatagramProtocol):
    """Sends a costly answer over UDP, and then everybody to TCP for another."""

    def __init__(self, each: Record) -> None:
        self._each = each

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(answer_to(data, self._each, 65_000)[:65_000], addr)
        cut = data[:2] + struct.pack(">HHHHH", TRUNCATED, 1, 0, 0, 0) + data[12:]
        self._transport.sendto(cut, addr)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack(">H", await reader.readexactly(2))
        costly = answer_to(await reader.readexactly(size), self._each, 65_400)
        writer.write(struct.pack(">H", len(costly)) + costly)
        writer.close()


async def ask(each: Record) -> None:
    """Ask a server that answers so."""
    costly = CostlyServer(each)
    async with await asyncio.start_server(costly.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        datagrams, _ = await loop.create_datagram_endpoint(lambda: costly, ("127.0.0.1", port))
        try:
            await DnsResolver(NameServer("127.0.0.1", port)).ask(NAME)
        finally:
            datagrams.close()


@pytest.mark.parametrize("what", COSTLY)
def test_a_costly_answer_is_refused(what: str) -> None:
    """Over UDP anybody may have sent it, so that the next counts; over TCP it ends the question."""
    with pytest.raises(DnsUnanswered, match=r"an answer of [0-9]+ bytes, where"):
        uvloop.run(ask(COSTLY[what]))


QUESTION = dns.message.make_query(NAME, "TXT").to_wire()


@pytest.mark.parametrize("what", [*COSTLY][:4] + [*COSTLY][6:])
def test_few_bytes_may_be_costly_too(what: str) -> None:
    costly = answer_to(QUESTION, COSTLY[what], MAX_ANSWER - 100)
    with pytest.raises(DnsAnswerRefused, match=r"more than 1000 labels|nobody asked for"):
        reduced(costly)


def test_pointers_to_pointers_count() -> None:
    """A chain of them in a text: it has no label, and dnspython would follow it for each record."""
    chain = b"".join(pointer(place) for place in range(100, 500, 2))
    for owner in pointer(12), pointer(498):
        body = record(owner, TXT, chain) * 8
        with pytest.raises(DnsAnswerRefused):
            reduced(QUESTION[:6] + struct.pack(">H", 9) + QUESTION[8:] + body)


def test_loops_of_pointers_end() -> None:
    start = len(QUESTION)
    for target in start, start + 2:
        looped = pointer(target) + pointer(start)
        with pytest.raises(DnsAnswerRefused):
            reduced(QUESTION[:6] + b"\0\1" + QUESTION[8:] + looped + bytes(10))


def within_bounds() -> Iterator[bytes]:
    """Answers that are just allowed."""
    for what in "names that share their labels", "distinct names", "aliases", "texts":
        for size in range(0, MAX_ANSWER, 13):
            try:
                largest = reduced(answer_to(QUESTION, COSTLY[what], size))
            except DnsAnswerRefused:
                break
        yield largest
    empty_strings = record(pointer(12), TXT, bytes(MAX_ANSWER - len(QUESTION) - 12))
    yield reduced(QUESTION[:6] + b"\0\1" + QUESTION[8:] + empty_strings)


def test_answers_within_the_bounds_are_short_steps() -> None:
    """In CPU, measured by a piece of work on the same machine; the best of some times."""
    for answer in within_bounds():
        took: list[float] = []
        while min(took, default=1.0) > step_limit():
            began = time.thread_time()
            dns.message.from_wire(answer)
            took.append(time.thread_time() - began)
            assert len(took) < 20


texts = st.lists(st.text("abc=: ", max_size=300), max_size=12)


@given(texts, st.lists(st.sampled_from(["a.b.org", "org", "x.y.example.org"]), max_size=3))
def test_sound_answers_say_the_same(held: list[str], aliases: list[str]) -> None:
    response = dns.message.make_response(dns.message.make_query(NAME, "TXT"))
    names = [NAME, *dict.fromkeys(aliases)]
    for name, target in pairwise(names):
        response.answer.append(from_text(f"{name}.", 60, "IN", "CNAME", f"{target}."))
    if held:
        strings = [
            " ".join(f'"{text[at : at + 255]}"' for at in range(0, max(len(text), 1), 255))
            for text in held
        ]
        response.answer.append(from_text(f"{names[-1]}.", 60, "IN", "TXT", *strings))
    expected = list(response.answer)
    response.authority.append(from_text("example.org.", 60, "IN", "NS", "ns1.example.org."))
    response.additional.append(from_text("ns1.example.org.", 60, "IN", "A", "192.0.2.1"))
    response.use_edns(0)
    read = dns.message.from_wire(reduced(response.to_wire()))
    assert read.answer == expected
    assert (read.id, read.flags, read.question) == (response.id, response.flags, response.question)
    assert not read.authority + read.additional
    assert read.edns < 0


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_refused_or_no_longer(data: bytes, cut: int) -> None:
    whole = answer_to(QUESTION, COSTLY["texts"], 300)
    for each in data, whole[:cut] + data:
        try:
            assert len(reduced(each)) <= len(each)
        except DnsAnswerRefused:
            continue
