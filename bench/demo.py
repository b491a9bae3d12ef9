"""Shows a mailserver in half a minute: posts 10,000 envelopes, then asks for some of them.

Run it with `make demo`. The server is a process of its own with default settings, so every envelope
has the proof of work that the network demands.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from wakumail import FULL_BLOOM, Envelope, MailPeer, bloom_of, connect
from wakumail.base.keccak import keccak256
from wakumail.waku.envelope import make_envelope
from wakumail.waku.pow import mine

ENVELOPES = 10_000
TOPICS = [keccak256(b"channel %d" % number)[:4] for number in range(50)]
TTL = 60
POW = 0.002
DATA_SIZE = 512


def make_envelopes() -> list[Envelope]:
    """Envelopes with 512 bytes of data and their PoW, created over the last half minute."""
    now = int(time.time())
    envelopes = []
    for number in range(ENVELOPES):
        topic, data = TOPICS[number % len(TOPICS)], os.urandom(DATA_SIZE)
        expiry = now - number % 30 + TTL
        nonce = mine(expiry, TTL, topic, data, target=POW)
        assert nonce is not None
        envelopes.append(make_envelope(expiry, TTL, topic, data, nonce))
    return envelopes


def report(what: str, result: str, started: float) -> None:
    """Print a line of the report: the step, its result, and the time since `started`."""
    print(f"  {what:<36} {result:<34} {1000 * (time.perf_counter() - started):8.1f} ms")


async def ask(
    peer: MailPeer, what: str, *, topics: Sequence[bytes] = (), bloom: bytes = b""
) -> int:
    """Ask for the last hour of history, page by page. Returns the number of envelopes."""
    started = time.perf_counter()
    lower = int(time.time()) - 3600
    sizes = []
    async for page in peer.history(lower=lower, topics=topics, bloom=bloom):
        sizes.append(len(page.envelopes))
    report(what, f"{sum(sizes):,} envelopes, pages: {len(sizes)}", started)
    return sum(sizes)


async def demo(enode: str) -> None:
    """Post the envelopes, then ask for them in three ways."""
    started = time.perf_counter()
    envelopes = make_envelopes()
    report("proof of work mined", f"{ENVELOPES:,} envelopes of PoW {POW}", started)
    async with connect(enode) as poster, connect(enode) as reader:
        started = time.perf_counter()
        posted = await poster.post([envelope.rlp for envelope in envelopes])
        report("posted and confirmed to be on disk", f"{posted.confirmed:,} envelopes", started)
        found = [
            await ask(reader, "asked for one topic", topics=TOPICS[:1]),
            await ask(reader, "asked for a bloom of five topics", bloom=bloom_of(TOPICS[:5])),
            await ask(reader, "asked for everything", bloom=FULL_BLOOM),
        ]
    share = ENVELOPES // len(TOPICS)
    if posted.confirmed != ENVELOPES or found != [share, 5 * share, ENVELOPES]:
        sys.exit("the mailserver did not return the envelopes that were posted")


def main() -> None:
    """Start a server and run the demo against it."""
    with tempfile.TemporaryDirectory() as datadir:
        command = [sys.executable, "-m", "wakumail", "serve", "--datadir", datadir]
        with subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as server:
            assert server.stdout is not None
            enode = server.stdout.readline().strip()
            print(f"wakumail serve, in a process of its own:\n  {enode[:60]}...")
            try:
                asyncio.run(demo(enode))
            finally:
                server.send_signal(signal.SIGTERM)


main()
