"""The plain scan: the work of a server whose only index is the order of time.

A loop over the rows of `times` in the range, in Python through the `lmdb` package. It must not run
in a process that has the same archive open otherwise.
"""

import struct
import time
from pathlib import Path

import lmdb

from wakumail.load.workload.archived_traffic import DAY
from wakumail.load.workload.request_kinds import PAGE_LIMIT, RequestSpec
from wakumail.waku.bloom import covers


def scan(env: lmdb.Environment, spec: RequestSpec, start: bytes = b"") -> tuple[list[bytes], bytes]:
    """A page of envelopes before the key `start`, newest first, and the key that ends it."""
    page: list[bytes] = []
    verdicts = dict.fromkeys(spec.topics, True)
    lower, bound = spec.lower.to_bytes(4, "big"), start or (spec.upper + 1).to_bytes(4, "big")
    with env.begin() as txn, env.begin(buffers=True) as data:
        times = txn.cursor(env.open_db(b"times", txn, create=False))
        chunks = data.cursor(env.open_db(b"chunks", data, create=False))
        at_end = not times.set_range(bound)
        for key, value in times.iterprev() if at_end or times.prev() else ():
            if key[:4] < lower:
                break
            topic = value[:4]
            wanted = verdicts.get(topic)
            if wanted is None:
                wanted = verdicts[topic] = not spec.topics and covers(spec.bloom, topic)
            if wanted:
                page.append(fetch(chunks, key, value))
                if len(page) == PAGE_LIMIT:
                    return page, key
    return page, b""


def fetch(chunks: lmdb.Cursor, key: bytes, value: bytes) -> bytes:
    """The envelope of a row of `times`."""
    day = int.from_bytes(key[:4], "big") // DAY
    sequence = int.from_bytes(value[4:], "big")
    chunks.set_range(struct.pack(">HHI", day, sequence >> 32, sequence & 0xFFFFFFFF))
    last, chunk = int.from_bytes(chunks.key()[2:], "big"), chunks.value()
    (count,) = struct.unpack_from(">I", chunk)
    number = count - 1 - (last - sequence)
    begin = struct.unpack_from(">I", chunk, 4 * number)[0] if number else 0
    (end,) = struct.unpack_from(">I", chunk, 4 + 4 * number)
    envelopes = chunk[4 + 4 * count :]
    return bytes(envelopes[begin:end])


def measure_scan(archive: Path, spec: RequestSpec) -> tuple[float, int]:
    """One request: seconds of CPU, so that waiting for the disk does not count; envelopes."""
    with lmdb.open(str(archive), max_dbs=7, readonly=True, readahead=False) as env:
        began = time.process_time()
        page, key = scan(env, spec)
        count = len(page)
        while key and spec.follows_cursor:
            page, key = scan(env, spec, key)
            count += len(page)
        return time.process_time() - began, count
