"""Chromium without a window, driven over a pipe in the DevTools protocol: what a page does, says and asks for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 90.0  # seconds; a busy machine takes its time


class Page:
    """One page. ``complaints`` are errors and warnings of its console, ``requests`` what it asked for."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest, self._number = to, back, b"", 0
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    _session: str | None = None

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        os.write(
            self._to, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            assert select.select([self._back], [], [], deadline - time.monotonic())[0], "Chromium does not answer"
            more = os.read(self._back, 1 << 20)
            assert more, "Chromium has ended"
            self._rest += more
        text, self._rest = self._rest.split(b"\0", 1)
        event: dict[str, Any] = json.loads(text)
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.complaints.append(str([one.get("value", one.get("description")) for one in params["args"]]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
        return event

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False, part: str = "") -> None:
        """Load a file from disk and wait until the figures that are seen are drawn. ``part`` is one of its tabs."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._call("Page.navigate", url="about:blank")  # another part of the same page would load nothing
        self._call("Page.navigate", url=path.resolve().as_uri() + (f"#{part}" if part else ""))
        # A page of trainings alone has no list of trials to be filled.
        filled = "!document.querySelector('#trials') || !!document.querySelector('#found')?.textContent"
        self.wait(f"document.readyState === 'complete' && ({filled})")
        self.wait(
            "[...document.querySelectorAll('.chart')].every(c => !c.offsetParent || c.querySelector('.main-svg'))"
        )

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.run(f"new Promise(r => setTimeout(() => r(!!({script})), 20))"):
            assert time.monotonic() < deadline, script

    def choose(self, name: str, value: str) -> None:
        """Set a field as a user would."""
        field = f"document.getElementById({json.dumps(name)})"
        self.run(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('input'))")

    def print(self, path: Path) -> None:
        """Save the page as it is printed."""
        printed = self._call("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
        path.write_bytes(base64.b64decode(printed))

    def shot(self, path: Path, whole: bool = False) -> None:
        """Save a picture of what is seen, or of the whole page."""
        clip: dict[str, Any] = {"captureBeyondViewport": whole}
        picture = self._call("Page.captureScreenshot", format="png", **clip)["data"]
        path.write_bytes(base64.b64decode(picture))


@contextlib.contextmanager
def opened() -> Iterator[Page]:
    """A page in a browser of its own, which has no network and ends with the block."""
    assert CHROMIUM, "Chromium is not installed"
    their_in, to = os.pipe()
    back, their_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [
            CHROMIUM, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run",
            "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
            "--hide-scrollbars", "--proxy-server=127.0.0.1:9",
        ]  # fmt: skip
        # The protocol speaks on file descriptors 3 and 4.
        script = f'exec "$@" 3<&{their_in} 4>&{their_out}'
        process = subprocess.Popen(
            ["bash", "-c", script, "bash", *words], pass_fds=(their_in, their_out), stderr=subprocess.DEVNULL
        )
        os.close(their_in)
        os.close(their_out)
        try:
            yield Page(to, back)
        finally:
            process.terminate()
            process.wait(timeout=30)
            os.close(to)
            os.close(back)
