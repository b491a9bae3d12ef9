"""The smaller parts of workers, each by itself: channel, reports, API, journal, wake-ups."""

import asyncio
import json
import logging
import os
import socket
from contextlib import AsyncExitStack, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.archive_model import batch_of
from tests.support.envelopes import make
from tests.support.patience import asynchronous, eventually
from wakumail.archive.datadir import Datadir
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id, private_key
from wakumail.errors import WakumailError
from wakumail.ops.config.settings import Settings
from wakumail.ops.logs import JsonFormatter, TextFormatter
from wakumail.ops.monitoring.report import Family, Problem, Report, Sample, together
from wakumail.ops.workers import channel as channel_module
from wakumail.ops.workers.channel import CallRefused, ChannelClosed, WorkerChannel, open_channel
from wakumail.ops.workers.methods import GATHERED, ORDERS, all_peers, for_all, sum_of_all
from wakumail.ops.workers.shared import WakeUps, make_wake_ups
from wakumail.ops.workers.worker import Worker
from wakumail.rpc.jsonrpc import RpcError, Session

# -- channels -----------------------------------------------------------------------------------

PEER = Enode(node_id(private_key(bytes([7]) * 32).public_key), "192.0.2.7", 30303, 30303)


async def channels(one: Any, other: Any) -> tuple[WorkerChannel, WorkerChannel]:
    ends = socket.socketpair()
    return await open_channel(ends[0], one), await open_channel(ends[1], other)


async def echo(method: str, params: list[Any]) -> Any:
    if method == "refuse":
        raise WakumailError("not this")
    if method == "fail":
        raise ValueError("broken")
    if method == "hang":
        await asyncio.Event().wait()
    return [method, *params]


@asynchronous
async def test_calls_are_answered_in_any_order() -> None:
    one, other = await channels(echo, echo)
    hanging = asyncio.create_task(one.call("hang"))
    answers = await asyncio.gather(one.call("a", 1), other.call("b", [2]), one.call("c", {"d": 3}))
    assert list(answers) == [["a", 1], ["b", [2]], ["c", {"d": 3}]]
    with pytest.raises(CallRefused, match="not this"):
        await one.call("refuse")
    with pytest.raises(CallRefused, match="fail failed: broken"):
        await one.call("fail")
    await other.close()
    with pytest.raises(ChannelClosed):
        await hanging
    with pytest.raises(ChannelClosed):
        await one.call("a")
    one.note("a")
    await one.close()


@asynchronous
async def test_a_message_that_is_too_long_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = await channels(echo, echo)
    monkeypatch.setattr(channel_module, "MAX_CHANNEL_MESSAGE", 100)
    assert await one.call("a", "b" * 50) == ["a", "b" * 50]
    with pytest.raises(ChannelClosed):
        await one.call("a", "b" * 100)
    await one.close()
    await other.close()


# -- logs ---------------------------------------------------------------------------------------


def test_a_line_names_its_worker() -> None:
    record = logging.makeLogRecord({"msg": "said"})
    assert json.loads(JsonFormatter(2).format(record))["worker"] == 2
    text = TextFormatter("%(asctime)s %(message)s").format(record)
    assert text.startswith(json.loads(JsonFormatter(None).format(record))["time"])
    assert datetime.fromisoformat(text.split()[0]).utcoffset() == timedelta(0)
    assert "worker" not in json.loads(JsonFormatter(None).format(record))


# -- reports ------------------------------------------------------------------------------------


def family(name: str, kind: str, *samples: tuple[str, str, float]) -> Family:
    told = [Sample(name + suffix, (("l", label),), value) for suffix, label, value in samples]
    return Family(name, "text", kind, told)


def values(report: Report) -> dict[tuple[str, str], float]:
    return {(s.name, s.labels[0][1]): s.value for f in report.families for s in f.samples}


def test_reports_add_up_where_they_should() -> None:
    one = Report(
        [
            family("c", "counter", ("_total", "x", 1), ("_total", "y", 2)),
            family("h", "histogram", ("_bucket", "1", 3), ("_sum", "", 0.5)),
            family("wakumail_pool_bytes", "gauge", ("", "", 10)),
            family("wakumail_archive_bytes", "gauge", ("", "", 10)),
        ],
        [Problem("archive", "full", 1.0)],
    )
    other = Report(
        [
            family("c", "counter", ("_total", "y", 20), ("_total", "z", 30)),
            family("h", "histogram", ("_bucket", "1", 1), ("_sum", "", 0.25)),
            family("wakumail_pool_bytes", "gauge", ("", "", 1)),
            family("wakumail_archive_bytes", "gauge", ("", "", 11)),
        ],
        [],
    )
    sum_of_both = {
        ("c_total", "x"): 1,
        ("c_total", "y"): 22,
        ("c_total", "z"): 30,
        ("h_bucket", "1"): 4,
        ("h_sum", ""): 0.75,
        ("wakumail_pool_bytes", ""): 11,
        ("wakumail_archive_bytes", ""): 11,
    }
    both = together((one, other))
    assert values(both) == sum_of_both
    assert both.problems == one.problems
    ended = together((one.last_words(), other))
    assert values(ended) == sum_of_both | {("wakumail_pool_bytes", ""): 1}
    assert ended.problems == []


# -- the API ------------------------------------------------------------------------------------


def test_answers_are_put_together() -> None:
    assert sum_of_all(["0x1", "0xa", "0x0"]) == "0xb"
    assert all_peers([[{"id": "b"}], [], [{"id": "c"}, {"id": "a"}]]) == [
        {"id": "a"},
        {"id": "b"},
        {"id": "c"},
    ]


@asynchronous
async def test_an_order_that_fails_is_not_passed_on() -> None:
    asked: list[tuple[str, list[Any]]] = []

    async def supervisor(method: str, params: list[Any]) -> Any:
        asked.append((method, params))
        return []

    def refuse(session: Session, min_pow: Any) -> bool:
        if min_pow < 0:
            raise WakumailError("less than 0")
        return True

    def other(session: Session, *params: Any) -> Any:
        return []

    own, theirs = await channels(echo, supervisor)
    methods = dict.fromkeys((*GATHERED, *ORDERS, "waku_version"), other)
    made = for_all(methods | {"waku_setMinPoW": refuse}, own)
    assert made["waku_version"] is other
    with pytest.raises(WakumailError, match="less than 0"):
        await made["waku_setMinPoW"](Session(), -1)
    assert await made["waku_setMinPoW"](Session(), 0.5) is True
    assert asked == [("order", ["waku_setMinPoW", [0.5]])]
    await own.close()
    await theirs.close()


@pytest.mark.parametrize("place", ["here", "there", "nowhere", "there, and it fails"])
@asynchronous
async def test_a_peer_is_synced_where_it_is_connected(place: str) -> None:
    async def supervisor(method: str, params: list[Any]) -> Any:
        assert (method, params) == ("sync", [PEER.node_id.hex(), [str(PEER), {"dryRun": True}]])
        if place == "there, and it fails":
            raise WakumailError("the peer ended the round")
        return "made there" if place == "there" else None

    def peers(session: Session) -> list[dict[str, Any]]:
        return [{"id": PEER.node_id.hex(), "connected": place == "here"}]

    async def sync(session: Session, *params: Any) -> str:
        return "made here"

    def other(session: Session, *params: Any) -> Any:
        return []

    own, theirs = await channels(echo, supervisor)
    methods = dict.fromkeys((*GATHERED, *ORDERS), other)
    made = for_all(methods | {"admin_sync": sync, "admin_syncPeers": peers}, own)["admin_sync"]
    with pytest.raises(RpcError, match="enode is no"):
        await made(Session(), "nonsense")
    if place == "there, and it fails":
        with pytest.raises(WakumailError, match="the peer ended the round"):
            await made(Session(), str(PEER), {"dryRun": True})
    else:
        told = await made(Session(), str(PEER), {"dryRun": True})
        assert told == ("made there" if place == "there" else "made here")
    await own.close()
    await theirs.close()


class Leader(Worker):
    """A worker that takes an order as soon as it has a socket for the RPC API."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(Settings(), Datadir(tmp_path))
        self.obeyed: list[Any] = []
        self._methods = {"waku_setMinPoW": lambda _, min_pow: self.obeyed.append(min_pow)}
        dialer, presence = SimpleNamespace(close=self.close), SimpleNamespace(settle=int)
        self._server = cast(Any, SimpleNamespace(dialer=dialer, presence=presence))

    async def start_ipc(self, *_: object) -> None:
        """Take the place of assembly.start_ipc."""
        self._obey("waku_setMinPoW", [0.5])

    async def close(self) -> None:
        pass


@asynchronous
async def test_who_begins_to_lead_obeys_what_was_ordered_before_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = Leader(tmp_path)
    monkeypatch.setattr("wakumail.ops.assembly.start_ipc", leader.start_ipc)
    await leader._lead([("waku_setMinPoW", [0.25])])
    assert leader.obeyed == [0.25, 0.5]


# -- journals -----------------------------------------------------------------------------------


@asynchronous
async def test_what_a_full_journal_does_not_take_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(Settings(), Datadir(tmp_path))
    worker._server = cast(Any, SimpleNamespace())
    async with AsyncExitStack() as running:
        journal = worker._make_journal(nullcontext(), running)
        keep = worker._server.on_unarchived
        assert keep is not None
        keep(batch_of(make(3, [b"aaaa"])))
        await eventually(lambda: journal.archive.stat().envelopes == 3)
        assert not worker._counters
        monkeypatch.setattr("wakumail.archive.store.MAX_UNCOMMITTED_BYTES", 0)
        keep(batch_of(make(5, [b"aaaa"])))
        assert worker._counters == {"envelopes_untold": 5}


# -- wake-ups -----------------------------------------------------------------------------------


@asynchronous
async def test_a_wake_up_reaches_all_others() -> None:
    descriptors = make_wake_ups(3)
    heard = [0, 0, 0]
    wake_ups = [WakeUps(descriptors, own) for own in range(3)]

    def hear(number: int) -> None:
        heard[number] += 1

    wake_ups[0].wake_others()  # before anybody listens
    for number, own in enumerate(wake_ups):
        own.listen(lambda number=number: hear(number))  # type: ignore[misc]
    await eventually(lambda: heard == [0, 1, 1])
    wake_ups[2].wake_others()
    wake_ups[2].wake_others()
    await eventually(lambda: heard[0] >= 1 and heard[1] >= 2)
    assert heard[2] == 1
    for own in wake_ups:
        own.close()
    for descriptor in descriptors:
        os.close(descriptor)
