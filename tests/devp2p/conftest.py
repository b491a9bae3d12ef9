"""A node of discovery in memory, and a prober that talks to it."""

import pytest

from tests.support.discovery import MemoryNetwork, MemoryNode, Prober


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.fixture
def node(network: MemoryNetwork) -> MemoryNode:
    return network.add("node", ("127.0.0.1", 30303))


@pytest.fixture
def prober(network: MemoryNetwork) -> Prober:
    return Prober(network, "prober", ("127.0.0.1", 40404))
