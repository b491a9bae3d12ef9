"""`wakumail dns`: lists signed, verified and published."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dns_lists import record, tree, url
from tests.support.dns_server import TxtServer
from tests.support.processes import run as run_wakumail
from tests.support.scripted import nobody
from tests.vectors import DISCOVERY
from wakumail.cli.command_line import main
from wakumail.cli.tree_file import ENTRY_TTL, ROOT_TTL, TreeFile, read_zone
from wakumail.devp2p.dns_tree import label_of
from wakumail.devp2p.enr import Enr

Dns = Callable[..., Any]
DOMAIN = "nodes.example.org"


@pytest.fixture
def dns(capsys: pytest.CaptureFixture[str]) -> Dns:
    """Runs `wakumail dns` in this process; returns its JSON or, without --json, its stdout."""

    def run(*arguments: object, code: int = 0) -> Any:
        words = ["dns", *map(str, arguments)]
        assert main(words) == code
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in words else out

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the key and the nodes of the vectors."""
    (tmp_path / "key").write_text(DISCOVERY["tree_key"])
    nodes = [node["enr"] for node in DISCOVERY["nodes"]]
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    return tmp_path


def signing(files: Path, *nodes: object) -> list[object]:
    """The arguments that sign some nodes, or those of the vectors."""
    given = nodes or ("--nodes", files / "nodes.json")
    return ["sign", "--key", files / "key", "--domain", DOMAIN, *given]


# -- sign -------------------------------------------------------------------------------------


def test_the_tree_of_go_ethereum_is_signed(dns: Dns, files: Path) -> None:
    expected = {"url": DISCOVERY["url"], "seq": 1, "txt": DISCOVERY["txt"]}
    assert dns(*signing(files), "--json") == expected
    assert json.loads(dns(*signing(files))) == expected
    assert dns(*signing(files), "--out", files / "tree") == f"{DISCOVERY['url']}\n"
    assert json.loads((files / "tree").read_text()) == expected


def test_the_sequence_number_rises_with_a_change_alone(dns: Dns, files: Path) -> None:
    out = ["--out", files / "tree", "--json"]
    assert dns(*signing(files), *out)["seq"] == 1
    assert dns(*signing(files), *out)["seq"] == 1
    assert dns(*signing(files, record(1), record(2)), *out)["seq"] == 2
    assert dns(*signing(files, record(2), record(1)), *out)["seq"] == 2
    assert dns(*signing(files, record(1)), *out, "--seq", 9)["seq"] == 9
    assert dns(*signing(files, record(2)), *out)["seq"] == 10


@pytest.mark.parametrize("seq", [1, 4])
def test_a_sequence_number_that_clients_refuse_is_refused(
    dns: Dns, files: Path, capsys: pytest.CaptureFixture[str], seq: int
) -> None:
    dns(*signing(files), "--out", files / "tree", "--seq", 4)
    before = (files / "tree").read_bytes()
    words = [*signing(files, record(1)), "--out", files / "tree", "--seq", seq]
    assert main(["dns", *map(str, words)]) == 1
    assert "sequence number 4 already" in capsys.readouterr().err
    assert (files / "tree").read_bytes() == before


def test_links_are_signed(dns: Dns, files: Path) -> None:
    one, two = url("one.example"), url("two.example")
    text = dns(*signing(files, "--link", two, "--link", one), "--json")["txt"]
    assert str(one) in text.values()
    assert str(two) in text.values()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("sign --key KEY --domain a.example", "give at least one NODE"),
        ("sign --key KEY --domain a.example enr:x", "node record"),
        ("sign --key KEY --domain a.example --nodes NONE", "NONE: No such file"),
        ("sign --key KEY --domain a.example --nodes KEY", "Expecting value"),
        ("sign --key KEY --domain a.example --link enrtree://x", "a DNS list looks like"),
        ("sign --key NODES --domain a.example --nodes NODES", "holds no node key"),
        ("sign --key KEY --domain a.example --nodes NODES --seq -1", "64 bits"),
        ("sign --nodes NODES --domain a.example", "--key"),
        ("verify enrtree://x", "a DNS list looks like"),
        ("verify", "URL|FILE"),
        ("verify x --dns-server name", "is no name server"),
    ],
)
def test_wrong_usage(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: str, told: str
) -> None:
    for word, path in (("KEY", "key"), ("NODES", "nodes.json"), ("NONE", "NONE")):
        arguments = arguments.replace(word, str(files / path))
    with pytest.raises(SystemExit) as ended:
        main(["dns", *arguments.split()])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no zone file|give the enrtree"),
        ("{}", "it is no DNS list"),
        ('{"url": 1}', "it is no DNS list"),
        ('{"url": "enrtree://x", "seq": 1, "txt": {}}', "a DNS list looks like"),
        (f'{{"url": "{url(DOMAIN)}", "seq": 1, "txt": {{"a": 1}}}}', "it is no DNS list"),
        ("\xff", "give the enrtree"),
    ],
)
def test_a_file_that_is_no_list(
    dns: Dns, files: Path, capsys: pytest.CaptureFixture[str], content: str, told: str
) -> None:
    (files / "bad").write_text(content)
    assert main(["dns", "verify", str(files / "bad")]) == 1
    error = capsys.readouterr().err
    assert any(part in error for part in told.split("|")), error
    assert main(["dns", "zone", str(files / "bad")]) == 1


@pytest.mark.parametrize("action", ["verify", "zone"])
def test_a_file_is_named_once(files: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    (files / "bad").write_text("{}", "utf-16")
    assert main(["dns", action, str(files / "bad")]) == 1
    error = capsys.readouterr().err
    assert error == f"wakumail dns: {files / 'bad'}: it is UTF-16: save it as UTF-8\n"


def test_a_wrong_domain_fails(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sign", "--key", files / "key", "--domain", "a b", "--nodes", files / "nodes.json"]
    assert main(["dns", *map(str, words)]) == 1
    assert "is no domain of a DNS list" in capsys.readouterr().err


def test_a_node_that_does_not_tell_its_record_is_named(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakumail.cli.dns.RECORD_TIMEOUT", 0.05)
    gone = nobody()
    assert main(["dns", *map(str, signing(files, gone, record(1)))]) == 1
    assert f"{gone} does not tell its record" in capsys.readouterr().err


def test_a_node_that_does_not_run_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dns", *map(str, signing(files, "--datadir", files))]) == 1
    assert "does the node run" in capsys.readouterr().err


# -- verify -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[TxtServer]:
    with TxtServer(DISCOVERY["txt"]) as server:
        yield server


def test_a_list_in_the_dns_is_verified(dns: Dns, server: TxtServer) -> None:
    [read] = dns("verify", DISCOVERY["url"], "--dns-server", server.at, "--json")["lists"]
    assert read["nodes"] == sorted(node["enr"] for node in DISCOVERY["nodes"])
    assert (read["seq"], read["links"], read["faults"]) == (1, [], [])
    assert read["mailservers"] == sum(Enr.parse(each).is_mailserver for each in read["nodes"]) == 14
    line = dns("verify", DISCOVERY["url"], "--dns-server", server.at)
    assert line.startswith(f"{DISCOVERY['url']}: seq 1, 40 nodes, 14 mailservers, ")


def test_a_list_that_has_a_fault_fails(dns: Dns, server: TxtServer) -> None:
    broken = f"{label_of(DISCOVERY['nodes'][0]['enr'])}.{DOMAIN}"
    server.texts[broken] = DISCOVERY["nodes"][1]["enr"]
    words = ["verify", DISCOVERY["url"], url("gone.example"), "--dns-server", server.at]
    one, gone = dns(*words, "--json", code=1)["lists"]
    assert len(one["nodes"]) == 39
    assert [(each["name"], each["error"]) for each in one["faults"]] == [(broken, "dns_hash_wrong")]
    assert (gone["seq"], gone["faults"][0]["error"]) == (None, "dns_name_missing")
    assert f"{url('gone.example')}: it cannot be read\n" in dns(*words, code=1)


def test_lists_that_link_to_each_other_are_good(dns: Dns) -> None:
    one = tree("one.example", range(3), [url("two.example")])
    two = tree("two.example", range(3, 5), [one.url])
    with TxtServer(one.texts | two.texts) as server:
        [read] = dns("verify", one.url, "--dns-server", server.at, "--json")["lists"]
    assert (len(read["nodes"]), read["links"], read["faults"]) == (5, [str(two.url)], [])


def test_a_list_that_takes_too_long_fails(dns: Dns, server: TxtServer) -> None:
    server.silent.add(DOMAIN)
    words = ["verify", DISCOVERY["url"], "--dns-server", server.at, "--timeout", 0.05, "--json"]
    [read] = dns(*words, code=1)["lists"]
    assert [each["error"] for each in read["faults"]] == ["dns_timed_out"]


def test_files_are_verified_without_the_dns(dns: Dns, files: Path) -> None:
    """A link that leads out of them is not followed."""
    dns(*signing(files, record(1), "--link", url("one.example")), "--out", files / "a")
    (files / "one").write_text(json.dumps(TreeFile.of(tree("one.example", [2, 3])).content()))
    [read] = dns("verify", files / "a", "--json")["lists"]
    assert (len(read["nodes"]), read["links"]) == (1, [])
    both = dns("verify", files / "a", files / "one", "--json")["lists"]
    assert [len(each["nodes"]) for each in both] == [3, 2]


def test_a_changed_file_fails(dns: Dns, files: Path) -> None:
    dns(*signing(files), "--out", files / "tree")
    text = (files / "tree").read_text()
    (files / "tree").write_text(text.replace("seq=1", "seq=2"))
    [read] = dns("verify", files / "tree", "--json", code=1)["lists"]
    assert [each["error"] for each in read["faults"]] == ["dns_root_forged"]
    dns("zone", files / "tree", code=1)


# -- zone -------------------------------------------------------------------------------------


def test_a_zone_file_is_read_back(dns: Dns, files: Path) -> None:
    """By dnspython, amid the other records of a domain."""
    dns(*signing(files), "--out", files / "tree")
    lines = dns("zone", files / "tree")
    assert lines.startswith(f"; {DISCOVERY['url']}\n")
    assert all(len(text) <= 255 for line in lines.splitlines() for text in line.split('"')[1::2])
    assert read_zone(lines, DOMAIN) == DISCOVERY["txt"]
    others = '$TTL 300\n@ IN SOA ns a ( 1 2 3 4 5 )\n@ IN NS ns\n@ TXT "v=spf1"\nns A 192.0.2.1\n'
    (files / "zone").write_text(others + lines)
    assert len(dns("verify", files / "zone", DISCOVERY["url"], "--json")["lists"]) == 1
    (files / "zone").write_text(lines.replace("86400", "86400 ("))
    dns("verify", files / "zone", DISCOVERY["url"], code=1)


def test_the_root_is_kept_for_a_minute_and_the_rest_for_a_day(dns: Dns, files: Path) -> None:
    dns(*signing(files), "--out", files / "tree")
    records = dns("zone", files / "tree", "--json")["records"]
    ttls = {each["name"]: each["ttl"] for each in records}
    assert ttls.pop(DOMAIN) == ROOT_TTL == 60
    assert set(ttls.values()) == {ENTRY_TTL}
    assert {each["name"]: each["text"] for each in records} == DISCOVERY["txt"]


def test_a_tree_of_ours_is_published_and_read_in_a_pipe(files: Path) -> None:
    """By processes: signed into a pipe, made a zone, served, and verified."""
    signed = run_wakumail("dns", *signing(files))
    zone = run_wakumail("dns", "zone", "-", stdin=signed).decode()
    with TxtServer(read_zone(zone, DOMAIN)) as server:
        told = run_wakumail("dns", "verify", DISCOVERY["url"], "--dns-server", server.at)
    assert b"40 nodes" in told
