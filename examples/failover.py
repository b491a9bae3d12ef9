"""Count the messages of a public chat since last week, from whichever mailserver answers.

    .venv/bin/python examples/failover.py CHAT ENODE...

The mailservers are asked in the order given. When one is not reached, refuses, stalls or
disconnects in the middle, the next goes on, and no envelope comes twice.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Sequence

from wakumail import WakumailError, mailservers, public_chat_topic, symmetric_key

WEEK = 7 * 24 * 3600


async def main(chat: str, enodes: Sequence[str]) -> None:
    """Ask day by day, newest first."""
    opened = sealed = 0
    async with mailservers(enodes, answer_timeout=10) as servers:
        try:
            async for page in servers.history(
                lower=int(time.time()) - WEEK,
                topics=[public_chat_topic(chat)],
                keys=[symmetric_key(chat)],
            ):
                opened += sum(message is not None for message in page.messages)
                sealed += sum(message is None for message in page.messages)
        except (WakumailError, OSError) as error:
            sys.exit(f"no mailserver has answered to the end: {error}")
        print(f"{opened} messages, and {sealed} sealed with another key")
        print("answered by", *servers.connected)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    logging.basicConfig()  # a warning for each mailserver that fails, with the reason
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
