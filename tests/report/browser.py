"""A real browser without its windows, driven by Chromium's DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page; ``errors`` holds what went wrong: exceptions, what its policy refused."""

    def __init__(self, program: str, *, width: int = 1200, height: int = 900) -> None:
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        self._profile = tempfile.mkdtemp(prefix="dcbmr-browser-")
        words = [
            program, "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--mute-audio",
            "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={self._profile}",
            f"--window-size={width},{height}", "--hide-scrollbars", "about:blank",
        ]  # fmt: skip
        if os.geteuid() == 0:
            words.insert(1, "--no-sandbox")
        # The protocol is spoken on the descriptors 3 and 4.
        redirected = f'exec "$@" 3<&{to_read} 4>&{to_write}'
        self._process = subprocess.Popen(
            ["bash", "-c", redirected, "bash", *words],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._number = b"", 0
        self.errors: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        for pipe in (self._in, self._out):
            os.close(pipe)
        shutil.rmtree(self._profile, ignore_errors=True)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            got = os.read(self._in, 1 << 20)
            if not got:
                raise RuntimeError("the browser has ended")
            self._rest += got
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        self._events.append(event)
        if method == "Runtime.exceptionThrown":
            about = params["exceptionDetails"]
            self.errors.append(about.get("exception", {}).get("description") or about["text"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))

    @property
    def fetched(self) -> list[str]:
        """What the page asked for over any network, data and files of its own apart."""
        urls = [
            e["params"]["request"]["url"]
            for e in self._events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("file:", "data:", "about:"))]

    def open(self, file: Path, *, scheme: str = "light") -> float:
        """Open a page, and return how many seconds it took until it was there."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        began = time.perf_counter()
        self.call("Page.navigate", url=file.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")
        return time.perf_counter() - began

    def js(self, expression: str) -> Any:
        """Evaluate, wait for a promise, and return a value of JSON."""
        done = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            allowUnsafeEvalBlockedByCSP=False,
        )
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"]["exception"].get("description", str(done)))
        return done["result"].get("value")

    def wait(self, condition: str, *, seconds: float = 60) -> None:
        end = time.perf_counter() + seconds
        while not self.js(condition):
            if time.perf_counter() > end:
                raise TimeoutError(f"{condition} did not become true; errors: {self.errors}")
            time.sleep(0.02)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def key(self, key: str) -> None:
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38}.get(key, 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        if whole:
            size = self.js("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
            clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 12000), "scale": 1}
            shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        else:
            shot = self.call("Page.captureScreenshot")
        file.write_bytes(base64.b64decode(shot["data"]))
