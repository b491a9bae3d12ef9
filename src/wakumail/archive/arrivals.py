"""The envelopes of an archive in the order of arrival, without those that are damaged or pruned."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from wakumail.archive.archive import POSITION_SIZE, Archive
from wakumail.archive.stored_envelopes import parse_stored
from wakumail.base.text import counted
from wakumail.errors import ArchiveDamaged
from wakumail.waku.envelope import Batch

RUN_BYTES = 4 << 20
"""Bytes of envelopes that one read transaction copies."""

STEPS = 1000
"""Envelopes that are read one by one where a run is damaged."""


@dataclass
class Damage:
    """The numbers of envelopes that were met damaged while a whole archive was read."""

    left_out: int = 0
    """No envelope lies there, or one of another hash than was stored."""
    unchecked: int = 0
    """It is not left out, though the index that has its hash cannot be read."""

    def __bool__(self) -> bool:
        return self.left_out > 0 or self.unchecked > 0

    def __str__(self) -> str:
        parts = []
        if self.left_out:
            parts.append(f"{counted(self.left_out, 'damaged envelope')} left out")
        if self.unchecked:
            parts.append(f"{counted(self.unchecked, 'envelope')} not checked: an index is damaged")
        return f"{', '.join(parts)}; wakumail archive verify tells more"


class Run(NamedTuple):
    """Envelopes that arrived one after another; there may be none."""

    batch: Batch
    following: int
    """The sequence behind them."""


def arrivals(archive: Archive, sequence: int, damage: Damage) -> Iterator[Run]:
    """All that have arrived until now, from a sequence on. `damage` counts what is damaged."""
    end = archive.stat().next_sequence
    while True:
        try:
            envelopes, following = archive.follow(sequence, max_bytes=RUN_BYTES, until=end)
            if not envelopes:
                return
            yield _sound(archive, parse_stored(envelopes), following, damage)
            sequence = following
        except ArchiveDamaged:
            for run in _one_by_one(archive, sequence, min(sequence + STEPS, end), damage):
                yield run
                sequence = run.following
            if sequence >= end:
                return


def _one_by_one(archive: Archive, sequence: int, end: int, damage: Damage) -> Iterator[Run]:
    """The envelopes up to `end`, each as a run."""
    while sequence < end:
        try:
            envelopes, following = archive.follow(sequence, max_bytes=1)
        except ArchiveDamaged:
            following = _behind_damage(archive, sequence, damage)
            yield Run(parse_stored(b""), following)
        else:
            if not envelopes:
                return
            yield _checked(archive, envelopes, following, damage)
        sequence = following


def _behind_damage(archive: Archive, sequence: int, damage: Damage) -> int:
    """The sequence behind a damaged one. Before that, those that were pruned are passed."""
    with suppress(ArchiveDamaged):
        first = archive.first_arrival(sequence)
        if first > sequence:
            return first
    damage.left_out += 1
    return sequence + 1


def _checked(archive: Archive, envelopes: bytes, following: int, damage: Damage) -> Run:
    """A single envelope that was read, as a run."""
    try:
        batch = parse_stored(envelopes)
    except ArchiveDamaged:
        damage.left_out += 1
        return Run(parse_stored(b""), following)
    try:
        return _sound(archive, batch, following, damage)
    except ArchiveDamaged:
        damage.unchecked += 1
        return Run(batch, following)


def _sound(archive: Archive, batch: Batch, following: int, damage: Damage) -> Run:
    """The envelopes of a batch that are stored under their hashes, at their places.

    The others are damaged or, unless they are younger than the horizon, pruned and not yet deleted.
    One that was pruned may have come again, and is found there.
    """
    absent = _split(archive.missing(batch.items))
    totals = archive.stat()
    horizon = totals.pruned.to_bytes(4, "big")
    damage.left_out += sum(item[:4] > horizon for item in absent)
    items = _split(batch.items) if absent or (totals.oldest or 0) <= totals.pruned else []
    if not absent and not any(item[:4] <= horizon for item in items):
        return Run(batch, following)
    envelopes = {item: each.rlp for item, each in zip(items, batch, strict=True)}
    own, _ = archive.arrived(following - len(batch), limit=len(batch))
    kept = (envelopes[item] for item in _split(own) if item in envelopes)
    return Run(parse_stored(b"".join(kept)), following)


def _split(items: bytes) -> list[bytes]:
    return [items[at : at + POSITION_SIZE] for at in range(0, len(items), POSITION_SIZE)]
