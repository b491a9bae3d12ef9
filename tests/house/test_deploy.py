"""The files of deploy/ fit the server, and the unit is closed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.discovery import node_key
from wakumail.devp2p.keys import node_id
from wakumail.ops.config.layers import load

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "wakumail.service"
NODE_ID = node_id(node_key("second").public_key).hex()

MAX_EXPOSURE = 20
"""Tenths of the scale of systemd-analyze."""


def tool(name: str) -> str:
    """The path of a tool that a user may lack; CI has it."""
    found = shutil.which(name)
    if found is None:
        assert "CI" not in os.environ
        pytest.skip(f"needs {name}")
    return found


@pytest.mark.parametrize("name", ["wakumail.toml", "public.toml"])
def test_the_examples_are_configurations(tmp_path: Path, name: str) -> None:
    """As they are, and with the lines that are commented out."""
    text = (DEPLOY / name).read_text()
    every = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE).replace("…", NODE_ID)
    file = tmp_path / name
    for content in (text, every):
        file.write_text(content)
        loaded = load({}, {}, str(file))
        assert loaded.settings.datadir == Path("/var/lib/wakumail")
        assert loaded.settings.metrics
        assert loaded.settings.max_size
        assert not loaded.left_out
    assert loaded.settings.nat.startswith("extip:")


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
