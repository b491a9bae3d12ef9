"""Wrong arguments of the client raise in the call, before anything is sent."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.patience import asynchronous
from tests.support.scripted import Scripted, archive_of, nobody, scripted
from wakumail.counters import Counters
from wakumail.devp2p.keys import generate
from wakumail.mail.answer import Wanted
from wakumail.mail.client import MailPeer, connect
from wakumail.mail.mailservers import mailservers
from wakumail.mail.request import MAX_REQUEST_TOPICS, Form, build_request
from wakumail.mail.requester import Requester
from wakumail.node.messages import compose
from wakumail.waku.bloom import FULL_BLOOM

NOW = int(time.time())
TOPIC = b"topi"

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a short topic": ({"topics": [TOPIC, b"abc"]}, ValueError, "a topic has 4 bytes, not 3"),
    "a long topic": ({"topics": [b"abcde"]}, ValueError, "a topic has 4 bytes, not 5"),
    "an empty topic": ({"topics": [b""]}, ValueError, "a topic has 4 bytes, not 0"),
    "one topic, not in a list": ({"topics": TOPIC}, TypeError, "topics are bytes, not int"),
    "a topic as text": ({"topics": ["topi"]}, TypeError, "topics are bytes, not str"),
    "too many topics": (
        {"topics": [n.to_bytes(4) for n in range(MAX_REQUEST_TOPICS + 1)]},
        ValueError,
        "1001 topics, of at most 1000",
    ),
    "a short bloom": ({"bloom": b"abc"}, ValueError, "a bloom has 64 bytes, not 3"),
    "a short bloom beside topics": (
        {"topics": [TOPIC], "bloom": bytes(63)},
        ValueError,
        "a bloom has 64 bytes, not 63",
    ),
    "a short cursor": (
        {"topics": [TOPIC], "cursor": bytes(35)},
        ValueError,
        "a cursor has 36 bytes, not 35",
    ),
    "a long cursor": (
        {"topics": [TOPIC], "cursor": bytes(257), "form": Form.R6},
        ValueError,
        "a cursor has at most 256 bytes, not 257",
    ),
    "neither topics nor a bloom": ({}, ValueError, "neither topics nor a bloom"),
    "no envelopes": ({"topics": [TOPIC], "limit": 0}, ValueError, "at least 1"),
    "a negative time": ({"topics": [TOPIC], "lower": -1}, ValueError, "32 bits"),
    "a time in milliseconds": ({"topics": [TOPIC], "lower": NOW * 1000}, ValueError, "32 bits"),
    "a time with a fraction": (
        {"topics": [TOPIC], "lower": NOW - 60.5},
        TypeError,
        "integers, not float",
    ),
    "an upper time with a fraction": (
        {"topics": [TOPIC], "upper": NOW + 0.5},
        TypeError,
        "integers, not float",
    ),
    "a limit as text": ({"topics": [TOPIC], "limit": "10"}, TypeError, "integers, not str"),
    "the name of a form": (
        {"topics": [TOPIC], "form": "R3"},
        TypeError,
        "a form is a Form, not str",
    ),
    "a bloom as text": (
        {"topics": [TOPIC], "bloom": "x" * 64},
        TypeError,
        "a bloom is bytes, not str",
    ),
    "a cursor as text": (
        {"topics": [TOPIC], "cursor": "x" * 36},
        TypeError,
        "a cursor is bytes, not str",
    ),
    "a short key": (
        {"topics": [TOPIC], "keys": [bytes(31)]},
        ValueError,
        "a symmetric key has 32 bytes, not 31",
    ),
    "a password for a key": (
        {"topics": [TOPIC], "keys": ["x" * 32]},
        TypeError,
        "a key is bytes or a PrivateKey, not str",
    ),
    "one key, not in a list": ({"topics": [TOPIC], "keys": bytes(32)}, TypeError, "not int"),
}


@asynccontextmanager
async def asked() -> AsyncIterator[tuple[MailPeer, Scripted]]:
    """A client, and a mailserver that notes its requests."""
    async with scripted(archive_of([])) as server, connect(server.enode) as peer:
        yield peer, server


@pytest.mark.parametrize(("wrong", "error", "text"), WRONG.values(), ids=WRONG)
@asynchronous
async def test_a_history_that_cannot_be_asked_for(
    wrong: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The call itself raises, and the connection stays usable."""
    async with asked() as (peer, server):
        with pytest.raises(error, match=text):
            peer.history(**{"lower": NOW - 60} | wrong)
        async for _page in peer.history(lower=NOW - 60, topics=[TOPIC]):
            pass
        assert len(server.requests) == 1


@pytest.mark.parametrize(("wrong", "error", "text"), WRONG.values(), ids=WRONG)
@asynchronous
async def test_a_history_that_no_mailserver_is_asked_for(
    wrong: dict[str, Any], error: type[Exception], text: str
) -> None:
    """The call raises before anybody is dialed: dialing would fail with another error."""
    async with mailservers([nobody()]) as servers:
        with pytest.raises(error, match=text):
            servers.history(**{"lower": NOW - 60} | wrong)


@asynchronous
async def test_a_page_that_cannot_be_asked_for() -> None:
    async with asked() as (peer, server):
        for wrong in ({"cursor": bytes(35)}, {"keys": [bytes(31)]}):
            choices: dict[str, Any] = wrong
            with pytest.raises(ValueError, match="bytes, not"):
                await peer.request(Wanted(NOW - 60, NOW, (TOPIC,)), **choices)
        assert not server.requests


@pytest.mark.parametrize("form", Form, ids=lambda form: form.name)
def test_a_packet_that_cannot_be_made(form: Form) -> None:
    asked: dict[str, Any] = {
        "lower": NOW - 60,
        "upper": NOW,
        "topics": [TOPIC],
        "key": bytes(32),
        "random": os.urandom,
        "now": NOW,
    }
    for wrong in (
        {"topics": [b"abc"]},
        {"topics": [b"abcde"]},
        {"bloom": bytes(63), "topics": []},
        {"cursor": bytes(257)},
    ):
        with pytest.raises(ValueError, match=r"has (at most )?[0-9]+ bytes, not [0-9]+"):
            build_request(form, **asked | wrong)


def test_a_cursor_of_another_implementation() -> None:
    """The forms of the specifications take cursors of any size, Go's forms only of its own."""
    asked: dict[str, Any] = {"lower": 0, "upper": NOW, "bloom": FULL_BLOOM, "key": bytes(32)}
    for form in (Form.R5, Form.R6):
        build_request(form, **asked, cursor=bytes(100), random=os.urandom, now=NOW)
    for form in (Form.R1, Form.R2, Form.R3, Form.R4, Form.R7):
        with pytest.raises(ValueError, match="a cursor has 36 bytes, not 100"):
            build_request(form, **asked, cursor=bytes(100), random=os.urandom, now=NOW)


@asynchronous
async def test_a_request_of_a_node() -> None:
    """Nothing is sent, and no request counts as open."""
    async with asked() as (peer, server):
        requester = Requester(generate(os.urandom), Counters())
        link = peer._link
        link.peer.trusted = True
        for wrong in ({"topics": [b"abc"]}, {"cursor": bytes(35)}, {"key": bytes(31)}):
            choices: dict[str, Any] = {"topics": [TOPIC], "cursor": b"", "key": bytes(32)}
            with pytest.raises(ValueError, match="bytes, not"):
                await requester.request(link, lower=0, upper=NOW, limit=1, **choices | wrong)
        assert not link.peer.expects_history
        assert not server.requests


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"topic": b"abc"}, "a topic has 4 bytes, not 3"),
        ({"key": bytes(31)}, "a symmetric key has 32 bytes, not 31"),
        ({"ttl": 0}, "a ttl is from 1"),
    ],
    ids=["topic", "key", "ttl"],
)
@asynchronous
async def test_a_message_that_cannot_be_made(wrong: dict[str, Any], text: str) -> None:
    choices: dict[str, Any] = {"topic": TOPIC, "key": bytes(32), "ttl": 10}
    with pytest.raises(ValueError, match=text):
        await compose(b"payload", **choices | wrong)


@pytest.mark.parametrize("one", [nobody(), str(nobody())], ids=["an Enode", "a URL"])
@asynchronous
async def test_one_mailserver_not_in_a_list(one: Any) -> None:
    """A string is a sequence of strings, too."""
    with pytest.raises(TypeError, match="a list of mailservers"):
        async with mailservers(one):
            pass


@pytest.mark.parametrize(
    ("enode", "choices", "text"),
    [
        (5, {}, "a mailserver is an Enode or its URL, not int"),
        (nobody(), {"node_key": bytes(32)}, "a node key is a PrivateKey, not bytes"),
        (nobody(), {"password": b"secret"}, "a password is text, not bytes"),
    ],
    ids=["enode", "node key", "password"],
)
@asynchronous
async def test_what_nobody_can_connect_with(enode: Any, choices: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        async with connect(enode, **choices):
            pass
    with pytest.raises(TypeError, match=text):
        async with mailservers([enode], **choices):
            pass
