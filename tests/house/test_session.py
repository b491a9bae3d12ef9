"""The session of the README, run as it stands there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.patience import PATIENCE
from tests.support.processes import WAKUMAIL, Server

README = (Path(__file__).parents[2] / "README.md").read_text()
SHELL = re.findall(r"^    \$ \.venv/bin/wakumail (.+)\n((?:    [^$].*\n)+)", README, re.MULTILINE)
"""Each command with all that it prints."""
(CODE,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

VARYING = (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r"\b[0-9a-f]{64}\b", r"\b(29|30)\d\b")
"""Times, hashes, and the size of an envelope: the mined nonce takes one to eight bytes of it."""


def fixed(text: str) -> str:
    """A text without what differs each time."""
    for pattern in VARYING:
        text = re.sub(pattern, "*", text)
    return "\n".join(line.strip() for line in text.splitlines())


def output_of(*command: str) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_session(tmp_path: Path) -> None:
    assert len(SHELL) == 3
    with Server(tmp_path / "data") as server:
        for line, printed in SHELL:
            words = shlex.split(line.replace("$ENODE", server.enode))
            if words[0] == "attach":
                words[1:1] = ["--datadir", str(server.datadir)]
            # On a pipe the two streams of a command may come in another order than on a terminal.
            shown = sorted(fixed(output_of(*WAKUMAIL, *words)).splitlines())
            assert shown == sorted(fixed(printed).splitlines())
        script = tmp_path / "session.py"
        script.write_text(CODE)
        assert output_of(sys.executable, str(script), server.enode) == "b'good morning'\n"
