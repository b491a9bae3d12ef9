"""A second opinion on an archive: a program that shares no code with what wrote it.

It reads data.mdb with the packages lmdb, rlp and eth-hash alone, in one read transaction, and
knows the rows from the text of layout.pxd. It runs in a process of its own, for the lmdb package
brings another LMDB (independent.py starts it). Each line on stdout is a JSON object:

    {"total": bytes}        of all envelopes by the archive's own totals, first
    {"done": bytes}         of envelopes looked at since the last such line
    {"problem": text}       a problem and its place, each as it is found, the first ones
    {"envelopes": number, "count": number}   sound envelopes and problems, last

    python independent_reader.py DIRECTORY MAX_PROBLEMS_TOLD    verify
    python independent_reader.py DIRECTORY hashes    the hash of each envelope, as hex, in the order
                                                     of arrival
"""

import json
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from typing import Any

DAY = 86400
SORTED, MOVED, NO_SLOT = 1 << 47, 1 << 31, (1 << 32) - 1
"""As in layout.pxd."""
REPORT_BYTES = 1 << 20
"""Bytes of envelopes between two lines that tell of progress."""

TABLES = ("meta", "days", "sums", "topics", "times", "postings", "chunks", "arrivals")

try:
    import lmdb
    import rlp
    from eth_hash.auto import keccak
except ImportError as error:
    packages = '"lmdb>=3" "rlp>=4" "eth-hash[pycryptodome]>=0.7"'
    sys.exit(f"it needs other packages: pip install {packages} ({error})")


def number(data: bytes) -> int:
    """A big-endian number."""
    return int.from_bytes(data, "big")


def tell(**line: object) -> None:
    """Write one line of the report."""
    print(json.dumps(line), flush=True)


class Problems:
    """Counts problems, and tells of the first."""

    def __init__(self, max_told: int) -> None:
        self.count = 0
        self._max_told = max_told

    def note(self, text: str, **place: object) -> None:
        """Add a problem; `place` says where, in the order given."""
        self.count += 1
        if self.count <= self._max_told:
            words = ", ".join(f"{name} {value}" for name, value in place.items())
            tell(problem=f"{text} ({words})" if words else text)


class EnvelopeFields:
    """The fields that indexes are made of. ValueError for what is not canonical RLP of them."""

    def __init__(self, raw: bytes) -> None:
        try:
            fields = rlp.decode(raw, strict=True)
        except (rlp.exceptions.RLPException, RecursionError) as error:
            raise ValueError(str(error)) from error
        if not isinstance(fields, list) or not all(isinstance(each, bytes) for each in fields):
            raise ValueError("an envelope is a list of strings")
        expiry, ttl, topic, _, nonce = fields
        self.topic: bytes = topic
        for field, size in ((expiry, 4), (ttl, 4), (nonce, 8)):
            if len(field) > size or field[:1] == b"\0":
                raise ValueError("a number is too large, or begins with zero")
        if len(self.topic) != 4 or rlp.encode(fields) != raw:
            raise ValueError("a topic has four bytes")
        self.created: int = (number(expiry) - number(ttl)) % 2**32
        self.hash: bytes = keccak(raw)

    @property
    def time_key(self) -> bytes:
        """Its key in `times`."""
        return self.created.to_bytes(4, "big") + self.hash[:16]

    @property
    def posting_key(self) -> bytes:
        """Its key in `postings`."""
        day, second = divmod(self.created, DAY)
        return day.to_bytes(2, "big") + self.topic + second.to_bytes(3, "big") + self.hash[:16]


def split_chunk(key: bytes, value: bytes) -> Iterator[tuple[int, bytes]]:
    """The envelopes of a chunk with their places. ValueError when its parts do not fit."""
    count, last = number(value[:4]), number(key[2:])
    if not 0 < count <= last + 1 or len(value) < 4 + 4 * count:
        raise ValueError("a chunk's parts do not fit together")
    data = value[4 + 4 * count :]
    ends = [number(value[at : at + 4]) for at in range(4, 4 + 4 * count, 4)]
    if ends[-1] != len(data):
        raise ValueError("a chunk's parts do not fit together")
    start = 0
    for place, end in enumerate(ends, last + 1 - count):
        if not start < end <= len(data):
            raise ValueError("a chunk does not say where an envelope ends")
        yield place, data[start:end]
        start = end


def is_moved(value: bytes) -> bool:
    """True for a chunk whose envelopes were moved."""
    return len(value) >= 4 and bool(number(value[:4]) & MOVED)


def places_of(key: bytes, value: bytes) -> Iterator[int]:
    """The places of the envelopes that were moved from a chunk. ValueError as with split_chunk."""
    count, last = number(value[:4]) - MOVED, number(key[2:])
    if not 0 < count <= last + 1 or len(value) != 4 + 4 * count or last >= SORTED:
        raise ValueError("a chunk's parts do not fit together")
    slots = [number(value[at : at + 4]) for at in range(4, 4 + 4 * count, 4)]
    return (SORTED + slot for slot in slots if slot != NO_SLOT)


def at(day: int, place: int) -> dict[str, Any]:
    """A place, for the text of a problem."""
    return {"day": day, **({"slot": place - SORTED} if place >= SORTED else {"sequence": place})}


class Rows:
    """The tables of an archive, in one read transaction."""

    def __init__(self, directory: str) -> None:
        # Without locks: whoever starts this program holds the state that it reads.
        env = lmdb.open(
            directory, readonly=True, create=False, max_dbs=16, readahead=False, lock=False
        )
        self._txn = begin(env)
        self._tables: dict[str, Any] = {}
        for name in TABLES:
            try:
                self._tables[name] = env.open_db(name.encode(), self._txn, create=False)
            except lmdb.Error:
                sys.exit(f"it is not an archive of wakumail: it has no table `{name}`")
        if self.get("meta", b"format") != (3).to_bytes(4, "big"):
            sys.exit("it has a format that this version does not know")

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        value = self._txn.get(key, db=self._tables[table]) if key else None
        return None if value is None else bytes(value)

    def first_from(self, table: str, key: bytes) -> tuple[bytes, bytes] | None:
        """The first row at the key or behind it."""
        with self._txn.cursor(self._tables[table]) as cursor:
            return cursor.item() if cursor.set_range(key) else None

    def walk(self, table: str, problems: Problems | None = None) -> Iterator[tuple[bytes, bytes]]:
        """All rows in the order of the file, until one is out of order."""
        before = b""
        for key, value in self._txn.cursor(self._tables[table]):
            if key <= before:
                if problems is not None:
                    text = f"the rows of `{table}` are out of order: the rest was not checked"
                    problems.note(text, key=key.hex())
                return
            before = key
            yield key, value


def begin(env: Any) -> Any:
    """Begin a read transaction; a writer may have grown the file since it was opened."""
    while True:
        try:
            return env.begin()
        except lmdb.MapResizedError:
            env.set_mapsize(0)


class PossiblyPruned:
    """Knows which envelopes may lie in a chunk without rows: pruning deletes the oldest first.

    So of the envelopes with rows, those that are older than one that was pruned came later. Of a
    sorted one it is not known when it came. But none is pruned that is younger than the horizon.
    """

    def __init__(self, horizon: int) -> None:
        self._horizon = horizon
        self._keys: list[bytes] = []
        self._sequences: list[int] = []

    def add(self, key: bytes, place: int) -> None:
        """Remember a row of `times`; they come in the order of their keys."""
        if place < SORTED and (not self._sequences or place < self._sequences[-1]):
            self._keys.append(key)
            self._sequences.append(place)

    def may_be(self, key: bytes, place: int) -> bool:
        """True if the envelope may have been pruned."""
        if place >= SORTED:
            return number(key[:4]) <= self._horizon
        before = bisect_right(self._keys, key)
        return not before or self._sequences[before - 1] > place


class Verifier:
    """Looks at every row of an archive."""

    def __init__(self, rows: Rows, problems: Problems) -> None:
        self._rows = rows
        self._problems = problems
        self._pruned = PossiblyPruned(number(rows.get("meta", b"pruned") or b""))
        self._undone = 0
        self._posted = 0
        self._copied_postings = 0
        self._copies = 0
        self._slots: set[tuple[int, int]] = set()
        """Those in the order of arrival: days and places."""
        self.envelopes = 0
        self._day_envelopes: Counter[int] = Counter()
        self._day_bytes: Counter[int] = Counter()
        self._day_topics: Counter[int] = Counter()
        self._day_unsorted: Counter[int] = Counter()
        self._day_sums: Counter[int] = Counter()
        self._minute_envelopes: Counter[int] = Counter()
        self._minute_sums: Counter[int] = Counter()

    def run(self) -> None:
        """Look at all tables, each in the order of its keys."""
        time_rows = self._read_times()
        self._read_arrivals()
        self._read_chunks()
        self._read_sums()
        if time_rows != self.envelopes:
            self._lead_times_back()
        posting_rows = self._read_postings()
        if posting_rows != self._posted:
            self._lead_postings_back()
        self._read_topics()
        self._read_days()
        self._compare("rows of `times` and envelopes differ in number", time_rows, self.envelopes)
        text = "rows of `postings` and envelopes differ in number"
        self._compare(text, posting_rows, self._posted)
        text = "rows of `postings` and copies differ in number"
        self._compare(text, self._copied_postings, self._copies)
        tell(done=self._undone)

    def _compare(self, text: str, stored: int, found: int, **place: object) -> None:
        if stored != found:
            self._problems.note(f"{text}: {stored} stored, {found} found", **place)

    def _has_sizes(self, table: str, key: bytes, value: bytes, sizes: tuple[int, int]) -> bool:
        if (len(key), len(value)) == sizes:
            return True
        self._problems.note(f"a row of `{table}` has the wrong size", key=key.hex())
        return False

    def _read_times(self) -> int:
        """Count the rows of each day; returns the number of all."""
        count = 0
        for key, value in self._rows.walk("times", self._problems):
            count += 1
            if self._has_sizes("times", key, value, (20, 10)):
                self._day_envelopes[number(key[:4]) // DAY] += 1
                self._day_unsorted[number(key[:4]) // DAY] += number(value[4:]) < SORTED
                self._pruned.add(key, number(value[4:]))
        return count

    def _read_arrivals(self) -> None:
        """Check each chunk in the order of arrival."""
        following = self._rows.get("meta", b"next") or b""
        if len(following) != 6:
            self._problems.note("`meta` does not say the next sequence")
        if len(self._rows.get("meta", b"pruned") or b"") != 4:
            self._problems.note("`meta` does not say what was pruned")
        if len(self._rows.get("meta", b"sorting") or bytes(10)) not in (10, 16, 33):
            self._problems.note("`meta` does not say where the sorting goes on")
        behind = 0
        for last, day in self._rows.walk("arrivals", self._problems):
            if not self._has_sizes("arrivals", last, day, (6, 2)):
                continue
            place: dict[str, Any] = {"day": number(day), "sequence": number(last)}
            if len(following) == 6 and number(last) >= number(following):
                self._problems.note("a sequence that was not assigned yet is stored", **place)
            value = self._rows.get("chunks", day + last)
            if value is None:
                self._problems.note("`arrivals` names a chunk that is missing", **place)
                continue
            if number(last) + 1 - number(value[:4]) % MOVED < behind:
                self._problems.note("a chunk has sequences that another one has, too", **place)
            behind = number(last) + 1
            if is_moved(value):
                self._check_moved(day + last, value)
            else:
                self._check_chunk(day + last, value)

    def _check_moved(self, key: bytes, value: bytes) -> None:
        """Remember the slots of a chunk whose envelopes were moved; each is there once."""
        day, last = number(key[:2]), number(key[2:])
        try:
            for place in places_of(key, value):
                if (day, place) in self._slots:
                    self._problems.note("a slot arrived twice", day=day, sequence=last)
                self._slots.add((day, place))
        except ValueError as error:
            self._problems.note(str(error), day=day, sequence=last)

    def _read_chunks(self) -> None:
        """Check the chunks of sorted days, and find others that no arrival led to."""
        day, behind = -1, 0
        found: set[tuple[int, int]] = set()
        for key, value in self._rows.walk("chunks", self._problems):
            if len(key) != 8:
                self._problems.note("a row of `chunks` has the wrong size", key=key.hex())
            elif number(key[2:]) >= SORTED:
                first = number(key[2:]) + 1 - number(value[:4])
                if first < (behind if number(key[:2]) == day else SORTED):
                    text = "a chunk has slots that another one has, too"
                    self._problems.note(text, **at(number(key[:2]), first))
                day, behind = number(key[:2]), number(key[2:]) + 1
                found.update((day, each) for each in range(max(first, SORTED), behind))
                self._check_chunk(key, value)
            elif self._rows.get("arrivals", key[2:]) != key[:2]:
                place = {"day": number(key[:2]), "sequence": number(key[2:])}
                self._problems.note("a chunk is missing in `arrivals`", **place)
                self._check_chunk(key, value)
        for slot in sorted(self._slots - found):
            self._problems.note("a slot in the order of arrival is in no chunk", **at(*slot))

    def _check_chunk(self, key: bytes, value: bytes) -> None:
        """Check all envelopes of a chunk, and that each has its rows."""
        day, place = number(key[:2]), number(key[2:]) + 1 - number(value[:4])
        try:
            for place, raw in split_chunk(key, value):
                self._check_envelope(day, place, raw)
                self._day_bytes[day] += len(raw)
                self._undone += len(raw)
        except ValueError as error:
            self._problems.note(str(error), **at(day, place))
        if self._undone >= REPORT_BYTES:
            tell(done=self._undone)
            self._undone = 0

    def _check_envelope(self, day: int, place: int, raw: bytes) -> None:
        try:
            envelope = EnvelopeFields(raw)
        except ValueError:
            self._problems.note("an envelope is not canonical RLP", **at(day, place))
            return
        where = {**at(day, place), "hash": envelope.hash.hex()}
        if envelope.created // DAY != day:
            self._problems.note("an envelope lies in the chunk of another day", **where)
            return
        row = self._rows.get("times", envelope.time_key)
        posting = self._rows.get("postings", envelope.posting_key)
        posted_at = None if posting is None or len(posting) != 6 else number(posting)
        if row is None or len(row) != 10 or number(row[4:]) != place:
            if place >= SORTED and posted_at == place and row and number(row[4:]) < SORTED:
                self._copies += 1
            elif not self._pruned.may_be(envelope.time_key, place):
                other = "has another place for" if row else "does not have"
                self._problems.note(f"`times` {other} an envelope", **where)
            return
        if place >= SORTED and (day, place) not in self._slots:
            self._problems.note("the order of arrival does not have an envelope", **where)
        self.envelopes += 1
        minute = envelope.created // 60
        self._minute_envelopes[minute] += 1
        for sums, each in ((self._minute_sums, minute), (self._day_sums, day)):
            sums[each] = (sums[each] + int.from_bytes(envelope.hash, "little")) % 2**256
        if row[:4] != envelope.topic:
            self._problems.note("`times` has another topic for an envelope", **where)
        self._posted += posting is not None
        if posting is None:
            self._problems.note("`postings` does not have an envelope", **where)
        elif posted_at is not None and posted_at >= SORTED > place:
            self._copied_postings += 1
        elif posted_at != place:
            self._problems.note("`postings` has another place for an envelope", **where)

    def _read_sums(self) -> None:
        """Compare the sum of each minute with its envelopes."""
        stored = {}
        for key, value in self._rows.walk("sums", self._problems):
            if self._has_sizes("sums", key, value, (4, 36)):
                stored[number(key)] = number(value[:4]), int.from_bytes(value[4:], "little")
        for minute in sorted(stored.keys() | self._minute_envelopes.keys()):
            found = self._minute_envelopes[minute], self._minute_sums[minute]
            if minute not in stored or stored[minute] != found or not found[0]:
                place = {"day": minute // 1440, "key": minute.to_bytes(4, "big").hex()}
                self._problems.note("`sums` does not fit the envelopes of a minute", **place)

    def _lead_times_back(self) -> None:
        """Find rows of `times` that lead to no envelope."""
        for key, value in self._rows.walk("times"):
            if (len(key), len(value)) != (20, 10):
                continue
            day = number(key[:4]) // DAY
            row = self._rows.first_from("chunks", day.to_bytes(2, "big") + value[4:])
            found = b""
            if row is not None and len(row[0]) == 8 and number(row[0][:2]) == day:
                try:
                    found = keccak(dict(split_chunk(*row))[number(value[4:])])
                except (ValueError, KeyError):
                    found = b""
            if found[:16] != key[4:]:
                text = "a row of `times` leads to no envelope, or another one"
                self._problems.note(text, **at(day, number(value[4:])), hash=key[4:].hex())

    def _read_postings(self) -> int:
        """Count the rows of each topic and day; returns the number of all."""
        count, topic, rows = 0, b"", 0
        for key, value in self._rows.walk("postings", self._problems):
            count += 1
            self._has_sizes("postings", key, value, (25, 6))
            if len(key) != 25:
                continue
            if key[:6] != topic:
                self._end_topic(topic, rows)
                topic, rows = key[:6], 0
            rows += 1
        self._end_topic(topic, rows)
        return count

    def _end_topic(self, key: bytes, rows: int) -> None:
        """Compare what `topics` says with the rows of one topic and day."""
        if not rows:
            return
        self._day_topics[number(key[:2])] += 1
        value = self._rows.get("topics", key) or b""
        place = {"day": number(key[:2]), "topic": key[2:].hex()}
        if len(value) != 4:
            self._problems.note("`topics` does not have a topic", **place)
        else:
            self._compare("`topics` miscounts a topic's envelopes", number(value), rows, **place)

    def _lead_postings_back(self) -> None:
        """Find rows of `postings` without one in `times`."""
        for key, value in self._rows.walk("postings"):
            if (len(key), len(value)) != (25, 6):
                continue
            created = number(key[:2]) * DAY + number(key[6:9])
            time_key = (created % 2**32).to_bytes(4, "big") + key[9:]
            row = self._rows.get("times", time_key) or b""
            copied = number(value) >= SORTED and number(row[4:]) < SORTED
            if row[:4] != key[2:6] or (row[4:] != value and not copied):
                where = {**at(number(key[:2]), number(value)), "hash": key[9:].hex()}
                self._problems.note("a row of `postings` has none in `times`", **where)

    def _read_topics(self) -> None:
        """Find topics without envelopes."""
        for key, value in self._rows.walk("topics", self._problems):
            if not self._has_sizes("topics", key, value, (6, 4)):
                continue
            row = self._rows.first_from("postings", key)
            if row is None or row[0][:6] != key:
                place = {"day": number(key[:2]), "topic": key[2:].hex()}
                self._problems.note("`topics` has a topic without envelopes", **place)

    def _read_days(self) -> None:
        """Compare the totals of each day."""
        found = {
            "envelopes": self._day_envelopes,
            "bytes": self._day_bytes,
            "topics": self._day_topics,
            "unsorted envelopes": self._day_unsorted,
        }
        stored: dict[int, list[int]] = {}
        sums: Counter[int] = Counter()
        for key, value in self._rows.walk("days", self._problems):
            if self._has_sizes("days", key, value, (2, 60)):
                parts = (value[:8], value[8:16], value[16:20], value[20:28])
                stored[number(key)] = [number(part) for part in parts]
                sums[number(key)] = int.from_bytes(value[28:], "little")
        for day in sorted(stored.keys() | set().union(*found.values())):
            for (name, counts), total in zip(
                found.items(), stored.get(day, [0, 0, 0, 0]), strict=True
            ):
                self._compare(f"`days` miscounts the {name}", total, counts[day], day=day)
            if sums[day] != self._day_sums[day]:
                self._problems.note("`days` has another sum", day=day)


def hashes(rows: Rows) -> Iterator[str]:
    """The hashes of all envelopes that have rows, in the order of arrival."""
    for place, raw in arrived(rows):
        envelope = EnvelopeFields(raw)
        row = rows.get("times", envelope.time_key)
        if row is not None and number(row[4:]) == place:
            yield envelope.hash.hex()


def arrived(rows: Rows) -> Iterator[tuple[int, bytes]]:
    """The envelopes with their places, in the order of arrival."""
    for last, day in rows.walk("arrivals"):
        value = rows.get("chunks", day + last) or b""
        if not is_moved(value):
            yield from split_chunk(day + last, value)
            continue
        for place in places_of(day + last, value):
            row = rows.first_from("chunks", day + place.to_bytes(6, "big"))
            yield place, dict(split_chunk(*row))[place] if row else b""


def main(directory: str, mode: str) -> None:
    """Verify, or print hashes."""
    try:
        rows = Rows(directory)
        if mode == "hashes":
            print("\n".join(hashes(rows)))
            return
        tell(total=sum(number(value[8:16]) for _, value in rows.walk("days")))
        problems = Problems(int(mode))
        verifier = Verifier(rows, problems)
        try:
            verifier.run()
        except lmdb.Error as error:
            problems.note(f"LMDB met a damaged page, the rest was not checked: {error}")
        tell(envelopes=verifier.envelopes, count=problems.count)
    except (OSError, lmdb.Error) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
