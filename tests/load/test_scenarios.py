"""The load bench against real servers: every scenario once, as small as possible."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.support.processes import run, run_json
from tests.support.scripted import nobody
from wakumail.cli.bench import open_log
from wakumail.cli.command_line import main
from wakumail.load.case_results import measure_cases
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed, Outcome
from wakumail.load.clients.sender import SenderLoad
from wakumail.load.cluster_log import no_log
from wakumail.load.filled_archives import FilledArchives, import_dump
from wakumail.load.measured_server import ForeignServer, OwnServer
from wakumail.load.measures import METRICS, Measures
from wakumail.load.scenarios.case_choice import DEFAULT_SCENARIOS, SCENARIOS, CaseChoice
from wakumail.load.scenarios.cases import (
    Case,
    IdleCase,
    IngestCase,
    RelayCase,
    RequestCase,
    StartUpCase,
)
from wakumail.load.scenarios.cluster import HOSTS, CatchUpCase, ClusterCase
from wakumail.load.scenarios.cold import ColdCase
from wakumail.load.scenarios.crowd import CrowdCase
from wakumail.load.scenarios.discovery import DiscoveryCase
from wakumail.load.scenarios.goals import PlannedCase, goal_cases
from wakumail.load.scenarios.mixed import MixedCase, bulk_reader, senders, slow_readers, storm
from wakumail.load.scenarios.ratios import ratio_cases
from wakumail.load.scenarios.soak import SoakCase
from wakumail.load.scenarios.sync import LOSSES, ReconcileCase, ReconcileGrowthCase
from wakumail.load.scenarios.transfer import TransferCase
from wakumail.load.server_process import RunningServer
from wakumail.load.watch import Watch
from wakumail.load.workload.archived_traffic import ENVELOPES_PER_TOPIC, ArchivedTraffic
from wakumail.load.workload.live_traffic import LiveTraffic
from wakumail.load.workload.request_kinds import ALL_PAGES, ONE_TOPIC

LIVE = LiveTraffic(topics=5)
TRAFFIC = ArchivedTraffic(3000, 3)
SECONDS = 0.05

CASES: list[tuple[Case, set[str]]] = [
    (
        IngestCase(SenderLoad(LIVE, 300, batch=7)),
        {"ingested", "envelope_cpu", "envelope_floor", "distance", "peak", "disk", "client"},
    ),
    (IngestCase(SenderLoad(LIVE, 301, connections=3, batch=10, confirmed=False)), {"ingested"}),
    (IngestCase(SenderLoad(LiveTraffic(duplicates=0.5), 300, batch=1)), {"ingested"}),
    (IngestCase(SenderLoad(LiveTraffic(data_size=5000, topics=1), 50)), {"ingested"}),
    (
        RequestCase(ONE_TOPIC, TRAFFIC, SECONDS),
        {"p50", "p99", "request_cpu", "request_floor", "distance", "throughput"},
    ),
    (RequestCase(ALL_PAGES, TRAFFIC, SECONDS), {"p50", "envelopes", "envelope_cpu"}),
    *((case, {"ratio"}) for case in [*ratio_cases(TRAFFIC, SECONDS)][2:4]),
    (StartUpCase(TRAFFIC), {"start", "disk"}),
    *(
        (
            ReconcileCase(TRAFFIC, loss),
            {"trips", "sent", "received", "initiator_cpu", "responder_cpu"},
        )
        for loss in LOSSES
    ),
    (ReconcileGrowthCase(TRAFFIC), {"growth"}),
    (TransferCase(TRAFFIC), {"stored", "import_time"}),
    (RelayCase(LIVE, 100, 3), {"delivered", "envelope_cpu"}),
    (IdleCase(5, LIVE, 20, SECONDS), {"cpu_share", "connection_memory"}),
    (
        MixedCase(senders(SenderLoad(LIVE, 200)), TRAFFIC, SECONDS),
        {"ingested", "slowdown", "p99_alone"},
    ),
    (MixedCase(bulk_reader(TRAFFIC), TRAFFIC, SECONDS), {"throughput", "slowdown"}),
    (MixedCase(slow_readers(3, TRAFFIC), TRAFFIC, SECONDS), {"p99", "peak"}),
    (MixedCase(storm(4), TRAFFIC, SECONDS), {"handshakes", "handshake_p99", "slowdown"}),
    (DiscoveryCase(2000, TRAFFIC, SECONDS), {"requests_kept", "datagrams", "p99", "cpu_share"}),
    (CrowdCase(6, SenderLoad(LIVE, 200, 3), TRAFFIC, SECONDS), {"ingested", "p99", "slowdown"}),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[ClientPool]:
    with ClientPool() as pool:
        yield pool


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> OwnServer:
    return OwnServer(FilledArchives(tmp_path_factory.mktemp("load")))


@pytest.mark.parametrize(("case", "keys"), CASES, ids=lambda v: getattr(v, "scenario", ""))
def test_every_scenario_runs(
    case: Case, keys: set[str], own_server: OwnServer, pool: ClientPool
) -> None:
    measures = case.measure(own_server, pool)
    assert keys <= set(measures) <= set(METRICS)
    assert all(measures[key] > 0 for key in keys - {"cpu_share", "connection_memory"})


def test_a_cluster_is_measured(
    own_server: OwnServer, tmp_path_factory: pytest.TempPathFactory, pool: ClientPool
) -> None:
    load = SenderLoad(LIVE, 300, batch=10)
    # The path of a Unix socket has 107 bytes at most.
    with open_log(tmp_path_factory.mktemp("b")) as log:
        catch_up = CatchUpCase(TRAFFIC, lambda: nullcontext(log)).measure(own_server, pool)
        assert min(catch_up[key] for key in ("ready", "caught_up", "import_time")) > 0
        cluster = ClusterCase(load, HOSTS, lambda: nullcontext(log)).measure(own_server, pool)
    keys = {"ingested", "affordable", "alone_cpu", "envelope_cpu", "log_cpu", "p99", "log_rate"}
    assert min(cluster[key] for key in keys) > 0
    assert (catch_up.keys() | cluster.keys()) <= METRICS.keys()


def test_a_cluster_needs_a_log(own_server: OwnServer, pool: ClientPool) -> None:
    with pytest.raises(LoadFailed, match="no log"):
        CatchUpCase(TRAFFIC, no_log).measure(own_server, pool)


def test_one_request_is_measured_however_short_the_time(
    own_server: OwnServer, pool: ClientPool
) -> None:
    assert RequestCase(ONE_TOPIC, TRAFFIC, 0.0).measure(own_server, pool)["p99"] > 0


def test_requests_have_the_envelopes_of_the_traffic(
    own_server: OwnServer, pool: ClientPool
) -> None:
    measures = RequestCase(ALL_PAGES, TRAFFIC, SECONDS).measure(own_server, pool)
    assert measures["envelopes"] == pytest.approx(TRAFFIC.envelopes / 30, abs=1)


def test_a_cold_archive_is_read_from_disk(
    own_server: OwnServer, tmp_path: Path, pool: ClientPool
) -> None:
    kind = subprocess.check_output(["stat", "--file-system", "--format=%T", tmp_path], text=True)
    case = ColdCase(ONE_TOPIC, TRAFFIC)
    if kind.strip() == "tmpfs":
        with pytest.raises(LoadFailed, match="kept the archive in memory"):
            case.measure(own_server, pool)
    else:
        measures = case.measure(own_server, pool)
        assert measures["disk_reads"] >= 4 * measures["disk_waits"] > 0
        assert measures["envelopes"] > 0


def test_long_runs_are_sent_in_rounds(
    own_server: OwnServer, pool: ClientPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.load.scenarios.cases.ROUND_ENVELOPES", 100)
    assert IngestCase(SenderLoad(LIVE, 300)).measure(own_server, pool)["ingested"] > 0


def test_soak_tells_drift(
    own_server: OwnServer, pool: ClientPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.load.scenarios.soak.ROUND_SECONDS", SECONDS)
    measures = SoakCase(SenderLoad(LIVE, 100), TRAFFIC, 0.0).measure(own_server, pool)
    assert measures["p99_drift"] > 0
    assert measures["memory_drift"] > 0


def test_soak_counts_what_all_senders_send(
    own_server: OwnServer, pool: ClientPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.load.scenarios.soak.ROUND_SECONDS", SECONDS)
    monkeypatch.setattr(
        "wakumail.load.scenarios.soak.rate", lambda ours: sum(o.tally.envelopes for o in ours)
    )
    measures = SoakCase(SenderLoad(LIVE, 100, connections=2), TRAFFIC, 0.0).measure(
        own_server, pool
    )
    assert measures["ingested"] == 100


def test_more_connections_than_envelopes(own_server: OwnServer, pool: ClientPool) -> None:
    assert IngestCase(SenderLoad(LIVE, 1, connections=3)).measure(own_server, pool)["ingested"] > 0


def test_all_clients_of_a_crowd_take_their_share_of_the_cores(
    own_server: OwnServer, pool: ClientPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bottleneck(watch: Watch, others: Sequence[Outcome] = ()) -> Measures:
        return {"client": len([*watch.outcomes, *others])}

    monkeypatch.setattr(Watch, "bottleneck", bottleneck)
    measures = CrowdCase(6, SenderLoad(LIVE, 200, 3), TRAFFIC, SECONDS).measure(own_server, pool)
    assert measures["client"] == 2 + 1 + 2  # senders, reader, idle clients


def test_pow_is_mined_where_the_server_wants_it(tmp_path: Path, pool: ClientPool) -> None:
    strict = OwnServer(FilledArchives(tmp_path), ["--min-pow", "0.002"])
    assert IngestCase(SenderLoad(LIVE, 20)).measure(strict, pool)["ingested"] > 0


def test_a_case_that_fails_leaves_the_others(tmp_path: Path, pool: ClientPool) -> None:
    server = OwnServer(FilledArchives(tmp_path), ["--no-confirmations"])
    cases = IngestCase(SenderLoad(LIVE, 20)), IngestCase(SenderLoad(LIVE, 20, confirmed=False))
    said: list[str] = []
    failed, done = measure_cases(
        [PlannedCase(case) for case in cases], [server], 2, pool, said.append
    )
    assert (failed.runs, failed.failure) == ([], "the server does not confirm")
    assert (len(done.runs), done.failure, len(said)) == (2, "", 3)


def test_a_server_without_an_archive_leaves_the_others(
    own_server: OwnServer, tmp_path: Path, pool: ClientPool
) -> None:
    bare = OwnServer(FilledArchives(tmp_path), ["--no-mailserver"])
    planned = PlannedCase(IngestCase(SenderLoad(LIVE, 20, confirmed=False)))
    without, done = measure_cases([planned], [bare, own_server], 1, pool, print)
    assert "archive" in without.failure
    assert (len(done.runs), done.failure) == (1, "")


def test_an_import_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="archive import"):
        import_dump(tmp_path / "data", tmp_path / "nothing")


def test_a_refusing_server_is_told(tmp_path: Path, pool: ClientPool) -> None:
    server = OwnServer(FilledArchives(tmp_path), ["--nonsense"])
    with pytest.raises(LoadFailed, match="did not start"), server.serving():
        pass


def test_a_server_that_does_not_end_well_is_told(own_server: OwnServer) -> None:
    def kill(running: RunningServer) -> None:
        assert running.usage is not None
        os.kill(running.usage.pid, signal.SIGKILL)

    with (
        pytest.raises(LoadFailed, match="ended with exit code -9"),
        own_server.serving() as running,
    ):
        kill(running)


def test_servers_that_run_already_are_compared(own_server: OwnServer, pool: ClientPool) -> None:
    with own_server.serving() as one, own_server.serving() as other:
        assert one.usage is not None
        servers = ForeignServer(one.enode, one.usage.pid), ForeignServer(other.enode, None)
        known, unknown = measure_cases(
            [PlannedCase(IngestCase(SenderLoad(LIVE, 100)))], servers, 1, pool, print
        )
        assert next(iter(ratio_cases(TRAFFIC, SECONDS))).measure(servers[0], pool) == {}
        assert StartUpCase(TRAFFIC).measure(servers[0], pool) == {}
    assert {"ingested", "envelope_cpu", "peak"} <= set(known.keys)
    assert set(unknown.keys) == {"ingested", "client"}


def test_the_command_reports(tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    flags = ("--count", "50,60", "--connections", "2", "--runs", "2", "--html", html)
    result = run_json("bench", "ingest", *flags)
    assert [len(case["runs"]) for case in result["results"]] == [2] * 2
    assert "60 envelopes in packets of 100, 2 connections" in html.read_text()
    assert result["machine"]["command"].startswith("wakumail bench ingest --count 50,60")


def test_the_command_measures_the_requests_that_are_named() -> None:
    chosen = ("--requests", "all-topics,one-topic", "--archive", "2000", "--seconds", "0.05")
    result = run_json("bench", "request", *chosen, "--runs", "1")
    titles = [case["title"] for case in result["results"]]
    assert titles == ["everything, 24 h, 1 client", "1 topic, 24 h, 1 client"]
    assert all(case["median"]["p50"] > 0 for case in result["results"])


def test_servers_with_other_flags_are_compared() -> None:
    flags = ("--serve=", "--serve=--no-shh", "--count", "50", "--runs", "1")
    result = run_json("bench", "ingest", *flags)
    assert [case["server"] for case in result["results"]] == ["wakumail", "wakumail --no-shh"]


def test_the_command_writes_the_archive_as_a_dump(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    run("bench", "--write-dump", dump, "--archive", "2000")
    assert dump.read_bytes() == b"".join(ArchivedTraffic(2000, 2000 // ENVELOPES_PER_TOPIC).dump())


@pytest.mark.parametrize(
    "wrong",
    [
        "cook",
        "--pid 1",
        "--count 1,x",
        "--runs 0",
        "request --requests one-topic,x",
        "ingest --requests one-topic",
    ],
)
def test_wrong_usage(wrong: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *wrong.split()])


@pytest.mark.parametrize(
    "choice",
    [
        "ingest",
        "--connections 2",
        "--count 10",
        "--requests one-topic",
        "--batch 10",
        "--size 10",
        "--topics 10",
        "--duplicates 0.5",
        "--no-confirm",
    ],
)
def test_targets_have_a_load_of_their_own(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.cli.bench.measure_cases", lambda *_: [])
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--targets", *choice.split()])


def test_a_server_that_runs_already_takes_no_flags() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "ingest", "--serve=--no-shh", "--enode", str(nobody())])


def test_choices_make_a_case_of_each_number() -> None:
    choice = CaseChoice(["ingest", "idle"], connections=(1, 4), counts=(10, 20, 30))
    scenarios = [planned.case.scenario for planned in choice.planned_cases()]
    assert scenarios == ["ingest"] * 6 + ["idle"] * 6


def test_all_scenarios_are_chosen_but_the_long_ones() -> None:
    assert set(SCENARIOS) - set(DEFAULT_SCENARIOS) == {"attacks", "steps", "cluster", "soak"}
    for name in SCENARIOS:
        assert {planned.case.scenario for planned in CaseChoice([name]).planned_cases()} == {name}


def test_every_goal_is_a_metric_of_its_case() -> None:
    measured = {case.scenario: set[str]() for case, _ in CASES}
    for case, keys in CASES:
        measured[case.scenario] |= keys
    for planned in goal_cases():
        assert {goal.metric for goal in planned.goals} <= measured[planned.case.scenario]
