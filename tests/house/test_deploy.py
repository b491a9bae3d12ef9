"""The files of deploy/ fit the server, and the unit is closed."""

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support.discovery import node_key
from tests.support.patience import PATIENCE
from tests.support.scraped import metrics_asked_for
from tests.support.tools import tool
from wakumail.cli.command_line import parser
from wakumail.devp2p.keys import node_id
from wakumail.ops.config.layers import load

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "wakumail.service"
NODE_ID = node_id(node_key("second").public_key).hex()

MAX_EXPOSURE = 20
"""Tenths of the scale of systemd-analyze."""


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
        assert not loaded.remarks
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


CONTAINER = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
STEPS = [line.split(maxsplit=1) for line in CONTAINER.splitlines() if re.match("[A-Z]", line)]


def step(name: str) -> str:
    """The last step of that name in the Containerfile."""
    return [words for kind, words in STEPS if kind == name][-1]


def test_the_container_is_made_of_files_that_there_are() -> None:
    copied = [
        words.split()[:-1] for kind, words in STEPS if kind == "COPY" and "--from" not in words
    ]
    names = [name for words in copied for name in words]
    assert {"setup.py", "pyproject.toml", "src", "ext"} <= set(names)
    assert all((DEPLOY.parent / name).exists() for name in names)
    assert {"README.md", "LICENSE"} <= set(names), "the metadata of the package name them"


def test_the_container_runs_a_server() -> None:
    """Its variables, ports, volume and health check are those of the settings; it is not root."""
    variables = dict(pair.split("=", 1) for pair in step("ENV").split() if "WAKUMAIL" in pair)
    settings = load({}, variables).settings
    assert settings.datadir == Path(step("VOLUME"))
    ports = {f"{settings.port}/tcp", f"{settings.port}/udp", f"{settings.metrics_port}/tcp"}
    assert set(step("EXPOSE").split()) == ports
    assert (settings.host, settings.metrics, settings.metrics_addr) == ("0.0.0.0", True, "0.0.0.0")
    command = [*json.loads(step("ENTRYPOINT")), *json.loads(step("CMD"))]
    assert command[0] == "wakumail"
    assert parser().parse_args(command[1:]).command == "serve"
    assert [kind for kind, _ in STEPS].count("FROM") == 2
    assert f" {step('USER')}" in step("RUN")
    assert step("USER") != "root"


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_of_the_container(status: int, code: int) -> None:
    asked = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    _, _, words = step("HEALTHCHECK").partition("CMD ")
    python, *arguments = json.loads(words)
    assert python == "python"
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.handle_request).start()
        arguments[1] = arguments[1].replace(":9305/", f":{server.server_port}/")
        command = [sys.executable, *arguments]
        done = subprocess.run(command, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    assert (asked, done.returncode) == (["/health"], code)


ALERTS = DEPLOY / "alerts.yml"
NAMES = re.findall(r"- alert: (\w+)", ALERTS.read_text())


DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS += [each["expr"] for each in DASHBOARD["annotations"]["list"]]

GRAFANA_UNITS = {"none", "short", "bytes", "Bps", "s", "d", "dtdurations", "cps", "reqps"}
"""Ids of units as Grafana has them."""

WIDTH = 24
"""Columns of a dashboard."""


def test_the_dashboard_is_one_that_grafana_draws() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "instance"}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["instance"]["datasource"] == source
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat"), panel["title"]
        assert panel["datasource"] == source
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in GRAFANA_UNITS, panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for target in panel["targets"]:
            assert target["datasource"] == source
            assert target["legendFormat"].startswith("{{instance}}"), panel["title"]


def test_no_panel_lies_on_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    height = 1 + max(y for _, y in taken)
    assert len(taken) == WIDTH * height  # no hole either


def test_the_dashboard_s_queries_are_promql(tmp_path: Path) -> None:
    """As Prometheus reads them: each as a rule, with Grafana's variables filled in."""
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "5m")}
        for number, expr in enumerate(EXPRESSIONS)
    ]
    assert len(rules) > 40
    assert all('instance=~"$instance"' in expr for expr in EXPRESSIONS)
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    check = [tool("promtool"), "check", "rules", str(file)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", ["alerts.yml", "grafana.json"])
def test_what_watches_asks_for_metrics_that_there_are(file: str) -> None:
    docs = DEPLOY.parent / "docs"
    known = set(re.findall(r"^\| `(\w+)` \|", (docs / "metrics.md").read_text(), re.MULTILINE))
    counters = re.findall(r"^\| `(\w+)` \|", (docs / "counters.md").read_text(), re.MULTILINE)
    known |= {f"wakumail_{name}_total" for name in counters}
    asked = metrics_asked_for(DEPLOY / file)
    assert len(asked) > 10
    assert asked <= known


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
