"""The follower: it reads the commits of other workers, and not our own."""

from pathlib import Path

import pytest

from tests.support.archive_model import batch_of
from tests.support.envelopes import make
from tests.support.patience import asynchronous, eventually
from wakumail.archive.archive import Archive
from wakumail.ops.workers.follower import Follower
from wakumail.waku.envelope import Batch, parse_stream
from wakumail.waku.judgements import SLOT_SIZE, Judgements


def test_following_stops_where_it_is_told_to(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        for seed in range(4):
            archive.append([batch_of(make(5, [b"aaaa"], seed=seed))])
        for until in range(21):
            dump, following = archive.follow(3, max_bytes=1 << 20, until=until)
            assert len(parse_stream(dump, final=True)[0]) == max(0, until - 3)
            assert following == max(3, until)
        for wrong in (-1, 2**47 + 1):
            with pytest.raises(ValueError, match="47 bits"):
                archive.follow(0, max_bytes=1, until=wrong)


def hashes_of(batch: Batch) -> list[bytes]:
    return [envelope.hash for envelope in batch]


@asynchronous
async def test_what_we_have_committed_is_passed_over(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        taken: list[bytes] = []
        before = make(3, [b"aaaa"], seed=99, created=1_600_000_000)
        archive.append([batch_of(before)])
        archive.judgements = Judgements(bytearray(50 * SLOT_SIZE))
        follower = Follower(
            archive, archive.judgements, lambda batch: taken.extend(hashes_of(batch))
        )
        theirs: list[bytes] = []
        for seed in range(20):
            envelopes = make(7, [b"aaaa"], seed=seed, created=1_600_000_000)
            appended = archive.append([batch_of(envelopes)])
            if seed % 3 == 1:
                theirs += [envelope.hash for envelope in envelopes]
            else:
                follower.committed(appended)
            if seed % 4 == 3:
                follower.wake()
                # Else its thread may read the next commit before `committed` tells of it.
                await follower._reading
                assert sorted(taken) == sorted(theirs)
        follower.wake()
        await follower._reading
        await follower.close()
        assert sorted(taken) == sorted(theirs)


@asynchronous
async def test_what_is_live_is_read_at_the_beginning(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        live = make(50, [b"aaaa"])
        archive.append([batch_of(live), batch_of(make(50, [b"aaaa"], created=1_600_000_000))])
        taken: list[bytes] = []
        judgements = Judgements(bytearray(SLOT_SIZE))
        follower = Follower(archive, judgements, lambda batch: taken.extend(hashes_of(batch)))
        await eventually(lambda: sorted(taken) == sorted(e.hash for e in live))
        await follower.close()
