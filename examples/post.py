"""Post a text to a public chat, and wait until the mailserver has it on disk.

    .venv/bin/python examples/post.py ENODE CHAT TEXT

ENODE is the enode:// URL of the mailserver, CHAT the name of the chat.
"""

import asyncio
import sys

from wakumail import post, public_chat_topic, symmetric_key


async def main(enode: str, chat: str, text: str) -> None:
    """Seal the text with the key of the chat, mine the proof of work, send."""
    envelope = await post(
        enode,
        text.encode(),
        topic=public_chat_topic(chat),
        key=symmetric_key(chat),
    )
    print("on disk:", envelope.hash.hex())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
