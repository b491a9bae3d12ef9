import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dns_lists import Reader, key, record, tree, url
from tests.vectors import DISCOVERY
from wakumail.devp2p.dns_tree import (
    MAX_CHILDREN,
    MAX_DOMAIN,
    MAX_ENTRY,
    MAX_SEQ,
    Branch,
    DnsListError,
    DnsRootForged,
    DnsTree,
    ListUrl,
    TreeRoot,
    label_of,
    parse_entry,
)
from wakumail.devp2p.enr import Enr, EnrError
from wakumail.devp2p.keys import private_key

KEY = private_key(bytes.fromhex(DISCOVERY["tree_key"]))
ROOT = DISCOVERY["txt"]["nodes.example.org"]
URL = ListUrl.parse(DISCOVERY["url"])

EXAMPLE = (
    "enrtree-root:v1 e=JWXYDBPXYWG6FX3GMDIBFA6CJ4 l=C7HRFPF3BLGF3YR4DY5KX3SMBE seq=1 sig=o908WmNp7L"
    "ibOfPsr4btQwatZJ5URBr2ZAuxvK4UWHlsB9sUOTJQaGAlLPVAhM__XJesCHxLISo94z5Z2a463gA"
)
"""The root of the example in EIP-1459."""

EXAMPLE_URL = "enrtree://AKPYQIUQIL7PSIACI32J7FGZW56E5FKHEFCCOFHILBIMW3M6LWXS2@nodes.example.org"
"""The key that signed it; the URL in EIP-1459 has the key of the list that it links to."""

EXAMPLE_LINK = (
    "enrtree://AM5FCQLWIZX2QFPNJAP7VUERCCRNGRHWZG3YYHIUV7BVDQ5FDPRT2@morenodes.example.org"
)


def test_the_tree_of_go_ethereum_is_made_byte_for_byte() -> None:
    records = [Enr.parse(node["enr"]) for node in DISCOVERY["nodes"]]
    for _ in range(3):
        random.shuffle(records)
        made = DnsTree(KEY, "nodes.example.org", 1, [*records, records[0]])
        assert str(made.url) == DISCOVERY["url"]
        assert made.texts == DISCOVERY["txt"]


def test_the_tree_of_go_ethereum_verifies() -> None:
    reader = Reader(URL, DISCOVERY["txt"])
    records = reader.round()
    assert sorted(map(str, records)) == sorted(node["enr"] for node in DISCOVERY["nodes"])
    assert reader.faults == []
    assert sorted(reader.asked) == sorted(DISCOVERY["txt"])


def test_the_example_of_the_specification_verifies() -> None:
    read = TreeRoot.parse(EXAMPLE, ListUrl.parse(EXAMPLE_URL).key)
    assert read == TreeRoot("JWXYDBPXYWG6FX3GMDIBFA6CJ4", "C7HRFPF3BLGF3YR4DY5KX3SMBE", 1)
    labels = "2XS2367YHAXJFGLZHVAWLQD4ZY,H4FHT4B454P6UXFD7JCYQ5PWDY,MHTDO6TMUBRIA2XWG5LUDACK24"
    assert label_of(f"enrtree-branch:{labels}") == read.records
    assert label_of(EXAMPLE_LINK) == read.links
    assert str(parse_entry(EXAMPLE_LINK)) == EXAMPLE_LINK


@pytest.mark.parametrize("count", [0, 1, 2, 13, 14, 169, 170, 400])
def test_every_size_of_a_list_is_read_back(count: int) -> None:
    made = tree("list.example", range(count), [url("one.example"), url("two.example")], seq=7)
    branches = [e for text in made.entries.values() if isinstance(e := parse_entry(text), Branch)]
    assert all(len(branch.labels) <= MAX_CHILDREN for branch in branches)
    assert max(map(len, made.texts.values())) <= MAX_ENTRY
    assert all(label_of(text) == label for label, text in made.entries.items())
    reader = Reader(made.url, made.texts)
    assert {each.node_id for each in reader.round()} == {record(n).node_id for n in range(count)}
    assert reader.faults == []
    assert reader.list.roots == {made.url: made.root}
    assert set(made.texts) == {name for name in reader.asked if name.endswith("list.example")}


def test_of_two_records_of_a_node_the_newest_is_listed() -> None:
    old, new = record(1, seq=1), record(1, seq=2)
    made = DnsTree(KEY, "list.example", 1, [new, old])
    assert str(new) in made.entries.values()
    assert str(old) not in made.entries.values()


@pytest.mark.parametrize("seq", [-1, MAX_SEQ + 1])
def test_a_tree_has_a_sequence_number_of_64_bits(seq: int) -> None:
    with pytest.raises(DnsListError, match="64 bits"):
        DnsTree(KEY, "list.example", seq, [])
    assert TreeRoot.parse(tree("a.example", seq=MAX_SEQ).texts["a.example"], url("a.example").key)


@pytest.mark.parametrize("domain", ["", ".", "a..b", "-a", "a-", "ä.example", "a b", "a" * 64])
def test_a_domain_is_a_name_in_the_dns(domain: str) -> None:
    with pytest.raises(DnsListError, match="is no domain"):
        DnsTree(KEY, domain, 1, [])
    with pytest.raises(DnsListError, match="DNS list"):
        ListUrl.parse(f"enrtree://{URL}@{domain}")


def test_domains_are_compared_without_case_and_last_dot() -> None:
    assert ListUrl.parse(f"{str(URL).partition('@')[0]}@Nodes.Example.ORG.") == URL
    long = ".".join(["a" * 49] * 4)
    assert ListUrl(URL.key, long).domain == long
    with pytest.raises(DnsListError):
        ListUrl(URL.key, "a" * (MAX_DOMAIN // 4) + "." + long)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "enrtree://",
        str(URL).lower(),
        str(URL).replace("enrtree", "enode"),
        str(URL).replace("AMQ", "AM1"),
        str(URL).replace("LY@", "L@"),
        str(URL).replace("LY@", "LZ@"),
        "enrtree://" + "A" * 53 + "@nodes.example.org",
        str(URL) + "@b",
        str(URL) + ":53",
        str(URL) + "a" * MAX_ENTRY,
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(DnsListError):
        ListUrl.parse(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v1", "v2"),
        (" e=", "  e="),
        ("seq=1", "seq=01"),
        ("seq=1", "seq=-1"),
        ("seq=1", "seq=99999999999999999999"),
        ("seq=1", "seq=" + "1" * 400),
        ("e=4GV5WZMGBEW6LR6CVNVLZ3PI4I", "e=4GV5WZ"),
        ("e=4GV5WZMGBEW6LR6CVNVLZ3PI4I", "e=4gv5wzmgbew6lr6cvnvlz3pi4i"),
        ("e=4GV5WZMGBEW6LR6CVNVLZ3PI4I", "e="),
        ("SOBuwA", "SOBuw"),
        ("SOBuwA", "SOBuwA="),
        ("SOBuwA", "SOBuwA more"),
    ],
)
def test_what_is_no_root(old: str, new: str) -> None:
    assert old in ROOT
    with pytest.raises(DnsListError) as caught:
        TreeRoot.parse(ROOT.replace(old, new), URL.key)
    assert caught.type is DnsListError


@pytest.mark.parametrize(
    ("old", "new"), [("seq=1", "seq=2"), ("sig=Qv1", "sig=Qv2"), ("e=4", "e=5")]
)
def test_a_root_that_was_changed_is_forged(old: str, new: str) -> None:
    with pytest.raises(DnsRootForged):
        TreeRoot.parse(ROOT.replace(old, new), URL.key)


def test_a_root_of_another_key_is_forged() -> None:
    with pytest.raises(DnsRootForged):
        TreeRoot.parse(ROOT, key("another").public_key.format())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=spf1 -all",
        ROOT,
        "enrtree-branch:,",
        "enrtree-branch:A",
        "enrtree-branch:" + "A" * 19,
        "enrtree-branch:" + "A" * 53,
        "enrtree-branch:" + "=" * 26,
        "enrtree-branch:" + ",".join(["A" * 26] * (MAX_CHILDREN + 1)),
        "enrtree-branch:" + ",".join(["A" * 52] * MAX_CHILDREN),
        "enrtree-branch: " + "A" * 26,
    ],
)
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(DnsListError):
        parse_entry(text)


def test_labels_of_others_have_12_to_32_bytes() -> None:
    for characters in (20, 26, 52):
        branch = Branch(("A" * characters,))
        assert parse_entry(str(branch)) == branch


@given(st.text() | st.text("enrt-bac:/,ABC234@. v1=", max_size=60).map(lambda end: f"enr{end}"))
def test_any_text_is_an_entry_or_an_error(text: str) -> None:
    for parse in (parse_entry, ListUrl.parse, lambda text: TreeRoot.parse(text, URL.key)):
        with suppress(DnsListError, EnrError):
            parse(text)


@given(
    st.integers(0, 40),
    st.sets(st.sampled_from(["a.example", "b.example"])),
    st.integers(0, MAX_SEQ),
)
def test_every_tree_is_read_back(count: int, linked: set[str], seq: int) -> None:
    made = tree("list.example", range(count), map(url, linked), seq)
    reader = Reader(made.url, made.texts)
    assert len(reader.round()) == count
    assert reader.faults == []
    assert linked <= set(reader.asked)
