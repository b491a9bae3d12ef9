"""Request Complete packets of both forms, against the vectors of status-go."""

from typing import Any

import pytest
import rlp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base.rlp import encode
from wakumail.errors import DisconnectReason
from wakumail.waku.completion import (
    CURSOR_SIZE,
    ERROR_PREFIX,
    MAX_COMPLETION_SIZE,
    MAX_ERROR_SIZE,
    MAX_FOREIGN_CURSOR,
    ZERO_HASH,
    Completion,
    CompletionError,
    CompletionForm,
    pack_cursor,
)
from wakumail.waku.packets import HASH_SIZE

Case = dict[str, Any]

ID = b"\x01" * HASH_SIZE
LAST = b"\x02" * HASH_SIZE
CURSOR = pack_cursor(1_700_000_000, LAST)

hashes = st.binary(min_size=HASH_SIZE, max_size=HASH_SIZE)
cursors = st.just(b"") | st.binary(min_size=CURSOR_SIZE, max_size=CURSOR_SIZE)
texts = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.mark.parametrize("case", VECTORS["completion"]["cases"], ids=lambda case: case["name"])
def test_vectors(case: Case) -> None:
    payload = bytes.fromhex(case["wire_rlp"])
    if case["go_parse_error"]:
        with pytest.raises(CompletionError):
            Completion.decode(payload)
        return
    expected = Completion(
        bytes.fromhex(case["request_id"]),
        bytes.fromhex(case["last_hash"]),
        bytes.fromhex(case["cursor"]),
        case.get("error"),
    )
    assert Completion.decode(payload) == expected
    if not case.get("decode_only"):
        assert expected.encode(CompletionForm.BYTES) == payload


@settings(max_examples=100, deadline=None)
@given(request_id=hashes, last_hash=hashes, cursor=cursors, form=st.sampled_from(CompletionForm))
def test_round_trip(
    request_id: bytes, last_hash: bytes, cursor: bytes, form: CompletionForm
) -> None:
    completion = Completion(request_id, last_hash, cursor)
    assert Completion.decode(completion.encode(form)) == completion


@settings(max_examples=100, deadline=None)
@given(request_id=hashes, text=texts.filter(str.isprintable))
def test_round_trip_of_errors(request_id: bytes, text: str) -> None:
    completion = Completion(request_id, error=text)
    assert Completion.decode(completion.encode(CompletionForm.BYTES)) == completion
    assert Completion.decode(completion.encode(CompletionForm.LIST)) == Completion(request_id)


def test_list_oracle() -> None:
    payload = Completion(ID, LAST, CURSOR).encode(CompletionForm.LIST)
    assert oracle.decode(payload) == [ID, LAST, CURSOR]
    payload = Completion(ID, LAST, CURSOR, "a reason").encode(CompletionForm.LIST)
    assert oracle.decode(payload) == [ID, ZERO_HASH, b""]


def test_list_of_other_lengths() -> None:
    assert Completion.decode(encode([ID, LAST])) == Completion(ID, LAST)
    assert Completion.decode(encode([ID, LAST, CURSOR, b"later"])) == Completion(ID, LAST, CURSOR)


def test_error_without_its_id_is_an_odd_completion() -> None:
    """As in Go: if too few bytes follow, the prefix is the beginning of a request id."""
    data = (ERROR_PREFIX + ID)[: HASH_SIZE + len(ERROR_PREFIX) - 1]
    assert Completion.decode(encode(data)) == Completion(data[:HASH_SIZE])


@pytest.mark.parametrize("size", range(HASH_SIZE, MAX_COMPLETION_SIZE + 1))
def test_sizes_that_go_clients_take(size: int) -> None:
    data = (ID + LAST + CURSOR)[:size]
    assert Completion.decode(encode(data)) == Completion(
        ID,
        LAST if size >= 2 * HASH_SIZE else ZERO_HASH,
        CURSOR if size == MAX_COMPLETION_SIZE else b"",
    )


def test_error_texts_are_bounded() -> None:
    completion = Completion(ID, error="x" * (MAX_ERROR_SIZE + 1))
    payload = completion.encode(CompletionForm.BYTES)
    assert len(oracle.decode(payload)) == len(ERROR_PREFIX) + HASH_SIZE + MAX_ERROR_SIZE
    assert Completion.decode(encode(oracle.decode(payload) + b"more")).error == "x" * MAX_ERROR_SIZE
    cut = Completion(ID, error="é" * MAX_ERROR_SIZE).encode(CompletionForm.BYTES)
    assert Completion.decode(cut).error == "é" * (MAX_ERROR_SIZE // 2)


def test_error_text_that_is_no_text() -> None:
    assert Completion.decode(encode(ERROR_PREFIX + ID + b"\xff")).error == "�"


def test_foreign_cursors_are_bounded() -> None:
    longest = bytes(MAX_FOREIGN_CURSOR)
    assert Completion.decode(encode([ID, LAST, longest])).cursor == longest
    with pytest.raises(CompletionError):
        Completion.decode(encode([ID, LAST, longest + b"\0"]))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        encode(b""),
        encode(bytes(HASH_SIZE - 1)),
        encode(bytes(MAX_COMPLETION_SIZE + 1)),
        encode([]),
        encode([ID]),
        encode([ID[:-1], LAST, b""]),
        encode([ID, LAST + b"\0", b""]),
        encode([ID, LAST, []]),
        encode([ID, [LAST], b""]),
        encode(ID) + b"\0",
    ],
    ids=lambda payload: payload.hex()[:24] or "nothing",
)
def test_malformed(payload: bytes) -> None:
    with pytest.raises(CompletionError) as caught:
        Completion.decode(payload)
    assert caught.value.counter == "completion_malformed"
    assert caught.value.reason is DisconnectReason.SUBPROTOCOL_ERROR


@settings(max_examples=300, deadline=None)
@given(
    payload=st.binary(max_size=120)
    | st.binary(max_size=120).map(encode)
    | st.lists(hashes | cursors, max_size=4).map(encode)
)
def test_any_bytes_decode_or_are_refused(payload: bytes) -> None:
    try:
        completion = Completion.decode(payload)
    except CompletionError:
        return
    assert len(completion.request_id) == len(completion.last_hash) == HASH_SIZE


def test_forms_can_be_named() -> None:
    assert [CompletionForm("bytes"), CompletionForm("list")] == [
        CompletionForm.BYTES,
        CompletionForm.LIST,
    ]
