"""docs/conformance.md is whole: every rule has its row, and every row tests that exist."""

from collections import Counter
from typing import NamedTuple

import pytest

from tests.support.pages import DOCS, holders, names_in

PAGE = DOCS / "conformance.md"

RULES = {
    "6/WAKU1": {
        "Use of DevP2P": "MUST, MUST, must",
        "Gossip based routing": "SHOULD, MUST NOT, SHOULD NOT",
        "Maximum Packet Size": "SHOULD, MUST, MUST, MUST",
        "Use of RLPx transport protocol": "MUST",
        "Packet Codes": "MUST, MUST",
        "Status": "MUST, MUST, MUST, SHOULD, SHOULD, MUST, SHOULD, MUST, MUST, MUST NOT, SHOULD",
        "Status Update": "MUST, SHOULD",
        "PoW Requirement Field": "MUST NOT",
        "Bloom Filter Field": "MUST, MUST, MUST, must",
        "Topic Interest Field": "MUST, MUST, MUST, must",
        "Rate Limits Field": "SHOULD, SHOULD, SHOULD, SHOULD, SHOULD, SHOULD, SHOULD",
        "Light Node Field": "SHOULD NOT, MUST NOT",
        "Confirmations Enabled Field": "SHOULD",
        "Batch Ack and Message Response": "must",
        "P2P Message": "must",
        "Light node": "MUST NOT, MUST, SHOULD",
        "Accounting for resources (experimental)": "SHOULD",
        "General principles and policy": "MUST",
        "Backwards Compatibility": "should",
        "Forward Compatibility": "SHOULD, should, SHOULD, SHOULD, SHOULD, SHOULD NOT",
        "Node discovery": "SHOULD",
    },
    "8/WAKU-MAIL": {
        "Specification": "MUST, MUST, SHOULD",
        "Requesting Historic Envelopes": (
            "MUST, MUST, MUST, SHOULD, SHOULD NOT, MUST, MUST, MUST, MUST, must"
        ),
        "Receiving Historic Envelopes": "MUST, MUST, MUST, MUST, SHOULD, must",
    },
    "7/WAKU-DATA": {
        "Specification": "MUST, MUST",
        "Signature": "MUST, MUST, should",
        "Padding": "SHOULD",
    },
    "9/WAKU-RPC": {
        "Transport": "SHOULD, SHOULD",
        "Filter": "must, must",
        "waku_setMaxEnvelopeSize": "must, must",
        "waku_subscribe": "must",
        "waku_unsubscribe": "MUST",
        "waku_newMessageFilter": "must",
        "waku_post": "must",
    },
    "WAKU-MAILSERVER": {
        "Mailserver": "must",
        "Archiving messages": "MUST, MUST, SHOULD",
        "Requesting messages": "MUST, MUST, MUST, SHOULD, SHOULD NOT, MUST",
        "Receiving historic messages": "MUST, MUST, MUST, SHOULD",
        "Altruistic and centralized operator risk": "SHOULD, SHOULD",
    },
    "WAKU-USAGE": {
        "Waku node configuration": "MUST, must",
        "Status": "MUST, MUST",
        "Rate limiting": "SHOULD, SHOULD, SHOULD, SHOULD, SHOULD",
        "Keys management": "must",
        "Contact code topic": "MUST",
        "Partitioned topic": "MUST",
        "Public chats": "MUST",
        "Request historic messages": "MUST, MUST",
    },
    "negentropy v1": {
        "Preparation": "must, must",
        "Varint": "must",
        "Message": "should, must",
        "Range": "must",
        "Bound": "must, should",
        "Fingerprint Algorithm": "must",
    },
    "Node Discovery v4": {
        "Node Records": "must",
        "Endpoint Proof": "must",
        "Wire Protocol": "should",
        "Ping Packet (0x01)": "must, should, should, should",
        "Pong Packet (0x02)": "should, should",
        "FindNode Packet (0x03)": "should, should",
        "ENRRequest Packet (0x05)": "should, should, should",
        "ENRResponse Packet (0x06)": "should",
    },
    "EIP-778": {
        "Record Structure": "should, must, must",
        "RLP Encoding": "should",
        "Text Encoding": "should",
        '"v4" Identity Scheme': "must",
    },
}
"""The words that make rules, in their order, section by section of each specification."""


class Row(NamedTuple):
    """A line of the page; `tests` are file and name of each."""

    specification: str
    section: str
    force: str
    rule: str
    how: str
    tests: tuple[tuple[str, str], ...]


def rows() -> list[Row]:
    """All rows, with the heading that they stand under."""
    found = []
    specification = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            specification = line.removeprefix("## ")
        elif line.startswith("|") and not line.startswith(("|---", "| section |")):
            section, force, rule, how, held_by = (cell.strip() for cell in line.split("|")[1:-1])
            found.append(Row(specification, section, force, rule, how, holders(held_by)))
    return found


ROWS = rows()


def test_every_specification_has_its_part() -> None:
    assert list(dict.fromkeys(row.specification for row in ROWS)) == list(RULES)


@pytest.mark.parametrize("specification", RULES)
def test_every_rule_has_its_row(specification: str) -> None:
    """In the order of the text, so that a row that goes or changes its force is noticed."""
    told: dict[str, list[str]] = {}
    for row in ROWS:
        if row.specification == specification:
            told.setdefault(row.section, []).append(row.force)
    assert {section: ", ".join(forces) for section, forces in told.items()} == RULES[specification]
    assert list(told) == list(RULES[specification])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.rule}")
def test_every_row_is_held_by_tests_that_exist(row: Row) -> None:
    assert row.rule
    assert row.how
    assert row.tests, "no test holds it"
    for file, name in row.tests:
        assert name in names_in(file), f"{file} has no {name} that has to pass"


def test_no_rule_stands_twice_in_a_specification() -> None:
    said = Counter((row.specification, row.section, row.rule) for row in ROWS)
    assert set(said.values()) == {1}
