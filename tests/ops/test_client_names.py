"""Client ids: known names are read, and the number of kinds is bounded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakumail.ops.monitoring.client_names import MAX_KINDS, OTHER, count_kinds, kind_of
from wakumail.version import CLIENT_ID, VERSION

KNOWN = [
    ("StatusIM/v0.34.0-beta.3/linux-amd64/go1.13.1", ("StatusIM", "v0.34.0", "linux-amd64")),
    (
        "StatusIM/vrelease-0.30.1-beta.2/android-arm/go1.11.5",
        ("StatusIM", "v0.30.1", "android-arm"),
    ),
    ("StatusIM/darwin-arm64/go1.13.3", ("StatusIM", "unknown", "darwin-arm64")),
    ("Statusd/v0.34.0/linux-arm64/go1.13.1", ("Statusd", "v0.34.0", "linux-arm64")),
    ("Geth/v1.9.9-stable-5aa131ca/linux-amd64/go1.13.3", ("Geth", "v1.9.9", "linux-amd64")),
    ("Geth/mine/v1.9.9-stable/windows-386/go1.13.3", ("Geth", "v1.9.9", "windows-386")),
    ("Nimbus waku node", ("Nimbus waku node", "unknown", "other")),
    ("nim-eth-p2p/0.0.1", ("nim-eth-p2p", "v0.0.1", "other")),
    ("geth/v1.9/plan9-amd64/go1.13", ("Geth", "v1.9", "other")),
    ("evil/v1.2.3/linux-amd64/go1.13", OTHER),
    ("", OTHER),
    ("StatusIM/v1234567.1.1/linux-amd64", ("StatusIM", "unknown", "linux-amd64")),
    ("StatusIM/v1.2.3.4.5/linux-amd64", ("StatusIM", "unknown", "linux-amd64")),
]


@pytest.mark.parametrize(("client_id", "kind"), KNOWN)
def test_what_a_client_id_tells(client_id: str, kind: tuple[str, str, str]) -> None:
    assert kind_of(client_id) == kind


def test_our_own() -> None:
    name, version, _ = kind_of(CLIENT_ID)
    assert (name, version) == ("wakumail", f"v{VERSION}")


@settings(max_examples=100, deadline=None)
@given(st.text() | st.text().map(lambda text: f"Geth/{text}"))
def test_any_text_is_of_some_kind(client_id: str) -> None:
    assert all(0 < len(part) <= 20 for part in kind_of(client_id))


def test_kinds_are_bounded_and_nobody_is_lost() -> None:
    rare = [f"Geth/v1.{number}.0/linux-amd64/go1" for number in range(3 * MAX_KINDS)]
    kinds = count_kinds([*rare, *["Statusd/v1.0.0/linux-amd64/go1"] * 2, "who?"])
    assert len(kinds) <= MAX_KINDS + 1
    assert kinds.total() == len(rare) + 3
    assert kinds["Statusd", "v1.0.0", "linux-amd64"] == 2
    assert kinds[OTHER] >= len(rare) - MAX_KINDS
