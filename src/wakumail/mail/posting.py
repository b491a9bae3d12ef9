"""Sends envelopes to one node, in packets of bounded size, and awaits each confirmation."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from wakumail.base.keccak import keccak256, keccak256_many
from wakumail.base.rlp import join_list
from wakumail.errors import AnswerTimeout, PeerGone
from wakumail.node.link import Link
from wakumail.waku.confirmations import EnvelopeError
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
    """The envelopes that the peer refused."""
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
            groups: dict[bytes, list[bytes]] = {}
            withheld: list[Withheld] = []
            is_confirming = self._link.peer.settings.confirmations
            try:
                await self._send(envelopes, groups, withheld)
                sent = len(envelopes) - len(withheld)
                if not is_confirming:
                    return Posted(sent, 0, (), tuple(withheld))
                async with asyncio.timeout(answer_timeout):
                    await asyncio.gather(*self._unconfirmed.values())
                errors = self._errors(groups)
                return Posted(sent, sent - len(errors), errors, tuple(withheld))
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

    async def _send(
        self,
        envelopes: Sequence[bytes],
        groups: dict[bytes, list[bytes]],
        withheld: list[Withheld],
    ) -> None:
        """Send packet by packet, and note the envelopes of each packet in `groups`, by its hash."""
        for chosen in packets(envelopes):
            await self._link.outbox.drain_and_pace()
            group = self._sift(chosen, withheld)
            packet = join_list(group)
            batch_hash = keccak256(packet)
            if not group or batch_hash in groups:
                continue  # no envelope, or the same ones again
            groups[batch_hash] = group
            self._unconfirmed[batch_hash] = asyncio.get_running_loop().create_future()
            self._link.peer.send_messages(packet)
            await self._link.outbox.drain()

    def _sift(self, envelopes: Sequence[bytes], withheld: list[Withheld]) -> list[bytes]:
        """The envelopes that the peer may be sent now. The others are noted in `withheld`."""
        settings, now = self._link.peer.settings, int(time.time())
        group = []
        for envelope in parse(join_list(envelopes)):
            reason = objection(envelope, settings, now)
            if reason is None:
                group.append(envelope.rlp)
            else:
                withheld.append(Withheld(envelope.hash, reason))
        return group

    def _errors(self, groups: Mapping[bytes, Sequence[bytes]]) -> tuple[EnvelopeError, ...]:
        """The errors in the confirmations, without those of envelopes that were not sent."""
        errors: dict[bytes, EnvelopeError] = {}
        for batch_hash, group in groups.items():
            sent = set(keccak256_many(group))
            refused = self._unconfirmed[batch_hash].result()
            errors |= {error.hash: error for error in refused if error.hash in sent}
        return tuple(errors.values())

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
    """Group envelopes into Messages packets of at most MAX_POST_PACKET bytes each."""
    group: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if group and size + len(envelope) > MAX_POST_PACKET:
            yield group
            group, size = [], 0
        group.append(envelope)
        size += len(envelope)
    if group:
        yield group
