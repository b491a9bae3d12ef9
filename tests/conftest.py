"""Settings and fixtures of all tests: none fails because a machine is slow."""

import gc
import time

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

gc.disable()

WAITING = ("test_cluster.py", "test_partition.py")
"""Files of tests that mostly wait, for servers of the log: they begin first, beside the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that wait first. At the end they would keep one process of the run alone."""
    items.sort(key=lambda item: item.path.name not in WAITING)


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, and not among the millions of objects of the tests.

    While tests are collected it is a third of the work, and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture
def unix_time(monkeypatch: pytest.MonkeyPatch) -> int:
    """The time of day, which stands still: an age of seconds is the same when it is judged."""
    now = int(time.time())
    monkeypatch.setattr(time, "time", lambda: float(now))
    return now
