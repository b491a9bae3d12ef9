"""A list as a client reads it: what it asks, what it gives, and what it leaves out."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dns_lists import Reader, key, record, tree, url
from wakumail.devp2p import dns_list
from wakumail.devp2p.dns_list import (
    MAX_DEPTH,
    MAX_ROOT_TTL,
    MIN_ROOT_TTL,
    DnsHashWrong,
    DnsLinkSkipped,
    DnsListTooLarge,
    DnsMisplaced,
    DnsSeqFell,
    Question,
)
from wakumail.devp2p.dns_tree import (
    Branch,
    DnsListError,
    DnsRootForged,
    DnsTree,
    TreeRoot,
    label_of,
)
from wakumail.devp2p.enr import Enr, EnrError

DOMAIN = "list.example"


def ids(records: list[Enr]) -> list[bytes]:
    return sorted(each.node_id for each in records)


def numbers(*of: int) -> list[bytes]:
    return ids([record(number) for number in of])


def planted(records: str, links: str, texts: dict[str, str], seq: int = 1) -> dict[str, str]:
    """A tree whose root leads to two texts, and whatever texts below."""
    root = TreeRoot(label_of(records), label_of(links), seq).signed(key(DOMAIN))
    below = {label_of(text): text for text in (records, links, *texts.values())}
    return {DOMAIN: root} | {f"{label}.{DOMAIN}": text for label, text in below.items()}


EMPTY = "enrtree-branch:"


def branch(*texts: str) -> str:
    return str(Branch(tuple(map(label_of, texts))))


# -- how it asks ------------------------------------------------------------------------------


def test_a_record_is_asked_for_when_it_is_wanted() -> None:
    """The first of 400 takes a root, the branches above it and itself."""
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(400)).texts)
    reader.list.start()
    found = None
    while found is None:
        step = reader.list.next(0)
        assert isinstance(step, Question)
        found = reader.ask(step)
    assert len(reader.asked) < 40


def test_the_order_is_random() -> None:
    texts = tree(DOMAIN, range(40)).texts
    orders = {tuple(map(str, Reader(url(DOMAIN), texts, seed=n).round())) for n in range(5)}
    assert len(orders) == 5
    again = {tuple(map(str, Reader(url(DOMAIN), texts, seed=3).round())) for _ in range(3)}
    assert len(again) == 1, "chance is an argument"


def test_several_questions_are_open_at_once() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(40), [url("other.example")]).texts)
    reader.list.start()
    found: list[Enr] = []
    open_: list[Question] = []
    while True:
        while (step := reader.list.next(0)) is not None:
            assert isinstance(step, Question)
            open_.append(step)
        if not open_:
            break
        random.Random(1).shuffle(open_)
        found += [each] if (each := reader.ask(open_.pop())) else []
    assert ids(found) == numbers(*range(40))
    assert max(Counter(reader.asked).values()) == 1


def test_a_second_round_asks_for_nothing_while_the_root_is_good() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(40)).texts)
    assert ids(reader.round()) == numbers(*range(40))
    reader.asked.clear()
    reader.now = MIN_ROOT_TTL - 1
    assert ids(reader.round()) == numbers(*range(40))
    assert reader.asked == []
    reader.now = MIN_ROOT_TTL
    assert ids(reader.round()) == numbers(*range(40))
    assert reader.asked == [DOMAIN]


@pytest.mark.parametrize(
    ("ttl", "due"), [(0, MIN_ROOT_TTL), (-5, MIN_ROOT_TTL), (600, 600), (1 << 31, MAX_ROOT_TTL)]
)
def test_the_ttl_of_the_root_has_bounds(ttl: float, due: float) -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN).texts)
    reader.ttl = ttl
    reader.now = 1000.0
    reader.round()
    assert reader.list.root_due == 1000 + due


def test_a_changed_list_is_read_where_it_changed() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(40)).texts)
    reader.round()
    reader.asked.clear()
    reader.texts = tree(DOMAIN, range(1, 41), seq=2).texts
    reader.now = 100.0
    assert ids(reader.round()) == numbers(*range(1, 41))
    assert reader.faults == []
    fresh = tree(DOMAIN, range(1, 41)).texts.keys() - tree(DOMAIN, range(40)).texts.keys()
    assert {*reader.asked} == fresh | {DOMAIN}


def test_a_list_that_changes_within_a_round_gives_each_record_once() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(30)).texts)
    steps = 0

    def pass_time() -> None:
        nonlocal steps
        steps += 1
        if steps % 10 == 0 and steps <= 100:
            reader.now += MIN_ROOT_TTL
            reader.texts = tree(DOMAIN, range(30 + steps), seq=steps).texts

    found = reader.round(each_step=pass_time)
    assert reader.list.roots[url(DOMAIN)].seq == 100
    assert len({each.node_id for each in found}) == len(found)
    assert ids(found) == numbers(*range(130))
    assert reader.faults == []


def test_an_answer_for_an_earlier_root_is_not_taken() -> None:
    old, new = tree(DOMAIN, [1]), tree(DOMAIN, [2], seq=2)
    reader = Reader(url(DOMAIN), old.texts)
    reader.list.start()
    root = reader.list.next(0)
    assert isinstance(root, Question)
    reader.ask(root)
    steps = [reader.list.next(0), reader.list.next(0)]
    late = [step for step in steps if isinstance(step, Question) and not step.of_links]
    reader.now, reader.texts = 100.0, new.texts
    again = reader.list.next(100.0)
    assert again == root
    reader.ask(root)
    assert [reader.list.answer(step, [str(record(1))], 60, 100.0) for step in late] == [None]


# -- links ------------------------------------------------------------------------------------


def chained(length: int) -> dict[str, str]:
    """Lists that link each to the next, each with the node of its number."""
    texts: dict[str, str] = {}
    for number in range(length):
        texts |= tree(f"{number}.example", [number], [url(f"{number + 1}.example")]).texts
    return texts


def test_links_are_followed_to_a_depth() -> None:
    reader = Reader(url("0.example"), chained(6))
    assert ids(reader.round()) == numbers(*range(MAX_DEPTH + 1))
    assert reader.kinds == [DnsLinkSkipped]
    assert len(reader.list.roots) == MAX_DEPTH + 1


def test_the_depth_is_that_of_the_shortest_way() -> None:
    """1 links to 2, 2 to 3, and 0 to 1, 2 and 3; whatever is read first, 6 is within reach."""
    texts = chained(6)
    texts |= tree("0.example", [0], [url("1.example"), url("3.example")]).texts
    for seed in range(10):
        reader = Reader(url("0.example"), texts, seed=seed)
        assert ids(reader.round()) == numbers(*range(6))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_loops_of_links_end(length: int) -> None:
    texts: dict[str, str] = {}
    for number in range(length):
        next_ = url(f"{(number + 1) % length}.example")
        texts |= tree(f"{number}.example", [number], [next_]).texts
    reader = Reader(url("0.example"), texts)
    assert ids(reader.round()) == numbers(*range(length))
    assert reader.kinds == [DnsLinkSkipped]
    assert max(Counter(reader.asked).values()) == 1


def test_one_domain_with_two_keys_is_two_lists() -> None:
    forged = DnsTree(key("other"), DOMAIN, 1, []).url
    reader = Reader(url(DOMAIN), tree(DOMAIN, [1], [forged]).texts)
    assert ids(reader.round()) == numbers(1)
    assert reader.kinds == [DnsRootForged]


def test_a_linked_list_that_fails_costs_the_others_nothing() -> None:
    texts = tree(DOMAIN, [1], [url("gone.example"), url("good.example")]).texts
    texts |= tree("good.example", [2]).texts
    assert ids(Reader(url(DOMAIN), texts).round()) == numbers(1, 2)


@pytest.mark.parametrize("seed", range(8))
def test_a_linked_list_is_read_in_each_round(seed: int) -> None:
    """Also where the link comes behind all records, and is known already."""
    texts = tree(DOMAIN, [1], [url("other.example")]).texts | tree("other.example", [2]).texts
    reader = Reader(url(DOMAIN), texts, seed=seed)
    for reader.now in (0.0, 1.0, MIN_ROOT_TTL, MIN_ROOT_TTL + 1):
        assert ids(reader.round()) == numbers(1, 2)


def test_lists_that_are_not_linked_to_any_more_are_forgotten() -> None:
    reader = Reader(url("0.example"), chained(3))
    reader.round()
    reader.texts = {**chained(3), **tree("0.example", [0], seq=2).texts}
    for reader.now in (100.0, 200.0):
        assert ids(reader.round()) == numbers(0)
    assert set(reader.list.roots) == {url("0.example")}


# -- what is wrong ----------------------------------------------------------------------------


def test_a_lower_sequence_number_is_refused() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, [1, 2], seq=5).texts)
    reader.round()
    reader.texts = tree(DOMAIN, [3], seq=4).texts
    reader.now = 100.0
    assert ids(reader.round()) == numbers(1, 2), "what was known still counts"
    assert reader.kinds == [DnsSeqFell]
    assert reader.list.root_due == 100 + MIN_ROOT_TTL, "it is not asked for at once again"
    assert reader.list.roots[url(DOMAIN)].seq == 5


def test_a_sequence_number_of_an_earlier_run_counts() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, [1], seq=4).texts, seqs={url(DOMAIN): 5})
    assert reader.round() == []
    assert reader.kinds == [DnsSeqFell]
    again = Reader(url(DOMAIN), tree(DOMAIN, [1], seq=5).texts, seqs={url(DOMAIN): 5})
    assert ids(again.round()) == numbers(1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", DnsListError),
        ("v=spf1 -all", DnsListError),
        ("enrtree-root:v2 e=A", DnsListError),
        (DnsTree(key("other"), DOMAIN, 1, []).texts[DOMAIN], DnsRootForged),
    ],
)
def test_a_bad_root_is_left_out(text: str, error: type[DnsListError]) -> None:
    reader = Reader(url(DOMAIN), {DOMAIN: text})
    assert reader.round() == []
    assert reader.kinds == [error]
    reader.texts = tree(DOMAIN, [1]).texts
    assert reader.round() == [], "it is not asked for at once again"
    reader.now = MIN_ROOT_TTL
    assert ids(reader.round()) == numbers(1)


def test_a_dns_that_fails_leaves_what_it_said_before() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, [1, 2]).texts)
    reader.round()
    reader.texts = {}
    reader.now = 1e6
    assert ids(reader.round()) == numbers(1, 2)


def test_a_domain_may_have_other_texts() -> None:
    made = tree(DOMAIN, [1])
    reader = Reader(url(DOMAIN), made.texts)
    reader.list.start()
    found = []
    while isinstance(step := reader.list.next(0), Question):
        texts = ["v=spf1 -all", made.texts[step.name], "\udcff", "google-site-verification=x"]
        found.append(reader.list.answer(step, texts, 60, 0))
    assert found.count(None) == len(found) - 1
    assert reader.faults == []


def test_two_roots_are_none() -> None:
    reader = Reader(url(DOMAIN), {})
    reader.list.start()
    step = reader.list.next(0)
    assert isinstance(step, Question)
    roots = [tree(DOMAIN, [number]).texts[DOMAIN] for number in (1, 2)]
    assert reader.list.answer(step, roots, 60, 0) is None
    assert reader.kinds == [DnsListError]


def change_each(texts: dict[str, str], change: Any) -> None:
    """Change one text after the other below the root; no other record is lost than those below."""
    for name in texts.keys() - {DOMAIN}:
        changed = texts | {name: change(texts[name])}
        reader = Reader(url(DOMAIN), changed)
        found = reader.round()
        assert len(reader.faults) == 1
        at, error = reader.faults[0]
        assert at == name
        assert isinstance(error, (DnsListError, EnrError))
        assert {each.node_id for each in found} < {record(n).node_id for n in range(20)}


def test_a_text_with_another_hash_is_left_out_with_what_is_below_it() -> None:
    texts = tree(DOMAIN, range(20)).texts
    nodes = {name: t for name, t in texts.items() if t != EMPTY}
    change_each({**nodes}, lambda text: text[:-1])
    change_each({**nodes}, lambda text: str(record(99)))
    change_each({**nodes}, lambda text: "")
    reader = Reader(url(DOMAIN), {**texts, f"{label_of(EMPTY)}.{DOMAIN}": str(url("evil.example"))})
    assert len(reader.round()) == 20
    assert reader.kinds == [DnsHashWrong]
    assert "evil.example" not in reader.asked


def test_a_link_among_nodes_and_a_node_among_links_are_left_out() -> None:
    link, node = str(url("other.example")), str(record(1))
    texts = planted(branch(link, node), branch(node, link), {"link": link, "node": node})
    texts |= tree("other.example", [2]).texts
    reader = Reader(url(DOMAIN), texts)
    assert ids(reader.round()) == numbers(1, 2)
    assert reader.kinds == [DnsMisplaced, DnsMisplaced]


def test_a_forged_record_is_left_out() -> None:
    good = str(record(1))
    other = str(record(2))
    forged = str(record(3))[:60] + str(record(3))[60:].replace("A", "B", 1)
    texts = planted(branch(good, forged, other), EMPTY, {"1": good, "2": forged, "3": other})
    reader = Reader(url(DOMAIN), texts)
    assert ids(reader.round()) == numbers(1, 2)
    assert len(reader.faults) == 1
    assert isinstance(reader.faults[0][1], EnrError)


def test_a_root_may_lead_to_one_label_twice() -> None:
    node = str(record(1))
    both = branch(node, node)
    reader = Reader(url(DOMAIN), planted(both, both, {"node": node}))
    assert ids(reader.round()) == numbers(1)
    assert reader.kinds == [DnsMisplaced]
    assert max(Counter(reader.asked).values()) == 1


# -- how much ---------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a small list exceeds."""
    monkeypatch.setattr(dns_list, "MAX_LEAVES", 20)
    monkeypatch.setattr(dns_list, "MAX_BRANCHES", 10)
    monkeypatch.setattr(dns_list, "MAX_ENTRIES", 30)
    monkeypatch.setattr(dns_list, "MAX_LISTS", 4)


@pytest.mark.usefixtures("small")
def test_a_list_of_too_many_leaves_is_read_in_part() -> None:
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(60)).texts)
    for _ in range(2):
        assert len(reader.round()) == 20
        assert reader.kinds == [DnsListTooLarge]
        assert len(reader.asked) <= 30
        reader.faults.clear()
        reader.asked.clear()


@pytest.mark.usefixtures("small")
def test_all_lists_together_have_a_number_of_leaves() -> None:
    others = [f"{number}.example" for number in range(3)]
    texts = tree(DOMAIN, range(5), map(url, others)).texts
    for at, domain in enumerate(others):
        texts |= tree(domain, range(10 * at, 10 * at + 10)).texts
    reader = Reader(url(DOMAIN), texts)
    assert len(reader.round()) == 20 - len(others)
    assert reader.kinds == [DnsListTooLarge]


@pytest.mark.usefixtures("small")
def test_a_list_of_too_many_branches_is_read_in_part() -> None:
    """Each branch has a branch and a node: the deepest tree."""
    top = EMPTY
    texts: dict[str, str] = {}
    for number in range(15):
        texts |= {top: top, (node := str(record(number))): node}
        top = branch(top, node)
    reader = Reader(url(DOMAIN), planted(top, EMPTY, texts))
    assert len(reader.round()) <= 10
    assert reader.kinds == [DnsListTooLarge]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("changing", [True, False])
def test_what_is_kept_of_a_list_has_a_bound(changing: bool) -> None:
    """Of one that is too large, and of one that changes all the time."""
    reader = Reader(url(DOMAIN), tree(DOMAIN, range(60)).texts)
    for number in range(10):
        if changing:
            reader.texts = tree(DOMAIN, range(9 * number, 9 * number + 9), seq=number + 1).texts
        reader.round()
        reader.now += MIN_ROOT_TTL
        kept = sum(len(each.entries) for each in reader.list._trees.values())
        assert kept <= 30 + 20 + 10


@pytest.mark.usefixtures("small")
def test_links_to_too_many_lists_are_left_out() -> None:
    others = [f"{number}.example" for number in range(8)]
    texts = tree(DOMAIN, range(3), map(url, others)).texts
    for at, domain in enumerate(others):
        texts |= tree(domain, [10 + at]).texts
    reader = Reader(url(DOMAIN), texts)
    assert len(reader.round()) == 3 + 3
    assert reader.kinds == [DnsListTooLarge] * 5


def test_the_bounds_hold_a_full_list() -> None:
    """Of 10,000 nodes, as the largest that is read; its branches fit."""
    labels, branches = 10_000, 0
    while labels > 1:
        labels = -(-labels // 13)
        branches += labels
    assert branches == 836 < dns_list.MAX_BRANCHES


# -- anything ---------------------------------------------------------------------------------

TEXTS = [
    *tree(DOMAIN, range(3), [url("a.example")]).texts.values(),
    *tree("a.example", range(2, 5), [url(DOMAIN)], seq=3).texts.values(),
    *planted(branch("x"), branch(str(url("a.example"))), {"x": "x"}, seq=2).values(),
    "",
    EMPTY,
]


@given(st.lists(st.tuples(st.sampled_from(TEXTS) | st.text(), st.floats(0, 1e5)), max_size=60))
def test_any_answers_give_good_records_or_faults(answers: list[tuple[str, float]]) -> None:
    reader = Reader(url(DOMAIN), {})
    known = {str(record(number)) for number in range(5)}
    seqs = [0]
    reader.list.start()
    for text, time in answers:
        reader.now += time
        step = reader.list.next(reader.now)
        if step is None:
            reader.list.start()
        elif isinstance(step, Question):
            found = reader.list.answer(step, [text], time, reader.now)
            assert found is None or str(found) in known
        else:
            assert str(step) in known
        if root := reader.list.roots.get(url(DOMAIN)):
            seqs.append(root.seq)
    assert all(one <= other for one, other in pairwise(seqs))
