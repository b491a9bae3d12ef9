"""An archive in pages: every envelope is found, every field told, everything escaped."""

import os
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from tests.support.archive_damage import break_envelope
from tests.support.browsing import browsed
from tests.support.commands import call
from tests.support.envelopes import dump, make, newest_first
from tests.support.patience import PATIENCE, asynchronous
from tests.support.processes import WAKUMAIL
from wakumail.errors import ArchiveDamaged
from wakumail.ops.browse import archive_pages, archive_reading
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.topics import public_chat_topic
from wakumail.waku.waku2_message import envelope_message_hash

TOPICS = [b"tpc" + bytes([number]) for number in range(5)]
NOON = 1_700_049_600 - 1_700_049_600 % 86400 + 43200
DAY = 86400


def item_of(envelope: Envelope) -> str:
    return f"{envelope.created:08x}{envelope.hash.hex()}"


def days_of_envelopes() -> list[Envelope]:
    return [
        each
        for day in range(3)
        for each in make(140 + day, TOPICS, created=NOON - day * DAY, spread=3600, seed=day)
    ]


@asynchronous
async def test_days_and_topics_lead_to_every_envelope(tmp_path: Path) -> None:
    envelopes = days_of_envelopes()
    async with browsed(tmp_path, envelopes) as site:
        first = (await site.get("")).read
        days = [link for link in first.links if link.startswith("day/")]
        assert days == [
            time.strftime("day/%Y-%m-%d", time.gmtime(NOON - day * DAY)) for day in range(3)
        ]
        assert f"{len(envelopes):,}" in first.words
        found = []
        for number, day in enumerate(days):
            page = await site.get(day)
            of_day = [e for e in envelopes if e.created // DAY == NOON // DAY - number]
            topics = [link for link in page.read.links if re.search(r"topic/[0-9a-f]{8}", link)]
            counts = [sum(e.topic == t for e in of_day) for t in TOPICS]
            assert (
                sorted(counts, reverse=True)
                == [int(word) for word in page.read.words if word in set(map(str, counts))][
                    : len(counts)
                ]
            )
            for link in topics:
                listed = await site.listed(urljoin(page.url, link))
                topic = bytes.fromhex(link.partition("?")[0].rpartition("/")[2])
                assert listed == [item_of(e) for e in newest_first(of_day) if e.topic == topic]
                found += listed
            assert await site.listed(f"topic/all?{link.partition('?')[2]}") == [
                item_of(e) for e in newest_first(of_day)
            ]
        assert sorted(found) == sorted(map(item_of, envelopes))
        everything = [item_of(e) for e in newest_first(envelopes)]
        assert await site.listed("topic/all") == everything


@asynchronous
async def test_an_envelope_with_every_field(tmp_path: Path) -> None:
    envelope = make_envelope(NOON + 77, 77, b"\x00<&>", bytes(range(256)) * 20, 12345)
    async with browsed(tmp_path, [envelope]) as site:
        page = await site.get(f"envelope/{item_of(envelope)}")
        noon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOON))
        after = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOON + 77))
        assert page.read.facts() == {
            "created": f"{noon} ({NOON})",
            "expiry": f"{after} ({NOON + 77})",
            "ttl": "77 seconds",
            "topic": "003c263e",
            "content topic": "/waku/1/0x003c263e/rfc26",
            "hash": envelope.hash.hex(),
            "message hash": envelope_message_hash(envelope).hex(),
            "nonce": "12,345",
            "PoW": f"{envelope.pow:.6g}",
            "size": f"{len(envelope.rlp):,} bytes",
            "data": "5,120 bytes",
        }
        digits = re.sub(r"^[0-9a-f]{6}  ", "", page.read.words[-2], flags=re.MULTILINE)
        assert bytes.fromhex(re.sub(r"\s", "", digits)) == envelope.data[: archive_pages.MAX_SHOWN]
        assert page.read.words[-1] == "1,024 bytes more are not shown."


@asynchronous
async def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    """All pages that can be reached from the first one, and all have the headers of safety."""
    async with browsed(tmp_path, days_of_envelopes()[::9]) as site:
        waiting, seen = [site.url], set()
        while waiting:
            url = waiting.pop()
            page = await site.get(url)
            assert page.status == 200, url
            policy = page.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
            assert page.headers["Referrer-Policy"] == "no-referrer"
            if not page.headers["Content-Type"].startswith("text/html"):
                continue
            for tag, attributes in page.read.attributes:
                assert not any(name.startswith("on") or name == "style" for name in attributes), tag
            for link in page.read.links:
                further = urljoin(url, link)
                assert urlsplit(further)[:2] == urlsplit(site.url)[:2]
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)
        assert len(seen) > 50


@asynchronous
async def test_a_topic_is_found_by_its_digits_or_the_name_of_a_chat(tmp_path: Path) -> None:
    topic = public_chat_topic("<status> & co")
    async with browsed(tmp_path, make(5, [topic])) as site:
        for asked in (topic.hex(), f"0x{topic.hex().upper()}", "%3Cstatus%3E+%26+co+"):
            page = await site.get(f"find?topic={asked}")
            assert page.url == f"{site.url}topic/{topic.hex()}"
            assert len([link for link in page.read.links if "/envelope/" in link]) == 5
        assert (await site.get("find?topic=+")).status == 404


@asynchronous
async def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with browsed(tmp_path, make(5, TOPICS)) as site:
        for path in (
            *("day/2001-01-01", "day/yesterday", "day/1950-01-01", "topic/xyz", "topic/ALL"),
            *("topic/all?day=x", "topic/all?after=zz", "envelope/12", f"envelope/{'0' * 72}"),
            *("topic/%3Cscript%3E", "day/9999-01-01", "topic/00000000?after=" + "f" * 41),
        ):
            page = await site.get(path)
            assert page.status == 404, path
            assert page.read.words[0] == "Error 404 · wakumail"
            assert "Content-Security-Policy" in page.headers
        secret = urlsplit(site.url).path
        assert len(secret) > 20
        for path in (
            "/",
            "/day/2001-01-01",
            secret[:-2] + "/",
            secret + "../",
            secret + "none",
            secret + "/x",
        ):
            assert (await site.get(path)).status == 404

        def fail(*arguments: object) -> None:
            raise ArchiveDamaged("a page is damaged")

        monkeypatch.setattr(archive_reading.ArchiveReading, "listing", fail)
        page = await site.get("topic/all")
        assert (page.status, page.read.words.count("a page is damaged")) == (503, 1)


@asynchronous
async def test_what_is_no_http_is_not_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with browsed(tmp_path, []) as site:
        assert (await site.get("x" * 9000)).status == 400
        assert not caplog.records


@asynchronous
async def test_an_envelope_that_is_damaged(tmp_path: Path) -> None:
    envelopes = make(5, TOPICS)
    async with browsed(tmp_path, envelopes):
        pass
    break_envelope(tmp_path, envelopes[2])
    async with browsed(tmp_path, []) as site:
        for path in ("topic/all", f"envelope/{archive_pages.name_of(envelopes[2])}"):
            page = await site.get(path)
            assert page.status == 503
            assert "is damaged" in page.text


@asynchronous
async def test_an_empty_archive(tmp_path: Path) -> None:
    async with browsed(tmp_path, []) as site:
        assert "The archive is empty." in (await site.get("")).read.words
        assert "No envelope here." in (await site.get("topic/all")).read.words


def test_the_command(tmp_path: Path) -> None:
    """It prints an address on loopback, reads beside a server's lock, and ends on a signal."""
    call("archive", "import", "--datadir", tmp_path, stdin=dump(make(5, TOPICS)))
    command = [*WAKUMAIL, "browse", "--datadir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", url)
            with urllib.request.urlopen(url, timeout=PATIENCE) as page:
                assert b"Archive" in page.read()
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert process.returncode == 0
    call("browse", "--datadir", tmp_path / "none", check=1)
    assert not os.path.exists(tmp_path / "none")
