import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.devp2p.addresses import plain_ip
from wakumail.devp2p.discovery import endpoint_proofs
from wakumail.devp2p.discovery.endpoint_proofs import PROOF_TIME, EndpointProofs
from wakumail.devp2p.discovery.timers import Timers
from wakumail.devp2p.discovery.udp_endpoint import may_tell, subnet_of


def test_a_proof_is_for_a_node_at_an_address_and_for_a_time() -> None:
    proofs = EndpointProofs()
    proofs.add(b"one", "10.0.0.1", 0.0)
    assert proofs.holds(b"one", "10.0.0.1", PROOF_TIME - 1)
    assert not proofs.holds(b"one", "10.0.0.1", PROOF_TIME)
    assert not proofs.holds(b"one", "10.0.0.2", 0.0)
    assert not proofs.holds(b"two", "10.0.0.1", 0.0)
    assert proofs.knows("10.0.0.1")
    assert not proofs.knows("10.0.0.2")


def test_proofs_are_bounded_and_old_ones_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_proofs, "MAX_PROOFS", 3)
    proofs = EndpointProofs()
    for number in range(10):
        proofs.add(bytes([number]), f"10.0.0.{number}", float(number))
    assert len(proofs) == 3
    assert [number for number in range(10) if proofs.knows(f"10.0.0.{number}")] == [7, 8, 9]
    proofs.add(b"late", "10.0.0.99", PROOF_TIME + 8.5)
    assert not proofs.knows("10.0.0.8"), "it is too old"
    assert proofs.knows("10.0.0.9")


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9000)))
)
@settings(max_examples=100, deadline=None)
def test_an_address_is_known_while_a_proof_is_for_it(
    steps: list[tuple[bool, int, int, int]],
) -> None:
    proofs, now, model = EndpointProofs(), 0.0, dict[tuple[bytes, str], float]()
    for adds, who, where, wait in steps:
        now += wait
        proof = bytes([who]), f"10.0.0.{where}"
        if adds:
            proofs.add(*proof, now)
            model[proof] = now
            model = {p: t for p, t in model.items() if now - t < PROOF_TIME}
        else:
            proofs.remove(*proof)
            model.pop(proof, None)
        for ip in (f"10.0.0.{n}" for n in range(4)):
            assert proofs.knows(ip) == any(p[1] == ip for p in model)


@pytest.mark.parametrize(
    ("teller", "told", "may"),
    [
        ("203.0.113.1", "198.51.100.1", True),
        ("203.0.113.1", "10.0.0.1", False),
        ("203.0.113.1", "127.0.0.1", False),
        ("203.0.113.1", "fe80::1", False),
        ("203.0.113.1", "2001:db8::1", True),
        ("10.0.0.1", "192.168.0.1", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("::1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "8.8.8.8", True),
        ("10.0.0.1", "0.0.0.0", False),
        ("10.0.0.1", "::", False),
        ("10.0.0.1", "224.0.0.1", False),
        ("10.0.0.1", "ff02::1", False),
        ("10.0.0.1", "240.0.0.1", False),
        ("10.0.0.1", "255.255.255.255", False),
    ],
)
def test_who_may_tell_of_which_address(teller: str, told: str, may: bool) -> None:
    assert may_tell(teller, told) == may


def test_addresses_have_one_form_and_an_owner() -> None:
    assert plain_ip("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_ip("2001:db8::1") == "2001:db8::1"
    assert plain_ip("192.0.2.1") == "192.0.2.1"
    assert subnet_of("203.0.113.77") == "203.0.113.0/24"
    assert subnet_of("2001:db8:5:6::1") == "2001:db8:5::/48"
    assert subnet_of("10.0.0.1") == subnet_of("::1") == ""


def test_timers_make_each_call_once_in_order_of_time() -> None:
    timers = Timers(10.0)
    made: list[str] = []
    timers.later(2.0, lambda: made.append("two"))
    timers.later(1.0, lambda: made.append("one"))
    timers.later(1.0, lambda: timers.later(0.0, lambda: made.append("then")))
    assert timers.due == 11.0
    timers.run(10.5)
    assert made == []
    timers.run(12.0)
    assert made == ["one", "two"]
    assert timers.due == 12.0
    timers.run(11.0)  # a clock does not go back
    assert made == ["one", "two", "then"]
    assert timers.due is None
