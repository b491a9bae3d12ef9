"""AES-256 of the frame codec, in every way that this processor can compute it."""

from pathlib import Path

import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.devp2p.frame_reader import _aes_block, _aes_ctr, _aes_ways

BLOCK = 16  # bytes
in_every_way = pytest.mark.parametrize("way", _aes_ways())


@in_every_way
def test_fips_197(way: str) -> None:
    block = bytes.fromhex("00112233445566778899aabbccddeeff")
    encrypted = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")  # appendix C.3
    assert _aes_block(way, bytes(range(32)), block) == encrypted


@in_every_way
def test_sp_800_38a(way: str) -> None:
    key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
    counter = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    plain = (
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    encrypted = (  # appendix F.5.5
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    data, after = _aes_ctr(way, *map(bytes.fromhex, (key, counter, plain)))
    assert data.hex() == encrypted
    assert after.hex() == "f0f1f2f3f4f5f6f7f8f9fafbfcfdff03"


@in_every_way
@given(key=st.binary(min_size=32, max_size=32), block=st.binary(min_size=16, max_size=16))
@settings(max_examples=50, deadline=None)
def test_blocks(way: str, key: bytes, block: bytes) -> None:
    assert _aes_block(way, key, block) == AES.new(key, AES.MODE_ECB).encrypt(block)


@in_every_way
@given(
    key=st.binary(min_size=32, max_size=32),
    counter=st.one_of(
        st.integers(0, 2**128 - 1), st.integers(2**64 - 20, 2**64), st.just(2**128 - 3)
    ),
    blocks=st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_counter_mode(way: str, key: bytes, counter: int, blocks: int) -> None:
    data = bytes(i % 256 for i in range(BLOCK * blocks))
    keystream = AES.new(key, AES.MODE_ECB)
    numbers = [(counter + i) % 2**128 for i in range(blocks + 1)]
    stream = b"".join(keystream.encrypt(n.to_bytes(BLOCK, "big")) for n in numbers[:-1])
    expected = (
        bytes(a ^ b for a, b in zip(data, stream, strict=True)),
        numbers[-1].to_bytes(BLOCK, "big"),
    )
    assert _aes_ctr(way, key, counter.to_bytes(BLOCK, "big"), data) == expected


def test_what_the_hooks_refuse() -> None:
    for way, key, block in [
        ("abacus", bytes(32), bytes(16)),
        ("portable", bytes(16), bytes(16)),
        ("portable", bytes(32), bytes(15)),
    ]:
        with pytest.raises(ValueError, match=r"AES|block"):
            _aes_block(way, key, block)
    with pytest.raises(ValueError, match="block"):
        _aes_ctr("portable", bytes(32), bytes(16), bytes(17))


def test_the_processor_is_known() -> None:
    """As the kernel tells its features."""
    can = "aes" in Path("/proc/cpuinfo").read_text().split()
    assert ("instructions" in _aes_ways()) == can
