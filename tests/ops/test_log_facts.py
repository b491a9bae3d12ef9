"""The facts of a log: each that would make a confirmation untrue is refused in words."""

import copy
from typing import Any

import pytest

from wakumail.archive.results import LogPlace
from wakumail.ops.cluster.log_facts import Facts, foreign, moment, nanoseconds, refusals
from wakumail.ops.cluster.log_facts import stream_config as made
from wakumail.ops.cluster.log_status import describe

CREATED = "2026-11-29T21:36:24.498683188Z"
MADE = 1_795_988_184_498_683_188


def facts(**changed: Any) -> Facts:
    config = {**made("fleet", "0123abcd", keep_days=7, replicas=3)}
    own = {key: changed.pop(key) for key in ("max_payload", "version", "syncs") if key in changed}
    config.update(changed)
    stream = {
        "config": config,
        "created": CREATED,
        "state": {"first_seq": 3, "last_seq": 9},
        "cluster": {"leader": "a", "replicas": [{"name": "b"}, {"name": "c"}]},
    }
    return Facts(
        copy.deepcopy(stream),
        own.get("max_payload", 1 << 20),
        own.get("version", "2.12.0"),
        own.get("syncs", {"a": True, "b": True}),
    )


def test_a_stream_as_it_has_to_be_is_taken() -> None:
    good = facts()
    assert not [*refusals(good)]
    assert (good.leader, good.servers, good.untold) == ("a", ["a", "b", "c"], ["c"])
    assert (good.first, good.last, good.made) == (3, 9, MADE)
    assert not [*refusals(facts(persist_mode="default", sealed=False, version="3.0.1-beta"))]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"num_replicas": 1}, "1 replica;"),
        ({"num_replicas": 2}, "2 replicas;"),
        ({"storage": "memory"}, "memory, not in files"),
        ({"persist_mode": "async"}, "persists async"),
        ({"retention": "workqueue"}, "workqueue, not limits"),
        ({"no_ack": True}, "acknowledges nothing"),
        ({"allow_direct": False}, "direct gets"),
        ({"allow_msg_ttl": True}, "TTLs"),
        ({"allow_rollup_hdrs": True}, "rollups"),
        ({"sealed": True}, "sealed"),
        ({"mirror": {"name": "x"}}, "another stream"),
        ({"max_msg_size": 1000}, "1000 bytes"),
        ({"max_payload": (1 << 20) - 1}, "1048575 bytes"),
        ({"version": "2.11.9"}, "2.12 or later"),
        ({"version": "what"}, "2.12 or later"),
        ({"metadata": {}}, "cluster init"),
        ({"metadata": None}, "cluster init"),
        ({"metadata": {"wakumail": "2"}}, "form 2"),
        ({"subjects": ["wakumail.other.0123.batches"]}, "not one of wakumail"),
        ({"subjects": None}, "the subject none"),
        ({"subjects": ["wakumail.fleet.0123.batches", "x"]}, "several subjects"),
        ({"syncs": {"a": True, "b": False}}, "the server b of the log does not sync"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_setting_that_makes_confirmations_untrue_is_refused(
    changed: dict[str, Any], text: str
) -> None:
    (told,) = refusals(facts(**changed))
    assert text in told


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (None, ""),
        (LogPlace("fleet", MADE, 9), ""),
        (LogPlace("fleet", MADE, 0), ""),
        (LogPlace("other", MADE, 1), "follows the log other"),
        (LogPlace("fleet", MADE + 1, 1), "another one: it was made 2026-11-29T21:36:24.498683188Z"),
        (LogPlace("fleet", MADE, 10), "has lost messages: it ends with number 9"),
    ],
)
def test_an_archive_goes_on_with_its_own_log_alone(place: LogPlace | None, text: str) -> None:
    told = foreign(facts(), place)
    assert bool(told) is bool(text)
    assert text in told


def test_servers_that_lag_are_told() -> None:
    told = facts()
    replicas = told.stream["cluster"]["replicas"]
    replicas[0] |= {"current": True, "offline": True}
    replicas[1] |= {"current": True}
    assert told.lagging == ["b"]
    replicas[1]["current"] = False
    assert told.lagging == ["b", "c"]


def test_times_are_read_to_the_nanosecond() -> None:
    assert nanoseconds(CREATED) == MADE
    assert nanoseconds("1970-01-01T00:00:01Z") == 10**9
    assert nanoseconds("1970-01-01T00:00:00.5Z") == 5 * 10**8
    assert moment(MADE) == "2026-11-29T21:36:24.498683188Z"
    with pytest.raises(ValueError, match="not a time"):
        nanoseconds("2026-11-29T21:36:24+01:00")


def test_the_status_of_a_young_log_in_lines() -> None:
    """A number stands behind its name, so that one envelope is not `1 envelopes`."""
    host = {"host": "1b84c556", "place": 1, "lag": 0, "missing": 0, "envelopes": 1}
    status = {"name": "fleet", "made": moment(MADE), "first": 1, "last": 1, "leader": "a"}
    assert describe(status | {"hosts": [host], "problems": [], "untold": []}) == [
        "log fleet, made 2026-11-29T21:36:24.498683188Z: messages 1 to 1, leader a",
        "host 1b84c556: up to message 1, lag 0, missing 0, envelopes 1",
    ]
