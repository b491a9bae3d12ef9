"""Requests for history, right and wrong ones, for the tests of `mail`."""

import hashlib
import struct
from typing import Any

import pytest

from tests.support.puppet import request_policy
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import encode
from wakumail.devp2p import keys
from wakumail.mail.request import (
    FIELDS,
    Form,
    Request,
    RequestError,
    RequestKeys,
    RequestPolicy,
    identify,
    read_request,
)
from wakumail.waku.bloom import bloom_of
from wakumail.waku.completion import CompletionForm, pack_cursor
from wakumail.waku.envelope import make_envelope
from wakumail.waku.message import seal

Case = dict[str, Any]

NOW = 1_700_000_000
KEY = keccak256(b"a symmetric key")
SERVER = keys.private_key(keccak256(b"a mailserver"))
OTHER = keys.private_key(keccak256(b"another key"))
KEYS = RequestKeys(KEY, (OTHER, SERVER))
POLICY = request_policy()
TOPIC = b"\x01\x02\x03\x04"
BLOOM = bloom_of([TOPIC])
CURSOR = pack_cursor(NOW, keccak256(b"an envelope"))
ID = b"0123456789abcdef0123456789abcdef"

PLAIN_FORMS = (Form.R1, Form.R2)
SEALED_FORMS = (Form.R3, Form.R4, Form.R5, Form.R6, Form.R7)
ALL_FORMS = PLAIN_FORMS + SEALED_FORMS


def filler(size: int) -> bytes:
    """`size` bytes that look random and are the same each time."""
    return hashlib.shake_128(b"filler").digest(size)


def sealed(
    payload: bytes, *, key: Any = KEY, sign_with: Any = None, ttl: int = 0, expiry: int = 0
) -> bytes:
    """A packet around any payload. The other envelope fields are empty by default, as in nim."""
    data = seal(payload, key=key, sign_with=sign_with, random=filler)
    return make_envelope(expiry, ttl, bytes(4), data, 0).rlp


def packet_of(form: Form, **fields: Any) -> bytes:
    """A packet of any form with any fields, right or wrong, made without `build_request`."""
    values: Case = {
        "id": ID,
        "lower": NOW - 100,
        "upper": NOW,
        "bloom": BLOOM,
        "limit": 10,
        "cursor": b"",
        "topics": [TOPIC],
        "batch": True,
    }
    values |= fields
    if form is Form.R7:
        numbers = [struct.pack(">I", values[name]) for name in ("lower", "upper", "limit")]
        payload = numbers[0] + numbers[1] + values["bloom"] + numbers[2] + values["cursor"]
    else:
        payload = encode([values[name] for name in FIELDS[form]])
    return payload if form in PLAIN_FORMS else sealed(payload)


def read(packet: bytes, policy: RequestPolicy = POLICY, now: int = NOW) -> Request:
    return read_request(packet, KEYS, policy, now)


def refusal(packet: bytes, policy: RequestPolicy = POLICY) -> RequestError:
    """The error with which a packet is refused. It always says how to answer."""
    with pytest.raises(RequestError) as caught:
        read(packet, policy)
    assert caught.value.request_id == identify(packet)
    assert isinstance(caught.value.completion_form, CompletionForm)
    return caught.value
