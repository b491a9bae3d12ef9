"""Exchanges of a puppet with a server: a batch and its confirmation, a request and its answer."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.puppet import PASSWORD_KEY, Puppet
from wakumail.base import rlp
from wakumail.base.keccak import keccak256
from wakumail.devp2p.connection_events import Packet
from wakumail.devp2p.enode import Enode
from wakumail.mail import request
from wakumail.mail.request import Form, build_request
from wakumail.waku.completion import Completion
from wakumail.waku.confirmations import EnvelopeError, decode_message_response
from wakumail.waku.envelope import Envelope, parse
from wakumail.waku.packets import Code, StatusOptions

TOPICS = [b"abc" + bytes([number]) for number in range(4)]


def messages(envelopes: Sequence[Envelope]) -> bytes:
    return rlp.join_list([envelope.rlp for envelope in envelopes])


async def post(puppet: Puppet, envelopes: Sequence[Envelope]) -> list[EnvelopeError]:
    """Post a batch, check the form of its confirmation and return its errors."""
    packet = messages(envelopes)
    puppet.send(Code.MESSAGES, packet)
    response = decode_message_response(await puppet.packet(Code.MESSAGE_RESPONSE))
    assert response.batch_hash == keccak256(packet)
    assert await puppet.packet(Code.BATCH_ACK) == rlp.encode(keccak256(packet))
    return list(response.errors)


def build(form: Form = Form.R3, **fields: Any) -> tuple[bytes, bytes]:
    now = int(time.time())
    defaults: dict[str, Any] = {"lower": now - 3600, "upper": now + 60, "key": PASSWORD_KEY}
    return build_request(form, **defaults | fields, random=bytes_of, now=now)


def build_wrong(form: Form = Form.R3, **fields: Any) -> bytes:
    """The packet of a request that `build_request` refuses to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "check_fields", lambda **fields: None)
        patch.setattr(request, "check_cursor", lambda cursor, form: None)
        return build(form, **fields)[0]


def bytes_of(count: int) -> bytes:
    return bytes(range(1, 251))[:count].ljust(count, b"r")


async def answer(puppet: Puppet) -> tuple[list[Envelope], list[int], Completion, bytes]:
    """The answer to a request: envelopes, their number in each packet, completion, its payload."""
    envelopes: list[Envelope] = []
    counts: list[int] = []
    while True:
        packet = await puppet.until(Packet)
        if packet.code == Code.P2P_REQUEST_COMPLETE:
            return envelopes, counts, Completion.decode(packet.payload), packet.payload
        assert packet.code == Code.P2P_MESSAGE
        batch = list(parse(packet.payload))
        envelopes += batch
        counts.append(len(batch))


async def works(enode: Enode) -> None:
    """Check that the server answers another peer."""
    puppet = await Puppet.ready(enode, options=StatusOptions(topic_interest=()))
    packet, request_id = build(topics=[b"none"])
    puppet.send(Code.P2P_REQUEST, packet)
    envelopes, _, completion, _ = await answer(puppet)
    assert (envelopes, completion) == ([], Completion(request_id))
    puppet.hang_up()
