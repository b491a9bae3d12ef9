"""The scenario of attacks: each runs, everybody is served, and it is told if not."""

from collections.abc import Iterator

import pytest

from tests.support.scripted import nobody
from wakumail.devp2p.keys import PrivateKey
from wakumail.load.case_results import CaseResult
from wakumail.load.clients.processes import ClientPool
from wakumail.load.clients.role import LoadFailed
from wakumail.load.filled_archives import FilledArchives
from wakumail.load.measured_server import ForeignServer, OwnServer
from wakumail.load.measures import Measures
from wakumail.load.metered_server import MeteredServer
from wakumail.load.scenarios.attacks import ATTACKS, MIN_ATTEMPTS, Attack, AttackCase
from wakumail.load.scenarios.goals import PlannedCase
from wakumail.load.workload.archived_traffic import ArchivedTraffic

TRAFFIC = ArchivedTraffic(2000, 2)


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> OwnServer:
    return OwnServer(FilledArchives(tmp_path_factory.mktemp("attacks")))


@pytest.fixture(scope="module")
def pool() -> Iterator[ClientPool]:
    with ClientPool() as pool:
        yield pool


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.title)
def test_everybody_is_served(attack: Attack, own_server: OwnServer, pool: ClientPool) -> None:
    measures = AttackCase(attack, TRAFFIC, 0.0).measure(own_server, pool)
    assert measures["attempts"] == measures["served"] == MIN_ATTEMPTS
    assert measures["blows"] >= 1
    assert not result_of(measures).bad


def test_who_is_kept_out_is_told(own_server: OwnServer, pool: ClientPool) -> None:
    failing = iter([True, False, True])

    def attempt(server: MeteredServer, owner: PrivateKey) -> None:
        if next(failing, False):
            raise LoadFailed("nobody answers")

    attack = Attack("none", lambda server, owner: None, attempt)
    measures = AttackCase(attack, TRAFFIC, 0.0).measure(own_server, pool)
    assert (measures["attempts"], measures["served"]) == (MIN_ATTEMPTS, MIN_ATTEMPTS - 2)
    assert measures["blows"] >= 1
    result = result_of(measures)
    assert result.bad
    assert list(result.notes()) == ["not every attempt was served"]


def result_of(measures: Measures) -> CaseResult:
    result = CaseResult(PlannedCase(AttackCase(ATTACKS[0], TRAFFIC, 0.0)), "wakumail")
    result.runs = [measures]
    return result


def test_a_server_that_runs_already_is_not_attacked(pool: ClientPool) -> None:
    with pytest.raises(LoadFailed):
        AttackCase(ATTACKS[0], TRAFFIC, 0.0).measure(ForeignServer(nobody(), None), pool)
