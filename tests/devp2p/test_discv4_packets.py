import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.discovery import node_key, record_of
from wakumail.base.keccak import keccak256
from wakumail.base.rlp import encode
from wakumail.devp2p.discovery.discv4_packets import (
    MAX_DATAGRAM,
    Body,
    Datagram,
    DatagramError,
    DatagramForged,
    DatagramHash,
    DatagramSize,
    DatagramTypeUnknown,
    EnrRequest,
    EnrResponse,
    Field,
    FindNode,
    Neighbors,
    Ping,
    Pong,
    Told,
    seal,
)
from wakumail.devp2p.discovery.udp_endpoint import UdpEndpoint
from wakumail.devp2p.enr import EnrError, EnrForged
from wakumail.devp2p.keys import node_id, private_key, sign

KEY = private_key(bytes.fromhex("b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291"))
"""The key that has signed EIP-8's packets."""
ID = node_id(KEY.public_key)
EXPIRATION = 1136239445
V6 = "2001:db8:85a3:8d3:1319:8a2e:370:7348"

EIP_8: list[tuple[str, Body]] = [
    (
        """
        e9614ccfd9fc3e74360018522d30e1419a143407ffcce748de3e22116b7e8dc92ff74788c0b6663a
        aa3d67d641936511c8f8d6ad8698b820a7cf9e1be7155e9a241f556658c55428ec0563514365799a
        4be2be5a685a80971ddcfa80cb422cdd0101ec04cb847f000001820cfa8215a8d790000000000000
        000000000000000000018208ae820d058443b9a3550102
        """,
        Ping(
            4, UdpEndpoint("127.0.0.1", 3322, 5544), UdpEndpoint("::1", 2222, 3333), EXPIRATION, 1
        ),
    ),
    (
        """
        577be4349c4dd26768081f58de4c6f375a7a22f3f7adda654d1428637412c3d7fe917cadc56d4e5e
        7ffae1dbe3efffb9849feb71b262de37977e7c7a44e677295680e9e38ab26bee2fcbae207fba3ff3
        d74069a50b902a82c9903ed37cc993c50001f83e82022bd79020010db83c4d001500000000abcdef
        12820cfa8215a8d79020010db885a308d313198a2e037073488208ae82823a8443b9a355c5010203
        040531b9019afde696e582a78fa8d95ea13ce3297d4afb8ba6433e4154caa5ac6431af1b80ba7602
        3fa4090c408f6b4bc3701562c031041d4702971d102c9ab7fa5eed4cd6bab8f7af956f7d565ee191
        7084a95398b6a21eac920fe3dd1345ec0a7ef39367ee69ddf092cbfe5b93e5e568ebc491983c09c7
        6d922dc3
        """,
        Ping(
            555,
            UdpEndpoint("2001:db8:3c4d:15::abcd:ef12", 3322, 5544),
            UdpEndpoint(V6, 2222, 33338),
            EXPIRATION,
            None,
        ),
    ),
    (
        """
        09b2428d83348d27cdf7064ad9024f526cebc19e4958f0fdad87c15eb598dd61d08423e0bf66b206
        9869e1724125f820d851c136684082774f870e614d95a2855d000f05d1648b2d5945470bc187c2d2
        216fbe870f43ed0909009882e176a46b0102f846d79020010db885a308d313198a2e037073488208
        ae82823aa0fbc914b16819237dcd8801d7e53f69e9719adecb3cc0e790c57e91ca4461c9548443b9
        a355c6010203c2040506a0c969a58f6f9095004c0177a6b47f451530cab38966a25cca5cb58f0555
        42124e
        """,
        Pong(
            UdpEndpoint(V6, 2222, 33338),
            bytes.fromhex("fbc914b16819237dcd8801d7e53f69e9719adecb3cc0e790c57e91ca4461c954"),
            EXPIRATION,
            None,
        ),
    ),
    (
        """
        c7c44041b9f7c7e41934417ebac9a8e1a4c6298f74553f2fcfdcae6ed6fe53163eb3d2b52e39fe91
        831b8a927bf4fc222c3902202027e5e9eb812195f95d20061ef5cd31d502e47ecb61183f74a504fe
        04c51e73df81f25c4d506b26db4517490103f84eb840ca634cae0d49acb401d8a4c6b6fe8c55b70d
        115bf400769cc1400f3258cd31387574077f301b421bc84df7266c44e9e6d569fc56be0081290476
        7bf5ccd1fc7f8443b9a35582999983999999280dc62cc8255c73471e0a61da0c89acdc0e035e260a
        dd7fc0c04ad9ebf3919644c91cb247affc82b69bd2ca235c71eab8e49737c937a2c396
        """,
        FindNode(ID, EXPIRATION),
    ),
    (
        """
        c679fc8fe0b8b12f06577f2e802d34f6fa257e6137a995f6f4cbfc9ee50ed3710faf6e66f932c4c8
        d81d64343f429651328758b47d3dbc02c4042f0fff6946a50f4a49037a72bb550f3a7872363a83e1
        b9ee6469856c24eb4ef80b7535bcf99c0004f9015bf90150f84d846321163782115c82115db84031
        55e1427f85f10a5c9a7755877748041af1bcd8d474ec065eb33df57a97babf54bfd2103575fa8291
        15d224c523596b401065a97f74010610fce76382c0bf32f84984010203040101b840312c55512422
        cf9b8a4097e9a6ad79402e87a15ae909a4bfefa22398f03d20951933beea1e4dfa6f968212385e82
        9f04c2d314fc2d4e255e0d3bc08792b069dbf8599020010db83c4d001500000000abcdef12820d05
        820d05b84038643200b172dcfef857492156971f0e6aa2c538d8b74010f8e140811d53b98c765dd2
        d96126051913f44582e8c199ad7c6d6819e9a56483f637feaac9448aacf8599020010db885a308d3
        13198a2e037073488203e78203e8b8408dcab8618c3253b558d459da53bd8fa68935a719aff8b811
        197101a4b2b47dd2d47295286fc00cc081bb542d760717d1bdd6bec2c37cd72eca367d6dd3b9df73
        8443b9a355010203b525a138aa34383fec3d2719a0
        """,
        Neighbors(
            tuple(
                Told(UdpEndpoint(ip, udp, tcp), bytes.fromhex(identity))
                for ip, udp, tcp, identity in (
                    (
                        "99.33.22.55",
                        4444,
                        4445,
                        "3155e1427f85f10a5c9a7755877748041af1bcd8d474ec065eb33df57a97babf"
                        "54bfd2103575fa829115d224c523596b401065a97f74010610fce76382c0bf32",
                    ),
                    (
                        "1.2.3.4",
                        1,
                        1,
                        "312c55512422cf9b8a4097e9a6ad79402e87a15ae909a4bfefa22398f03d2095"
                        "1933beea1e4dfa6f968212385e829f04c2d314fc2d4e255e0d3bc08792b069db",
                    ),
                    (
                        "2001:db8:3c4d:15::abcd:ef12",
                        3333,
                        3333,
                        "38643200b172dcfef857492156971f0e6aa2c538d8b74010f8e140811d53b98c"
                        "765dd2d96126051913f44582e8c199ad7c6d6819e9a56483f637feaac9448aac",
                    ),
                    (
                        V6,
                        999,
                        1000,
                        "8dcab8618c3253b558d459da53bd8fa68935a719aff8b811197101a4b2b47dd2"
                        "d47295286fc00cc081bb542d760717d1bdd6bec2c37cd72eca367d6dd3b9df73",
                    ),
                )
            ),
            EXPIRATION,
        ),
    ),
]


@pytest.mark.parametrize(("dump", "body"), EIP_8, ids=lambda value: type(value).__name__)
def test_the_packets_of_eip_8_are_read(dump: str, body: Body) -> None:
    raw = bytes.fromhex(re.sub(r"\s", "", dump))
    datagram = Datagram.read(raw)
    assert datagram.body == body
    assert datagram.sender() == ID
    assert datagram.hash == raw[:32]


RECORD = record_of(KEY, ("10.0.0.1", 30303))
TO = UdpEndpoint("10.0.0.2", 30304, 30305)
BODIES: list[Body] = [
    Ping(4, TO, UdpEndpoint("2001:db8::1", 1, 0), 1 << 32, 7),
    Ping(4, TO, TO, 1, None),
    Pong(TO, bytes(range(32)), (1 << 64) - 1, 0),
    FindNode(bytes(64), 0),
    Neighbors((), 5),
    Neighbors(
        tuple(Told(UdpEndpoint("2001:db8::1", 65535, 65535), ID) for _ in range(12)), 1 << 33
    ),
    EnrRequest(9),
    EnrResponse(bytes(32), RECORD.encoded),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_reading_inverts_sealing(body: Body) -> None:
    sealed = seal(KEY, body)
    datagram = Datagram.read(sealed.raw)
    assert (datagram.body, datagram.sender(), datagram.hash) == (body, ID, sealed.hash)
    assert len(sealed.raw) <= MAX_DATAGRAM


def raw_of(type_byte: int, content: bytes, key: object = KEY) -> bytes:
    """A datagram with a good hash and signature over any content."""
    signed = bytes([type_byte]) + content
    rest = sign(KEY, keccak256(signed)) + signed
    return keccak256(rest) + rest


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_more_items_and_bytes_are_ignored(body: Body) -> None:
    """Items of another shape in the place of a sequence number are none."""
    more: list[Field] = [[], b"\xff", [[[[[b"more"]]]]], 1 << 80]
    content = encode([*body.fields(), *more]) + b"\x00\xf9junk"
    assert Datagram.read(raw_of(body.type, content)).body == body


def test_an_address_of_a_wrong_size_is_none() -> None:
    """A node that does not know its own address sends an empty one."""
    ping = encode([4, [b"", 30303, 30303], [b"\x01" * 5, 1, 1], 99])
    body = Datagram.read(raw_of(1, ping)).body
    assert isinstance(body, Ping)
    assert body.sender == UdpEndpoint("0.0.0.0", 30303, 30303)
    assert body.recipient.ip == "0.0.0.0"


def test_ipv4_inside_ipv6_is_ipv4() -> None:
    inside = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
    ping = encode([4, [inside, 1, 1], [inside, 1, 1], 99])
    body = Datagram.read(raw_of(1, ping)).body
    assert isinstance(body, Ping)
    assert body.sender.ip == "192.0.2.1"


GOOD = seal(KEY, BODIES[0]).raw


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", DatagramSize),
        (GOOD[:98], DatagramSize),
        (raw_of(1, bytes(1300)), DatagramSize),
        (GOOD[:-1], DatagramHash),
        (bytes(200), DatagramHash),
        (raw_of(0, b"\xc0"), DatagramTypeUnknown),
        (raw_of(7, b"\xc0"), DatagramTypeUnknown),
        (raw_of(255, b"\xc0"), DatagramTypeUnknown),
        (raw_of(1, b"\x80"), DatagramError),
        (raw_of(1, b"\xc0"), DatagramError),
        (raw_of(1, b"\xf8\xff"), DatagramError),
        (raw_of(1, encode([4, [], [], 1])), DatagramError),
        (raw_of(1, encode([4, b"", b"", 1])), DatagramError),
        (raw_of(1, encode([4, TO.fields(), TO.fields(), 1 << 64])), DatagramError),
        (raw_of(1, encode([4, [bytes(4), 1 << 16, 1], TO.fields(), 1])), DatagramError),
        (raw_of(2, encode([TO.fields(), bytes(31), 1])), DatagramError),
        (raw_of(3, encode([bytes(63), 1])), DatagramError),
        (raw_of(4, encode([[[bytes(4), 1, 1, bytes(63)]], 1])), DatagramError),
        (raw_of(4, encode([[bytes(4)], 1])), DatagramError),
        (raw_of(5, encode([[]])), DatagramError),
        (raw_of(6, encode([bytes(32), b"no list"])), DatagramError),
        (raw_of(6, encode([bytes(33), []])), DatagramError),
    ],
)
def test_what_is_no_datagram_is_told_by_its_kind(raw: bytes, error: type[DatagramError]) -> None:
    with pytest.raises(DatagramError) as caught:
        Datagram.read(raw)
    assert type(caught.value) is error


@pytest.mark.parametrize("signature", [bytes(65), b"\xff" * 65, b"\x01" * 64 + b"\x05"])
def test_a_signature_that_no_key_made(signature: bytes) -> None:
    rest = signature + GOOD[97:]
    with pytest.raises(DatagramForged):
        Datagram.read(keccak256(rest) + rest).sender()


def test_a_record_is_that_of_the_sender_or_an_error() -> None:
    response = EnrResponse(bytes(32), RECORD.encoded)
    assert response.verified(ID) == RECORD
    with pytest.raises(EnrError, match="another node"):
        response.verified(node_id(node_key("other").public_key))
    wrong = bytearray(RECORD.encoded)
    wrong[10] ^= 1
    with pytest.raises(EnrForged):
        EnrResponse(bytes(32), bytes(wrong)).verified(ID)


@given(st.binary(max_size=1400), st.integers(0, 8), st.integers(0, 400), st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_datagram_or_an_error(
    content: bytes, kind: int, at: int, flip: int
) -> None:
    whole = bytearray(GOOD[97:])
    whole[at % len(whole)] ^= flip
    for raw in (content, raw_of(kind, content), raw_of(whole[0], bytes(whole[1:]))):
        try:
            datagram = Datagram.read(raw)
            datagram.sender()
            if isinstance(datagram.body, EnrResponse):
                datagram.body.verified(ID)
        except (DatagramError, EnrError):
            continue
        assert datagram.body.type == raw[97]
