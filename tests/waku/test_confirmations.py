"""Confirmations against the vectors of status-go and the text of 6/WAKU1."""

from typing import Any

import pytest
import rlp as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.confirmations import listed
from tests.vectors import VECTORS
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import encode
from wakumail.errors import DisconnectReason
from wakumail.waku.confirmations import (
    ConfirmationError,
    EnvelopeError,
    decode_batch_ack,
    decode_message_response,
    encode_batch_ack,
    encode_message_response,
)
from wakumail.waku.envelope import REFUSALS, Verdict

Case = dict[str, Any]


def test_batch_ack_vector() -> None:
    case = VECTORS["batch_ack"]
    assert encode_batch_ack(bytes.fromhex(case["batch_hash"])).hex() == case["rlp"]
    assert decode_batch_ack(bytes.fromhex(case["rlp"])).hex() == case["batch_hash"]


def test_batch_hash_vector() -> None:
    case = VECTORS["messages_packet"]
    assert keccak256(bytes.fromhex(case["rlp"])).hex() == case["batch_hash"]


@pytest.mark.parametrize("case", VECTORS["messages_response"]["cases"], ids=lambda c: c["name"])
def test_message_response_vectors(case: Case) -> None:
    errors = tuple(
        EnvelopeError(bytes.fromhex(error["hash"]), error["code"], error["description"])
        for error in case["errors"] or ()
    )
    batch_hash = bytes.fromhex(case["batch_hash"])
    payload = bytes.fromhex(case["rlp"])
    assert decode_message_response(payload) == (batch_hash, errors)
    assert encode_message_response(batch_hash, listed(errors)) == payload
    # In the specification both confirmations have the same form.
    assert decode_batch_ack(payload) == batch_hash


def test_time_sync_error_of_the_specification() -> None:
    timed = {Verdict.EXPIRED, Verdict.VERY_OLD, Verdict.FROM_FUTURE}
    assert {verdict for verdict, (code, _) in REFUSALS.items() if code == 1} == timed


def test_every_envelope_that_is_not_taken_has_a_code_and_a_text() -> None:
    assert REFUSALS.keys() == {*Verdict} - {Verdict.ACCEPTED, Verdict.DUPLICATE}
    assert all(code in (1, 2) and text.isprintable() for code, text in REFUSALS.values())


@settings(max_examples=60, deadline=None)
@given(
    batch_hash=st.binary(min_size=32, max_size=32),
    errors=st.lists(
        st.builds(
            EnvelopeError,
            st.binary(min_size=32, max_size=32),
            st.integers(0, 2**64 - 1),
            st.text(st.characters(codec="utf-8"), max_size=20).filter(str.isprintable),
        ),
        max_size=5,
    ),
)
def test_message_response_round_trip(batch_hash: bytes, errors: list[EnvelopeError]) -> None:
    payload = encode_message_response(batch_hash, listed(errors))
    assert decode_message_response(payload) == (batch_hash, tuple(errors))
    version, (oracle_hash, reports) = oracle.decode(payload)
    assert (version, oracle_hash, len(reports)) == (b"\x01", batch_hash, len(errors))


def test_confirmations_with_more_in_them() -> None:
    payload = encode([1, [bytes(32), [[bytes(32), 1, b"\xff", 2]], b"later"], b"later"])
    response = decode_message_response(payload)
    assert response.errors == (EnvelopeError(bytes(32), 1, "�"),)
    assert decode_batch_ack(encode([1, [bytes(32)]])) == bytes(32)


@pytest.mark.parametrize(
    "item",
    [b"", bytes(31), bytes(33), [], [1], [1, []], [1, b""], [2, [bytes(32)]], [1, [bytes(31)]]],
    ids=repr,
)
def test_malformed_batch_acks(item: Any) -> None:
    with pytest.raises(ConfirmationError) as caught:
        decode_batch_ack(encode(item))
    assert caught.value.reason is DisconnectReason.SUBPROTOCOL_ERROR


@pytest.mark.parametrize(
    "item",
    [
        bytes(32),
        [1, [bytes(32)]],
        [2, [bytes(32), []]],
        [1, [bytes(31), []]],
        [1, [bytes(32), b""]],
        [1, [bytes(32), [b""]]],
        [1, [bytes(32), [[bytes(32), 1]]]],
        [1, [bytes(32), [[bytes(31), 1, b""]]]],
        [1, [bytes(32), [[bytes(32), 2**64, b""]]]],
        [1, [bytes(32), [[bytes(32), 1, []]]]],
    ],
    ids=repr,
)
def test_malformed_message_responses(item: Any) -> None:
    with pytest.raises(ConfirmationError):
        decode_message_response(encode(item))
