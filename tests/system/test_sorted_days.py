"""A server sorts its days by itself, while requests are answered and envelopes arrive."""

import sys
import time
from pathlib import Path

from tests.support.commands import call
from tests.support.envelopes import dump, make, newest_first
from tests.support.patience import PATIENCE
from tests.support.processes import Server, run_json
from wakumail.archive.archive import Archive

AT_ONCE = """
import sys
from wakumail.archive import day_sorting
day_sorting.REST, day_sorting.LOOK_INTERVAL, day_sorting.PAUSE = 0.0, 0.01, 1.0
day_sorting.SORT_SLICE = 20_000
from wakumail.cli.command_line import main
sys.exit(main(sys.argv[sys.argv.index("serve"):]))
"""
"""`wakumail serve` whose days need no rest, and many slices."""

DAY = 86400
TOPICS = [bytes([0, 0, 0, number]) for number in range(20)]


def unsorted_of(archive: Path) -> int:
    """Envelopes of the first day that lie where they arrived."""
    with Archive(archive, readonly=True) as opened:
        return opened.days()[0].unsorted


def test_days_are_sorted_while_requests_go_on(tmp_path: Path) -> None:
    datadir = tmp_path / "data"
    day = int(time.time()) // DAY * DAY - 2 * DAY
    old = make(2000, TOPICS, created=day + DAY - 1, spread=DAY)
    call("archive", "import", "--datadir", datadir, stdin=dump(old))
    expected = [dump(newest_first([e for e in old if e.topic == topic])) for topic in TOPICS]
    posted = 0
    with Server(datadir, "--min-pow", 0, wrapper=(sys.executable, "-c", AT_ONCE)) as server:
        ends = time.monotonic() + PATIENCE
        left = len(old)
        while left or posted < 200:
            assert time.monotonic() < ends
            number = posted // 100 % len(TOPICS)
            chosen = ("--topic", TOPICS[number].hex(), "--from", day, "--to", day + DAY - 1)
            assert call("request", server.enode, *chosen, "--out", "-") == expected[number]
            batch = make(100, TOPICS, seed=2 + posted)
            call("post", server.enode, "--dump", "-", stdin=dump(batch))
            posted += len(batch)
            left = unsorted_of(datadir / "archive")
        assert server.stop() == 0
    checked = run_json("archive", "verify", "--independent", "--datadir", datadir)
    assert checked["envelopes"] == len(old) + posted
    assert checked["problems"] == []
