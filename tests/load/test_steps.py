"""The scenario of the longest steps: it covers all inputs, runs, and tells what takes too long."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import asynchronous, eventually
from tests.support.puppet import mailserver
from tests.support.scripted import nobody
from wakumail.devp2p.packets import MessageId
from wakumail.load.case_results import CaseResult
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.filled_archives import FilledArchives
from wakumail.load.measured_server import ForeignServer, OwnServer
from wakumail.load.scenarios import steps
from wakumail.load.scenarios.goals import PlannedCase
from wakumail.load.scenarios.step_inputs import StepInput, step_inputs
from wakumail.load.scenarios.steps import StartStepsCase, StepsCase, least, step_limit
from wakumail.load.workload import rpc_inputs, store_inputs
from wakumail.load.workload.archived_traffic import ArchivedTraffic
from wakumail.load.workload.rpc_inputs import RPC_INPUTS, rpc_messages, separators_of
from wakumail.load.workload.store_inputs import STORE_INPUTS, store_paths
from wakumail.mail.request import MAX_REQUEST_TOPICS
from wakumail.mail.sync.packets import Code as SyncCode
from wakumail.ops.monitoring.step_meter import StepMeter
from wakumail.rpc import jsonrpc
from wakumail.rpc.api import NAMESPACES, all_methods
from wakumail.rpc.rest import rest_endpoint, store_query
from wakumail.waku.packets import Code
from wakumail.waku.peer import DIALECTS

TRAFFIC = ArchivedTraffic(2000, 2)
SHARE = 0.002

INPUTS = list(step_inputs())
COVERED = {each.covers for each in INPUTS}


def test_every_packet_code_has_inputs() -> None:
    for code in Code:
        assert {(capability, code) for capability in DIALECTS} & COVERED, code
    for capability in DIALECTS:
        shared = {Code.STATUS, Code.MESSAGES, Code.STATUS_UPDATE, Code.P2P_REQUEST}
        assert {(capability, code) for code in shared} <= COVERED


def test_every_message_id_has_inputs() -> None:
    assert {each.covers for each in INPUTS if isinstance(each.covers, MessageId)} == set(MessageId)
    assert {each.covers for each in INPUTS if isinstance(each.covers, SyncCode)} == set(SyncCode)


@asynchronous
async def test_every_method_has_inputs(tmp_path: Path) -> None:
    async with mailserver(tmp_path) as (server, _):
        assert set(all_methods(server, NAMESPACES)) == set(RPC_INPUTS)
    assert set(RPC_INPUTS) <= COVERED


def test_every_parameter_of_history_over_http_has_inputs() -> None:
    assert tuple(STORE_INPUTS) == store_query.NAMES
    assert set(STORE_INPUTS) <= COVERED
    assert store_inputs.PATH == rest_endpoint.PATH
    assert store_inputs.MAX_REQUEST_LINE == rest_endpoint.MAX_REQUEST_LINE
    bounds = store_inputs.MAX_TOPICS, store_inputs.MAX_HASHES
    assert bounds == (MAX_REQUEST_TOPICS, store_query.MAX_HASHES)
    for name in STORE_INPUTS:
        paths = list(store_paths(name, 1.0))
        largest = max(map(len, paths))
        assert 0.99 * rest_endpoint.MAX_REQUEST_LINE < largest < rest_endpoint.MAX_REQUEST_LINE


def test_messages_have_the_largest_size() -> None:
    """Those of the bench are at the bounds, and not one byte beyond: that would be cheap."""
    bounds = rpc_inputs.MAX_MESSAGE, rpc_inputs.MAX_SEPARATORS
    assert bounds == (jsonrpc.MAX_MESSAGE, jsonrpc.MAX_SEPARATORS)
    messages = list(rpc_messages("waku_post", {}, 1.0))
    assert max(map(len, messages)) > 0.99 * jsonrpc.MAX_MESSAGE
    assert all(len(message) <= jsonrpc.MAX_MESSAGE for message in messages)
    within = [m for m in messages if separators_of(m) <= jsonrpc.MAX_SEPARATORS]
    assert max(map(separators_of, within)) > 0.98 * jsonrpc.MAX_SEPARATORS
    assert len(within) == len(messages)


def name_of(sent: StepInput) -> str:
    """The same for all capabilities: what is sent over one is sent over the others."""
    return sent.title.partition(" ")[2] if isinstance(sent.covers, tuple) else sent.title


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    server = OwnServer(FilledArchives(tmp_path_factory.mktemp("steps")))
    yield server
    server.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed: one trial is enough, whatever it takes."""
    monkeypatch.setattr(steps, "TRIALS", 1)
    monkeypatch.setattr(steps, "calibrate", lambda: steps.CALIBRATION_TIME)
    monkeypatch.setattr("wakumail.load.metered_server.SETTLE_TIME", 0.01)


@pytest.mark.usefixtures("patient")
def test_every_input_is_sent(own_server: OwnServer) -> None:
    with ClientPool() as pool:
        for each in {name_of(each): each for each in INPUTS}.values():
            measures = StepsCase(each, TRAFFIC, SHARE).measure(own_server, pool)
            assert measures["step"] > 0, each.title
            assert not own_server.metered(TRAFFIC).gone, each.title


@pytest.mark.usefixtures("patient")
def test_the_start_is_measured(own_server: OwnServer) -> None:
    with ClientPool() as pool:
        assert StartStepsCase(TRAFFIC, SHARE).measure(own_server, pool)["step"] > 0


def work() -> float:
    """Work for some ms; the seconds that it took at least."""
    began = time.thread_time()
    sum(range(500_000))
    return time.thread_time() - began


@pytest.mark.usefixtures("patient")
def test_a_long_step_is_told(own_server: OwnServer) -> None:
    """65,536 envelopes are hashed in one step, for which no machine takes less than 2 ms."""
    (most,) = (each for each in INPUTS if each.title == "waku/1 MESSAGES: the smallest envelopes")
    with ClientPool() as pool:
        assert StepsCase(most, TRAFFIC).measure(own_server, pool)["step"] > 2


@pytest.mark.parametrize(("step", "bad"), [(49.0, False), (51.0, True)])
def test_a_step_over_the_limit_is_bad(step: float, bad: bool) -> None:
    result = CaseResult(PlannedCase(StepsCase(INPUTS[0], TRAFFIC)), "wakumail")
    result.runs = [{"step": step, "step_limit": 50.0}]
    assert result.bad is bad
    told = ["a step of 51 ms held the loop, where 50 are allowed"]
    assert list(result.notes()) == (told if bad else [])


def test_the_best_of_some_trials_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "calibrate", lambda: 2 * steps.CALIBRATION_TIME)
    assert step_limit() == pytest.approx(0.1)
    assert least(iter([0.3, 0.09, 0.05])) == {"step": 90.0, "step_limit": pytest.approx(100.0)}
    assert least(iter([0.3, 0.2]))["step"] == 200.0
    monkeypatch.setattr(steps, "calibrate", lambda: steps.CALIBRATION_TIME / 2)
    assert step_limit() == 0.05


def test_a_server_that_runs_already_has_no_meter() -> None:
    foreign = ForeignServer(nobody(), None)
    with ClientPool() as pool:
        for case in StepsCase(INPUTS[0], TRAFFIC), StartStepsCase(TRAFFIC):
            with pytest.raises(LoadFailed, match="does not measure"):
                case.measure(foreign, pool)


@asynchronous
async def test_the_meter_stops_with_the_bench() -> None:
    ours, theirs = socket.socketpair()
    meter = StepMeter(theirs)
    meter.start()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(ours, b"?")
    assert float(await loop.sock_recv(ours, 64)) >= 0
    held = work()
    await loop.sock_sendall(ours, b"?")
    assert float(await loop.sock_recv(ours, 64)) >= held
    ours.close()
    await eventually(lambda: not meter.measuring)
