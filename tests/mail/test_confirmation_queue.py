"""Confirmations to a peer that tells limits of packets, and lifts them."""

from pathlib import Path

from tests.support.envelopes import make
from tests.support.exchanges import TOPICS, messages
from tests.support.patience import asynchronous, eventually
from tests.support.puppet import Puppet, mailserver
from tests.support.relaying import change, link_of
from wakumail.base.keccak import keccak256
from wakumail.waku.confirmations import decode_message_response
from wakumail.waku.packets import Code, RateLimits, StatusOptions

WAITING = 4


@asynchronous
async def test_confirmations_stay_in_order_when_a_limit_is_lifted(tmp_path: Path) -> None:
    """Those that wait for the limit go first, not those of the packets that came after it."""
    options = StatusOptions(
        topic_interest=(),
        packet_rate_limits=RateLimits(0, 1, 0),
        bytes_rate_limits=RateLimits(0, 10, 0),  # the first confirmation delays the next for 3 s
    )
    none = RateLimits(0, 0, 0)
    unlimited = StatusOptions(packet_rate_limits=none, bytes_rate_limits=none)
    batches = [messages(make(2, TOPICS, seed=seed)) for seed in range(WAITING + 1)]
    async with mailserver(tmp_path) as (server, enode):
        puppet = await Puppet.ready(enode, options=options)

        async def confirmed() -> bytes:
            return decode_message_response(await puppet.packet(Code.MESSAGE_RESPONSE)).batch_hash

        for batch in batches[:WAITING]:
            puppet.send(Code.MESSAGES, batch)
        await eventually(lambda: server.counters["envelopes_archived"] == 2 * WAITING)
        hashes = [await confirmed()]
        await change(puppet, link_of(server, puppet), unlimited)
        puppet.send(Code.MESSAGES, batches[WAITING])
        hashes += [await confirmed() for _ in batches[1:]]
        assert hashes == [keccak256(batch) for batch in batches]
        assert server.counters["messages_confirmed"] == WAITING + 1
