"""Debian's Chromium without a window: measures a page as a reader sees it."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--dump-dom",
]

MEASURE = """
document.fonts.ready.then(() => {
  const found = [...document.querySelectorAll("iframe")].map(frame => {
    const inner = frame.contentDocument;
    const cells = [...inner.querySelectorAll("td")].map(cell => cell.getBoundingClientRect());
    return {
      width: inner.documentElement.clientWidth,
      needed: inner.documentElement.scrollWidth,
      shown: cells.filter(cell => cell.width > 0 && cell.right <= frame.clientWidth).length,
    };
  });
  document.body.textContent = JSON.stringify(found);
});
"""


def measure(page: str, widths: tuple[int, ...], directory: Path) -> list[dict[str, int]]:
    """For each width of a screen: the `width` of the page, the width that it `needed` and the
    number of table cells that are `shown` whole, in CSS pixels."""
    program = shutil.which("chromium")
    if program is None:
        assert "CI" not in os.environ, "Chromium is required in CI"
        pytest.skip("needs chromium")
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}">'
        "</iframe>"
        for width in widths
    )
    outer = directory / "frames.html"
    outer.write_text(f"<body>{frames}<script>onload = () => {{{MEASURE}}}</script></body>")
    done = subprocess.run(
        [program, *FLAGS, f"--user-data-dir={directory / 'profile'}", outer.as_uri()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    found = re.search(r"\[\{.*\}\]", done.stdout)
    assert found is not None, done.stdout[-500:] + done.stderr[-500:]
    measured: list[dict[str, int]] = json.loads(found[0])
    return measured
