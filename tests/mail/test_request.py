"""Requests for history in all forms, against the vectors of status-go and against misuse."""

import struct
from dataclasses import replace
from typing import Any

import pytest
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
    PLAIN_FORMS,
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
from tests.vectors import VECTORS
from wakumail.base.keccak import keccak256
from wakumail.devp2p import keys
from wakumail.mail.request import (
    FIELDS,
    MAX_LIMIT,
    REQUEST_POW,
    UPPER_MARGIN,
    Form,
    Request,
    RequestError,
    RequestFilterError,
    RequestFormError,
    RequestKeys,
    RequestRangeError,
    build_request,
    identify,
    read_request,
)
from wakumail.waku.bloom import BLOOM_SIZE, FULL_BLOOM, bloom_of
from wakumail.waku.completion import CURSOR_SIZE, CompletionForm, pack_cursor
from wakumail.waku.envelope import MAX_TIME, Envelope
from wakumail.waku.message import open_message

every_form = pytest.mark.parametrize("form", ALL_FORMS, ids=lambda form: form.name)
every_sealed_form = pytest.mark.parametrize("form", SEALED_FORMS, ids=lambda form: form.name)

times = st.integers(0, MAX_TIME)
topic_lists = st.lists(st.binary(min_size=4, max_size=4), max_size=12, unique=True)


def vector_request(fields: Case, form: Form, request_id: bytes) -> Request:
    return Request(
        form=form,
        request_id=request_id,
        lower=fields["lower" if "lower" in fields else "from"],
        upper=fields["upper" if "upper" in fields else "to"],
        bloom=bytes.fromhex(fields["bloom"]),
        topics=tuple(map(bytes.fromhex, fields["topics"])),
        limit=fields["limit"] or MAX_LIMIT,
        cursor=bytes.fromhex(fields["cursor"]),
        batch=fields.get("batch", True),
    )


# -- vectors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", VECTORS["request_envelopes"]["symmetric"], ids=lambda case: case["name"]
)
def test_vectors_of_symmetric_requests(case: Case) -> None:
    packet = bytes.fromhex(case["rlp"])
    request_keys = RequestKeys(bytes.fromhex(case["key"]))
    request = read_request(
        packet,
        request_keys,
        request_policy(require_signature=True, request_min_pow=REQUEST_POW),
        NOW,
    )
    assert request == vector_request(case["fields"], Form.R3, bytes.fromhex(case["hash"]))


@pytest.mark.parametrize(
    "case", VECTORS["request_envelopes"]["symmetric"], ids=lambda case: case["name"]
)
def test_vectors_are_built_to_the_same_bytes(case: Case) -> None:
    """With status-go's padding, nonce and key, a request has the bytes that status-go sends."""
    chunks = [bytes.fromhex(case["padding"]), bytes.fromhex(case["aesgcm_nonce"])]
    fields = case["fields"]
    packet, request_id = build_request(
        Form.R3,
        lower=fields["lower"],
        upper=fields["upper"],
        bloom=bytes.fromhex(fields["bloom"]),
        topics=[bytes.fromhex(topic) for topic in fields["topics"]],
        limit=fields["limit"],
        cursor=bytes.fromhex(fields["cursor"]),
        batch=fields["batch"],
        key=bytes.fromhex(case["key"]),
        sign_with=keys.private_key(bytes.fromhex(VECTORS["request_envelopes"]["signer_priv"])),
        random=lambda size: chunks.pop(0),
        now=case["expiry"] - case["ttl"],
    )
    envelope = Envelope.decode(packet)
    assert request_id == envelope.hash
    assert envelope.data == Envelope.decode(bytes.fromhex(case["rlp"])).data
    assert (envelope.expiry, envelope.ttl, envelope.topic.hex()) == (
        case["expiry"],
        case["ttl"],
        case["topic"],
    )
    assert envelope.pow >= REQUEST_POW
    assert envelope.nonce <= int(case["nonce"])


@pytest.mark.parametrize("case", VECTORS["request_envelopes"]["asymmetric"])
def test_vectors_of_asymmetric_requests(case: Case) -> None:
    private = keys.private_key(bytes.fromhex(case["recipient_priv"]))
    for symmetric in (None, KEY):
        request_keys = RequestKeys(symmetric, (SERVER, private))
        request = read_request(bytes.fromhex(case["rlp"]), request_keys, POLICY, NOW)
        assert request == vector_request(case["fields"], Form.R3, bytes.fromhex(case["hash"]))


@pytest.mark.parametrize(
    "case", VECTORS["messages_request_plain"]["cases"], ids=lambda case: case["name"]
)
def test_vectors_of_plain_requests(case: Case) -> None:
    packet = bytes.fromhex(case["rlp"])
    expected = vector_request(case, Form.R1, bytes.fromhex(case["id"]))
    assert read(packet) == expected
    built = build_request(
        Form.R1,
        lower=case["from"],
        upper=case["to"],
        bloom=bytes.fromhex(case["bloom"]),
        topics=[bytes.fromhex(topic) for topic in case["topics"]],
        limit=case["limit"],
        cursor=bytes.fromhex(case["cursor"]),
        request_id=bytes.fromhex(case["id"]),
        random=filler,
        now=NOW,
    )
    assert built == (packet, expected.request_id)


@pytest.mark.parametrize(
    "case", VECTORS["request_payloads"]["cases"], ids=lambda case: case["name"]
)
def test_vectors_of_payloads(case: Case) -> None:
    packet = sealed(bytes.fromhex(case["rlp"]))
    if case["name"] == "everything empty":
        assert type(refusal(packet)) is RequestFilterError
    else:
        assert read(packet) == vector_request(case["fields"], Form.R3, keccak256(packet))


BASE = Request(
    form=Form.R5,
    request_id=b"",
    lower=1_700_000_000,
    upper=1_700_086_400,
    bloom=bytes.fromhex(VECTORS["request_payloads"]["cases"][0]["fields"]["bloom"]),
    topics=(),
    limit=100,
    cursor=b"",
    batch=True,
)
VECTOR_CURSOR = bytes.fromhex(VECTORS["request_payloads"]["cases"][3]["fields"]["cursor"])
OTHER_FORMS: list[Request | type[RequestError]] = [
    BASE,
    replace(BASE, cursor=VECTOR_CURSOR),
    BASE,
    replace(BASE, form=Form.R6, topics=(TOPIC,), cursor=VECTOR_CURSOR),
    replace(BASE, form=Form.R6, topics=(TOPIC,)),
    replace(BASE, form=Form.R4, cursor=VECTOR_CURSOR),
    replace(BASE, form=Form.R4),
    RequestFormError,
    RequestFormError,
    replace(BASE, form=Form.R7),
    replace(BASE, form=Form.R7),
]


@pytest.mark.parametrize(
    ("case", "expected"),
    list(zip(VECTORS["request_payloads_other_forms"]["cases"], OTHER_FORMS, strict=True)),
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_vectors_of_other_forms(case: Case, expected: Any) -> None:
    """The payloads that status-go refuses. All but two are forms that somebody speaks."""
    packet = sealed(bytes.fromhex(case["rlp"]))
    if isinstance(expected, Request):
        assert read(packet) == replace(expected, request_id=keccak256(packet))
    else:
        assert type(refusal(packet)) is expected


def test_cursor_vectors() -> None:
    for case in VECTORS["db_keys"]["cases"]:
        cursor = pack_cursor(case["timestamp"], bytes.fromhex(case["hash"]))
        assert cursor.hex() == case["cursor"]
        assert len(cursor) == CURSOR_SIZE


# -- forms -------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(ALL_FORMS),
    span=st.tuples(times, times).map(sorted),
    bloom=st.just(b"") | st.binary(min_size=BLOOM_SIZE, max_size=BLOOM_SIZE),
    topics=topic_lists,
    limit=st.integers(0, MAX_LIMIT),
    cursor=st.just(b"") | st.binary(min_size=CURSOR_SIZE, max_size=CURSOR_SIZE).filter(any),
    batch=st.booleans(),
    asymmetric=st.booleans(),
    signed=st.booleans(),
)
def test_round_trip(
    form: Form,
    span: list[int],
    bloom: bytes,
    topics: list[bytes],
    limit: int,
    cursor: bytes,
    batch: bool,
    asymmetric: bool,
    signed: bool,
) -> None:
    lower, upper = span
    if form is Form.R7:
        lower &= 0x7FFFFFFF
    packet, request_id = build_request(
        form,
        lower=lower,
        upper=upper,
        bloom=bloom,
        topics=topics,
        limit=limit,
        cursor=cursor,
        batch=batch,
        request_id=ID,
        key=SERVER.public_key if asymmetric else KEY,
        sign_with=OTHER if signed else None,
        random=filler,
        now=NOW,
    )
    names = FIELDS[form]
    if topics and "topics" not in names:
        bloom = bloom_of(topics)
    if form is Form.R7 and not bloom:
        bloom = FULL_BLOOM
    assert identify(packet) == request_id == (ID if form in PLAIN_FORMS else keccak256(packet))
    if not bloom and not topics:
        error = refusal(packet)
        assert type(error) is RequestFilterError
        assert error.completion_form is form.completion_form
        return
    assert read(packet) == Request(
        form=form,
        request_id=request_id,
        lower=lower,
        upper=upper,
        bloom=bloom,
        topics=tuple(topics) if "topics" in names else (),
        limit=limit or MAX_LIMIT,
        cursor=cursor,
        batch=batch if "batch" in names else True,
    )


@every_form
def test_forms_made_by_hand(form: Form) -> None:
    packet = packet_of(form)
    request = read(packet)
    assert (request.form, request.completion_form) == (form, form.completion_form)
    assert (request.lower, request.upper, request.limit) == (NOW - 100, NOW, 10)
    assert request.bloom == BLOOM
    assert request.topics == ((TOPIC,) if "topics" in FIELDS[form] else ())
    assert request.batch is True
    assert request.request_id == (ID if form in PLAIN_FORMS else keccak256(packet))


def test_dialects() -> None:
    lists = {form for form in Form if form.completion_form is CompletionForm.LIST}
    assert lists == {Form.R5, Form.R6}


@pytest.mark.parametrize("form", [Form.R3, Form.R4])
def test_single_envelopes(form: Form) -> None:
    assert read(packet_of(form, batch=False)).batch is False


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (8, (FULL_BLOOM, MAX_LIMIT, b"")),
        (72, (BLOOM, MAX_LIMIT, b"")),
        (76, (BLOOM, 7, b"")),
        (112, (BLOOM, 7, CURSOR)),
        (116, (BLOOM, 7, CURSOR)),
    ],
)
def test_binary_sizes(size: int, expected: tuple[bytes, int, bytes]) -> None:
    payload = struct.pack(">II64sI36s4s", 1, NOW, BLOOM, 7, CURSOR, TOPIC)[:size]
    request = read(sealed(payload))
    assert (request.bloom, request.limit, request.cursor) == expected
    assert (request.form, request.lower, request.upper) == (Form.R7, 1, NOW)


@pytest.mark.parametrize("size", [36, 40])
def test_binary_cursor_of_zeros_is_none(size: int) -> None:
    assert read(packet_of(Form.R7, cursor=bytes(size))).cursor == b""


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, 8),
        ({"bloom": BLOOM}, 72),
        ({"topics": [TOPIC]}, 72),
        ({"limit": 7}, 76),
        ({"cursor": CURSOR}, 112),
    ],
)
def test_built_binary_sizes(fields: Case, size: int) -> None:
    packet, _ = build_request(Form.R7, lower=1, upper=2, key=KEY, random=filler, now=NOW, **fields)
    assert len(open_message(Envelope.decode(packet).data, KEY).payload) == size
    request = read(packet)
    assert request.bloom == (FULL_BLOOM if size == 8 or size > 72 else BLOOM)
    assert request.limit == fields.get("limit", MAX_LIMIT)
    assert request.cursor == fields.get("cursor", b"")


# -- meaning -----------------------------------------------------------------------------------


@every_form
def test_upper_of_zero_means_now(form: Form) -> None:
    request = read(packet_of(form, upper=0))
    assert request.upper == 0
    assert request.resolved_upper(NOW) == NOW + UPPER_MARGIN
    assert read(packet_of(form)).resolved_upper(NOW + 5) == NOW


@every_form
@pytest.mark.parametrize(
    ("lower", "upper", "fits"),
    [
        (NOW, NOW, True),
        (NOW + 1, NOW, False),
        (NOW + UPPER_MARGIN, 0, True),
        (NOW + UPPER_MARGIN + 1, 0, False),
        (0, MAX_TIME, True),
    ],
)
def test_range(form: Form, lower: int, upper: int, fits: bool) -> None:
    packet = packet_of(form, lower=lower, upper=upper)
    if fits:
        assert (read(packet).lower, read(packet).upper) == (lower, upper)
    else:
        assert type(refusal(packet)) is RequestRangeError


def test_range_at_the_end_of_time() -> None:
    request = read(packet_of(Form.R3, lower=MAX_TIME, upper=0), now=MAX_TIME - 1)
    assert request.resolved_upper(MAX_TIME - 1) == MAX_TIME


@every_form
def test_limit(form: Form) -> None:
    policy = request_policy(max_limit=50)
    asked_and_got = ((0, 50), (1, 1), (50, 50), (51, 50), (MAX_TIME, 50))
    for asked, got in asked_and_got:
        assert read(packet_of(form, limit=asked), policy).limit == got


def test_topics_of_other_sizes() -> None:
    topics = [b"12345", b"12", b"", b"1234", b"x" * 100]
    request = read(packet_of(Form.R3, topics=topics))
    assert request.topics == (b"1234", b"12\0\0", bytes(4), b"xxxx")


@pytest.mark.parametrize("form", [Form.R1, Form.R3, Form.R6])
def test_topics_without_a_bloom(form: Form) -> None:
    request = read(packet_of(form, bloom=b""))
    assert (request.bloom, request.topics) == (b"", (TOPIC,))


@pytest.mark.parametrize(
    "fields",
    [{"lower": -1}, {"upper": 2**32}, {"limit": -1}, {"limit": 2**32}],
    ids=repr,
)
@every_form
def test_numbers_that_do_not_fit(form: Form, fields: Case) -> None:
    given_fields: Case = {"lower": 1, "upper": 2, "key": KEY} | fields
    with pytest.raises(ValueError, match="32 bits"):
        build_request(form, random=filler, now=NOW, **given_fields)


def test_binary_form_ends_in_2072() -> None:
    fields: Case = {"upper": MAX_TIME, "key": KEY, "random": filler, "now": NOW}
    packet, _ = build_request(Form.R7, lower=0xBFFFFFFF, **fields)
    assert read(packet).lower == 0xBFFFFFFF
    with pytest.raises(ValueError, match="R7"):
        build_request(Form.R7, lower=0xC0000000, **fields)


@every_sealed_form
def test_sealed_forms_need_a_key(form: Form) -> None:
    with pytest.raises(ValueError, match="needs a key"):
        build_request(form, lower=1, upper=2, random=filler, now=NOW)


def test_plain_forms_have_a_random_id() -> None:
    _, request_id = build_request(Form.R1, lower=1, upper=2, topics=[TOPIC], random=filler, now=NOW)
    assert request_id == filler(32)
