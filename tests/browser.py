"""A headless Chromium that tests click through: the DevTools protocol over a pipe, standard library only."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--hide-scrollbars",
    # WebGL without a graphics card.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)


def find_browser() -> str | None:
    """Path of a Chromium or Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Page:
    """One page of a browser of its own: loads a file, runs scripts, clicks, types, takes pictures."""

    def __init__(
        self, folder: Path, *, size: tuple[int, int] = (1400, 1500), timeout_s: float = 60.0
    ) -> None:
        self.errors: list[str] = []
        """Messages of the console that are errors, and exceptions of scripts."""
        self.requests: list[str] = []
        """Addresses that the page asked for."""
        self.downloads = folder / "downloads"
        self._timeout_s, self._last, self._rest = timeout_s, 0, b""
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        command = [
            find_browser(),
            *FLAGS,
            "--remote-debugging-pipe",
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={folder / 'profile'}",
            "about:blank",
        ]
        # The browser reads its file descriptor 3 and writes to 4.
        shell = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "bash", *command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._session = ""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=size[0],
            height=size[1],
            deviceScaleFactor=1,
            mobile=False,
        )
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._write)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def send(self, method: str, **parameters: object) -> Mapping[str, object]:
        """Give one command and wait for its answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self._timeout_s
        while True:
            answer = self._receive(deadline)
            self._note(answer)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self, deadline: float) -> dict:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(deadline - time.monotonic(), 0))
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise TimeoutError("the browser does not answer")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def _note(self, event: Mapping) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"][:100])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            self.errors.append(" ".join(str(one.get("value", one)) for one in parameters["args"]))

    def open(self, path: Path) -> None:
        """Load a file and wait until its state is told in ``body[data-state]``."""
        self.send("Page.navigate", url=path.absolute().as_uri())
        self.wait("document.body && document.body.dataset.state")

    def run(self, script: str) -> object:
        """Value of a JavaScript expression; promises are awaited."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + self._timeout_s
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{condition} did not come true; errors: {self.errors}")
            time.sleep(0.05)

    def box(self, selector: str) -> dict[str, float]:
        """Place of an element in the window, scrolled into view."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'nearest'}})")
        return json.loads(
            self.run(
                f"JSON.stringify(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
            )
        )

    def click(self, selector: str, at: tuple[float, float] = (0.5, 0.5)) -> None:
        """Press and release the mouse at a place in an element, given as parts of its width and height."""
        self.drag(selector, [at])

    def drag(self, selector: str, places: Sequence[tuple[float, float]], within: str | None = None) -> None:
        """Press the mouse on an element, move it through further places of `within`, release it."""
        own, other = self.box(selector), self.box(within or selector)
        points = [
            (box["x"] + part[0] * box["width"], box["y"] + part[1] * box["height"])
            for box, part in zip([own, *[other] * (len(places) - 1)], places, strict=True)
        ]
        self._mouse("mouseMoved", points[0])
        self._mouse("mousePressed", points[0])
        for point in points[1:]:
            self._mouse("mouseMoved", point, is_held=True)
        self._mouse("mouseReleased", points[-1])

    def _mouse(self, kind: str, point: tuple[float, float], *, is_held: bool = False) -> None:
        self.send(
            "Input.dispatchMouseEvent",
            type=kind,
            x=point[0],
            y=point[1],
            button="left",
            buttons=1 if kind == "mousePressed" or is_held else 0,
            clickCount=1,
        )

    def turn_wheel(self, selector: str, at: tuple[float, float], steps: int) -> None:
        """Turn the wheel of the mouse over a place in an element."""
        box = self.box(selector)
        x, y = box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]
        self.send("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=100 * steps)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, text=key if len(key) == 1 else "")

    def choose(self, selector: str, value: str) -> None:
        """Choose an option, or set a slider, as a user does."""
        self.run(
            f"""(() => {{ const field = document.querySelector({json.dumps(selector)});
            field.value = {json.dumps(value)};
            field.dispatchEvent(new Event("input", {{bubbles: true}}));
            field.dispatchEvent(new Event("change", {{bubbles: true}})); }})()"""
        )

    def picture(self, path: Path | None = None) -> bytes:
        """The window as PNG."""
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(data)
        return data
