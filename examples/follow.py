"""Print the messages of a public chat as they come, oldest first, each once.

    python examples/follow.py ENODE CHAT [SECONDS]

A mailserver tells nobody of new envelopes, so it is asked for them every SECONDS (default: 10).
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence

from wakumail import (
    Key,
    Mailservers,
    ReceivedMessage,
    WakumailError,
    mailservers,
    public_chat_topic,
    symmetric_key,
)

OVERLAP = 120
"""Seconds. History is ordered by creation, not by arrival: an envelope may come to the mailserver
as long after its creation as its ttl. So each question reaches back behind the one before, by more
than the ttl in use and the differences between clocks."""


async def follow(
    servers: Mailservers, topics: Sequence[bytes], keys: Sequence[Key], pause: float
) -> AsyncIterator[ReceivedMessage]:
    """The messages created from OVERLAP seconds ago on, without end."""
    since = int(time.time()) - OVERLAP
    seen: dict[bytes, int] = {}  # when each envelope that came was created, by its hash
    while True:
        asked = int(time.time())
        messages = []
        try:
            async for page in servers.history(lower=since, topics=topics, keys=keys):
                for envelope, message in zip(page.envelopes, page.messages, strict=True):
                    if envelope.hash not in seen:
                        seen[envelope.hash] = envelope.created
                        if message is not None:
                            messages.append(message)
        except (WakumailError, OSError) as error:
            print(f"asking again in {pause:g} s: {error}", file=sys.stderr)
        else:
            since = asked - OVERLAP  # not when it failed: the rest is still to come
        for message in reversed(messages):
            yield message
        seen = {key: created for key, created in seen.items() if created >= since}
        await asyncio.sleep(pause)


async def main(enode: str, chat: str, pause: str = "10") -> None:
    """Print what follows."""
    topics, keys = [public_chat_topic(chat)], [symmetric_key(chat)]
    async with mailservers([enode]) as servers:
        async for message in follow(servers, topics, keys, float(pause)):
            text = message.payload.decode(errors="replace")
            # Anybody may write here: repr() keeps control codes from the terminal.
            print(time.ctime(message.envelope.created), repr(text), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
