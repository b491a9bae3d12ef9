"""Settings: each source is read alike, and an error names the source."""

import dataclasses
import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from tests.support.chosen_settings import CHOSEN, ENODE, EXCLUSIVE, KEY, OTHER, environ, setting
from wakumail.ops.config.layers import DEFAULT, ConfigError, load
from wakumail.ops.config.setting import SECTIONS, Setting, plain
from wakumail.ops.config.settings import (
    HIGHEST_MAX_PACKET,
    HIGHEST_MAX_REPLY,
    MAX_DAYS,
    SETTINGS,
    Contradiction,
    Settings,
)
from wakumail.ops.config.toml import LINE, Line, comment, document, literal
from wakumail.ops.config.values import LARGEST, LogLevel
from wakumail.rpc.namespaces import Namespace
from wakumail.waku.completion import CompletionForm
from wakumail.waku.packets import MAX_TOPIC_INTEREST


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "wakumail.toml"
    path.write_text(text)
    return str(path)


def refusal(
    tmp_path: Path,
    text: str = "",
    flags: Mapping[str, str | bool] | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """The error text for a file, flags and variables."""
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, variables or {}, written(tmp_path, text))
    return str(caught.value)


def fits(value: object, hint: Any) -> bool:
    """True if a value has the type of its annotation."""
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(item, get_args(hint)[0]) for item in value)
    if isinstance(hint, UnionType):
        return any(fits(value, kind) for kind in get_args(hint))
    return type(value) is hint or (isinstance(value, hint) and hint is Path)


def test_nobody_chose_anything() -> None:
    loaded = load({}, {"PATH": "/bin", "HOME": "/"})
    assert loaded.settings == Settings()
    assert set(loaded.sources) == {item.name for item in dataclasses.fields(Settings)}
    assert set(loaded.sources.values()) == {DEFAULT}


@pytest.mark.parametrize("field", sorted(EXCLUSIVE | CHOSEN.keys()))
def test_each_setting_from_each_place(tmp_path: Path, field: str) -> None:
    one = setting(field)
    # Other ports and sizes may contradict a chosen one; so does an address beyond loopback.
    beside = {} if field in EXCLUSIVE else {k: v for k, v in CHOSEN.items() if k not in EXCLUSIVE}
    variables = environ(beside | {field: CHOSEN[field]})
    by_variable = load({}, variables)
    value = getattr(by_variable.settings, field)
    assert fits(value, get_type_hints(Settings)[field])
    assert value != one.default
    assert by_variable.sources[field] == one.variable

    del variables[one.variable]
    flag = value if isinstance(value, bool) else CHOSEN[field]
    by_flag = load({field: flag}, variables)
    assert by_flag.settings == by_variable.settings
    assert by_flag.sources[field] == (one.negated_flag if value is False else one.flag)

    file = written(tmp_path, document([Line(one.key, plain(value), "")]))
    by_file = load({}, variables, file)
    assert by_file.settings == by_variable.settings
    assert by_file.sources[field] == file


def test_every_setting_is_tried() -> None:
    assert set(CHOSEN) == {item.field for item in SETTINGS}


@pytest.mark.parametrize("one", SETTINGS, ids=lambda s: s.name)
def test_defaults_are_values_of_their_setting(one: Setting) -> None:
    assert fits(one.default, get_type_hints(Settings)[one.field])
    shown = plain(one.default)
    if shown is not None:
        assert one.read_toml(shown) == one.default


def test_names() -> None:
    names = {s.field: (s.name, s.key, s.flag, s.variable) for s in SETTINGS}
    addr = ("http.addr", "http.addr", "--http.addr", "WAKUMAIL_HTTP_ADDR")
    assert names["http_addr"] == addr
    assert names["http"] == ("http", "http.enabled", "--http", "WAKUMAIL_HTTP")
    assert names["rate_packets_ip"][2:] == ("--rate.packets-ip", "WAKUMAIL_RATE_PACKETS_IP")
    assert names["max_packet"][:3] == ("max_packet", "max_packet", "--max-packet")
    for column in range(4):
        assert len({name[column] for name in names.values()}) == len(SETTINGS)


def test_sections_follow_each_other() -> None:
    tables = [s.key.rpartition(".")[0] for s in SETTINGS]
    assert list(dict.fromkeys(tables)) == ["", *SECTIONS]
    assert tables == sorted(tables, key=["", *SECTIONS].index)


def test_a_file_gives_way_to_the_environment_and_that_to_flags(tmp_path: Path) -> None:
    file = written(tmp_path, "port = 1\nmaxpeers = 1\nlight = true\n[http]\nport = 11\n")
    loaded = load(
        {"port": "3", "light": False, "maxpeers": None},  # type: ignore[dict-item]  # as argparse
        {"WAKUMAIL_PORT": "2", "WAKUMAIL_MAXPEERS": "2"},
        file,
    )
    values = loaded.settings
    assert (values.port, values.maxpeers, values.light, values.http_port) == (3, 2, False, 11)
    fields = ("port", "maxpeers", "light", "http_port")
    sources = [loaded.sources[field] for field in fields]
    assert sources == ["--port", "WAKUMAIL_MAXPEERS", "--no-light", file]


def test_which_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("port = 2")
    variables = {"WAKUMAIL_CONFIG": str(tmp_path / "other.toml")}
    assert load({}, variables).settings.port == 2
    assert load({}, variables, written(tmp_path, "port = 1")).settings.port == 1
    assert load({}, {"WAKUMAIL_CONFIG": ""}).settings == Settings()


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("max_peers = 5", "maxpeers"),
        ("max-size = 5", "max_size"),
        ("[http]\nadr = 'x'", "http.addr"),
        ("[http.addr]\nx = 1", "http.addr"),
        ("http = true", "http.enabled"),
        ("ws = false", "ws.enabled"),
        ("[port]\n", "port"),
        ("[metric]\nport = 5", "metrics.port"),
        ("[nothing]\n", "host"),
    ],
)
def test_unknown_keys(tmp_path: Path, text: str, nearest: str) -> None:
    said = refusal(tmp_path, text)
    if text == "[port]\n":
        assert said.endswith("port: a whole number is expected, not a table")
    elif nearest == "host":
        assert "unknown key 'nothing', the nearest known one is" in said
    else:
        assert said.startswith(f"{tmp_path}/wakumail.toml: unknown key ")
        assert said.endswith(f"the nearest known one is {nearest!r}")


def test_an_empty_table_says_nothing(tmp_path: Path) -> None:
    assert load({}, {}, written(tmp_path, "[http]\n[log]\n")).settings == Settings()


def test_unknown_variables(tmp_path: Path) -> None:
    said = refusal(tmp_path, variables={"WAKUMAIL_MAX_PEERS": "5"})
    assert said == "unknown variable WAKUMAIL_MAX_PEERS, the nearest known one is WAKUMAIL_MAXPEERS"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("port = '1'", "port: a whole number is expected, not a string"),
        ("port = 1.0", "port: a whole number is expected, not a number"),
        ("port = true", "port: a whole number is expected, not true or false"),
        ("port = [1]", "port: a whole number is expected, not a list"),
        ("port = 1979-05-27", "port: a whole number is expected, not date"),
        ("port = 65536", "port: 65536 is not from 0 to 65535"),
        ("port = -1", "port: '-1' is not a whole number"),
        (f"max_size = {LARGEST + 1}", f"max_size: {LARGEST + 1} is not from 0 to {LARGEST}"),
        ("max_size = " + "9" * 20, "max_size: '" + "9" * 20 + "' is not a whole number"),
        ("maxpeers = 0", f"maxpeers: 0 is not from 1 to {(1 << 31) - 1}"),
        (
            f"max_packet = {HIGHEST_MAX_PACKET + 1}",
            f"max_packet: {HIGHEST_MAX_PACKET + 1} is not from 1024 to {HIGHEST_MAX_PACKET}",
        ),
        (
            f"max_reply = {HIGHEST_MAX_REPLY + 1}",
            f"max_reply: {HIGHEST_MAX_REPLY + 1} is not from 1024 to {HIGHEST_MAX_REPLY}",
        ),
        ("min_pow = -0.5", "min_pow: -0.5 is not from 0 to 1e+09"),
        ("min_pow = nan", "min_pow: nan is not from 0 to 1e+09"),
        ("min_pow = inf", "min_pow: inf is not from 0 to 1e+09"),
        ("retention = 10001", f"retention: 10001 is not from 0 to {MAX_DAYS}"),
        ("light = 1", "light: true or false is expected, not a whole number"),
        ("light = 'yes'", "light: true or false is expected, not a string"),
        ("topics = 'cafebabe'", "topics: a list is expected, not a string"),
        ("topics = ['cafebabe', 'xx']", "topics: item 2: 'xx' is not hexadecimal"),
        ("topics = ['cafe']", "topics: item 1: a topic has 8 hexadecimal digits, not 'cafe'"),
        ("topics = [1]", "topics: item 1: a string is expected, not a whole number"),
        ("host = ''", "host: it is empty"),
        ('host = "a\\u0000b"', "host: it holds a NUL"),
        ("max_envelope = 13", f"max_envelope: 13 is not from 14 to {LARGEST}"),
        ("[http]\napi = []", "http.api: it is empty"),
        ("[ipc]\napi = []", "ipc.api: it is empty"),
        ("[ws]\napi = []", "ws.api: it is empty"),
        ("request_min_pow = 1e10", "request_min_pow: 10000000000.0 is not from 0 to 1e+09"),
        ("host = 'a..b'", "host: 'a..b' is neither an address nor a host name"),
        ("host = ' ::1'", "host: ' ::1' is neither an address nor a host name"),
        (
            "[metrics]\naddr = '[::1]'",
            "metrics.addr: '[::1]' is neither an address nor a host name",
        ),
        ("cluster = ['nats://a..b']", "cluster: item 1: it is not nats://HOST:PORT"),
        ("cluster = ['nats://0x0']", "cluster: item 1: it is not nats://HOST:PORT"),
        ("cluster = ['nats://[::]:4222']", "cluster: item 1: :: is no address of a node"),
        ("nodekeyhex = '00'", "nodekeyhex: a node key is 64 hexadecimal digits"),
        (
            "nat = 'stun'",
            "nat: 'stun' is none of none, any, upnp, pmp, extip:auto and extip:ADDRESS",
        ),
        (
            "nat = 'extip:0.0.0.0'",
            "nat: 0.0.0.0 is no address of a node",
        ),
        ("nat = 'extip:224.0.0.1'", "nat: 224.0.0.1 is no address of a node"),
        ("nat = 'extip:255.255.255.255'", "nat: 255.255.255.255 is no address of a node"),
        ("nat = 'extip:::1%lo'", "nat: ::1%lo has a zone, which means nothing to others"),
        ("netrestrict = ['ff00::/8']", "netrestrict: item 1: no peer has an address in ff00::/8"),
        ("netrestrict = ['0.0.0.0']", "netrestrict: item 1: no peer has an address in 0.0.0.0"),
        (
            "[discovery]\ndns_server = '224.0.0.1'",
            "discovery.dns_server: 224.0.0.1 is no address of a node",
        ),
        (
            "nat = 'extip:example.org'",
            "nat: 'example.org' does not appear to be an IPv4 or IPv6 address",
        ),
        (
            "netrestrict = ['10.0.0.0/33']",
            "netrestrict: item 1: '10.0.0.0/33' is neither an address nor a network",
        ),
        ("static_nodes = 'enode://ab@h:1'", "static_nodes: a list is expected, not a string"),
        (
            "[ws]\norigins = [\"'*'\"]",
            "ws.origins: item 1: \"'*'\" is no origin like https://host:port; it has no path, "
            "quotes or pattern",
        ),
        (
            "[http]\nvhosts = ['node.example:8545']",
            "http.vhosts: item 1: 'node.example:8545' is no host name; it has no scheme, port or "
            "quotes",
        ),
        ("a = " + "[" * 5000 + "]" * 5000, "nested too deep"),
        *(
            (f"{dots.join([key] * 100_000)} = 1", "nested too deep")
            for key in ("a", "'a'", '"a"')
            for dots in (".", " . ")
        ),
        ("[" + ".".join("a" * 100_000) + "]", "nested too deep"),
        (
            "a" * 1_000_000 + ".b",
            "Expected '=' after a key in a key/value pair (at end of document)",
        ),
        ("durability = 'never'", "durability: 'never' is none of commit, interval"),
        ("completion = ''", "completion: '' is none of bytes, list"),
        ("verbosity = 5", "verbosity: '5' is none of error, warning, info, debug"),
        ("verbosity = 0", "verbosity: '0' is none of error, warning, info, debug"),
        (
            "[http]\napi = ['eth']",
            "http.api: item 1: 'eth' is none of waku, wakuext, admin, net, web3, rpc",
        ),
        ("[http]\nenabled = 'on'", "http.enabled: true or false is expected, not a string"),
        (
            "[rate]\nwhitelist = ['abcd']",
            "rate.whitelist: item 1: 'abcd' is neither an address nor a network, "
            "nor a node id of 128 hexadecimal digits",
        ),
    ],
)
def test_wrong_values_in_a_file(tmp_path: Path, text: str, reason: str) -> None:
    assert refusal(tmp_path, text) == f"{tmp_path}/wakumail.toml: {reason}"


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("WAKUMAIL_PORT", "1_0", "'1_0' is not a whole number"),
        ("WAKUMAIL_PORT", "\u0661", "'\u0661' is not a whole number"),
        ("WAKUMAIL_PORT", "1\n", "'1\\n' is not a whole number"),
        ("WAKUMAIL_PORT", "", "'' is not a whole number"),
        ("WAKUMAIL_MIN_POW", "much", "'much' is not a number"),
        ("WAKUMAIL_MIN_POW", "1_0", "'1_0' is not a number"),
        ("WAKUMAIL_RETENTION", " 5 ", "' 5 ' is not a number"),
        ("WAKUMAIL_RETENTION", "\u0663", "'\u0663' is not a number"),
        ("WAKUMAIL_HTTP", "1", "'1' is neither true nor false"),
        ("WAKUMAIL_HOST", "\udcff", "it is not UTF-8"),
        ("WAKUMAIL_DATADIR", "", "it is empty"),
        ("WAKUMAIL_HTTP_API", " ", "it is empty"),
        ("WAKUMAIL_HTTP_API", "waku,,net", f"item 2: '' is none of {', '.join(Namespace)}"),
    ],
)
def test_wrong_values_of_variables(tmp_path: Path, variable: str, text: str, reason: str) -> None:
    assert refusal(tmp_path, variables={variable: text}) == f"{variable}: {reason}"


@pytest.mark.parametrize(
    ("field", "text", "plain"),
    [
        ("nat", "extip:::ffff:192.0.2.1", "extip:192.0.2.1"),
        ("netrestrict", "::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("netrestrict", "::ffff:0:0/96", "0.0.0.0/0"),
        ("netrestrict", "::/0", "::/0"),
        ("netrestrict", "fe80::1", "fe80::1/128"),
        ("host", "::ffff:127.0.0.1", "127.0.0.1"),
        ("rate_whitelist", "::ffff:a00:1", "10.0.0.1"),
        ("discovery_dns_server", "[::ffff:192.0.2.1]:5353", "192.0.2.1:5353"),
    ],
)
def test_ipv4_inside_ipv6_is_ipv4(field: str, text: str, plain: str) -> None:
    """Peers have plain addresses, so that nothing else could match them."""
    assert load({field: text}, {}).settings == load({field: plain}, {}).settings


def test_wrong_values_of_flags(tmp_path: Path) -> None:
    said = refusal(tmp_path, flags={"rate_bytes_ip": "many"})
    assert said == "--rate.bytes-ip: 'many' is not a whole number"


@pytest.mark.parametrize("text", ["port = ", "port = 1\nport = 2", "[a]\n[a]"])
def test_files_that_are_no_toml(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith(f"{tmp_path}/wakumail.toml: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file or directory"):
        load({}, {}, str(tmp_path / "nowhere"))
    (tmp_path / "latin").write_bytes(b"host = '\xe9'")
    with pytest.raises(ConfigError, match=f"{tmp_path}/latin: "):
        load({}, {}, str(tmp_path / "latin"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"nodekey": "f", "nodekeyhex": KEY}, "nodekey and nodekeyhex are both given"),
        ({"password": "x", "password_file": "f"}, "password and password_file are both given"),
        ({"max_envelope": "2048", "max_packet": "2047"}, "max_envelope is more than max_packet"),
        ({"max_envelope": "21", "relay_memory": "20"}, "max_envelope is more than relay_memory"),
        *(
            ({f"rate_bytes_{of}": "2047", "max_packet": "2048", "max_envelope": "2048"}, text)
            for of in ("ip", "peer", "topic")
            for text in [f"rate.bytes_{of} is less than max_packet"]
        ),
        ({"port": "8545", "http": "true"}, "port and http.port are both 8545"),
        ({"metrics_port": "8546", "metrics": "true", "ws": "true"}, "ws.port and metrics.port"),
        (
            {"http": "true", "ws": "true", "ws_port": "8545", "ws_addr": "::1"},
            "http.port and ws.port are both 8545",
        ),
        ({"light": "true", "workers": "2"}, "a light node has one worker"),
        ({"store_port": "9305", "metrics": "true", "store": "true"}, "store.port and metrics.port"),
        ({"store": "true", "store_addr": "0.0.0.0"}, "the API would listen on 0.0.0.0, open"),
        ({"store": "true", "mailserver": "false"}, "store answers from the archive of a mailser"),
        ({"http": "true", "http_addr": "0.0.0.0"}, "the API would listen on 0.0.0.0, open to all"),
        ({"ws": "true", "ws_addr": "example.org"}, "the API would listen on example.org, open"),
        (
            {"interest": "topics", "topics": ",".join(["cafebabe"] * (MAX_TOPIC_INTEREST + 1))},
            f"peers take at most {MAX_TOPIC_INTEREST} topics",
        ),
    ],
)
def test_contradictions(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, environ(fields))
    assert str(caught.value).startswith(reason)
    variables = str(caught.value).rpartition("(")[2].removesuffix(")").split(", ")
    assert variables
    assert set(variables) <= set(environ(fields))
    values = {field: setting(field).read_text(text) for field, text in fields.items()}
    with pytest.raises(Contradiction, match=reason.replace(".", r"\.")):
        Settings(**values)


def test_contradictions_name_each_place(tmp_path: Path) -> None:
    said = refusal(tmp_path, "nodekey = 'f'", {"nodekeyhex": KEY})
    assert said == f"nodekey and nodekeyhex are both given ({tmp_path}/wakumail.toml, --nodekeyhex)"


@pytest.mark.parametrize(
    "fields",
    [
        {"port": "0", "http": "true", "http_port": "0", "ws": "true", "ws_port": "0"},
        {"port": "8545", "http": "false"},
        {"rate_bytes_ip": "2048", "max_packet": "2048", "max_envelope": "2048"},
        {"http": "true", "ws": "true", "ws_port": "8545"},
        {"http": "true", "http_addr": "0.0.0.0", "rpc_token_file": "t"},
        {"http": "false", "http_addr": "0.0.0.0"},
        {"http": "true", "http_addr": "127.9.9.9", "ws": "true", "ws_addr": "::1"},
        {"max_envelope": "2048", "max_packet": "2048", "relay_memory": "2048"},
        {"interest": "topics", "topics": ",".join(["cafebabe"] * MAX_TOPIC_INTEREST)},
    ],
)
def test_no_contradictions(fields: dict[str, str]) -> None:
    load({}, environ(fields))


def test_values_are_of_use() -> None:
    fields = ("verbosity", "completion", "rate_whitelist", "netrestrict", "topics", "static_nodes")
    values = load({}, environ({field: CHOSEN[field] for field in fields})).settings
    assert values.verbosity is LogLevel.DEBUG
    assert values.completion is CompletionForm.LIST
    assert values.rate_whitelist == (
        bytes.fromhex("ab" * 64),
        ipaddress.ip_network("192.0.2.1/32"),
        ipaddress.ip_network("2001:db8::/32"),
    )
    assert values.netrestrict[0] == ipaddress.ip_network("10.0.0.0/8")
    assert values.topics == (b"\xca\xfe\xba\xbe", b"\0\0\0\1")
    assert values.static_nodes == (ENODE, OTHER)


def test_tcp_offers_no_administration_unless_told() -> None:
    assert Namespace.ADMIN not in Settings().http_api + Settings().ws_api
    assert Namespace.ADMIN in Settings().ipc_api


@pytest.mark.parametrize(("number", "level"), [*zip("1234", LogLevel, strict=True)])
def test_log_levels_as_geth_counts_them(tmp_path: Path, number: str, level: LogLevel) -> None:
    assert load({"verbosity": number}, {}).settings.verbosity is level
    file = written(tmp_path, f"verbosity = {number}")
    assert load({}, {}, file).settings.verbosity is level


def test_lists_of_nothing_and_with_spaces(tmp_path: Path) -> None:
    variables = {"WAKUMAIL_TOPICS": " ", "WAKUMAIL_HTTP_VHOSTS": " a , b "}
    values = load({}, variables, written(tmp_path, "topics = ['cafebabe']")).settings
    assert values.topics == ()
    assert values.http_vhosts == ("a", "b")


def test_networks_may_be_written_by_one_of_their_hosts() -> None:
    values = load({"netrestrict": "10.1.2.3/8"}, {}).settings
    assert values.netrestrict == (ipaddress.ip_network("10.0.0.0/8"),)


def test_secrets_stay_out_of_texts(tmp_path: Path) -> None:
    assert "sesame" not in repr(Settings(password="sesame", nodekeyhex=KEY))
    assert KEY not in repr(Settings(nodekeyhex=KEY))
    assert {one.field for one in SETTINGS if one.secret} == {"cluster", "password", "nodekeyhex"}
    bad = "f" * 64
    assert bad not in refusal(tmp_path, variables={"WAKUMAIL_NODEKEYHEX": bad})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda items: st.lists(items, max_size=4),
    max_leaves=8,
)


@example(value='\x7f\t"\\\U0001f600', text="\n")
@profile(max_examples=200, deadline=None)
@given(value=VALUES, text=st.text(max_size=40))
def test_what_is_written_is_read_again(value: Any, text: str) -> None:
    lines = [Line("one", value, text), Line("nothing", None, text), Line("a.two", value, text)]
    read = tomllib.loads(document(lines).encode("utf-8").decode())
    assert read == {"one": value, "a": {"two": value}}


def test_long_lists_take_a_line_for_each_item() -> None:
    topics = [f"{number:08x}" for number in range(20)]
    text = literal(list(topics))
    assert len(text.splitlines()) == 22
    assert max(map(len, text.splitlines())) < LINE
    assert tomllib.loads(f"x = {text}") == {"x": topics}


def test_comments_end_where_they_end() -> None:
    assert comment("a\nb\x1b[31m\u2028é") == "# a?b?[31m?é"


WRONG = "enode://ab@h:1"
FAULT = "the node id of an enode is 128 hexadecimal digits; it is left out"


def test_a_malformed_node_is_named_and_left_out(tmp_path: Path) -> None:
    file = tmp_path / "wakumail.toml"
    file.write_text(f"static_nodes = ['{WRONG}', '{ENODE}', 1]")
    loaded = load({"trusted_nodes": f"{OTHER},{WRONG}"}, {}, str(file))
    assert loaded.settings.static_nodes == (ENODE,)
    assert loaded.settings.trusted_nodes == (OTHER,)
    assert loaded.remarks == (
        f"{file}: static_nodes: item 1: {FAULT}",
        f"{file}: static_nodes: item 3: a string is expected, not a whole number; it is left out",
        f"--trusted-nodes: item 2: {FAULT}",
    )
    loaded = load({}, {"WAKUMAIL_STATIC_NODES": f"{WRONG},{OTHER}"})
    assert loaded.settings.static_nodes == (OTHER,)
    assert loaded.remarks == (f"WAKUMAIL_STATIC_NODES: item 1: {FAULT}",)


def test_what_editors_add_is_no_part_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "wakumail.toml"
    file.write_bytes(b"\xef\xbb\xbfport = 1\r\n[http]\r\nport = 2 \r\n\r\n \t")
    settings = load({}, {}, str(file)).settings
    assert (settings.port, settings.http_port) == (1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "{b = " * 5000,
        ".".join("a" * 5000) + " = 1",
        f"[{'.'.join('a' * 5000)}]",
    ],
)
def test_nesting_in_a_file_is_bounded(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith(f"{tmp_path}/wakumail.toml: ")
