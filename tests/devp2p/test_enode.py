import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.devp2p import enode
from wakumail.devp2p.enode import Enode
from wakumail.devp2p.keys import node_id, private_key

ID = node_id(private_key(b"\x04" * 32).public_key)
HEX = ID.hex()


@pytest.mark.parametrize(
    ("url", "host", "port", "discport"),
    [
        (f"enode://{HEX}@10.3.58.6:30303", "10.3.58.6", 30303, 30303),
        (f"enode://{HEX}@10.3.58.6:30303?discport=30301", "10.3.58.6", 30303, 30301),
        (f"enode://{HEX}@10.3.58.6:30303?discport=0", "10.3.58.6", 30303, 0),
        (f"enode://{HEX}@[2001:db8::1]:443", "2001:db8::1", 443, 443),
        (f"enode://{HEX}@mail-01.do-ams3.eth.prod:65535", "mail-01.do-ams3.eth.prod", 65535, 65535),
        (f"enode://{HEX}@localhost:30303", "localhost", 30303, 30303),
        (f"enode://{HEX}@my_service:30303", "my_service", 30303, 30303),
    ],
)
def test_url_both_ways(url: str, host: str, port: int, discport: int) -> None:
    enode = Enode.parse(url)
    assert enode == Enode(ID, host, port, discport)
    assert str(enode) == url
    assert url.removeprefix(f"enode://{HEX}@").startswith(enode.address)


def test_upper_case_hex_and_a_repeated_discport_are_read() -> None:
    url = f"enode://{HEX.upper()}@10.0.0.1:7?discport=7"
    assert str(Enode.parse(url)) == f"enode://{HEX}@10.0.0.1:7"


@pytest.mark.parametrize(
    ("query", "discport"),
    [
        ("", 7),
        ("discv4=1", 7),
        ("a&b=&=c", 7),
        ("discport=9&discport=8", 9),
        ("x=1&discport=0&ip=::", 0),
        ("Discport=9", 7),
    ],
)
def test_other_parameters_are_ignored_as_others_do(query: str, discport: int) -> None:
    url = f"enode://{HEX}@10.0.0.1:7?{query}"
    assert Enode.parse(url) == Enode(ID, "10.0.0.1", 7, discport)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "looks like"),
        (HEX, "looks like"),
        (f"enr://{HEX}@10.0.0.1:1", "looks like"),
        (f"ENODE://{HEX}@10.0.0.1:1", "looks like"),
        (f"enode://{HEX}", "looks like"),
        (f"enode://{HEX}@10.0.0.1", "looks like"),
        (f"enode://{HEX}@10.0.0.1:", "looks like"),
        (f"enode://{HEX}@10.0.0.1:x", "looks like"),
        (f"enode://{HEX}@10.0.0.1:-1", "looks like"),
        (f"enode://{HEX}@10.0.0.1:\u0661", "looks like"),
        (f"enode://{HEX}@10.0.0.1:1?discport=", "looks like"),
        (f"enode://{HEX}@10.0.0.1:1?discport=x&discv4=1", "looks like"),
        (f"enode://{HEX}@10.0.0.1:1?discv4=1 ", "looks like"),
        (f"enode://{HEX}@10.0.0.1:1\n", "looks like"),
        (f" enode://{HEX}@10.0.0.1:1", "looks like"),
        (f"enode://{HEX}@10.0.0.1:1/", "looks like"),
        (f"enode://{HEX}@10.0.0.1:" + "9" * 5000, "looks like"),
        (f"enode://{HEX[:-1]}@10.0.0.1:1", "128 hexadecimal"),
        (f"enode://{HEX}00@10.0.0.1:1", "128 hexadecimal"),
        (f"enode://{HEX[:-1]}g@10.0.0.1:1", "128 hexadecimal"),
        (f"enode://{'00' * 64}@10.0.0.1:1", "public key"),
        (f"enode://{HEX}@10.0.0.1:65536", "TCP port"),
        (f"enode://{HEX}@10.0.0.1:1?discport=65536", "UDP port"),
        (f"enode://{HEX}@::1:30303", "brackets"),
        (f"enode://{HEX}@[10.0.0.1]:30303", "brackets"),
        (f"enode://{HEX}@[::1:30303", "brackets"),
        (f"enode://{HEX}@[]:30303", "brackets"),
        (f"enode://{HEX}@[:]:30303", "':'"),
        (f"enode://{HEX}@[12345::]:30303", "'12345::'"),
        (f"enode://{HEX}@[fe80::1%eth0]:30303", "zone"),
        (f"enode://{HEX}@:30303", "neither"),
        (f"enode://{HEX}@a..b:30303", "neither"),
        (f"enode://{HEX}@-a:30303", "neither"),
        (f"enode://{HEX}@a b:30303", "neither"),
        (f"enode://{HEX}@b\u00fccher.example:30303", "neither"),
        (f"enode://{HEX}@user@host:30303", "neither"),
        (f"enode://{HEX}@{'a' * 64}:30303", "neither"),
        (f"enode://{HEX}@{'.'.join(['a' * 63] * 4)}:30303", "neither"),
        (f"enode://{HEX}@256.0.0.1:30303", "256"),
        (f"enode://{HEX}@1.2.3:30303", "4 octets"),
        (f"enode://{HEX}@host.123:30303", "4 octets"),
        (f"enode://{HEX}@0x0:30303", "4 octets"),
        (f"enode://{HEX}@0X7f000001:30303", "4 octets"),
        (f"enode://{HEX}@0.0.0.0x0:30303", "decimal digits"),
    ],
)
def test_parse_says_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Enode.parse(url)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("identity", "host", "port", "discport"),
    [
        (ID[1:], "10.0.0.1", 1, 1),
        (ID, "[::1]", 1, 1),
        (ID, "10.0.0.1", -1, 1),
        (ID, "10.0.0.1", 1, -1),
    ],
    ids=["id", "host", "port", "discport"],
)
def test_a_wrong_enode_cannot_be_made(identity: bytes, host: str, port: int, discport: int) -> None:
    with pytest.raises(ValueError, match=r"node id|hex digits|port"):
        Enode(identity, host, port, discport)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "[::]",
        "[::0.0.0.0]",
        "[::ffff:0.0.0.0]",
        "255.255.255.255",
        "[::ffff:255.255.255.255]",
        "224.0.0.1",
        "239.255.255.255",
        "[::ffff:224.0.0.1]",
        "[ff02::1]",
        "[fe80::1]",
    ],
)
def test_an_address_of_no_one_node_is_read_but_cannot_be_dialed(host: str) -> None:
    assert "is no address of a node" in Enode.parse(f"enode://{HEX}@{host}:30303").undialable


@pytest.mark.parametrize("host", ["10.0.0.1", "[::1]", "localhost", "0.example.org", "240.0.0.1"])
def test_any_other_address_can_be_dialed(host: str) -> None:
    assert not Enode.parse(f"enode://{HEX}@{host}:30303").undialable


@pytest.mark.parametrize(
    ("host", "spelling"),
    [
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ("[::FFFF:a00:1]", "10.0.0.1"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[2001:DB8::0:1]", "[2001:db8::1]"),
    ],
)
def test_an_address_has_one_spelling(host: str, spelling: str) -> None:
    assert str(Enode.parse(f"enode://{HEX}@{host}:1")) == f"enode://{HEX}@{spelling}:1"


def test_a_node_for_discovery_only_is_read_but_cannot_be_dialed() -> None:
    url = f"enode://{HEX}@10.0.0.1:0?discport=30301"
    assert str(Enode.parse(url)) == url
    assert Enode.parse(url).undialable.startswith("0 is no TCP port: a node for discovery only")


hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,8}){0,3}", fullmatch=True),
)


@given(st.integers(1, 2**200), hosts, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
@settings(max_examples=100, deadline=None)
def test_parse_inverts_str(secret: int, host: str, port: int, discport: int) -> None:
    identity = node_id(private_key(secret.to_bytes(32, "big")).public_key)
    enode = Enode(identity, host, port, discport)
    assert Enode.parse(str(enode)) == enode


@given(st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_is_an_enode_or_a_value_error(text: str) -> None:
    for url in (text, f"enode://{HEX}@{text}", f"enode://{HEX}@{text}:1"):
        try:
            enode = Enode.parse(url)
        except ValueError:
            continue
        assert Enode.parse(str(enode)) == enode


@pytest.mark.parametrize("fill", ["1.", "a", ":", "[", "?discport=1"])
def test_a_long_text_is_refused_before_it_is_looked_at(
    fill: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enode, "check_host", None)
    url = f"enode://{'ab' * 64}@{fill * (5 << 20)}:1"
    with pytest.raises(ValueError, match=f"at most {enode.MAX_URL} characters"):
        Enode.parse(url)
