"""Golden vectors: what other implementations encode and decode."""

import json
from pathlib import Path
from typing import Any


def _read(name: str) -> Any:
    return json.loads(Path(__file__).with_name(name).read_text())


VECTORS: dict[str, Any] = _read("status-go.json")
"""Packets and messages made by status-go's own code."""

DISCOVERY: dict[str, Any] = _read("discovery.json")
"""Node records as go-ethereum reads them, and the DNS tree that it signs for them."""

NEGENTROPY: dict[str, Any] = _read("negentropy.json")
"""Conversations of the C++ reference implementation of negentropy v1."""

LEVELDB = Path(__file__).with_name("leveldb")
"""The directory of a LevelDB that plyvel 1.5.1 made on Python 3.11. A copy is to be opened, since
LevelDB tidies what it opens."""
