"""Micro benches of the parts between the socket and the archive: frames and the pool."""

from collections.abc import Callable
from typing import Any

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import keccak as library_keccak
from pytest_benchmark.fixture import BenchmarkFixture

from wakumail.base.rlp import join_list
from wakumail.devp2p.frame_reader import FrameReader
from wakumail.devp2p.frame_writer import FrameWriter
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.waku.envelope import Batch, parse
from wakumail.waku.interest import EVERYTHING
from wakumail.waku.pool import Pool

AES_KEY, MAC_KEY, SEED = bytes(range(32)), bytes(range(32, 64)), b"seed"
PACKET = join_list(list(ArchivedTraffic(100, 10).stream()))
ROUNDS = 30
BLOCK = 16


class LibraryCodec:
    """One direction of RLPx with pycryptodome (RLPx, "Framing" and "MAC")."""

    def __init__(self) -> None:
        self._cipher = AES.new(AES_KEY, AES.MODE_CTR, nonce=b"", initial_value=bytes(BLOCK))
        self._mac_cipher = AES.new(MAC_KEY, AES.MODE_ECB)
        self._mac = library_keccak.new(digest_bits=256, data=SEED, update_after_digest=True)

    def encode(self, data: bytes) -> bytes:
        header = len(data).to_bytes(3, "big") + b"\xc2\x80\x80"
        encrypted = self._cipher.encrypt(header.ljust(BLOCK, b"\0"))
        encrypted += self._stir(encrypted)
        body = self._cipher.encrypt(data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0"))
        return encrypted + body + self._mac_of(body)

    def decode(self, frame: bytes) -> bytes:
        header = frame[:BLOCK]
        assert self._stir(header) == frame[BLOCK : 2 * BLOCK]
        size = int.from_bytes(self._cipher.decrypt(header)[:3], "big")
        body = frame[2 * BLOCK : -BLOCK]
        assert self._mac_of(body) == frame[-BLOCK:]
        return bytes(self._cipher.decrypt(body)[:size])

    def _mac_of(self, body: bytes) -> bytes:
        self._mac.update(body)
        return self._stir(self._mac.digest()[:BLOCK])

    def _stir(self, block: bytes) -> bytes:
        """Absorb aes(mac-secret, digest) ^ block; the MAC is the first half of the digest."""
        seed = self._mac_cipher.encrypt(self._mac.digest()[:BLOCK])
        self._mac.update(bytes(a ^ b for a, b in zip(seed, block, strict=True)))
        return bytes(self._mac.digest()[:BLOCK])


def our_encoder() -> Callable[[bytes], bytes]:
    writer = FrameWriter(AES_KEY, MAC_KEY, SEED)

    def encode(packet: bytes) -> bytes:
        writer.add(packet)
        return writer.encrypt()

    return encode


def our_decoder() -> Callable[[bytes], bytes]:
    reader = FrameReader(AES_KEY, MAC_KEY, SEED)

    def decode(frame: bytes) -> bytes:
        reader.feed(frame)
        return bytes(reader.next_frame() or b"")

    return decode


def library_encoder() -> Callable[[bytes], bytes]:
    return LibraryCodec().encode


def library_decoder() -> Callable[[bytes], bytes]:
    return LibraryCodec().decode


@pytest.mark.benchmark(group=f"frame of {len(PACKET)} bytes, made")
@pytest.mark.parametrize("make", [our_encoder, library_encoder], ids=["ours", "pycryptodome"])
def test_frame_encode(
    benchmark: BenchmarkFixture, make: Callable[[], Callable[[bytes], bytes]]
) -> None:
    assert make()(PACKET) == our_encoder()(PACKET)
    benchmark(make(), PACKET)


@pytest.mark.benchmark(group=f"frame of {len(PACKET)} bytes, read")
@pytest.mark.parametrize("make", [our_decoder, library_decoder], ids=["ours", "pycryptodome"])
def test_frame_decode(benchmark: Any, make: Callable[[], Callable[[bytes], bytes]]) -> None:
    """The frames of one connection in their order: each can be read only once."""
    encode = our_encoder()
    frames = iter([encode(PACKET) for _ in range(ROUNDS)])
    decode = make()
    read = benchmark.pedantic(decode, setup=lambda: ((next(frames),), {}), rounds=ROUNDS)
    assert read == PACKET


class DictPool:
    """The work of the pool with dicts and sets: the envelopes that each peer has."""

    def __init__(self, peers: int) -> None:
        self._live: dict[bytes, bytes] = {}
        self._unsent: list[dict[bytes, None]] = [{} for _ in range(peers)]

    def add(self, batch: Batch, sender: int) -> None:
        for envelope in batch:
            if envelope.hash not in self._live:
                self._live[envelope.hash] = envelope.rlp
                for peer, unsent in enumerate(self._unsent):
                    if peer != sender:
                        unsent[envelope.hash] = None

    def take(self, peer: int) -> bytes:
        packet = join_list([self._live[hash_] for hash_ in self._unsent[peer]])
        self._unsent[peer].clear()
        return packet


PEERS = 20


def relay_ours(batches: list[Batch]) -> int:
    pool = Pool(max_bytes=64 << 20)
    slots = [pool.join() for _ in range(PEERS)]
    for slot in slots:
        pool.set_interest(slot, EVERYTHING, 0.0)
    now = batches[0][0].created
    taken = 0
    for batch in batches:
        pool.add(batch, slots[0], now)
        for slot in slots:
            taken += len(pool.take(slot, max_bytes=1 << 20, now=now) or b"")
    return taken


def relay_in_python(batches: list[Batch]) -> int:
    pool = DictPool(PEERS)
    taken = 0
    for batch in batches:
        pool.add(batch, 0)
        taken += sum(len(pool.take(peer)) for peer in range(1, PEERS))
    return taken


@pytest.mark.benchmark(group=f"pool: 1000 envelopes, 1 in, {PEERS - 1} out")
@pytest.mark.parametrize("relay", [relay_ours, relay_in_python], ids=["ours", "python"])
def test_pool(benchmark: Any, relay: Callable[[list[Batch]], int]) -> None:
    packets = [join_list(chunk) for chunk in chunks()]
    taken = benchmark.pedantic(
        relay, setup=lambda: (([parse(packet) for packet in packets],), {}), rounds=ROUNDS
    )
    assert taken == sum(map(len, packets)) * (PEERS - 1)


def chunks() -> list[list[bytes]]:
    envelopes = list(ArchivedTraffic(1000, 100, days=0.0001).stream())
    return [envelopes[start : start + 100] for start in range(0, 1000, 100)]
