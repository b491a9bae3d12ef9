"""Print the messages of a public chat that a mailserver has kept since yesterday.

    .venv/bin/python examples/history.py ENODE CHAT

ENODE is the enode:// URL of the mailserver, CHAT the name of the chat.
"""

import asyncio
import sys
import time

from wakumail import connect, public_chat_topic, symmetric_key

DAY = 24 * 3600


def utc(seconds: int) -> str:
    """Unix seconds in the form of ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


async def main(enode: str, chat: str) -> None:
    """Ask page by page, newest first."""
    async with connect(enode) as peer:
        pages = peer.history(
            lower=int(time.time()) - DAY,
            topics=[public_chat_topic(chat)],
            keys=[symmetric_key(chat)],
        )
        async for page in pages:
            for envelope, message in zip(page.envelopes, page.messages, strict=True):
                text = "sealed with another key"
                if message is not None:
                    # Anybody may write here: repr() keeps control codes from the terminal.
                    text = repr(message.payload.decode(errors="replace"))
                print(utc(envelope.created), text)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
