"""Gaps: the ranges of time of which the archive is known to lack envelopes."""

import contextlib
import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from wakumail.base.edited_file import read_edited
from wakumail.base.json_text import parse_json
from wakumail.base.whole_file import replace_file
from wakumail.errors import reason
from wakumail.waku.envelope import MAX_TIME

log = logging.getLogger(__name__)

MIN_ABSENCE = 30
"""Seconds of absence that are no gap: the peers still relay what was sent meanwhile."""

RELAY_TIME = 60
"""Seconds that an envelope may be on its way. So a gap begins this long before its reason."""

MAX_GAPS = 1000
"""Of more gaps, the two that lie closest together become one."""


class Gap(NamedTuple):
    """A range of creation times, both inclusive, in Unix seconds."""

    lower: int
    upper: int
    reason: str


class Gaps:
    """The gaps of one archive, kept in a file beside it.

    Only one process has the object. The file also tells when the server was last seen to run, so
    that the next start finds the time in which it did not, and the time that it trusted. A file
    that cannot be written is tried again at the next stamp.
    """

    def __init__(self, path: Path, *, newest: int | None, shown: int, now: int) -> None:
        """`newest`: when the newest envelope was created; it is the last sign of life of an archive
        without a file. Without both the archive is new and has no gap. `shown`: see `end`."""
        self.since = now
        """Unix seconds from which on all gaps are known: the first start."""
        self._path = path
        self._gaps: list[Gap] = []
        alive = self._read()
        if alive is not None:
            now = max(now, min(alive, shown))  # the clock may be behind
        self.started = now
        """Unix seconds of this start, as far as the clock, the last run and `shown` tell."""
        if alive is not None and alive > now + MIN_ABSENCE:
            log.warning("%s is of a time to come: the clock is behind, or was ahead", path)
            alive = now if self.end(now, shown) else newest
        elif alive is None:
            alive = newest
        if alive is not None and now - alive > MIN_ABSENCE:
            self.add(alive, now, "the server did not run")
            log.warning("the archive lacks history: the server did not run for %d s", now - alive)

    @property
    def known(self) -> tuple[Gap, ...]:
        """The gaps, the oldest first; none touches another."""
        return tuple(self._gaps)

    @property
    def seconds(self) -> int:
        """The length of all gaps together."""
        return sum(gap.upper - gap.lower + 1 for gap in self._gaps)

    def add(self, start: int, end: int, reason: str) -> None:
        """Note that the archive took nothing from `start` to `end` (Unix seconds)."""
        gap = Gap(max(0, start - RELAY_TIME), min(end, MAX_TIME), reason)
        if gap.lower <= gap.upper:
            self._gaps = _joined([*self._gaps, gap])

    def end(self, now: int, shown: int) -> bool:
        """End the gap that `now` lies in, for its end was told by a clock that was ahead.

        But an end up to `shown` stays: the archive has envelopes of that time, so the clock was
        right and is behind now. True if a gap was ended.
        """
        for index, gap in enumerate(self._gaps):
            if gap.lower <= now < gap.upper and shown < gap.upper:
                self._gaps[index] = gap._replace(upper=now)
                return True
        return False

    def fill(self, lower: int, upper: int) -> None:
        """Note that the archive has all that it should from `lower` to `upper`, both inclusive."""
        if not self._gaps:
            return
        left: list[Gap] = []
        for gap in self._gaps:
            if gap.lower < lower:
                left.append(gap._replace(upper=min(gap.upper, lower - 1)))
            if gap.upper > upper:
                left.append(gap._replace(lower=max(gap.lower, upper + 1)))
        self._gaps = left

    def stamp(self, now: int, trusted: int) -> None:
        """Note that the server runs at `now`, and save all; from any thread.

        `trusted`: the time of a TrustedClock, for `last_trusted`. Both are Unix seconds.
        """
        self.since = min(self.since, now)  # the clock may have been ahead at the first start
        saved = {"since": self.since, "alive": now, "trusted": trusted, "gaps": self._gaps}
        content = json.dumps(saved)
        # A full disk takes no file. The old one then tells of an absence that is too long.
        with contextlib.suppress(OSError):
            replace_file(self._path, content.encode())

    def _read(self) -> int | None:
        """Read the file; returns when the server was last seen to run."""
        try:
            found = parse_json(read_edited(self._path, pipe=False))
            since, alive = _seconds(found["since"]), _seconds(found["alive"])
            self._gaps, self.since = _joined([_gap(*gap) for gap in found["gaps"]]), since
            return alive
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s is left out: %s", self._path, reason(error))
            return None


def last_trusted(path: Path) -> int:
    """The time in Unix seconds that the last run trusted last; 0 if its file tells none."""
    try:
        return _seconds(parse_json(read_edited(path, pipe=False))["trusted"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0


def _gap(lower: Any, upper: Any, reason: Any) -> Gap:
    return Gap(_seconds(lower), _seconds(upper), str(reason))


def _seconds(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= MAX_TIME:
        raise ValueError(f"{value!r} is no time")
    return value


def _joined(gaps: list[Gap]) -> list[Gap]:
    """The gaps in order, those that touch made one, at most MAX_GAPS."""
    joined: list[Gap] = []
    for gap in sorted(gaps):
        if joined and gap.lower <= joined[-1].upper + 1:
            _stretch(joined, len(joined) - 1, gap)
        else:
            joined.append(gap)
    while len(joined) > MAX_GAPS:
        between = [after.lower - before.upper for before, after in pairwise(joined)]
        closest = between.index(min(between))
        _stretch(joined, closest, joined.pop(closest + 1))
    return joined


def _stretch(gaps: list[Gap], index: int, other: Gap) -> None:
    gap = gaps[index]
    gaps[index] = gap._replace(upper=max(gap.upper, other.upper))
