"""History over HTTP: nwaku's fields, who may ask, and what is refused."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.archive_damage import break_envelope
from tests.support.envelopes import TTL, make, newest_first
from tests.support.exchanges import TOPICS, answer, build, works
from tests.support.patience import asynchronous
from tests.support.puppet import Puppet
from tests.support.rest_server import RestServer, rest_server
from tests.support.rpc_callers import access_with
from wakumail.errors import ArchiveDamaged
from wakumail.rpc.access import AccessError
from wakumail.rpc.rest import rest_endpoint, store_reader
from wakumail.rpc.rest.store_query import NAMES
from wakumail.waku.envelope import make_envelope
from wakumail.waku.packets import Code
from wakumail.waku.waku2_message import content_topic, envelope_message_hash

TOKEN = "0123456789abcdef" * 2
NANOSECONDS = 10**9


@asynchronous
async def test_the_fields_of_nwaku(tmp_path: Path) -> None:
    envelope = make_envelope(1_600_000_050, 50, bytes.fromhex("1a2b3c4d"), b"\xffsealed", 7)
    async with rest_server(tmp_path, [envelope]) as server:
        found = await server.caller.ask({"includeData": "true"})
        assert found.headers["Content-Type"] == "application/json"
        name = f"0x{envelope_message_hash(envelope).hex()}"
        assert found.told == {
            "requestId": "",
            "statusCode": 200,
            "statusDesc": "OK",
            "messages": [
                {
                    "messageHash": name,
                    "message": {
                        "payload": base64.b64encode(b"\xffsealed").decode(),
                        "contentTopic": "/waku/1/0x1a2b3c4d/rfc26",
                        "version": 1,
                        "timestamp": 1_600_000_000 * NANOSECONDS,
                        "ephemeral": False,
                    },
                    "pubsubTopic": "/waku/2/default-waku/proto",
                }
            ],
        }
        assert (await server.caller.ask()).told["messages"] == [{"messageHash": name}]
        assert (await server.caller.ask(method="HEAD")).body == b""
        assert server.server.counters["rest_requests"] == 3
        assert server.server.counters["rest_messages"] == 3


@asynchronous
async def test_the_same_envelopes_as_over_the_wire(tmp_path: Path, unix_time: int) -> None:
    """In the same order, page by page: the newest pages first, each with its oldest message first.

    Ascending pages are the whole answer turned round.
    """
    envelopes = make(700, TOPICS, created=unix_time, spread=500)
    async with rest_server(tmp_path, envelopes) as server:
        for lower, upper, topics in (
            (unix_time - 400, unix_time - 100, TOPICS[:1]),
            (unix_time - 450, unix_time, TOPICS[:3]),
            (unix_time - 3600, unix_time, TOPICS),
        ):
            await agree(server, lower, upper, topics, 50)


@asynchronous
async def test_a_second_with_many_envelopes(tmp_path: Path) -> None:
    """Ranges of a second and of none, pages of any size."""
    begin = 1_600_000_000
    envelopes = [
        *make(500, TOPICS, created=begin, spread=1),
        *make(20, TOPICS, created=begin + 10, spread=10, seed=2),
    ]
    async with rest_server(tmp_path, envelopes) as server:
        for lower, upper, topics, page_size, expected in (
            (begin, begin, TOPICS, 100, 500),
            (begin, begin, TOPICS[:1], 7, 500 // len(TOPICS)),
            (begin, begin + 1, TOPICS[1:3], 99, None),
            (begin + 1, begin + 10, TOPICS, 1, 20),
            (begin - 1, begin - 1, TOPICS, 1, 0),
        ):
            found = await agree(server, lower, upper, topics, page_size)
            assert expected in (None, len(found))


@asynchronous
async def test_pages_go_on_where_the_archive_was_pruned(tmp_path: Path) -> None:
    """Behind a cursor whose envelope is gone the wire and HTTP tell the same."""
    old = make(40, TOPICS, created=1_600_000_000)
    new = make(40, TOPICS, created=1_600_100_000)
    async with rest_server(tmp_path, old + new) as server:
        ask = server.caller.ask
        up = (await ask({"pageSize": "10"})).told["paginationCursor"]
        down = (await ask({"pageSize": "60", "ascending": "false"})).told["paginationCursor"]
        puppet = await Puppet.ready(server.enode)
        asked: dict[str, Any] = {
            "lower": 0,
            "upper": 1_600_100_000,
            "topics": TOPICS,
            "batch": True,
        }
        puppet.send(Code.P2P_REQUEST, build(limit=60, **asked)[0])
        _, _, completion, _ = await answer(puppet)
        server.archive.prune(1_600_050_000, limit=100)
        puppet.send(Code.P2P_REQUEST, build(limit=60, cursor=completion.cursor, **asked)[0])
        over_wire, _, _, _ = await answer(puppet)
        assert (await ask({"cursor": down, "ascending": "false"})).hashes == over_wire == []
        names = [f"0x{envelope_message_hash(each).hex()}" for each in newest_first(new)[::-1]]
        assert (await ask({"cursor": up, "pageSize": "100"})).hashes == names


async def agree(
    server: RestServer, lower: int, upper: int, topics: list[bytes], page_size: int
) -> list[str]:
    """The hashes of the messages of a range: the wire and HTTP tell the same, page by page."""
    over_wire = await wire_pages(server, lower, upper, topics, page_size)
    asked = {
        "startTime": str(lower * NANOSECONDS),
        "endTime": str(upper * NANOSECONDS),
        "contentTopics": ",".join(map(content_topic, topics)),
        "pageSize": str(page_size),
    }
    down = await server.caller.pages(**asked, ascending="false")
    assert [names[::-1] for names in names_of(down)] == over_wire
    up = await server.caller.pages(**asked)
    assert joined(names_of(up)) == joined(over_wire)[::-1]
    assert all(len(page) == page_size for page in up[:-1])
    return joined(over_wire)


async def wire_pages(
    server: RestServer, lower: int, upper: int, topics: list[bytes], limit: int
) -> list[list[str]]:
    """The hashes of messages that requests over the wire are answered with, page by page."""
    puppet = await Puppet.ready(server.enode)
    pages = []
    cursor = b""
    while True:
        packet, _ = build(
            lower=lower, upper=upper, topics=topics, limit=limit, cursor=cursor, batch=True
        )
        puppet.send(Code.P2P_REQUEST, packet)
        envelopes, _, completion, _ = await answer(puppet)
        pages.append([f"0x{envelope_message_hash(each).hex()}" for each in envelopes])
        if not (cursor := completion.cursor):
            return pages


def names_of(pages: list[list[dict[str, str]]]) -> list[list[str]]:
    return [[entry["messageHash"] for entry in page] for page in pages]


@asynchronous
async def test_the_requests_of_clients(tmp_path: Path) -> None:
    """As the tests between implementations send them: sizes, cursors of either kind, hashes."""
    envelopes = make(120, TOPICS)
    names = [f"0x{envelope_message_hash(each).hex()}" for each in newest_first(envelopes)[::-1]]
    async with rest_server(tmp_path, envelopes) as server:
        ask = server.caller.ask
        for size, expected in (("", 20), ("5", 5), ("0", 20), ("100", 100), ("500", 100)):
            assert (await ask({"pageSize": size})).hashes == names[:expected]
        first = (await ask({"pageSize": "19", "ascending": "true"})).told
        rest = {"pageSize": "100", "cursor": first["paginationCursor"]}
        assert (await ask(rest)).hashes == names[19:119]
        rest = {"pageSize": "100", "cursor": names[50]}  # the hash of a message is one, too
        assert (await ask(rest)).hashes == names[51:]
        assert (await ask(rest | {"ascending": "false"})).hashes == names[:50]
        assert (await ask({"cursor": names[-1]})).hashes == []
        assert (await ask({"hashes": ",".join(names[3:6])})).hashes == names[3:6]
        assert (await ask({"hashes": names[5][2:] + ",0x" + "00" * 32})).hashes == names[5:6]
        assert (await ask({"pubsubTopic": "/waku/2/rs/16/32"})).hashes == []
        assert (await ask({"contentTopics": "/toy-chat/2/luzhou/proto"})).hashes == []
        assert "paginationCursor" not in (await ask({"cursor": names[-2]})).told


@asynchronous
async def test_named_messages_have_pages(tmp_path: Path) -> None:
    envelopes = newest_first(make(30, TOPICS))[::-1]
    names = [f"0x{envelope_message_hash(each).hex()}" for each in envelopes]
    wanted = {"hashes": ",".join(names[::-2]), "pageSize": "4"}
    async with rest_server(tmp_path, envelopes) as server:
        up = names_of(await server.caller.pages(**wanted))
        assert joined(up) == names[1::2]
        assert [len(page) for page in up] == [4, 4, 4, 3]
        down = names_of(await server.caller.pages(**wanted, ascending="false"))
        assert [page[::-1] for page in down] == chunks(names[1::2][::-1], 4)
        # In the times and topics that are named beside them, as in nwaku.
        narrow = wanted | {"contentTopics": content_topic(TOPICS[1])}
        expected = [n for n, e in zip(names, envelopes, strict=True) if e.topic == TOPICS[1]]
        found = joined(names_of(await server.caller.pages(**narrow)))
        assert found == [name for name in expected if name in names[1::2]]


def joined(pages: list[list[str]]) -> list[str]:
    return [name for page in pages for name in page]


def chunks(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


@asynchronous
async def test_a_search_by_hash_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that were told are found at any age, others in a range that is small enough."""
    monkeypatch.setattr(store_reader, "MAX_SLICES", 4)
    monkeypatch.setattr(store_reader, "SEARCH_PAGE", 10)
    envelopes = newest_first(make(200, TOPICS, spread=150))[::-1]
    names = [f"0x{envelope_message_hash(each).hex()}" for each in envelopes]
    async with rest_server(tmp_path, envelopes) as server:
        ask = server.caller.ask
        refused = await ask({"hashes": names[0]})
        assert refused.status == 400
        assert b"name startTime, endTime or contentTopics" in refused.body
        assert (await ask({"cursor": names[0]})).status == 400
        assert server.server.counters["rest_searches_too_wide"] == 2
        time_of = str(envelopes[0].created * NANOSECONDS)
        assert (await ask({"hashes": names[0], "endTime": time_of})).hashes == names[:1]
        await ask({"pageSize": "5"})
        assert (await ask({"hashes": names[1]})).hashes == names[1:2]
        assert (await ask({"cursor": names[1], "pageSize": "2"})).hashes == names[2:4]
        absent = await ask({"cursor": "0x" + "00" * 32, "endTime": time_of})
        assert absent.status == 400
        assert absent.body == b"cursor: no message of this query has this hash\n"


@asynchronous
async def test_a_page_has_no_more_bytes_than_a_packet(tmp_path: Path) -> None:
    large = [
        make_envelope(int(time.time()) + TTL, TTL, b"huge", bytes([number]) * 300_000, 0)
        for number in range(5)
    ]
    names = {f"0x{envelope_message_hash(each).hex()}" for each in large}
    async with rest_server(tmp_path, large) as server:
        for asked in ({}, {"hashes": ",".join(names)}):
            pages = names_of(await server.caller.pages(**asked))
            assert [len(page) for page in pages] == [3, 2]
            assert set(joined(pages)) == names


@asynchronous
async def test_a_slice_that_finds_nothing_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that looks at too much is answered with a cursor, and the next one goes on."""
    monkeypatch.setattr(store_reader, "MAX_SLICES", 1)
    envelopes = make(60, TOPICS)
    async with rest_server(tmp_path, envelopes) as server:
        read = server.archive.page_job
        pages = server.server.store.pages  # type: ignore[union-attr]

        class Impatient:
            """The archive, with slices of one index entry."""

            def page_at_once(self, *_: object, **bounds: int) -> None:
                """No page is small."""

            def page_job(self, query: object, position: bytes, **bounds: int) -> object:
                return read(query, position, budget=1, **bounds)  # type: ignore[arg-type]

        monkeypatch.setattr(pages, "_archive", Impatient())
        asked = {"contentTopics": content_topic(TOPICS[2])}
        expected = [e for e in newest_first(envelopes)[::-1] if e.topic == TOPICS[2]]
        found = joined(names_of(await server.caller.pages(**asked)))
        assert found == [f"0x{envelope_message_hash(each).hex()}" for each in expected]


@asynchronous
async def test_a_search_that_finds_nothing_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Index entries are what it may look at, not envelopes alone: most lead to none."""
    async with rest_server(tmp_path, make(300, TOPICS)) as server:
        read = server.archive.page_job
        slices = 0

        class Impatient:
            """The archive, with slices of one index entry, which are counted."""

            def page_at_once(self, *_: object, **bounds: int) -> None:
                """No page is small."""

            def page_job(self, query: object, position: bytes, **bounds: int) -> object:
                nonlocal slices
                slices += 1
                return read(query, position, budget=1, **bounds)  # type: ignore[arg-type]

        monkeypatch.setattr(server.server.store.pages, "_archive", Impatient())  # type: ignore[union-attr]
        absent = "0x" + "00" * 32
        for name in ("hashes", "cursor"):
            slices = 0
            asked = {name: absent, "contentTopics": content_topic(TOPICS[2])}
            answer = await server.caller.ask(asked)
            assert slices <= store_reader.MAX_SLICES
            assert answer.status == 400


def test_bad_parameters(tmp_path: Path) -> None:
    """Any parameters are answered: 200, or 400 with a reason that names one of them."""
    values = st.one_of(
        st.text(max_size=30),
        st.sampled_from(["0", "-1", "true", "0x" + "00" * 32, content_topic(TOPICS[0]), "1e3"]),
        st.integers().map(str),
    )
    names = st.one_of(st.sampled_from(NAMES), st.text(max_size=8))

    @asynchronous
    async def run() -> None:
        async with rest_server(tmp_path, make(50, TOPICS)) as server:

            @settings(max_examples=120)
            @given(st.lists(st.tuples(names, values), max_size=3))
            def collect(parameters: list[tuple[str, str]]) -> None:
                drawn.append(parameters)

            drawn: list[list[tuple[str, str]]] = []
            await asyncio.to_thread(collect)
            for parameters in drawn:
                found = await server.caller.ask(parameters)
                assert found.status in (200, 400), found
                if found.status == 400:
                    assert found.headers["Content-Type"].startswith("text/plain")
                    assert 0 < len(found.body.decode().strip()) < 500
                else:
                    assert len(found.told["messages"]) <= 100
            refused = server.server.counters["rest_parameters_wrong"]
            assert 0 < refused <= server.server.counters["rest_requests_failed"]
            await works(server.enode)

    run()


@asynchronous
async def test_what_is_refused(tmp_path: Path) -> None:
    async with rest_server(tmp_path) as server:
        ask = server.caller.ask
        assert (await ask(path="/")).status == 404
        assert (await ask(path="/store/v1/messages")).status == 404
        refused = await ask(method="POST")
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert (await ask(host="rebound.example")).status == 403
        assert (await ask(host="localhost")).status == 200
        assert (await ask([("hashes", "0" * 70_000)])).status == 400
        for long in (
            {"x" * 50_000: "x"},
            {"contentTopics": "/waku/1/0x" + "0" * 50_000 + "/rfc26"},
        ):
            refused = await ask(long)
            assert refused.status == 400
            assert len(refused.body) < 500
        topics = ",".join(content_topic(bytes([1, 2, n >> 8, n & 255])) for n in range(1000))
        assert (await ask({"contentTopics": topics})).status == 200
        assert server.server.counters["rest_requests_failed"] == 6


@asynchronous
async def test_what_is_no_http_is_not_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rest_server(tmp_path) as server:
        assert (await server.caller.ask(origin="x" * 9000)).status == 400
        assert (await server.caller.ask({"cursor": "0" * (1 << 16)})).status == 400
        assert not caplog.records


@asynchronous
async def test_a_token(tmp_path: Path) -> None:
    async with rest_server(tmp_path, token=TOKEN) as server:
        ask = server.caller.ask
        refused = await ask()
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await ask(authorization="Bearer " + "x" * 32)).status == 401
        assert (await ask(authorization=f"Bearer {TOKEN}")).status == 200
        assert (await ask(method="OPTIONS")).status == 204


@asynchronous
async def test_pages_of_allowed_origins_may_read(tmp_path: Path) -> None:
    async with rest_server(tmp_path, origins=["https://explorer.example"]) as server:
        ask = server.caller.ask
        allowed = await ask(origin="https://explorer.example")
        name = "Access-Control-Allow-Origin"
        assert allowed.headers[name] == "https://explorer.example"
        assert allowed.headers["Vary"] == "Origin"
        preflight = await ask(method="OPTIONS", origin="https://explorer.example")
        assert preflight.status == 204
        assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
        for other in ("https://evil.example", "null", "http://explorer.example"):
            assert name not in (await ask(origin=other)).headers
        assert name not in (await ask()).headers


@asynchronous
async def test_a_rate_limit(tmp_path: Path, unix_time: int) -> None:
    async with rest_server(tmp_path, rate=3.0) as server:
        statuses = [(await server.caller.ask()).status for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert server.server.counters["rest_rate_limited"] == 2


@asynchronous
async def test_an_archive_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rest_server(tmp_path) as server:

        async def fail(*arguments: object, **named: object) -> None:
            raise ArchiveDamaged("a page is damaged")

        monkeypatch.setattr(server.server.store.pages, "read", fail)  # type: ignore[union-attr]
        refused = await server.caller.ask()
        assert (refused.status, refused.body) == (503, b"the archive could not be read\n")
        assert server.server.counters["rest_archive_failed"] == 1


@asynchronous
async def test_an_envelope_that_is_damaged(tmp_path: Path) -> None:
    """It is told to the caller, to health and in the counters; others are still read."""
    envelopes = newest_first(make(5, TOPICS, spread=300))[::-1]
    async with rest_server(tmp_path, envelopes) as server:
        names = (await server.caller.ask()).hashes
    break_envelope(tmp_path, envelopes[2])
    async with rest_server(tmp_path) as server:
        for asked in ({}, {"hashes": names[2]}, {"cursor": names[2]}, {"pageSize": "3"}):
            assert (await server.caller.ask(asked)).status == 503
        store = server.server.store
        assert store is not None
        assert "is damaged" in store.pages.damaged
        assert server.server.counters["archive_damaged"] == 4
        assert (await server.caller.ask({"pageSize": "2"})).hashes == names[:2]


@asynchronous
async def test_many_callers_at_once(tmp_path: Path) -> None:
    """More than are answered at a time: all are, and so is a peer."""
    envelopes = make(100, TOPICS)
    async with rest_server(tmp_path, envelopes) as server:
        asking = [server.caller.ask({"pageSize": "100"}) for _ in range(40)]
        answers = await asyncio.gather(*asking, works(server.enode))
        assert {len(each.hashes) for each in answers if each is not None} == {100}


@asynchronous
async def test_what_is_pruned_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that stands at a message which is pruned leads on, whichever cursor names it."""
    old = make(6, TOPICS, created=1_600_000_000, spread=5)
    new = make(6, TOPICS, created=1_600_100_000, spread=5)
    names = [f"0x{envelope_message_hash(each).hex()}" for each in newest_first(old + new)[::-1]]
    async with rest_server(tmp_path, old + new) as server:
        ask = server.caller.ask
        first = (await ask({"pageSize": "3"})).told
        read = store_reader.StoreReader._search

        async def search(*arguments: object) -> dict[bytes, bytes]:
            found = await read(*arguments)  # type: ignore[arg-type]
            server.archive.prune(1_600_050_000, limit=10)
            return found

        monkeypatch.setattr(store_reader.StoreReader, "_search", search)
        assert (await ask({"hashes": names[5]})).hashes == []
        for cursor in (first["paginationCursor"], names[2], names[1]):
            assert (await ask({"cursor": cursor})).hashes == names[6:]
        assert (await ask({"cursor": names[2], "ascending": "false"})).hashes == []
        assert (await ask({"hashes": ",".join(names[:3] + names[8:9])})).hashes == names[8:9]


@asynchronous
async def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    async with rest_server(tmp_path) as server:
        store = server.server.store
        assert store is not None
        reader = store_reader.StoreReader(store.pages)
        endpoint = rest_endpoint.RestEndpoint(
            reader, access_with(), server.server.counters, rate=0.0
        )
        with pytest.raises(AccessError, match="open to all"):
            await endpoint.start("0.0.0.0", 0)
