"""Golden vectors: what status-go's own code encodes and decodes (see README.md beside them)."""

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("status-go.json").read_text())
