"""Print the messages of a public chat as they come, oldest first, each once.

    .venv/bin/python examples/follow.py ENODE CHAT [SECONDS]

A mailserver does not announce new envelopes, so it is asked again every SECONDS (default: 10).
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
"""Seconds that each request reaches back before the time of the last one. An envelope may reach the
mailserver until it expires, and history goes by its creation. So this has to be more than the ttl
in use and the difference between clocks."""


def utc(seconds: int) -> str:
    """Unix seconds in the form of ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


async def follow(
    servers: Mailservers, topics: Sequence[bytes], keys: Sequence[Key], pause: float
) -> AsyncIterator[ReceivedMessage]:
    """The messages created from OVERLAP seconds ago on, without end."""
    since = int(time.time()) - OVERLAP
    seen: dict[bytes, int] = {}  # the creation time of each envelope that came, by its hash
    while True:
        asked = int(time.time())
        try:
            pages = [p async for p in servers.history(lower=since, topics=topics, keys=keys)]
        except (WakumailError, OSError) as error:
            print(f"asking again in {pause:g} s: {error}", file=sys.stderr)
        else:
            since = asked - OVERLAP
            for page in reversed(pages):
                for envelope, message in zip(
                    page.envelopes[::-1], page.messages[::-1], strict=True
                ):
                    if envelope.hash not in seen:
                        seen[envelope.hash] = envelope.created
                        if message is not None:
                            yield message
            seen = {key: created for key, created in seen.items() if created >= since}
        await asyncio.sleep(pause)


async def main(enode: str, chat: str, pause: str = "10") -> None:
    """Print each message as it comes."""
    topics, keys = [public_chat_topic(chat)], [symmetric_key(chat)]
    async with mailservers([enode]) as servers:
        async for message in follow(servers, topics, keys, float(pause)):
            text = message.payload.decode(errors="replace")
            # Anybody may write here: repr() keeps control codes from the terminal.
            print(utc(message.envelope.created), repr(text), flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:]))
