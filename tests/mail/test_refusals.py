"""Refused requests for history, each with its own error, and fuzzed ones."""

from typing import Any

import pytest
import rlp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.mail_packets import (
    ALL_FORMS,
    BLOOM,
    CURSOR,
    ID,
    KEY,
    NOW,
    OTHER,
    POLICY,
    SEALED_FORMS,
    SERVER,
    TOPIC,
    Case,
    filler,
    packet_of,
    read,
    refusal,
    sealed,
)
from tests.support.puppet import request_policy
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import encode
from wakumail.mail.request import (
    FIELDS,
    MAX_LIMIT,
    MAX_REQUEST_TOPICS,
    REQUEST_POW,
    Form,
    RequestBloomError,
    RequestCursorError,
    RequestError,
    RequestFilterError,
    RequestFormError,
    RequestKeys,
    RequestPowError,
    RequestSealError,
    RequestSignatureError,
    RequestTopicsError,
    build_request,
    identify,
    read_request,
)
from wakumail.waku.bloom import BLOOM_SIZE
from wakumail.waku.completion import CURSOR_SIZE, CompletionForm
from wakumail.waku.envelope import MAX_TIME, make_envelope
from wakumail.waku.packets import MAX_REQUEST_SIZE

every_form = pytest.mark.parametrize("form", ALL_FORMS, ids=lambda form: form.name)
every_sealed_form = pytest.mark.parametrize("form", SEALED_FORMS, ids=lambda form: form.name)

times = st.integers(0, MAX_TIME)
topic_lists = st.lists(st.binary(min_size=4, max_size=4), max_size=12, unique=True)


@pytest.mark.parametrize("form", [Form.R1, Form.R3, Form.R6])
def test_number_of_topics(form: Form) -> None:
    topics = [number.to_bytes(4, "big") for number in range(MAX_REQUEST_TOPICS + 1)]
    assert len(read(packet_of(form, topics=topics[1:])).topics) == MAX_REQUEST_TOPICS
    assert type(refusal(packet_of(form, topics=topics))) is RequestTopicsError


@pytest.mark.parametrize("form", [form for form in ALL_FORMS if form is not Form.R7])
@pytest.mark.parametrize("size", [1, 63, 65])
def test_bloom_of_wrong_size(form: Form, size: int) -> None:
    error = refusal(packet_of(form, bloom=bytes(size)))
    assert type(error) is RequestBloomError
    assert error.completion_form is form.completion_form


@pytest.mark.parametrize("form", [form for form in ALL_FORMS if form is not Form.R7])
@pytest.mark.parametrize("size", [1, 35, 37, 40])
def test_cursor_of_wrong_size(form: Form, size: int) -> None:
    error = refusal(packet_of(form, cursor=bytes(size)))
    assert type(error) is RequestCursorError
    assert error.completion_form is form.completion_form


@pytest.mark.parametrize("form", [form for form in ALL_FORMS if form is not Form.R7])
def test_neither_topics_nor_bloom(form: Form) -> None:
    error = refusal(packet_of(form, bloom=b"", topics=[]))
    assert type(error) is RequestFilterError
    assert error.completion_form is form.completion_form


@pytest.mark.parametrize("form", [form for form in ALL_FORMS if form is not Form.R7])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lower", 2**32),
        ("upper", 2**32),
        ("limit", 2**32),
        ("lower", b"\0\1"),
        ("upper", []),
        ("limit", b"\0"),
        ("bloom", []),
        ("cursor", []),
        ("topics", [[TOPIC]]),
        ("batch", 2),
    ],
)
def test_fields_of_wrong_shape(form: Form, name: str, value: Any) -> None:
    if name not in FIELDS[form]:
        return
    error = refusal(packet_of(form, **{name: value}))
    assert type(error) is RequestFormError
    assert error.completion_form is form.completion_form


def test_topics_that_are_no_list() -> None:
    assert type(refusal(packet_of(Form.R1, topics=TOPIC))) is RequestFormError
    assert type(refusal(packet_of(Form.R3, topics=TOPIC))) is RequestFormError
    # In R6 it is the batch flag of R4, and no good one.
    error = refusal(packet_of(Form.R6, topics=TOPIC))
    assert (type(error), error.completion_form) == (RequestFormError, CompletionForm.BYTES)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x80",
        bytes(7),
        bytes(9),
        bytes(71),
        bytes(100),
        bytes(117),
        b"\xc0",
        b"\xff" * 8,
        encode([1, 2, BLOOM]),
        encode([1, 2, BLOOM, [], 1, b"", True, b"an eighth"]),
        encode([1, 2, BLOOM, [], 1, b""]),
        encode([1, 2, BLOOM, 10]) + b"\0",
        encode([1, 2, BLOOM, 10, b"", [[[TOPIC]]]]),
    ],
    ids=lambda payload: payload.hex()[:24],
)
def test_payloads_of_no_form(payload: bytes) -> None:
    assert type(refusal(sealed(payload))) is RequestFormError


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00",
        b"\x80",
        b"\xc0",
        b"\xc1",
        ID,
        encode(ID),
        encode([ID]),
        encode([ID, 1, 2, 3, b""]),
        encode([ID, 1, 2, 3, b"", BLOOM, [TOPIC], b"an eighth"]),
        encode([ID[:-1], 1, 2, 3, b"", BLOOM, [TOPIC]]),
        encode([ID + b"\1", 1, 2, 3, b"", BLOOM, [TOPIC]]),
        encode([[ID], 1, 2, 3, b"", BLOOM, [TOPIC]]),
        encode([1, 2, TOPIC, b"data"]),
        encode([1, 2, TOPIC, b"data", 3, 4]),
        encode([2**32, 2, TOPIC, b"data", 3]),
        encode([1, 2, TOPIC + b"\1", b"data", 3]),
        packet_of(Form.R1) + b"\0",
        packet_of(Form.R3) + b"\0",
    ],
    ids=lambda packet: packet.hex()[:24] or "nothing",
)
def test_packets_of_no_form(packet: bytes) -> None:
    error = refusal(packet)
    assert type(error) is RequestFormError
    assert error.completion_form is CompletionForm.BYTES


def test_size_of_a_packet() -> None:
    topics = [bytes(40)] * MAX_REQUEST_TOPICS
    assert read(packet_of(Form.R3, topics=topics)).topics == (bytes(4),)
    data = bytes(MAX_REQUEST_SIZE - len(make_envelope(1, 1, TOPIC, bytes(60_000), 1).rlp) + 60_000)
    packet = make_envelope(1, 1, TOPIC, data, 1).rlp
    assert len(packet) == MAX_REQUEST_SIZE
    assert type(refusal(packet)) is RequestSealError
    assert type(refusal(make_envelope(1, 1, TOPIC, data + b"\0", 1).rlp)) is RequestFormError
    large = packet_of(Form.R1, bloom=bytes(MAX_REQUEST_SIZE))
    assert identify(large) == keccak256(large)
    assert type(refusal(large)) is RequestFormError


@pytest.mark.parametrize(
    "request_keys",
    [RequestKeys(), RequestKeys(keccak256(KEY)), RequestKeys(keccak256(KEY), (OTHER,))],
    ids=["no key", "another key", "other keys"],
)
@pytest.mark.parametrize("key", [KEY, SERVER.public_key], ids=["symmetric", "asymmetric"])
def test_no_key_opens(request_keys: RequestKeys, key: Any) -> None:
    packet = sealed(encode([1, 2, BLOOM, 10]), key=key)
    with pytest.raises(RequestSealError) as caught:
        read_request(packet, request_keys, POLICY, NOW)
    assert caught.value.request_id == keccak256(packet)
    assert caught.value.completion_form is CompletionForm.BYTES


@every_form
def test_required_signature(form: Form) -> None:
    policy = request_policy(require_signature=True)
    error = refusal(packet_of(form), policy)
    assert type(error) is RequestSignatureError
    assert error.completion_form is form.completion_form
    if form in SEALED_FORMS:
        packet, _ = build_request(
            form, lower=1, upper=2, bloom=BLOOM, key=KEY, sign_with=OTHER, random=filler, now=NOW
        )
        assert read(packet, policy).form is form


@every_form
def test_required_pow(form: Form) -> None:
    """The PoW of an envelope with a ttl of 0, as nim sends it, is never enough."""
    policy = request_policy(request_min_pow=REQUEST_POW)
    error = refusal(packet_of(form), policy)
    assert type(error) is RequestPowError
    assert error.completion_form is form.completion_form
    if form in SEALED_FORMS:
        packet, _ = build_request(
            form, lower=1, upper=2, bloom=BLOOM, key=KEY, random=filler, now=NOW
        )
        assert read(packet, policy).form is form
        assert type(refusal(packet, request_policy(request_min_pow=1e6))) is RequestPowError


def test_low_pow_with_a_ttl() -> None:
    packet = sealed(encode([1, 2, BLOOM, 10]), ttl=MAX_TIME, expiry=MAX_TIME)
    assert type(refusal(packet, request_policy(request_min_pow=REQUEST_POW))) is RequestPowError


def test_what_crashes_status_go() -> None:
    """Two requests that crash its whole process."""
    assert read(packet_of(Form.R3, upper=0xFFFFFFFF)).resolved_upper(NOW) == 0xFFFFFFFF
    for size in range(1, BLOOM_SIZE):
        error = refusal(packet_of(Form.R3, bloom=b"\xff" * size, topics=[]))
        assert type(error) is RequestBloomError


def test_counters_differ() -> None:
    kinds = RequestError.__subclasses__()
    ours = [kind for kind in kinds if kind.__module__ == "wakumail.mail.request"]
    assert len(ours) == 9
    assert len({kind.counter for kind in ours} | {RequestError.counter}) == 10


# -- fuzzing -----------------------------------------------------------------------------------

items: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 2**33).map(lambda n: n.to_bytes(5, "big").lstrip(b"\0"))
    | st.sampled_from([b"", ID, BLOOM, TOPIC, CURSOR]),
    lambda children: st.lists(children, max_size=8),
    max_leaves=12,
)


def read_or_refuse(packet: bytes) -> None:
    try:
        request = read(packet)
    except RequestError:
        assert str(refusal(packet))
        return
    assert len(request.request_id) == 32
    assert 0 <= request.lower <= request.resolved_upper(NOW) <= MAX_TIME
    assert len(request.bloom) in (0, BLOOM_SIZE)
    assert request.bloom or request.topics
    assert all(len(topic) == 4 for topic in request.topics)
    assert len(request.cursor) in (0, CURSOR_SIZE)
    assert 1 <= request.limit <= MAX_LIMIT


@settings(max_examples=300, deadline=None)
@given(packet=st.binary(max_size=200) | items.map(oracle.encode))
def test_any_packet_is_read_or_refused(packet: bytes) -> None:
    read_or_refuse(packet)


@settings(max_examples=300, deadline=None)
@given(payload=st.binary(max_size=120) | items.map(oracle.encode))
def test_any_payload_is_read_or_refused(payload: bytes) -> None:
    read_or_refuse(sealed(payload))


@settings(max_examples=300, deadline=None)
@given(form=st.sampled_from(ALL_FORMS), place=st.integers(0), flip=st.integers(1, 255))
def test_changed_packets_are_read_or_refused(form: Form, place: int, flip: int) -> None:
    packet = bytearray(packet_of(form, cursor=CURSOR))
    packet[place % len(packet)] ^= flip
    read_or_refuse(bytes(packet))


@settings(max_examples=300, deadline=None)
@given(form=st.sampled_from(SEALED_FORMS[:-1]), place=st.integers(0), change=st.binary(max_size=3))
def test_changed_payloads_are_read_or_refused(form: Form, place: int, change: bytes) -> None:
    values: Case = {"lower": 1, "upper": NOW, "bloom": BLOOM, "topics": [TOPIC], "limit": 10}
    values |= {"cursor": CURSOR, "batch": True}
    payload = encode([values[name] for name in FIELDS[form]])
    place %= len(payload)
    read_or_refuse(sealed(payload[:place] + change + payload[place + 1 :]))
