"""A time in which envelopes are dropped has a line at its start and a line at its end."""

from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import mailserver
from wakumail.ops import gap_watch as module
from wakumail.ops.gap_watch import GapWatch


@pytest.mark.parametrize("looks", [1, 5, 1 << 30])
@asynchronous
async def test_shedding_is_told_twice(
    looks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Envelopes are dropped before each of some looks, or before all until the server stops."""
    monkeypatch.setattr(module, "STAMP_INTERVAL", 0.001)
    async with mailserver(tmp_path) as (server, _):
        assert server.store is not None
        watch = GapWatch(server, server.store, tmp_path / "gaps.json")
        await watch.start()
        gaps = server.gaps
        assert gaps is not None
        stamps: list[int] = []

        def stamp(now: int) -> None:
            stamps.append(now)
            if len(stamps) <= looks:
                server.counters.add("envelopes_shed", 3)

        monkeypatch.setattr(gaps, "stamp", stamp)
        await eventually(lambda: len(stamps) > min(looks, 5) + 1)
        await watch.close()
    dropped = 3 * min(looks, len(stamps) - 1)  # the last were dropped behind the last look
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == "envelopes are dropped unconfirmed: too many wait for the disk"
    assert caplog.messages[1].startswith(f"{dropped} envelopes dropped unconfirmed in ")
    assert len(gaps.known) == 1
