from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vectors import VECTORS
from wakumail.base import rlp
from wakumail.devp2p.packets import (
    CAPABILITY_LENGTHS,
    HELLO_ITEMS,
    MAX_CAPABILITIES,
    MAX_CAPABILITY_NAME,
    MAX_CLIENT_ID,
    MAX_P2P_PACKET,
    MIN_P2P_VERSION,
    P2P_VERSION,
    SHH6,
    WAKU,
    Capability,
    Hello,
    Shared,
    decode_disconnect,
    encode_disconnect,
    negotiate,
)
from wakumail.errors import (
    DisconnectReason,
    HelloError,
    IncompatibleVersion,
    NullIdentity,
    UnexpectedIdentity,
    UselessPeer,
)

ID = bytes(range(64))
HELLO = Hello(P2P_VERSION, "wakumail/test", WAKU, 30303, ID)
FRAMES = VECTORS["rlpx"]["frames"]


def items(**changes: Any) -> list[Any]:
    """The items of a valid hello, with changes."""
    good = {
        "version": 5,
        "client_id": b"peer",
        "capabilities": [[b"waku", 1]],
        "port": 0,
        "node_id": ID,
    }
    return list((good | changes).values())


# -- hello ----------------------------------------------------------------------------------------


def test_hello_of_a_go_client() -> None:
    hello = Hello.decode(bytes.fromhex(FRAMES[0]["plain"]))
    assert hello == Hello(
        5,
        "Statusd/v0.97.2/linux-amd64/go1.17",
        (Capability("waku", 1),),
        0,
        bytes.fromhex(VECTORS["rlpx"]["initiator_pub"])[1:],
    )
    assert hello.encode().hex() == FRAMES[0]["plain"]


def test_hello_of_a_go_server() -> None:
    hello = Hello.decode(bytes.fromhex(FRAMES[1]["plain"]))
    assert hello.client_id == "labms-status-go/v1"
    assert hello.capabilities == WAKU
    assert hello.listen_port == 30303
    assert hello.node_id == bytes.fromhex(VECTORS["rlpx"]["recipient_pub"])[1:]
    assert hello.encode().hex() == FRAMES[1]["plain"]


def test_hello_ignores_further_items() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    data = rlp.encode([*items(), b"more", [1, [2]], deep])
    assert Hello.decode(data) == Hello(5, "peer", (Capability("waku", 1),), 0, ID)


def test_hello_is_at_most_so_large() -> None:
    room = MAX_P2P_PACKET - len(rlp.encode([*items(), b"x" * 1000])) + 1000
    data = rlp.encode([*items(), b"x" * room])
    assert len(data) == MAX_P2P_PACKET
    Hello.decode(data)
    with pytest.raises(HelloError, match=f"{MAX_P2P_PACKET + 1} bytes"):
        Hello.decode(rlp.encode([*items(), b"x" * (room + 1)]))


def test_hello_has_at_most_so_many_capabilities() -> None:
    many = [[b"c%d" % i, 1] for i in range(MAX_CAPABILITIES)]
    assert len(Hello.decode(rlp.encode(items(capabilities=many))).capabilities) == MAX_CAPABILITIES
    with pytest.raises(HelloError, match=f"{MAX_CAPABILITIES + 1} items"):
        Hello.decode(rlp.encode(items(capabilities=[*many, [b"more", 1]])))


def test_hello_keeps_the_capabilities_with_names_of_the_protocol() -> None:
    """64 long names of each of 5,000 peers made an answer of 60 MB."""
    sent = [[b"a" * MAX_CAPABILITY_NAME, 1], [b"b" * (MAX_CAPABILITY_NAME + 1), 2], [b"\xff", 3]]
    hello = Hello.decode(rlp.encode(items(capabilities=[*sent, [b"waku", 1]])))
    assert hello.capabilities == (("a" * MAX_CAPABILITY_NAME, 1), ("waku", 1))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", ""),
        (b"Status/1.2 (\xc3\xbc)", "Status/1.2 (\u00fc)"),
        (b"a\nb\x1b[2Jc\x00", "a?b?[2Jc?"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"x" * MAX_CLIENT_ID, "x" * MAX_CLIENT_ID),
        (b"x" * (MAX_CLIENT_ID + 1), "x" * MAX_CLIENT_ID),
    ],
)
def test_client_id_is_fit_for_a_log(sent: bytes, kept: str) -> None:
    assert Hello.decode(rlp.encode(items(client_id=sent))).client_id == kept


MALFORMED = [
    b"",
    b"\x80",
    b"\xc0",
    b"garbage",
    rlp.encode(items()) + b"\0",
    rlp.encode(items())[:-1],
    *(rlp.encode(items()[:count]) for count in range(HELLO_ITEMS)),
    rlp.encode(items(version=[5])),
    rlp.encode(items(version=b"\0\5")),
    rlp.encode(items(version=2**64)),
    rlp.encode(items(client_id=[b"a"])),
    rlp.encode(items(port=[])),
    rlp.encode(items(node_id=[ID])),
    rlp.encode(items(capabilities=b"waku")),
    rlp.encode(items(capabilities=[b"waku"])),
    rlp.encode(items(capabilities=[[b"waku"]])),
    rlp.encode(items(capabilities=[[b"waku", 1, 2]])),
    rlp.encode(items(capabilities=[[[b"waku"], 1]])),
    rlp.encode(items(capabilities=[[b"waku", [1]]])),
    rlp.encode(items(capabilities=[[b"waku", b"\0\1"]])),
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_hello(data: bytes) -> None:
    with pytest.raises(HelloError):
        Hello.decode(data)


@given(st.binary(max_size=120), st.integers(0, 120), st.binary(min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_hello_or_a_hello_error(garbage: bytes, at: int, change: bytes) -> None:
    good = rlp.encode(items())
    for data in (garbage, good[:at] + change + good[at + len(change) :]):
        try:
            hello = Hello.decode(data)
        except HelloError:
            continue
        assert len(hello.client_id) <= MAX_CLIENT_ID
        assert len(hello.capabilities) <= MAX_CAPABILITIES


def texts(max_size: int, codec: str = "utf-8") -> st.SearchStrategy[str]:
    return st.text(st.characters(codec=codec), max_size=max_size)


integers = st.integers(0, 2**64 - 1)
hellos = st.builds(
    Hello,
    integers,
    texts(MAX_CLIENT_ID).filter(str.isprintable),
    st.lists(st.builds(Capability, texts(MAX_CAPABILITY_NAME, "ascii"), integers), max_size=20).map(
        tuple
    ),
    integers,
    st.binary(max_size=70),
)


@given(hellos)
@settings(max_examples=100, deadline=None)
def test_decode_inverts_encode(hello: Hello) -> None:
    assert Hello.decode(hello.encode()) == hello


def test_verify_takes_versions_from_the_oldest_on() -> None:
    for version in (MIN_P2P_VERSION, P2P_VERSION, 6, 2**64 - 1):
        Hello(version, "", WAKU, 0, ID).verify(ID)
    with pytest.raises(IncompatibleVersion, match=str(MIN_P2P_VERSION - 1)):
        Hello(MIN_P2P_VERSION - 1, "", WAKU, 0, ID).verify(ID)


@pytest.mark.parametrize("identity", [b"", bytes(64), bytes(63)])
def test_verify_refuses_a_null_identity(identity: bytes) -> None:
    with pytest.raises(NullIdentity):
        Hello(5, "", WAKU, 0, identity).verify(ID)


@pytest.mark.parametrize("identity", [ID[1:], ID + b"\0", ID[::-1], b"\x01"])
def test_verify_refuses_another_identity(identity: bytes) -> None:
    with pytest.raises(UnexpectedIdentity):
        Hello(5, "", WAKU, 0, identity).verify(ID)


# -- capabilities ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "version"),
    [
        (["waku/1"], 1),
        (["waku/0"], 0),
        (["waku/0", "waku/1"], 1),
        (["waku/1", "waku/0", "waku/2"], 1),
        (["eth/68", "waku/0", "snap/1", "waku/1", "waku/1"], 1),
    ],
)
def test_the_highest_common_version_wins(theirs: list[str], version: int) -> None:
    assert negotiate(WAKU, map(capability, theirs)) == (Shared("waku", version, 0x10, 128),)


def test_whisper_stands_before_waku() -> None:
    assert negotiate((*WAKU, SHH6), map(capability, ["waku/1", "shh/5", "shh/6"])) == (
        Shared("shh", 6, 0x10, 128),
        Shared("waku", 1, 0x90, 128),
    )
    assert negotiate((*WAKU, SHH6), [SHH6]) == (Shared("shh", 6, 0x10, 128),)


def test_shared_names_take_their_ids_in_alphabetical_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, length in (("eth/67", 15), ("eth/68", 17), ("snap/1", 8), ("Zzz/1", 3)):
        monkeypatch.setitem(CAPABILITY_LENGTHS, capability(name), length)
    ours = ["waku/1", "waku/0", "snap/1", "eth/68", "eth/67", "Zzz/1"]
    theirs = ["les/4", "snap/1", "eth/69", "eth/68", "eth/67", "waku/0", "Zzz/1", "aaa/1"]
    assert negotiate(map(capability, ours), map(capability, theirs)) == (
        Shared("Zzz", 1, 0x10, 3),  # capital letters come first
        Shared("eth", 68, 0x13, 17),
        Shared("snap", 1, 0x24, 8),
        Shared("waku", 0, 0x2C, 128),
    )


@pytest.mark.parametrize("theirs", [[], ["eth/68"], ["waku/2"], ["Waku/1"], ["waku /1"], ["shh/6"]])
def test_nothing_in_common(theirs: list[str]) -> None:
    with pytest.raises(UselessPeer):
        negotiate(WAKU, map(capability, theirs))


def capability(text: str) -> Capability:
    name, version = text.split("/")
    return Capability(name, int(version))


# -- disconnect -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("c110", DisconnectReason.SUBPROTOCOL_ERROR),
        ("10", DisconnectReason.SUBPROTOCOL_ERROR),
        ("c108", DisconnectReason.QUITTING),
        ("04", DisconnectReason.TOO_MANY_PEERS),
        ("c0", DisconnectReason.REQUESTED),
        ("c180", DisconnectReason.REQUESTED),
        ("80", DisconnectReason.REQUESTED),
        ("00", DisconnectReason.REQUESTED),
        ("c100", DisconnectReason.REQUESTED),
        ("c20405", DisconnectReason.TOO_MANY_PEERS),
        ("0c", 0x0C),
        ("c281ff", 0xFF),
        ("c3820100", DisconnectReason.REQUESTED),
        ("", DisconnectReason.REQUESTED),
        ("c1", DisconnectReason.REQUESTED),
        ("c1c104", DisconnectReason.REQUESTED),
        ("0405", DisconnectReason.REQUESTED),
        ("ff" * 20, DisconnectReason.REQUESTED),
    ],
)
def test_disconnect_is_read_in_every_form(data: str, reason: int) -> None:
    read = decode_disconnect(bytes.fromhex(data))
    assert read == reason
    assert type(read) is type(reason)


def test_disconnect_of_go() -> None:
    assert encode_disconnect(DisconnectReason.QUITTING).hex() == FRAMES[-1]["plain"]


@pytest.mark.parametrize("reason", DisconnectReason)
def test_disconnect_is_written_as_a_list(reason: DisconnectReason) -> None:
    data = encode_disconnect(reason)
    assert data[0] == 0xC1
    assert decode_disconnect(data) is reason


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_disconnect_has_a_reason(data: bytes) -> None:
    assert 0 <= decode_disconnect(data) <= 0xFF


def test_a_zero_in_a_hello_may_be_a_byte() -> None:
    """@ethereumjs/devp2p sends zero, the version of waku/0 or a port, as the byte 0."""
    data = rlp.encode([5, b"js", [[b"waku", b"\0"]], b"\0", bytes([1]) * 64])
    hello = Hello.decode(data)
    assert (hello.capabilities, hello.listen_port) == ((Capability("waku", 0),), 0)
