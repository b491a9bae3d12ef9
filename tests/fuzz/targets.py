"""The targets of the fuzzer: each takes mutated bytes and may only raise an error of ours."""

import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import cramjam

from tests.fuzz.mutate import mutate
from tests.support.reconciling import make_items, pack
from tests.vectors import DISCOVERY, NEGENTROPY, VECTORS
from wakumail.archive.archive import POSITION_SIZE, Archive, Query
from wakumail.base import rlp, snappy
from wakumail.base.keccak import keccak256
from wakumail.devp2p.discovery.discv4_packets import Datagram
from wakumail.devp2p.enr import Enr
from wakumail.devp2p.frame_reader import FrameReader
from wakumail.devp2p.frame_writer import FrameWriter
from wakumail.errors import WakumailError
from wakumail.mail.sync import packets as sync_packets
from wakumail.mail.sync.id_set import IdSet, ids_of
from wakumail.mail.sync.initiator import Initiator
from wakumail.mail.sync.item_set import ItemSet
from wakumail.mail.sync.items import ALL_TIMES, Run, Window
from wakumail.mail.sync.message_reader import SKIP, MessageReader
from wakumail.mail.sync.reply import MIN_FRAME_LIMIT
from wakumail.mail.sync.responder import answer
from wakumail.waku.bloom import BLOOM_SIZE, TOPIC_SIZE, bloom_of, covered, covers
from wakumail.waku.envelope import Rules, judge, judge_packets, make_envelope, parse, parse_stream
from wakumail.waku.fetched import AskedIds, judge_fetched
from wakumail.waku.interest import EVERYTHING, Interest
from wakumail.waku.packets import ONE_OPTION, Code, StatusOptions, WakuDialect
from wakumail.waku.pool import Pool
from wakumail.waku.topic_limiter import TopicLimiter

AES_KEY, MAC_KEY, RIGHT_SEED = b"aes" * 10 + b"..", b"mac" * 10 + b"..", b"seed"
NOW = 1_600_000_000
LIMIT = 1 << 20
RULES = Rules(min_pow=0.0, min_pow_large=0.0, max_envelope=1 << 20)


def vectors(value: Any) -> Iterator[bytes]:
    """All bytes in the golden vectors."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            if len(value) >= 8:
                yield bytes.fromhex(value.removeprefix("0x"))
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from vectors(each)


ENVELOPES = [
    make_envelope(NOW + 10 * number, 20 + number, bytes([number] * 4), b"data" * number, number)
    for number in range(1, 40)
]
PACKETS = [
    rlp.join_list([each.rlp for each in ENVELOPES[start : start + count]])
    for start, count in ((0, 1), (3, 2), (5, 9), (0, 39))
]
RLP_SEEDS = [*{each for each in vectors(VECTORS) if len(each) < 5000}, *PACKETS]
PLAIN = [*PACKETS, b"", b"a" * 5000, bytes(range(256)) * 20, random.Random(0).randbytes(3000)]
SNAPPY_SEEDS = [bytes(cramjam.snappy.compress_raw(each)) for each in PLAIN]


def fuzz_rlp(data: bytes, source: random.Random) -> None:
    """Decoding whole items, prefixes and lists; what decodes encodes to the same bytes."""
    for read in (rlp.decode_prefix, rlp.split_list):
        with contextlib.suppress(WakumailError):
            read(data)
    with contextlib.suppress(WakumailError):
        assert rlp.encode(rlp.decode(data)) == data


def fuzz_envelopes(data: bytes, source: random.Random) -> None:
    """Packets of envelopes: parsed, judged alone and several together, and as a stream."""
    with contextlib.suppress(WakumailError):
        for envelope in parse(data):
            assert envelope.rlp
    with contextlib.suppress(WakumailError):
        list(judge(data, RULES, NOW, confirming=source.random() < 0.5))
    with contextlib.suppress(WakumailError):
        cut = source.randrange(len(data) + 1)
        batch = judge_packets(data, [cut, len(data)], RULES, NOW, confirming=True)
        assert len(batch.confirmations) + batch.unconfirmable == batch.packets
    with contextlib.suppress(WakumailError):
        parse_stream(data, final=source.random() < 0.5)
    with contextlib.suppress(WakumailError):
        wanted = {envelope.hash for envelope in source.sample(ENVELOPES, 2)}
        asked = AskedIds(b"".join(wanted))
        batch, strangers = judge_fetched(data, RULES, source.randrange(NOW), NOW, asked)
        assert strangers == len(batch) - len(wanted & {each.hash for each in batch})
        assert asked.left == len(wanted) - len(batch) + strangers


def fuzz_sync(data: bytes, source: random.Random) -> None:
    """Packets of wakusync, read as any code, and ids as they name them."""
    for code in sync_packets.Code:
        with contextlib.suppress(WakumailError):
            packet = sync_packets.decode(code, data)
            assert packet is not None
            assert sync_packets.decode(code, packet.encode()) == packet
    items = data[: len(data) // POSITION_SIZE * POSITION_SIZE]
    ids = ids_of(items)
    each = [ids[at : at + 32] for at in range(0, len(ids), 32)]
    known = IdSet()
    assert known.add(ids) == b"".join(dict.fromkeys(each))
    gone = source.sample(each, source.randrange(len(each) + 1))
    known.discard(b"".join(gone))
    assert known.without(ids) == b"".join(it for it in each if it in gone)
    assert len(known.without_items(items)) * 32 == len(known.without(ids)) * POSITION_SIZE


SYNC_SEEDS = [
    packet.encode()
    for packet in (
        sync_packets.Status(0, NOW, bytes(32), 0.5, LIMIT),
        sync_packets.Open(1, 0, NOW, b"\x61"),
        sync_packets.Seek(1, (Run(0, NOW, bytes(64)),), locates=True),
        sync_packets.Envelopes(1, True, rlp.join_list([each.rlp for each in ENVELOPES])),
        sync_packets.Offer(1, arrived=True, items=bytes(72)),
        sync_packets.Stored(1, ((bytes(32), 1),), 2),
        sync_packets.Close(1, 0, "text"),
    )
]


def fuzz_snappy(data: bytes, source: random.Random) -> None:
    """Inflating, with limits that fit and that do not."""
    with contextlib.suppress(WakumailError):
        assert len(snappy.inflate(data, LIMIT)) <= LIMIT
    with contextlib.suppress(WakumailError):
        snappy.inflate(data, source.randrange(1, 6000))


def fuzz_frames(data: bytes, source: random.Random) -> None:
    """A stream of frames that was changed on its way, and sound frames with changed packets."""
    changed = FrameReader(AES_KEY, MAC_KEY, RIGHT_SEED)
    pour(changed, data, source)
    writer = FrameWriter(AES_KEY, MAC_KEY, RIGHT_SEED)
    for _ in range(source.randrange(1, 6)):
        packet = mutate(SNAPPY_SEEDS, source) or b"\0"
        writer.add(packet, source.choice([b"\x11", b"\x12", b""]))
    reader = FrameReader(AES_KEY, MAC_KEY, RIGHT_SEED)
    pour(reader, writer.encrypt(), source)


def pour(reader: FrameReader, data: bytes, source: random.Random) -> None:
    """Receive in pieces, and take frames or runs of payloads out."""
    with contextlib.suppress(WakumailError):
        while data:
            count = source.choice([1, 17, 100, len(data)])
            if source.random() < 0.5:
                reader.feed(data[:count])
            else:
                with reader.get_buffer(-1) as room:
                    count = min(count, len(room))
                    piece = data[:count]
                    room[: len(piece)] = piece
                reader.received(len(piece))
            data = data[count:]
            compressed = source.random() < 0.7
            while reader.next_payloads(b"\x11", LIMIT, compressed=compressed) is not None:
                pass
            for _ in itertools.takewhile(lambda frame: frame is not None, [reader.next_frame()]):
                pass


def recorded_streams() -> list[bytes]:
    """Streams of sound frames, small and large."""
    streams = []
    for packets in (SNAPPY_SEEDS[:1], SNAPPY_SEEDS, PLAIN[:4], SNAPPY_SEEDS[:2] * 30):
        writer = FrameWriter(AES_KEY, MAC_KEY, RIGHT_SEED)
        for packet in packets:
            writer.add(packet, b"\x11")
        streams.append(writer.encrypt())
    return streams


def fuzz_negentropy(data: bytes, source: random.Random) -> None:
    """Reconciliation messages, as a question and as an answer."""
    with contextlib.suppress(WakumailError):
        for upper, mode, payload in MessageReader(data):
            assert len(upper.prefix) <= 32
            assert mode == SKIP or len(payload) in (16, len(payload) // 32 * 32)
    items = source.choice(ITEM_SETS)
    window = source.choice([ALL_TIMES, Window(NOW, NOW + source.randrange(4000))])
    frame_limit = source.choice([0, MIN_FRAME_LIMIT])
    with contextlib.suppress(WakumailError):
        told = answer(data, items, window, frame_limit=frame_limit)
        assert list(MessageReader(told)) or len(told) == 1
    initiator = Initiator(window, frame_limit=frame_limit, max_differences=1000)
    initiator.begin(items)
    with contextlib.suppress(WakumailError):
        told_next = initiator.take(data, items)
        assert told_next is None or list(MessageReader(told_next))
    assert len(initiator.have) <= 36 * len(items)


RECONCILED = make_items("fuzz", (NOW + number // 3 for number in range(3000)))
ITEM_SETS = [ItemSet(pack(RECONCILED[:count])) for count in (0, 5, 40, 3000)]
CONVERSATIONS = [
    bytes.fromhex(message)
    for case in NEGENTROPY["cases"]
    for pair in case["messages"]
    for message in pair
    if len(message) < 20_000
]
CONVERSATIONS += [Initiator().begin(items) for items in ITEM_SETS]

DATAGRAM_SEEDS = [
    body
    for node in DISCOVERY["nodes"]
    if (record := Enr.parse(node["enr"]))
    for body in (
        record.encoded,
        rlp.encode([4, [bytes(4), 1, 2], [bytes(16), 3, 4], NOW, record.seq]),
        rlp.encode([[[bytes(4), 1, 2, record.node_id]] * 12, NOW]),
        rlp.encode([bytes(32), rlp.decode(record.encoded)]),
    )
]


def fuzz_discovery(data: bytes, source: random.Random) -> None:
    """Node records, and datagrams with a good hash over anything."""
    with contextlib.suppress(WakumailError):
        assert Enr.decode(data).encoded == data
    signed = source.randbytes(65) + bytes([source.randrange(8)]) + data
    with contextlib.suppress(WakumailError):
        datagram = Datagram.read(keccak256(signed) + signed)
        datagram.sender()


TOPICS = [each.topic for each in ENVELOPES]
STATUSES = [
    StatusOptions(pow=0.5, bloom=bloom_of(TOPICS), light=False),
    StatusOptions(topic_interest=tuple(TOPICS), confirmations=True),
    StatusOptions(pow=0.0, bloom=bytes(64), topic_interest=()),
]
INTEREST_SEEDS = [
    payload
    for options in STATUSES
    for version in (0, 1)
    for dialect in (WakuDialect(version),)
    for payload in (dialect.encode_status(options), *(b for _, b in dialect.encode_update(options)))
] + [rlp.encode(bloom_of(TOPICS)), rlp.encode(TOPICS)]


def fuzz_interests(data: bytes, source: random.Random) -> None:
    """Statuses and updates of peers, and the topics and blooms in them."""
    options = []
    for version in (0, 1):
        dialect = WakuDialect(version)
        with contextlib.suppress(WakumailError):
            options.append(dialect.decode_status(data))
        for code in (Code.STATUS_UPDATE, *ONE_OPTION):
            with contextlib.suppress(WakumailError):
                options.append(dialect.decode_update(code, data))
    for interest in filter(None, (each.interest for each in options)):
        topic = source.choice(TOPICS)
        both = interest.union(source.choice(INTERESTS))
        assert both.wants(topic) or not interest.wants(topic)
    bloom, topics = data[:BLOOM_SIZE], data[BLOOM_SIZE:]
    if len(bloom) == BLOOM_SIZE and not len(topics) % TOPIC_SIZE:
        each = [topics[at : at + TOPIC_SIZE] for at in range(0, len(topics), TOPIC_SIZE)]
        assert covered(bloom, topics) == b"".join(it for it in each if covers(bloom, it))


INTERESTS = [EVERYTHING, Interest(topics=TOPICS[:9]), Interest(bloom=bloom_of(TOPICS[5:20]))]
POOL_BYTES, POOL_ENVELOPES = 3000, 12
"""Bounds that most tries reach."""


def fuzz_pool(data: bytes, source: random.Random) -> None:
    """Packets of peers in a small pool, taken by others, with our limits of topics."""
    pool = Pool(max_bytes=POOL_BYTES, max_envelopes=POOL_ENVELOPES)
    limiter = TopicLimiter(source.choice([0.0, 2.0]), source.choice([0.0, 500.0]), 100.0)
    slots = [pool.join() for _ in range(3)]
    now = NOW
    for packet in (data, mutate(PACKETS, source), mutate(PACKETS, source)):
        slot = source.choice(slots)
        pool.set_interest(slot, source.choice(INTERESTS), source.choice([0.0, 0.01]))
        pool.set_topic_limits(slot, source.choice([0, 1, 5]), source.choice([0, 300]))
        with contextlib.suppress(WakumailError):
            batch = judge(packet, RULES, now, pool, confirming=True)
            limiter.take(source.choice([bytes(64), b"\1" * 64]), batch, float(now))
            pool.add(batch, source.choice([None, slot]), now)
        assert pool.envelopes <= POOL_ENVELOPES
        assert pool.size <= POOL_BYTES
        taken = pool.take(source.choice(slots), max_bytes=source.randrange(1, 2000), now=now)
        assert taken is None or parse(taken)
        now += source.choice([0, 1, 100, 10_000])
        pool.expire(now)
        if source.random() < 0.3:
            pool.leave(slots[0])
            slots[0] = pool.join()


@cache
def filled_archive() -> Archive:
    """An archive with our envelopes; its folder goes with the process."""
    folder = tempfile.TemporaryDirectory()
    archive = Archive(folder.name, sync=False)
    archive.append([judge(packet, RULES, NOW) for packet in PACKETS])
    FOLDERS.append(folder)
    return archive


FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
ITEM_SEEDS = [
    b"".join(each.created.to_bytes(4, "big") + each.hash for each in ENVELOPES[:count])
    for count in (1, 2, 39)
]


def fuzz_cursors(data: bytes, source: random.Random) -> None:
    """Cursors of requests, and the items and hashes that are asked for, at any place."""
    archive = filled_archive()
    position = data[:POSITION_SIZE] if len(data) >= POSITION_SIZE else b""
    lower = source.choice([0, NOW, source.randrange(2**32)])
    query = Query(
        lower,
        source.choice([lower, 2**32 - 1]),
        topics=source.choice([None, TOPICS[:9]]),
        bloom=source.choice([None, bloom_of(TOPICS[5:20])]),
        newest_first=source.random() < 0.5,
    )
    limit, size = source.randrange(1, 9), source.randrange(1, 1000)
    for page in (
        archive.page_job(query, position, limit=limit, max_bytes=size).do(),
        archive.page_at_once(query, position, limit=limit, max_bytes=size),
    ):
        assert page is None or len(parse(page.packet)) == page.count <= limit
    items = data[: len(data) // POSITION_SIZE * POSITION_SIZE]
    assert len(archive.missing(items)) <= len(items)
    archive.envelopes(items, max_bytes=size)
    archive.find(lower, 2**32 - 1, data[: len(data) // 32 * 32])
    with archive.items() as stored:
        first, last = sorted((source.randrange(2**32), data[:count]) for count in (8, 32))
        fold = stored.fold(first, last)
        assert len(stored.ids(first, last, 100)) == fold.count * POSITION_SIZE
        assert sum(part.count for _, part in stored.split(first, last, 4)) == fold.count


TARGETS: dict[str, tuple[list[bytes], Callable[[bytes, random.Random], None]]] = {
    "rlp": (RLP_SEEDS, fuzz_rlp),
    "envelopes": ([*PACKETS, *(each.rlp for each in ENVELOPES), *RLP_SEEDS], fuzz_envelopes),
    "snappy": (SNAPPY_SEEDS, fuzz_snappy),
    "frames": (recorded_streams(), fuzz_frames),
    "sync": (SYNC_SEEDS, fuzz_sync),
    "negentropy": (CONVERSATIONS, fuzz_negentropy),
    "discovery": (DATAGRAM_SEEDS, fuzz_discovery),
    "interests": (INTEREST_SEEDS, fuzz_interests),
    "pool": ([*PACKETS, *RLP_SEEDS], fuzz_pool),
    "cursors": (ITEM_SEEDS, fuzz_cursors),
}
"""Its seeds, and what is done with a mutated one. Archive files are fuzzed by damaged_files.py."""


def run(target: str, seed: int) -> None:
    """One try."""
    source = random.Random(f"{target} {seed}")
    seeds, work = TARGETS[target]
    work(mutate(seeds, source), source)
