"""The public names, and that each is loaded only when it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wakumail
from tests.support.patience import PATIENCE

PUBLIC = """
FULL_BLOOM AnswerTimeout Enode Envelope EnvelopeError Form HistoryDisordered HistoryPage Key
MailPeer Mailservers MergedPage NoMailserver PeerGone PostRefused Posted PowNotReached PrivateKey
PublicKey ReceivedMessage RequestRefused Verdict WakumailError Wanted Withheld bloom_of compose
connect contact_code_topic load_node_key load_or_create_node_key mailservers negotiated_topic
open_envelope partitioned_topic post public_chat_topic symmetric_key
"""
"""A name that is taken away breaks somebody's program."""
NAMES = PUBLIC.split()


def test_names() -> None:
    assert sorted(wakumail.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(wakumail))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_leads_somewhere(name: str) -> None:
    """It is the object of that name in the room that type checkers take it from."""
    value = getattr(wakumail, name)
    assert value is getattr(wakumail, name)
    tree = ast.parse(Path(wakumail.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    (room,) = (each.module for each in imports if name in [alias.name for alias in each.names])
    assert room is not None
    assert getattr(sys.modules[room], name) is value
    assert name in wakumail._ROOMS[room.removeprefix("wakumail.")]


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match="module 'wakumail' has no attribute 'nothing'"):
        wakumail.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert sum(map(len, wakumail._ROOMS.values())) == len(NAMES)


def loaded(program: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    report = f"{program}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return set(done.stdout.split())


def test_importing_loads_nothing() -> None:
    assert loaded("import wakumail") - loaded("") == {"wakumail"}
    assert loaded("import wakumail; dir(wakumail)") - loaded("") == {"wakumail"}


def test_a_name_loads_its_own_room_only() -> None:
    """Errors load no event loop."""
    modules = loaded("from wakumail import WakumailError, AnswerTimeout")
    assert {name for name in modules if name.startswith("wakumail")} == {
        "wakumail",
        "wakumail.errors",
    }
    assert "asyncio" not in modules
