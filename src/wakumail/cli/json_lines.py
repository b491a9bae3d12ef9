"""Envelopes as lines of JSON, for tools that read tables: DuckDB, jq, pandas."""

import json
from collections.abc import Sequence
from typing import Any

from wakumail.archive.stored_envelopes import parse_stored
from wakumail.cli.printing import entry, message_entry
from wakumail.devp2p.keys import node_id
from wakumail.node.messages import Key, ReceivedMessage, open_all
from wakumail.waku.envelope import Envelope

UNOPENED = {"signer": None, "recipient": None, "payload": None, "text": None, "padding": None}
"""The fields of a message where no key opens it: each line has the same."""


def json_lines(joined: bytes, keys: Sequence[Key]) -> bytes:
    """A line for each of these envelopes, whose RLPs are joined.

    It has all fields of the envelope, and with keys those of its message. Bytes are hexadecimal
    digits; `text` is None where the payload is not text. ArchiveDamaged for what is no envelope.
    """
    envelopes = list(parse_stored(joined))
    messages = open_all(envelopes, keys)
    objects = [
        fields(envelope) | (message_fields(message) if keys else {})
        for envelope, message in zip(envelopes, messages, strict=True)
    ]
    return "".join(f"{json.dumps(each, default=bytes.hex)}\n" for each in objects).encode()


def fields(envelope: Envelope) -> dict[str, Any]:
    """All fields of an envelope."""
    return entry(envelope) | {
        "expiry": envelope.expiry,
        "ttl": envelope.ttl,
        "nonce": envelope.nonce,
        "pow": envelope.pow if envelope.ttl else None,  # infinite, which JSON cannot say
        "data": envelope.data,
    }


def message_fields(message: ReceivedMessage | None) -> dict[str, Any]:
    """The fields of a message."""
    if message is None:
        return UNOPENED
    recipient = message.recipient
    told = message_entry(message) | {
        "recipient": None if recipient is None else node_id(recipient),
        "padding": message.padding,
    }
    return {name: told[name] for name in UNOPENED}
