"""Access over TCP: hosts, origins, tokens, and the addresses that need a token."""

from pathlib import Path

import pytest

from tests.support.rpc_callers import access_with
from wakumail.rpc.access import ANY, MIN_TOKEN, AccessError, is_loopback, load_token

TOKEN = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LocalHost:8545",
        "127.0.0.1",
        "127.0.0.1:8545",
        "192.168.1.1:80",
        "[::1]",
        "[::1]:8545",
        "[2001:db8::1]:1",
    ],
)
def test_hosts_that_cannot_be_rebound(host: str | None) -> None:
    assert access_with().allows_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":8545",
        "evil.example",
        "evil.example:8545",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:localhost",
        "[localhost].evil.example",
        "[evil.example]",
        "localhost@evil.example",
        "evil.example@localhost",
        "127.0.0.1@evil.example",
        "1.2.3",
        "2130706433",
    ],
)
def test_hosts_that_could_be(host: str) -> None:
    assert not access_with().allows_host(host)
    assert access_with(vhosts=[ANY]).allows_host(host)


def test_hosts_are_a_choice() -> None:
    access = access_with(vhosts=["Node.Example"])
    assert access.allows_host("node.example:443")
    assert not access.allows_host("localhost")
    assert access.allows_host("127.0.0.1")


def test_origins() -> None:
    page = "http://localhost:3000"
    assert access_with().allows_origin(None)
    assert not access_with().allows_origin(page)
    assert not access_with().allows_origin("null")
    assert access_with(origins=[page]).allows_origin("HTTP://LocalHost:3000")
    assert not access_with(origins=[page]).allows_origin("http://localhost:3001")
    assert not access_with(origins=[page]).allows_origin("https://localhost:3000")
    assert access_with(origins=[ANY]).allows_origin("https://evil.example")


@pytest.mark.parametrize(
    ("rule", "matched", "others"),
    [
        ("app.example", ["http://app.example", "https://App.example:8"], ["http://x.app.example"]),
        ("https://app.example", ["https://app.example:8"], ["http://app.example"]),
        (
            "app.example:8",
            ["http://app.example:8", "https://app.example:8"],
            ["http://app.example"],
        ),
        ("https://app.example:443", ["https://app.example"], ["https://app.example:8"]),
        ("app.example:80", ["http://app.example"], ["https://app.example"]),
        ("[::1]", ["http://[::1]:3000"], ["http://[::2]"]),
        ("[0:0:0:0:0:0:0:1]", ["http://[::1]:3000"], ["http://[::2]"]),
        ("https://[2001:DB8::0:1]", ["https://[2001:db8::1]"], ["https://[2001:db8::2]"]),
        ("a.example.", ["http://a.example."], ["http://a.example"]),
        ("null", ["null"], ["http://localhost"]),
        ("moz-extension://0a-1b", ["moz-extension://0a-1b"], ["https://0a-1b"]),
    ],
)
def test_an_origin_rule_matches_what_it_leaves_open(
    rule: str, matched: list[str], others: list[str]
) -> None:
    access = access_with(origins=[rule])
    for origin in matched:
        assert access.allows_origin(origin), origin
    for origin in [*others, "", "https://", "https://evil.example", "a b", f"{matched[0]}/path"]:
        assert not access.allows_origin(origin), origin


@pytest.mark.parametrize(
    "rule",
    [
        "'*'",
        "",
        "*.example",
        "https://*",
        "https://a.example/",
        "a:b",
        "a:65536",
        "https://a:0",
        "a b",
        "a..b",
        "a.b..",
        ".",
        "1.2.3.4.5",
        "256.0.0.1",
        "[::1.2.3.4.5.6]",
        "[::1",
        "[::1%lo]",
        "::1",
        f"{'a' * 64}.b",
    ],
)
def test_an_origin_rule_that_matches_nothing_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        access_with(origins=[rule])


@pytest.mark.parametrize(
    "name",
    [
        "'*'",
        "a:80",
        "http://a",
        "*.a",
        "",
        "a/b",
        "a b",
        "[::1",
        "::1%lo",
        "[::1%lo]",
        "a..b",
        "1.2.3.4.5",
    ],
)
def test_a_host_that_matches_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        access_with(vhosts=[name])


@pytest.mark.parametrize("name", ["a", "A.example", "a_b", "127.0.0.1", "::1", "[::1]", "*", "a."])
def test_a_host_name(name: str) -> None:
    access_with(vhosts=[name])


def test_tokens() -> None:
    access = access_with(token=TOKEN)
    assert access.allows_token(f"Bearer {TOKEN}")
    assert access.allows_token(f"bearer  {TOKEN} ")
    for wrong in (
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}0",
        f"Bearer {TOKEN.upper()}",
        "Bearer \udcff\u2603",
    ):
        assert not access.allows_token(wrong), wrong


def test_without_a_token_none_is_asked() -> None:
    assert access_with().allows_token(None)
    assert access_with().allows_token("Basic whatever")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    access_with().check_exposure(host)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.168.1.1", "node.example", "fe80::1"])
def test_elsewhere_a_token_is_needed(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(AccessError, match=r"open to all.*--rpc\.token-file"):
        access_with().check_exposure(host)
    access_with(token=TOKEN).check_exposure(host)


def test_a_token_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f" {TOKEN}\n")
    assert load_token(file) == TOKEN
    with pytest.raises(FileNotFoundError):
        load_token(tmp_path / "none")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"x" * (MIN_TOKEN - 1),
        b"=" * MIN_TOKEN,
        b"two words that are long",
        TOKEN.encode() + b"\n" + TOKEN.encode(),
        "\u00e9".encode() * MIN_TOKEN,
        b"\xff" * MIN_TOKEN,
    ],
)
def test_a_token_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(AccessError, match="openssl"):
        load_token(file)
    file.write_bytes(b"x" * MIN_TOKEN)
    assert load_token(file) == "x" * MIN_TOKEN
