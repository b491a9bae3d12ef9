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


def tool(name: str) -> str:
    """The path of a tool that a user may lack; CI has it."""
    found = shutil.which(name)
    if found is None:
        assert "CI" not in os.environ
        pytest.skip(f"needs {name}")
    return found


def test_the_example_is_a_configuration() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    for content in (EXAMPLE.read_text(), text):
        keys = tomllib.loads(content)
        assert set(keys) <= set(Settings.__dataclass_fields__)
        assert keys["datadir"] == "/var/lib/wakumail"
    assert "nat" in keys


def test_the_unit_is_closed() -> None:
    """Exposure as systemd itself judges it, and no key that it does not know."""
    analyze = tool("systemd-analyze")
    security = [analyze, "security", "--offline=true", f"--threshold={MAX_EXPOSURE}", str(UNIT)]
    judged = subprocess.run(security, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    verify = [analyze, "verify", "--man=no", str(UNIT)]
    verified = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "Unknown" not in verified.stderr


ALERTS = DEPLOY / "alerts.yml"
NAMES = re.findall(r"- alert: (\w+)", ALERTS.read_text())


def test_alerts_ask_for_metrics_that_there_are() -> None:
    docs = DEPLOY.parent / "docs"
    known = set(re.findall(r"^\| `(\w+)` \|", (docs / "metrics.md").read_text(), re.MULTILINE))
    counters = re.findall(r"^\| `(\w+)` \|", (docs / "counters.md").read_text(), re.MULTILINE)
    known |= {f"wakumail_{name}_total" for name in counters}
    rules = re.sub(r"(annotations|labels|for):.*", "", ALERTS.read_text())
    rules = re.sub(r'summary: ".*"', "", rules)
    asked = set(re.findall(r"\b((?:wakumail|mailserver|waku|p2p|process)_\w+)", rules))
    assert len(asked) > 10
    assert {name.removesuffix("_bucket") for name in asked} <= known


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_has_its_section(name: str) -> None:
    page = DEPLOY.parent / "docs" / "troubleshooting.md"
    assert f"\n### {name}\n" in page.read_text()


def test_sections_are_those_of_alerts() -> None:
    page = (DEPLOY.parent / "docs" / "troubleshooting.md").read_text()
    assert re.findall(r"^### (\w+)$", page, re.MULTILINE) == NAMES


def test_alerts_come_when_they_should() -> None:
    """As Prometheus itself judges the rules, with series made for each."""
    promtool = tool("promtool")
    cases = Path(__file__).with_name("alerts.yml")
    assert re.findall(r"- eval_time: \S+\n +alertname: (\w+)\n +exp", cases.read_text()) == NAMES
    for command in (("check", "rules", ALERTS), ("test", "rules", cases)):
        done = subprocess.run([promtool, *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
