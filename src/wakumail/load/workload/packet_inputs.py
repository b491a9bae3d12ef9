"""The worst packets of each code of `waku` and `shh`, at the bounds of their size."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from wakumail.base import rlp
from wakumail.devp2p import keys
from wakumail.devp2p.packets import SHH6, WAKU, Capability
from wakumail.load.workload.archived_traffic import TRAFFIC_END, make_topics
from wakumail.mail.request import MAX_REQUEST_TOPICS, Form, build_request
from wakumail.waku.bloom import BLOOM_SIZE
from wakumail.waku.confirmations import MAX_RESPONSE_SIZE, encode_message_response
from wakumail.waku.envelope import MAX_ENVELOPES, make_envelope
from wakumail.waku.message import DEFAULT_PASSWORD, symmetric_key
from wakumail.waku.packets import (
    HASH_SIZE,
    MAX_REFUSED_REQUEST,
    MAX_REQUEST_SIZE,
    MAX_STATUS_SIZE,
    MAX_TOPIC_INTEREST,
    Code,
    StatusOptions,
)
from wakumail.waku.peer import DIALECTS

ALL = (*WAKU, SHH6)
MAX_PACKET = 10 << 20
UPDATES = 18
"""Status updates with the largest interest that a peer may send at once."""

Make = Callable[[Capability, float], list[bytes]]
"""Makes the payloads for a capability; of sizes and numbers only a share, from 0 to 1."""

_nonces = count(1 << 32)


@dataclass(frozen=True, slots=True)
class PacketInput:
    """Packets of one code that a peer sends."""

    title: str
    make: Make
    capabilities: Sequence[Capability] = WAKU[-1:]
    trusted: bool = False
    """True if the peer is trusted."""
    asked: bool = False
    """True if the server has to send the peer an envelope first, for which this is the answer."""
    first: bool = False
    """True if the packet takes the place of the peer's status."""


def share_of(number: int, share: float) -> int:
    """A part of a number, 1 at least."""
    return max(1, int(number * share))


def smallest(
    number: int, *, age: int = 0, ttl: int = 50, size: int = 1, topics: bool = False
) -> list[bytes]:
    """This number of new envelopes, made `age` seconds ago, with `size` bytes of data.

    `topics`: each has one of its own.
    """
    expiry = int(time.time()) + ttl - age
    data = bytes(size)
    made = []
    for nonce in islice(_nonces, number):
        topic = (nonce % 2**32).to_bytes(4) if topics else b"step"
        made.append(make_envelope(expiry, ttl, topic, data, nonce).rlp)
    return made


def envelopes(
    number: int,
    *,
    size: int = 1,
    age: int = 0,
    ttl: int = 50,
    topics: bool = False,
    twice: bool = False,
) -> Make:
    """A Messages packet of that many envelopes; `twice` sends it again."""

    def make(_capability: Capability, share: float) -> list[bytes]:
        packet = rlp.join_list(
            smallest(share_of(number, share), age=age, ttl=ttl, size=size, topics=topics)
        )
        return [packet, packet] if twice else [packet]

    return make


def single_envelopes(_capability: Capability, share: float) -> list[bytes]:
    """Packets of one envelope each."""
    return [rlp.join_list([each]) for each in smallest(share_of(10_000, share))]


def full_pool(_capability: Capability, share: float) -> list[bytes]:
    """More envelopes than the relay keeps."""
    return [rlp.join_list(smallest(share_of(MAX_ENVELOPES, share))) for _ in range(8)]


def zeros(size: int) -> Make:
    """Zeros, which take a twentieth of the size on the wire."""
    return lambda _capability, share: [bytes(share_of(size, share))]


def noise(size: int) -> Make:
    """Random bytes."""
    return lambda _capability, share: [os.urandom(share_of(size, share))]


def empty_lists(size: int) -> Make:
    """A list of empty lists: most items for its size."""
    return lambda _capability, share: [rlp.join_list([b"\xc0" * share_of(size, share)])]


def interests(capability: Capability, share: float) -> list[bytes]:
    """Updates with the largest interest, each another one."""
    updates = []
    for number in range(share_of(UPDATES, share)):
        topics = tuple(make_topics(share_of(MAX_TOPIC_INTEREST, share), number))
        options = StatusOptions(topic_interest=topics)
        updates += [payload for _, payload in DIALECTS[capability].encode_update(options)]
    return updates


def one_interest(_capability: Capability, share: float) -> list[bytes]:
    """The bare value of the largest interest, in packets of waku/0."""
    topics = make_topics(share_of(MAX_TOPIC_INTEREST, share))
    return [rlp.encode(topics)] * share_of(UPDATES, share)


def blooms(_capability: Capability, share: float) -> list[bytes]:
    """The bare value of a bloom, again and again another one."""
    return [rlp.encode(os.urandom(BLOOM_SIZE)) for _ in range(share_of(1500, share))]


def numbers(_capability: Capability, share: float) -> list[bytes]:
    """The bare value of a PoW requirement, again and again another one."""
    return [rlp.encode(number << 40) for number in range(share_of(1500, share))]


def limits(_capability: Capability, share: float) -> list[bytes]:
    """The bare value of rate limits, again and again other ones."""
    return [rlp.encode([0, 0, number]) for number in range(share_of(1500, share))]


def statuses(capability: Capability, share: float) -> list[bytes]:
    """A status with the largest interest, and a bloom."""
    topics = tuple(make_topics(share_of(MAX_TOPIC_INTEREST, share)))
    options = StatusOptions(pow=0.0, bloom=bytes(range(BLOOM_SIZE)), topic_interest=topics)
    return [DIALECTS[capability].encode_status(options)]


def strange_status(capability: Capability, share: float) -> list[bytes]:
    """A status as large as one may be, full of options that nobody knows."""
    size = share_of(MAX_STATUS_SIZE, share) // 70
    entries = [rlp.join_list([b"\x7f", rlp.join_list([b"\xc0" * size])]) for _ in range(60)]
    listed = rlp.join_list(entries)
    return [rlp.join_list([b"\x80", listed]) if capability == WAKU[0] else listed]


def acks(_capability: Capability, share: float) -> list[bytes]:
    """Batch Acks for nothing."""
    return [rlp.encode(os.urandom(HASH_SIZE)) for _ in range(share_of(10_000, share))]


def responses(_capability: Capability, share: float) -> list[bytes]:
    """A Message Response as large as one may be, with an error for each envelope."""
    error = rlp.encode([bytes(HASH_SIZE), 1, b"x"])
    number = share_of(MAX_RESPONSE_SIZE - 100, share) // len(error)
    return [encode_message_response(bytes(HASH_SIZE), rlp.join_list([error * max(1, number)]))]


def requests(form: Form, *, by_bloom: bool = False, batch: bool = True) -> Make:
    """Requests for all days, by as many topics as one may have, or a bloom that has half."""

    def make(_capability: Capability, share: float) -> list[bytes]:
        topics = make_topics(share_of(MAX_REQUEST_TOPICS, share))
        bloom = bytes([0x55]) * BLOOM_SIZE if by_bloom else b""
        packet, _ = build_request(
            form,
            lower=0,
            upper=TRAFFIC_END,
            topics=() if by_bloom else topics,
            bloom=bloom,
            limit=share_of(1000, share),
            batch=batch,
            key=symmetric_key(DEFAULT_PASSWORD),
            sign_with=keys.generate(os.urandom),
            random=os.urandom,
            now=int(time.time()),
        )
        return [packet] * share_of(16, share)

    return make


def topic_lists(_capability: Capability, share: float) -> list[bytes]:
    """A plain request as large as one may be, full of topics."""
    topics = make_topics(share_of(MAX_REQUEST_SIZE - 200, share) // 5)
    fields: list[Any] = [os.urandom(HASH_SIZE), 0, TRAFFIC_END, 1000, b"", b"", topics]
    return [rlp.encode(fields)] * share_of(16, share)


def completions(_capability: Capability, share: float) -> list[bytes]:
    """Completions for nothing."""
    return [rlp.encode(os.urandom(2 * HASH_SIZE))] * share_of(10_000, share)


REQUESTS = tuple(
    PacketInput(f"{form.name}, {what}", requests(form, by_bloom=by_bloom, batch=batch))
    for form in Form
    for by_bloom, batch, what in (
        (False, True, f"{MAX_REQUEST_TOPICS} topics"),
        (True, True, "a broad bloom"),
        (False, False, f"{MAX_REQUEST_TOPICS} topics, one packet for each envelope"),
        (True, False, "a broad bloom, one packet for each envelope"),
    )
    if batch or form in (Form.R3, Form.R4)
)

PACKET_INPUTS: Mapping[Code, Sequence[PacketInput]] = {
    Code.MESSAGES: (
        PacketInput("the smallest envelopes", envelopes(MAX_ENVELOPES), ALL),
        PacketInput("envelopes of as many topics", envelopes(MAX_ENVELOPES, topics=True)),
        PacketInput("one envelope in each packet", single_envelopes, ALL),
        PacketInput("the same envelopes twice", envelopes(MAX_ENVELOPES, twice=True)),
        PacketInput("very old envelopes", envelopes(MAX_ENVELOPES, age=3600)),
        PacketInput("envelopes without a ttl", envelopes(MAX_ENVELOPES, ttl=0)),
        PacketInput("the largest envelopes", envelopes(9, size=(1 << 20) - 100)),
        PacketInput("one envelope that is too large", envelopes(1, size=MAX_PACKET - 100)),
        PacketInput("one envelope too many", envelopes(MAX_ENVELOPES + 1)),
        PacketInput("empty lists", empty_lists(MAX_PACKET - 8), ALL),
        PacketInput("zeros", zeros(MAX_PACKET), ALL),
        PacketInput("noise", noise(MAX_PACKET)),
        PacketInput("too large", zeros(MAX_PACKET + 1)),
        PacketInput("more than the relay keeps", full_pool),
    ),
    Code.STATUS: (
        PacketInput("the largest interest", statuses, ALL, first=True),
        PacketInput("unknown options", strange_status, ALL, first=True),
        PacketInput("empty lists", empty_lists(MAX_STATUS_SIZE - 8), ALL, first=True),
        PacketInput("too large", zeros(MAX_PACKET), ALL, first=True),
        PacketInput("a second one", statuses, ALL),
        PacketInput("a second one, too large", zeros(MAX_PACKET)),
    ),
    Code.POW: (
        PacketInput("as many as may come", numbers, ALL),
        PacketInput("zeros", zeros(MAX_STATUS_SIZE), ALL),
    ),
    Code.BLOOM: (
        PacketInput("as many as may come", blooms, ALL),
        PacketInput("zeros", zeros(MAX_STATUS_SIZE), ALL),
    ),
    Code.BATCH_ACK: (
        PacketInput("not asked for", acks, ALL),
        PacketInput("an answer, too large", zeros(MAX_PACKET), asked=True),
        PacketInput("an answer, of empty lists", empty_lists(4000), asked=True),
    ),
    Code.MESSAGE_RESPONSE: (
        PacketInput("not asked for", responses, ALL),
        PacketInput("an answer", responses, asked=True),
        PacketInput("an answer, of empty lists", empty_lists(MAX_RESPONSE_SIZE - 8), asked=True),
        PacketInput("an answer, too large", zeros(MAX_PACKET), asked=True),
    ),
    Code.RATE_LIMITS: (
        PacketInput("as many as may come", limits, ALL),
        PacketInput("zeros", zeros(MAX_STATUS_SIZE), ALL),
    ),
    Code.TOPIC_INTEREST: (
        PacketInput("as many as may come", one_interest, ALL),
        PacketInput("empty lists", empty_lists(MAX_STATUS_SIZE - 8), ALL),
    ),
    Code.STATUS_UPDATE: (
        PacketInput("the largest interests", interests, WAKU),
        PacketInput("unknown options", strange_status, ALL),
        PacketInput("empty lists", empty_lists(MAX_STATUS_SIZE - 8), ALL),
        PacketInput("too large", zeros(MAX_PACKET), ALL),
    ),
    Code.P2P_REQUEST_COMPLETE: (
        PacketInput("not asked for", completions, ALL),
        PacketInput("of a trusted peer", completions, trusted=True),
        PacketInput("of a trusted peer, empty lists", empty_lists(4000), trusted=True),
        PacketInput("of a trusted peer, too large", zeros(MAX_PACKET), trusted=True),
    ),
    Code.P2P_REQUEST: (
        *REQUESTS,
        PacketInput("topics without end", topic_lists, ALL),
        PacketInput("empty lists", empty_lists(MAX_REQUEST_SIZE - 8), ALL),
        PacketInput("zeros", zeros(MAX_REFUSED_REQUEST), ALL),
        PacketInput("too large", zeros(MAX_PACKET), ALL),
    ),
    Code.P2P_MESSAGE: (
        PacketInput("not asked for", zeros(MAX_PACKET), ALL),
        PacketInput("the smallest envelopes", envelopes(MAX_ENVELOPES), ALL, trusted=True),
        PacketInput("the largest envelopes", envelopes(9, size=(1 << 20) - 100), trusted=True),
        PacketInput("empty lists", empty_lists(MAX_PACKET - 8), ALL, trusted=True),
        PacketInput("zeros", zeros(MAX_PACKET), ALL, trusted=True),
    ),
}
"""The inputs of every code; those beyond a status reach a peer that has said its own."""
