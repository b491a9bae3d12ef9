"""The files of deploy/ fit the server, and the unit is closed."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from wakumail.ops.config.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "wakumail.service"
EXAMPLE = DEPLOY / "wakumail.toml"

MAX_EXPOSURE = 20
"""Tenths of the scale of systemd-analyze."""


def test_the_example_is_a_configuration() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    for content in (EXAMPLE.read_text(), text):
        keys = tomllib.loads(content)
        assert set(keys) <= set(Settings.__dataclass_fields__)
        assert keys["datadir"] == "/var/lib/wakumail"
    assert "nat" in keys


def test_the_unit_is_closed() -> None:
    """Exposure as systemd itself judges it, and no key that it does not know."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert "CI" not in os.environ
        pytest.skip("needs systemd-analyze")
    security = [analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(UNIT)]
    judged = subprocess.run(security, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    verify = [analyze, "verify", "--man=no", str(UNIT)]
    verified = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "Unknown" not in verified.stderr
