"""Sends envelopes to one node, in packets of bounded size, and awaits each confirmation."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wakumail.base.keccak import keccak256
from wakumail.base.rlp import join_list
from wakumail.errors import AnswerTimeout, PeerGone
from wakumail.node.link import Link
from wakumail.waku.confirmations import MAX_CONFIRMABLE, EnvelopeError
from wakumail.waku.envelope import REFUSALS, Envelope, Verdict, parse
from wakumail.waku.packets import PeerSettings

MAX_POST_PACKET = 1 << 20
"""Bytes of one posted Messages packet."""


class Withheld(NamedTuple):
    """An envelope that was not sent, because the peer must not be sent it (6/WAKU1)."""

    hash: bytes
    """32 bytes."""
    reason: Verdict
    """EXPIRED, LOW_POW or UNWANTED_TOPIC."""

    def __str__(self) -> str:
        return REFUSALS[self.reason][1]


@dataclass(frozen=True, slots=True)
class Posted:
    """The result of posting: how many envelopes were sent and confirmed, and which were not."""

    sent: int
    confirmed: int
    """Envelopes in packets that the peer confirmed, without those that it refused. 0 if the peer
    confirms nothing."""
    errors: tuple[EnvelopeError, ...]
    """The envelopes that the peer refused, in the order in which they were posted. One that was
    posted twice is here twice."""
    withheld: tuple[Withheld, ...]


class Poster:
    """Posts over one link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._turn = asyncio.Lock()
        self._unconfirmed: dict[bytes, asyncio.Future[tuple[EnvelopeError, ...]]] = {}

    async def post(self, envelopes: Sequence[bytes], answer_timeout: float) -> Posted:
        """Send envelopes (each its RLP) and wait for the confirmations, if the peer gives any."""
        async with self._turn:
            withheld: list[Withheld] = []
            is_confirming = self._link.peer.settings.confirmations
            try:
                sent = await self._send(envelopes, withheld)
                if not is_confirming:
                    return Posted(len(sent), 0, (), tuple(withheld))
                async with asyncio.timeout(answer_timeout):
                    await asyncio.gather(*self._unconfirmed.values())
                errors = self._errors(sent)
                return Posted(len(sent), len(sent) - len(errors), errors, tuple(withheld))
            except TimeoutError:
                raise AnswerTimeout(f"no confirmation for {answer_timeout:g} s") from None
            finally:
                self._forget()

    def on_confirmed(self, batch_hash: bytes, errors: tuple[EnvelopeError, ...]) -> None:
        """Note the confirmation of a packet.

        The Message Response comes first and carries the errors. The Batch Ack adds nothing.
        """
        waiter = self._unconfirmed.get(batch_hash)
        if waiter is not None and not waiter.done():
            waiter.set_result(errors)

    def on_gone(self, error: PeerGone) -> None:
        """Fail what waits for a confirmation: none will come any more."""
        for waiter in self._unconfirmed.values():
            if not waiter.done():
                waiter.set_exception(error)

    async def _send(self, envelopes: Sequence[bytes], withheld: list[Withheld]) -> list[bytes]:
        """Send packet by packet; returns the hashes of the envelopes that were sent, in order."""
        sent: list[bytes] = []
        for chosen in packets(envelopes):
            await self._link.outbox.drain_and_pace()
            group = self._sift(chosen, withheld)
            sent += [envelope.hash for envelope in group]
            packet = join_list([envelope.rlp for envelope in group])
            batch_hash = keccak256(packet)
            if not group or batch_hash in self._unconfirmed:
                continue  # no envelope, or the same ones again
            await self._link.outbox.pace(size=len(packet))
            self._unconfirmed[batch_hash] = asyncio.get_running_loop().create_future()
            self._link.peer.send_messages(packet)
            await self._link.outbox.drain()
        return sent

    def _sift(self, envelopes: Sequence[bytes], withheld: list[Withheld]) -> list[Envelope]:
        """The envelopes that the peer may be sent now. The others are noted in `withheld`."""
        settings, now = self._link.peer.settings, int(time.time())
        group = []
        for envelope in parse(join_list(envelopes)):
            reason = objection(envelope, settings, now)
            if reason is None:
                group.append(envelope)
            else:
                withheld.append(Withheld(envelope.hash, reason))
        return group

    def _errors(self, sent: Sequence[bytes]) -> tuple[EnvelopeError, ...]:
        """The error of each envelope that was sent and refused; `sent` has their hashes."""
        errors = {
            error.hash: error
            for confirmed in self._unconfirmed.values()
            for error in confirmed.result()
        }
        return tuple(errors[each] for each in sent if each in errors)

    def _forget(self) -> None:
        for waiter in self._unconfirmed.values():
            if not waiter.cancel() and not waiter.cancelled():
                waiter.exception()  # retrieved, or asyncio logs that nobody did
        self._unconfirmed.clear()


def objection(envelope: Envelope, settings: PeerSettings, now: int) -> Verdict | None:
    """The reason not to send a peer this envelope at `now`, by the peer's settings (6/WAKU1)."""
    if envelope.expiry < now:
        return Verdict.EXPIRED
    if envelope.pow < settings.pow:
        return Verdict.LOW_POW
    return None if settings.interest.wants(envelope.topic) else Verdict.UNWANTED_TOPIC


def packets(envelopes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Group envelopes into Messages packets: MAX_POST_PACKET, MAX_CONFIRMABLE."""
    group: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if len(group) == MAX_CONFIRMABLE or (group and size + len(envelope) > MAX_POST_PACKET):
            yield group
            group, size = [], 0
        group.append(envelope)
        size += len(envelope)
    if group:
        yield group
