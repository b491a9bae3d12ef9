"""The pages of an archive in a real browser: messages are opened there, and no key leaves it."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.browser import Chromium, chromium
from tests.support.browsing import Browsed, browsed
from tests.support.patience import asynchronous
from wakumail.devp2p.keys import generate
from wakumail.waku.envelope import Envelope, make_envelope
from wakumail.waku.message import seal, symmetric_key
from wakumail.waku.topics import public_chat_topic

CHAT = "status"
TOPIC = public_chat_topic(CHAT)
TEXTS = ["<b>gm</b> & more", "¿qué tal? 🌊", "a long message " * 12, "x" * 9000]
NOW = int(time.time())


def messages() -> list[Envelope]:
    """A chat, the newest message first; one is signed, one is too large for a list.

    The last but one has another key, the last one is cut short.
    """
    key = symmetric_key(CHAT)
    told = []
    for number, text in enumerate(TEXTS):
        signer = generate(os.urandom) if number == 1 else None
        data = seal(text.encode(), key=key, sign_with=signer, random=os.urandom)
        told.append(make_envelope(NOW - number + 300, 300, TOPIC, data, number))
    binary = seal(b"\xff\xfe", key=key, random=os.urandom)
    other = seal(b"psst", key=bytes(32), random=os.urandom)
    told.append(make_envelope(NOW - 10 + 300, 300, TOPIC, binary, 0))
    told.append(make_envelope(NOW - 11 + 300, 300, TOPIC, other, 0))
    nonce = bytes(12)
    cut = AESGCM(key).encrypt(nonce, b"\x03", None) + nonce
    told.append(make_envelope(NOW - 12 + 300, 300, TOPIC, cut, 0))
    return told


OPENED = 'document.getElementById("told").textContent'
CELLS = '[...document.querySelectorAll("td .opened, td .sealed")].map(e => e.textContent)'


def press(browser: Chromium, typed: str) -> None:
    """Type a key, and press "Open"."""
    browser.run(f'document.getElementById("key").value = "{typed}"')
    browser.run('document.querySelector("#opening button").click()')


@asynchronous
async def test_messages_are_opened_in_the_browser(tmp_path: Path) -> None:
    envelopes = messages()
    async with browsed(tmp_path / "archive", envelopes) as site:
        await asyncio.to_thread(open_messages, site, envelopes, tmp_path)


def open_messages(site: Browsed, envelopes: list[Envelope], tmp_path: Path) -> None:
    listing = f"{site.url}topic/{TOPIC.hex()}"
    with chromium(tmp_path) as browser:
        browser.open(listing)
        assert browser.run('getComputedStyle(document.getElementById("opening")).display') == "flex"
        assert browser.run(CELLS) == ["sealed"] * 3 + ["too large for a list"] + ["sealed"] * 3
        press(browser, "wrong")
        browser.wait(f'{OPENED} === "0 of 6 opened"')
        press(browser, CHAT)
        browser.wait(f'{OPENED} === "4 of 6 opened"')
        told = [*TEXTS[:3], "too large for a list", "0xfffe", "sealed", "sealed"]
        assert browser.run(CELLS) == told
        assert browser.run('document.querySelectorAll("td .opened")[1].title').startswith("signed")

        # The tab keeps the key: other pages of it open at once, the largest message too.
        browser.open(f"{site.url}envelope/{envelopes[3].created:08x}{envelopes[3].hash.hex()}")
        browser.wait(f'{OPENED} === "1 of 1 opened"')
        assert browser.run('document.querySelector(".opened").textContent') == TEXTS[3]
        browser.open(listing)
        browser.wait(f'{OPENED} === "4 of 6 opened"')
        browser.run('document.getElementById("forget").click()')
        browser.wait(f'document.readyState === "complete" && {OPENED} === ""')
        assert browser.run("sessionStorage.length") == 0
        press(browser, "0x" + "00" * 32)
        browser.wait(f'{OPENED} === "1 of 6 opened"')
        assert browser.run(CELLS)[5] == "psst"

        assert not browser.complaints
        assert all(url.startswith(site.url) or url == "about:blank" for url in browser.requests)
        assert not [url for url in browser.requests if "?" in url or CHAT in url]


@pytest.mark.parametrize("width", [390, 1280])
@asynchronous
async def test_the_pages_fit_a_phone_and_a_desk(tmp_path: Path, width: int) -> None:
    """In dark and in light; and without a script the pages tell the command that opens."""
    envelopes = messages()
    async with browsed(tmp_path / "archive", envelopes) as site:
        await asyncio.to_thread(look, site, envelopes[0], tmp_path, width)


def look(site: Browsed, envelope: Envelope, tmp_path: Path, width: int) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime(envelope.created))
    paper = "getComputedStyle(document.body).backgroundColor"
    with chromium(tmp_path) as browser:
        for path in (
            *("", f"day/{day}", "topic/all", f"topic/{TOPIC.hex()}", "day/1999-01-01"),
            f"envelope/{envelope.created:08x}{envelope.hash.hex()}",
        ):
            papers = set()
            for dark in (False, True):
                browser.open(site.url + path, width=width, dark=dark)
                wide = browser.run("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{path} is {wide} too wide"
                papers.add(browser.run(paper))
            assert papers == {"rgb(246, 247, 248)", "rgb(16, 20, 24)"}
        errors = [told for told in browser.complaints if "404" not in told]
        assert not errors
        browser.open(f"{site.url}topic/{TOPIC.hex()}", width=width, scripts=False)
        shown = browser.run("document.body.innerText")
        assert f"wakumail archive export --datadir DIR --json --topic {TOPIC.hex()}" in shown
        assert "Password" not in shown
