"""The load bench against real servers: every scenario once, with as little as makes it run."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.processes import run, run_json
from tests.support.scripted import nobody
from wakumail.cli import main
from wakumail.load.case_results import measure
from wakumail.load.clients.processes import Crew
from wakumail.load.clients.role import LoadFailed, Outcome
from wakumail.load.clients.sender import Sending
from wakumail.load.filled_archives import Archives, import_dump
from wakumail.load.measured_server import Foreign, Own
from wakumail.load.measures import METRICS, Measures
from wakumail.load.scenarios.case_choice import SCENARIOS, SOAK, Choice, Entry, targets
from wakumail.load.scenarios.cases import Case, Growth, Idle, Ingest, Relay, Requests, StartUp
from wakumail.load.scenarios.crowd import Crowd
from wakumail.load.scenarios.mixed import Beside, Bulk, Posting, Slow, Storm
from wakumail.load.scenarios.soak import Soak
from wakumail.load.server_process import Served
from wakumail.load.watch import Watch
from wakumail.load.workload.archived_traffic import ENVELOPES_PER_TOPIC, Traffic
from wakumail.load.workload.live_traffic import Live
from wakumail.load.workload.request_kinds import FOLLOWING, ONE_TOPIC

LIVE = Live(topics=5)
TRAFFIC = Traffic(3000, 3)
SECONDS = 0.05

CASES: list[tuple[Case, set[str]]] = [
    (Ingest(Sending(LIVE, 300, batch=7)), {"ingested", "envelope_cpu", "peak", "disk", "client"}),
    (Ingest(Sending(LIVE, 301, connections=3, batch=10, confirmed=False)), {"ingested"}),
    (Ingest(Sending(Live(duplicates=0.5), 300, batch=1)), {"ingested"}),
    (Ingest(Sending(Live(data_size=5000, topics=1), 50)), {"ingested"}),
    (Requests(ONE_TOPIC, TRAFFIC, SECONDS), {"p50", "p99", "request_cpu", "throughput"}),
    (Requests(FOLLOWING, TRAFFIC, SECONDS), {"p50", "envelopes", "envelope_cpu"}),
    (Growth(TRAFFIC, SECONDS), {"growth"}),
    (StartUp(TRAFFIC), {"start", "disk"}),
    (Relay(LIVE, 100, 3), {"delivered", "envelope_cpu"}),
    (Idle(5, LIVE, 20, SECONDS), {"cpu_share", "connection_memory"}),
    (Beside(Posting(Sending(LIVE, 200)), TRAFFIC, SECONDS), {"ingested", "slowdown", "p99_alone"}),
    (Beside(Bulk(), TRAFFIC, SECONDS), {"throughput", "slowdown"}),
    (Beside(Slow(3), TRAFFIC, SECONDS), {"p99", "peak"}),
    (Beside(Storm(4), TRAFFIC, SECONDS), {"handshakes", "handshake_p99", "slowdown"}),
    (Crowd(6, Sending(LIVE, 200, 3), TRAFFIC, SECONDS), {"ingested", "p99", "slowdown"}),
]


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    return Own(Archives(tmp_path_factory.mktemp("load")))


@pytest.mark.parametrize(("case", "keys"), CASES, ids=lambda v: getattr(v, "scenario", ""))
def test_every_scenario_runs(case: Case, keys: set[str], own: Own, crew: Crew) -> None:
    measures = case.measure(own, crew)
    assert keys <= set(measures) <= set(METRICS)
    assert all(measures[key] > 0 for key in keys - {"cpu_share", "connection_memory"})


def test_one_request_is_measured_however_short_the_time(own: Own, crew: Crew) -> None:
    assert Requests(ONE_TOPIC, TRAFFIC, 0.0).measure(own, crew)["p99"] > 0


def test_requests_have_the_envelopes_of_the_traffic(own: Own, crew: Crew) -> None:
    measures = Requests(FOLLOWING, TRAFFIC, SECONDS).measure(own, crew)
    assert measures["envelopes"] == pytest.approx(TRAFFIC.envelopes / 30, abs=1)


def test_long_runs_are_sent_in_heats(own: Own, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.load.scenarios.cases.HEAT", 100)
    assert Ingest(Sending(LIVE, 300)).measure(own, crew)["ingested"] > 0


def test_soak_tells_drift(own: Own, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.load.scenarios.soak.HEAT_SECONDS", SECONDS)
    measures = Soak(Sending(LIVE, 100), TRAFFIC, 0.0).measure(own, crew)
    assert measures["p99_drift"] > 0
    assert measures["memory_drift"] > 0


def test_soak_counts_what_all_senders_send(
    own: Own, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.load.scenarios.soak.HEAT_SECONDS", SECONDS)
    monkeypatch.setattr(
        "wakumail.load.scenarios.soak.rate", lambda ours: sum(o.tally.envelopes for o in ours)
    )
    measures = Soak(Sending(LIVE, 100, connections=2), TRAFFIC, 0.0).measure(own, crew)
    assert measures["ingested"] == 100


def test_more_connections_than_envelopes(own: Own, crew: Crew) -> None:
    assert Ingest(Sending(LIVE, 1, connections=3)).measure(own, crew)["ingested"] > 0


def test_all_clients_of_a_crowd_take_their_share_of_the_cores(
    own: Own, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(watch: Watch, others: Sequence[Outcome] = ()) -> Measures:
        return {"client": len([*watch.outcomes, *others])}

    monkeypatch.setattr(Watch, "load", load)
    measures = Crowd(6, Sending(LIVE, 200, 3), TRAFFIC, SECONDS).measure(own, crew)
    assert measures["client"] == 2 + 1 + 2  # who send, who asks, who wait


def test_pow_is_mined_where_the_server_wants_it(tmp_path: Path, crew: Crew) -> None:
    strict = Own(Archives(tmp_path), ["--min-pow", "0.002"])
    assert Ingest(Sending(LIVE, 20)).measure(strict, crew)["ingested"] > 0


def test_a_case_that_fails_leaves_the_others(tmp_path: Path, crew: Crew) -> None:
    target = Own(Archives(tmp_path), ["--no-confirmations"])
    cases = Ingest(Sending(LIVE, 20)), Ingest(Sending(LIVE, 20, confirmed=False))
    said: list[str] = []
    failed, done = measure([Entry(case) for case in cases], [target], 2, crew, said.append)
    assert (failed.runs, failed.failure) == ([], "the server does not confirm")
    assert (len(done.runs), done.failure, len(said)) == (2, "", 3)


def test_a_server_without_an_archive_leaves_the_others(
    own: Own, tmp_path: Path, crew: Crew
) -> None:
    bare = Own(Archives(tmp_path), ["--no-mailserver"])
    entry = Entry(Ingest(Sending(LIVE, 20, confirmed=False)))
    without, done = measure([entry], [bare, own], 1, crew, print)
    assert "archive" in without.failure
    assert (len(done.runs), done.failure) == (1, "")


def test_an_import_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="archive import"):
        import_dump(tmp_path / "data", tmp_path / "nothing")


def test_a_refusing_server_is_told(tmp_path: Path, crew: Crew) -> None:
    target = Own(Archives(tmp_path), ["--nonsense"])
    with pytest.raises(LoadFailed, match="did not start"), target.serving():
        pass


def test_a_server_that_does_not_end_well_is_told(own: Own) -> None:
    def kill(served: Served) -> None:
        assert served.account is not None
        os.kill(served.account.pid, signal.SIGKILL)

    with pytest.raises(LoadFailed, match="ended with exit code -9"), own.serving() as served:
        kill(served)


def test_servers_that_run_already_are_compared(own: Own, crew: Crew) -> None:
    with own.serving() as one, own.serving() as other:
        assert one.account is not None
        servers = Foreign(one.enode, one.account.pid), Foreign(other.enode, None)
        known, unknown = measure([Entry(Ingest(Sending(LIVE, 100)))], servers, 1, crew, print)
        assert Growth(TRAFFIC, SECONDS).measure(servers[0], crew) == {}
        assert StartUp(TRAFFIC).measure(servers[0], crew) == {}
    assert {"ingested", "envelope_cpu", "peak"} <= set(known.keys)
    assert set(unknown.keys) == {"ingested", "client"}


def test_the_command_reports(tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    flags = ("--count", "50,60", "--connections", "2", "--runs", "2", "--html", html)
    result = run_json("bench", "ingest", *flags)
    assert [len(case["runs"]) for case in result["results"]] == [2] * 2
    assert "60 envelopes in packets of 100, 2 connections" in html.read_text()
    assert result["machine"]["command"].startswith("wakumail bench ingest --count 50,60")


def test_servers_with_other_flags_are_compared() -> None:
    flags = ("--serve=", "--serve=--no-shh", "--count", "50", "--runs", "1")
    result = run_json("bench", "ingest", *flags)
    assert [case["server"] for case in result["results"]] == ["wakumail", "wakumail --no-shh"]


def test_the_command_writes_the_archive_as_a_dump(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    run("bench", "--write-dump", dump, "--archive", "2000")
    assert dump.read_bytes() == b"".join(Traffic(2000, 2000 // ENVELOPES_PER_TOPIC).dump())


@pytest.mark.parametrize("wrong", [["cook"], ["--pid", "1"], ["--count", "1,x"], ["--runs", "0"]])
def test_wrong_usage(wrong: list[str]) -> None:
    run("bench", *wrong, check=2)


@pytest.mark.parametrize(
    "choice",
    [
        "ingest",
        "--connections 2",
        "--count 10",
        "--batch 10",
        "--size 10",
        "--topics 10",
        "--duplicates 0.5",
        "--no-confirm",
    ],
)
def test_targets_have_a_load_of_their_own(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wakumail.cli.bench.measure", lambda *_: [])
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--targets", *choice.split()])


def test_a_server_that_runs_already_takes_no_flags() -> None:
    run("bench", "ingest", "--serve=--no-shh", "--enode", nobody(), check=2)


def test_choices_make_a_case_of_each_number() -> None:
    choice = Choice(["ingest", "idle"], connections=(1, 4), counts=(10, 20, 30))
    assert [entry.case.scenario for entry in choice.entries()] == ["ingest"] * 6 + ["idle"] * 6


def test_all_scenarios_are_chosen_but_the_soak() -> None:
    assert {entry.case.scenario for entry in Choice().entries()} == set(SCENARIOS)
    assert [entry.case.scenario for entry in Choice([SOAK]).entries()] == [SOAK]


def test_every_goal_is_a_metric_of_its_case() -> None:
    measured = {case.scenario: set[str]() for case, _ in CASES}
    for case, keys in CASES:
        measured[case.scenario] |= keys
    for entry in targets():
        assert {goal.metric for goal in entry.goals} <= measured[entry.case.scenario]
