"""The nodes that settings and files name: one that cannot be meant is left out with a sentence."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.patience import asynchronous
from tests.support.puppet import mailserver
from wakumail.archive.datadir import Datadir
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import generate, node_id
from wakumail.ops import named_nodes
from wakumail.ops.config.settings import Settings
from wakumail.ops.named_nodes import NamedNodes

T = TypeVar("T")


def somebody(port: int) -> Enode:
    """The enode of a node that does not exist."""
    return Enode(node_id(generate(os.urandom).public_key), "127.0.0.1", port, port)


@asynchronous
async def test_entries_that_cannot_be_meant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with mailserver(tmp_path / "server") as (server, own):
        nowhere, one, moved = replace(somebody(1), host="0.0.0.0"), somebody(1), somebody(2)
        there = replace(moved, port=3, discport=3)
        neighbour = somebody(own.port)  # at our own address
        datadir = Datadir(tmp_path)
        files = {datadir.static_nodes: [moved, there], datadir.trusted_nodes: [own, neighbour]}
        for path, nodes in files.items():
            listed = [str(enode) for enode in nodes]
            path.write_text(json.dumps([*listed, "enode://"]), "utf-8-sig")
        second = replace(somebody(1), port=one.port)
        settings = Settings(static_nodes=(own, nowhere), trusted_nodes=(one, second))
        named = NamedNodes(settings, datadir)
        await named.trust(server.node)
        await named.dial(server.dialer)
        trusted = {one.node_id, second.node_id, neighbour.node_id}
        assert server.node.admission.trusted == trusted
        assert set(server.dialer.targets) == trusted | {moved.node_id}
    warned = [r.message for r in caplog.records if r.name.endswith("named_nodes")]
    fault = (
        "item 3: a node looks like enode://<128 hex digits>@host:port, or like enr:<base64>; "
        "it is left out"
    )
    assert warned == [
        f"{datadir.static_nodes}: {fault}",
        f"{datadir.trusted_nodes}: {fault}",
        f"{own} is not dialed: it is the id of this node itself",
        f"{nowhere} is not dialed: 0.0.0.0 is no address of a node",
        f"{there} is dialed at {there.address}, not at {moved.address}",
        f"{one} and {second} have one address: only one can be there",
        f"{own} is not dialed: it is the id of this node itself",
    ]


@asynchronous
async def test_others_have_a_turn_beside_a_long_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_nodes, "SLICE", 2)
    async with mailserver(tmp_path / "server") as (server, _):
        named = NamedNodes(
            Settings(static_nodes=tuple(map(somebody, range(1, 7)))), Datadir(tmp_path)
        )
        seen: list[int] = []
        turns = asyncio.create_task(count_turns(lambda: len(server.dialer.targets), seen))
        await named.dial(server.dialer)
        turns.cancel()
        assert {1, 3, 5} <= set(seen)
        assert len(server.dialer.targets) == 6


@asynchronous
async def test_others_have_a_turn_while_malformed_entries_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(named_nodes, "SLICE", 2)
    datadir = Datadir(tmp_path)
    datadir.static_nodes.write_text(json.dumps(["enode://"] * 6))
    async with mailserver(tmp_path / "server") as (server, _):
        named = NamedNodes(Settings(), datadir)
        seen: list[int] = []
        turns = asyncio.create_task(count_turns(lambda: caplog.text.count("is left out"), seen))
        await named.dial(server.dialer)
        turns.cancel()
    assert {1, 3, 5} <= set(seen)


@asynchronous
async def test_others_have_a_turn_while_a_long_list_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_nodes, "SLICE", 2)
    nodes = tuple(map(somebody, range(1, 7)))
    former = NamedNodes(Settings(trusted_nodes=nodes), Datadir(tmp_path))
    later = NamedNodes(Settings(), Datadir(tmp_path))
    async with mailserver(tmp_path / "server") as (server, _):
        dialed, trusted = server.dialer.targets, server.node.admission.trusted
        for now, before, all_of_them in ((former, later, 6), (later, former, 0)):
            seen: list[tuple[int, int]] = []
            turns = asyncio.create_task(count_turns(lambda: (len(dialed), len(trusted)), seen))
            await now.replace(before, server, None)
            turns.cancel()
            assert {1, 3, 5} <= {count for count, _ in seen}
            assert {1, 3, 5} <= {count for _, count in seen}
            assert len(dialed) == len(trusted) == all_of_them


async def count_turns(state: Callable[[], T], seen: list[T]) -> None:
    """Note a state in each turn of the loop."""
    while True:
        seen.append(state())
        await asyncio.sleep(0)
