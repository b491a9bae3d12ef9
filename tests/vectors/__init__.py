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
