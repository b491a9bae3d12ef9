"""Nodes of lists as candidates, and the sequence numbers that survive a restart."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.dns_lists import key, record, tree, url
from tests.support.patience import asynchronous, eventually
from wakumail.devp2p.dns_tree import DnsTree, ListUrl
from wakumail.devp2p.enode import enode_of
from wakumail.devp2p.enr import Enr
from wakumail.node import listed_nodes
from wakumail.node.dns_lists import DnsLists
from wakumail.node.dns_resolver import DnsNameMissing, DnsTexts
from wakumail.node.listed_nodes import RECORDS_AT_ONCE, ListedNodes
from wakumail.node.seq_file import MAX_KEPT_SEQS, SeqFile

DOMAIN = "list.example"


class Listed(ListedNodes):
    """Reads a tree in memory, and notes what it asked for."""

    def __init__(self, made: DnsTree) -> None:
        self.asked = 0
        self.texts = made.texts
        self.seqs: dict[ListUrl, int] = {}
        super().__init__(DnsLists([made.url], self.ask, lambda *_: None), self.seqs.update)

    async def ask(self, name: str) -> DnsTexts:
        self.asked += 1
        if name not in self.texts:
            raise DnsNameMissing("the DNS has no such name")
        return DnsTexts([self.texts[name]], 60.0)

    @property
    def has_looked(self) -> bool:
        return self._looking is not None and self._looking.done()

    @property
    def count(self) -> int:
        return len([*self.candidates()])


@asynchronous
async def test_a_look_reads_some_records() -> None:
    nodes = Listed(tree(DOMAIN, range(60)))
    assert (nodes.count, nodes.asked) == (0, 0)
    for looks in (1, 2, 3):
        nodes.look()
        nodes.look()  # it is going on
        await eventually(lambda: nodes.has_looked)
        assert nodes.count == looks * RECORDS_AT_ONCE
    await eventually(lambda: nodes.seqs == {url(DOMAIN): 1})
    assert nodes.asked < 60
    nodes.look()
    await eventually(lambda: nodes.count == 60)
    nodes.look()
    await nodes.close()


@asynchronous
async def test_candidates_say_whether_they_speak_waku() -> None:
    nowhere = Enr.make(key("nowhere"), 1, {b"waku": [1, 1]})
    made = DnsTree(key(DOMAIN), DOMAIN, 1, [record(1), record(2, mailserver=True), nowhere])
    nodes = Listed(made)
    nodes.look()
    await eventually(lambda: nodes.count == 2)
    assert {each.enode: each.speaks_waku for each in nodes.candidates()} == {
        enode_of(record(1)): False,
        enode_of(record(2, mailserver=True)): True,
    }
    await nodes.close()


@asynchronous
async def test_the_nodes_that_are_remembered_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed_nodes, "MAX_LISTED", 5)
    nodes = Listed(tree(DOMAIN, range(RECORDS_AT_ONCE)))
    nodes.look()
    await eventually(lambda: nodes.has_looked)
    assert nodes.count == 5
    await nodes.close()


@asynchronous
async def test_a_list_that_is_gone_costs_a_question() -> None:
    nodes = Listed(tree(DOMAIN, range(3)))
    nodes.texts = {}
    for _ in range(3):
        nodes.look()
        await eventually(lambda: nodes.asked == 1)
    assert nodes.count == 0
    await nodes.close()


# -- the sequence numbers ---------------------------------------------------------------------


def kept(path: Path, seqs: Mapping[ListUrl, int]) -> dict[ListUrl, int]:
    SeqFile(path).keep(seqs)
    return SeqFile(path).seqs


def test_sequence_numbers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "dns-lists.json"
    assert SeqFile(path).seqs == {}
    assert kept(path, {}) == {}
    assert not path.exists()
    assert kept(path, {url("a.example"): 1}) == {url("a.example"): 1}
    both = {url("a.example"): 2, url("b.example"): (1 << 64) - 1}
    assert kept(path, both) == both
    written = path.stat().st_mtime_ns
    assert kept(path, {url("a.example"): 2}) == both
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', f'{{"{url(DOMAIN)}": "1"}}', "\xff"])
def test_a_damaged_file_holds_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "seqs").write_bytes(content.encode("latin-1"))
    assert SeqFile(tmp_path / "seqs").seqs == {}
    assert "holds no sequence numbers" in caplog.text
    assert kept(tmp_path / "seqs", {url(DOMAIN): 1}) == {url(DOMAIN): 1}


def test_a_disk_that_refuses_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = SeqFile(tmp_path / "missing" / "seqs")
    file.keep({url(DOMAIN): 1})
    assert "are not kept: " in caplog.text
    assert file.seqs == {url(DOMAIN): 1}


def test_the_file_has_a_bound(tmp_path: Path) -> None:
    seqs = {url(f"{number}.example"): number for number in range(MAX_KEPT_SEQS + 5)}
    assert kept(tmp_path / "seqs", seqs) == dict([*seqs.items()][5:])
