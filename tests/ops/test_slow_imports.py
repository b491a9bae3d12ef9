"""Parts that take long to import are there before a node listens, if they are on, or never."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from wakumail.ops.config.settings import Settings
from wakumail.ops.slow_imports import import_what_is_on
import_what_is_on(Settings({chosen}))
print("aiohttp.web" in sys.modules, "wakumail.ops.peer_search" in sys.modules)
"""


@pytest.mark.parametrize(
    ("chosen", "imported"),
    [
        ("discovery_v4=False", "False False"),
        ("discovery_v4=False, metrics=True", "True False"),
        ("discovery_v4=True", "False True"),
    ],
    ids=["nothing", "HTTP", "discovery"],
)
def test_only_what_is_on(chosen: str, imported: str) -> None:
    command = [sys.executable, "-c", SCRIPT.format(chosen=chosen)]
    assert subprocess.check_output(command, text=True).strip() == imported
