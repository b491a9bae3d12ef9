"""The page on the Python client: it names all that is public, and its code runs."""

import ast
import asyncio
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wakumail
from tests.support.processes import Server

PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TEXT = re.sub(r"^```python\n.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
CODE = " ".join(re.findall(r"`([^`]+)`", TEXT))

INTERNAL = {"of", "on_event", "on_gone", "on_writable", "open", "close", "drop_abandoned", "select"}
"""Called by the node below, or by `connect`, `mailservers` and `history`."""

CLASSES = [
    wakumail.Enode,
    wakumail.Envelope,
    wakumail.EnvelopeError,
    wakumail.HistoryPage,
    wakumail.MailPeer,
    wakumail.Mailservers,
    wakumail.MergedPage,
    wakumail.Posted,
    wakumail.ReceivedMessage,
    wakumail.Wanted,
    wakumail.Withheld,
]
CALLS: list[Callable[..., Any]] = [
    wakumail.MailPeer.history,
    wakumail.MailPeer.pages,
    wakumail.MailPeer.request,
    wakumail.Mailservers.history,
    wakumail.Mailservers.merged_history,
    wakumail.bloom_of,
    wakumail.compose,
    wakumail.connect,
    wakumail.contact_code_topic,
    wakumail.load_node_key,
    wakumail.load_or_create_node_key,
    wakumail.mailservers,
    wakumail.negotiated_topic,
    wakumail.open_envelope,
    wakumail.partitioned_topic,
    wakumail.post,
    wakumail.public_chat_topic,
    wakumail.symmetric_key,
]


def is_named(name: str) -> bool:
    """True if the name stands in code within the text, outside of the blocks."""
    return re.search(rf"\b{name}\b", CODE) is not None


@pytest.mark.parametrize("name", wakumail.__all__)
def test_every_name_is_on_the_page(name: str) -> None:
    assert is_named(name)


def test_the_page_names_nothing_else() -> None:
    """Its blocks import public names only."""
    for block in BLOCKS:
        for node in ast.walk(compiled(block, ast.PyCF_ONLY_AST)):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "wakumail"
                assert {alias.name for alias in node.names} <= set(wakumail.__all__)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_member_is_on_the_page(kind: type) -> None:
    members = {name for name in dir(kind) if not name.startswith("_")}
    inherited = {name for name in dir(tuple) if kind.__base__ is tuple}
    for name in members - inherited - INTERNAL:
        assert is_named(name), f"{kind.__name__}.{name}"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_every_parameter_is_on_the_page(call: Callable[..., Any]) -> None:
    for name in set(inspect.signature(call).parameters) - {"self"}:
        assert is_named(name), f"{call.__qualname__}: {name}"


def compiled(block: str, flags: int = 0) -> Any:
    return compile(block, "docs/client.md", "exec", flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first block to the last, as one program, against two mailservers."""
    monkeypatch.chdir(tmp_path)
    with Server(tmp_path / "one") as one, Server(tmp_path / "two") as two:
        names: dict[str, Any] = {"ENODE": one.enode, "SECOND": two.enode, "__name__": "page"}
        first, *rest = map(compiled, BLOCKS)
        exec(first, names)  # it starts an event loop of its own

        async def run() -> None:
            for block in rest:
                if inspect.isawaitable(done := eval(block, names)):
                    await done

        asyncio.run(run())
    assert names["posted"].confirmed == 3
    assert names["posted"].withheld == ()
    assert len(names["page"].envelopes) == 3
    assert names["message"].payload == b"for you only"
