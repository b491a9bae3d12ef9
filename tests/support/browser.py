"""A Chromium without a window, driven by its DevTools protocol.

with chromium(directory) as browser:        # skips the test where there is none; CI has one
    browser.open("http://127.0.0.1:9305/", width=390)
    assert browser.run("document.title") == "..."

It resolves no names, so that a request to another host fails, and it notes each request.
"""

import base64
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.patience import PATIENCE, until

FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --disable-dev-shm-usage --mute-audio
--remote-debugging-port=0 --remote-allow-origins=*
"""

NOBODY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@contextmanager
def chromium(directory: Path) -> Iterator["Chromium"]:
    """Run one; its profile lies in a directory. Skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        assert "CI" not in os.environ, "Chromium is required in CI"
        pytest.skip("needs chromium")
    profile = directory / "chromium"
    process = subprocess.Popen(
        [program, *FLAGS.split(), NOBODY, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def address() -> list[str]:
        """Port and path of the protocol; empty until the browser has told them in a file."""
        assert process.poll() is None, "Chromium has ended"
        file = profile / "DevToolsActivePort"
        lines = file.read_text().split() if file.exists() else []
        return lines if len(lines) == 2 else []

    try:
        port, path = until(address)
        url = f"ws://127.0.0.1:{port}{path}"
        with connect(url, max_size=None, open_timeout=PATIENCE, proxy=None) as socket:
            yield Chromium(socket)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Chromium:
    """One page of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self.requests: list[str] = []
        """The URLs that were asked for."""
        self.complaints: list[str] = []
        """Errors and warnings of the console, and exceptions of scripts."""
        self._socket = socket
        self._numbers = itertools.count(1)
        self._loaded = False
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(
        self, url: str, *, width: int = 1200, dark: bool = False, scripts: bool = True
    ) -> None:
        """Go to a page, and wait until it has loaded."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._loaded = False
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._receive(lambda message: message.get("method") == "Page.loadEventFired")

    def go_offline(self, offline: bool = True) -> None:
        """Let every request fail from now on, or none any more."""
        none = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._call("Network.emulateNetworkConditions", offline=offline, **none)

    def run(self, expression: str) -> Any:
        """The value of an expression; a promise is awaited."""
        outcome = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in outcome, outcome
        return outcome["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The first value of an expression that is true."""
        return until(lambda: self.run(expression))

    def picture(self, path: Path) -> None:
        """Save the whole page as a PNG."""
        shot = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        self._socket.send(json.dumps(message))
        answer = self._receive(lambda message: message.get("id") == number)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next message that is wanted; others are noted."""
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(PATIENCE))
            self._note(message.get("method", ""), message.get("params", {}))
            if wanted(message):
                return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(json.dumps(params["entry"]))
