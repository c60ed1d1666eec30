"""Opens pages of `vldepot report` and `vldepot view` in headless Chromium, and looks at what happens.

    check.py CHROMIUM PAGES VLDEPOT [--pictures FOLDER]

PAGES is a folder of pages, each beside the depot that it is of. Chromium is driven through a pipe, with its
DevTools protocol. A page must load without an error, ask for nothing, draw what it says, and run nothing that its
depot holds. With --pictures, each page is also photographed, in light and dark.
"""

import argparse
import base64
import contextlib
import json
import os
import select
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE = 90.0

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]

# What a frame is drawn with, without the feature `viewer` a drawing.
DRAWN = {"simulation", "molecules", "hostile", "broken", "one"}


class Browser:
    """Chromium, and one page of it."""

    def __init__(self, chromium: str, profile: str) -> None:
        to_browser, self.to = os.pipe()
        self.come, from_browser = os.pipe()

        def connect() -> None:
            # Chromium reads from 3 and writes to 4.
            a, b = os.dup(to_browser), os.dup(from_browser)
            os.dup2(a, 3)
            os.dup2(b, 4)
            os.set_inheritable(3, True)
            os.set_inheritable(4, True)

        self.process = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=connect,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.number = 0
        self.rest = b""
        self.events: list[dict[str, Any]] = []
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.come], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("Chromium does not answer")
            part = os.read(self.come, 1 << 20)
            if not part:
                raise EOFError("Chromium ended")
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def run(self, expression: str) -> Any:
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def open(self, address: str, *, dark: bool) -> None:
        scheme = "dark" if dark else "light"
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", features=media)
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False
        )
        self.events.clear()
        self.ask("Page.navigate", url=address)
        until = time.monotonic() + PATIENCE
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive(until))
        # What was asked to be drawn is drawn after two frames.
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def photograph(self, selector: str | None = None) -> bytes:
        expression = (
            "(() => { const r = %s.getBoundingClientRect();"
            " return [r.x + scrollX, r.y + scrollY, r.width, r.height]; })()"
        )
        element = (
            f"document.querySelector({json.dumps(selector)})" if selector else "document.documentElement"
        )
        x, y, width, height = self.run(expression % element)
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def wrong(self, *, own: str | None) -> Iterator[str]:
        """What a page did that it must not do. Requests below the address `own` are allowed."""
        for event in self.events:
            method, what = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                yield f"an exception: {json.dumps(what)[:600]}"
            elif method == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning", "assert"):
                yield f"the console: {json.dumps(what['args'])[:600]}"
            elif method == "Log.entryAdded" and what["entry"]["level"] in ("error", "warning"):
                # That swiftshader draws without a graphics card is said of every page with WebGL.
                if "GPU stall" not in what["entry"]["text"]:
                    yield f"the log: {json.dumps(what['entry'])[:600]}"
            elif method == "Network.requestWillBeSent":
                url = what["request"]["url"]
                is_page = what.get("type") == "Document"
                is_inside = url.startswith(("data:", "blob:"))
                if not (is_page or is_inside or (own and url.startswith(own))):
                    yield f"a request of {url[:200]}"
            elif method == "Page.javascriptDialogOpening":
                yield f"a dialogue: {what}"

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.session = None
            self.ask("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()


def colours(png: bytes) -> int:
    """The number of colours in a PNG of 8 bits and no interlacing, as Chromium writes it."""
    at, data, width, depth = 8, b"", 0, 0
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, _, _, colour = struct.unpack(">IIBB", body[:10])
            depth = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    raw, stride = zlib.decompress(data), width * depth
    before, seen = bytearray(stride), set()
    for start in range(0, len(raw), stride + 1):
        rule, line = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for n in range(stride):
            left = line[n - depth] if n >= depth else 0
            up, corner = before[n], before[n - depth] if n >= depth else 0
            if rule == 1:
                line[n] = (line[n] + left) & 255
            elif rule == 2:
                line[n] = (line[n] + up) & 255
            elif rule == 3:
                line[n] = (line[n] + (left + up) // 2) & 255
            elif rule == 4:
                guess = left + up - corner
                near = min(
                    (abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner)
                )
                line[n] = (line[n] + near[2]) & 255
        seen.update(bytes(line[n : n + depth]) for n in range(0, stride, depth))
        before = line
    return len(seen)


def check(browser: Browser, name: str, address: str, own: str | None, pictures: Path | None) -> list[str]:
    """What is wrong with a page."""
    found: list[str] = []
    for dark in (False, True):
        browser.open(address, dark=dark)
        title = browser.run("document.title")
        if title == "taken" or browser.run("document.querySelectorAll('img').length"):
            found.append("something in the depot was taken for a part of the page")
        if browser.run("document.documentElement.scrollWidth > innerWidth"):
            found.append("it is wider than the window")
        if name in DRAWN:
            has_player = browser.run("typeof $3Dmol !== 'undefined'")
            if has_player and browser.run("document.getElementById('canvas').hidden"):
                found.append("the player is not shown")
            first = browser.photograph("#canvas canvas" if has_player else "#still svg")
            if colours(first) < 12:
                found.append(f"the drawing is empty: {colours(first)} colours")
            if has_player and name != "one":
                move = "(() => { const s = document.getElementById('slider'); s.value = s.max;"
                browser.run(
                    move
                    + " s.dispatchEvent(new Event('input')); return new Promise((d) => setTimeout(d, 800)); })()"
                )
                if browser.photograph("#canvas canvas") == first and name != "hostile":
                    found.append("the slider moves nothing")
                browser.run("document.getElementById('play').click()")
                browser.run("new Promise((done) => setTimeout(done, 600))")
                browser.run("document.getElementById('play').click()")
        if name == "archive":
            before = browser.run("document.querySelectorAll('#treemap rect').length")
            browser.run(
                "document.querySelector('#treemap rect.folder')"
                ".dispatchEvent(new MouseEvent('click', { bubbles: true }))"
            )
            after = browser.run("document.querySelectorAll('#treemap rect').length")
            if not 0 < after != before:
                found.append(f"a click on a folder does not open it: {before} and {after} rectangles")
            browser.run("document.querySelector('#crumbs button').click()")
        if pictures is not None:
            scheme = "dark" if dark else "light"
            (pictures / f"{name}-{scheme}.png").write_bytes(browser.photograph())
        found.extend(browser.wrong(own=own))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chromium")
    parser.add_argument("pages", type=Path)
    parser.add_argument("vldepot")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    if given.pictures:
        given.pictures.mkdir(parents=True, exist_ok=True)
    bad = 0
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(given.chromium, profile)
        try:
            pages = sorted(given.pages.glob("*.html"))
            if not pages:
                raise SystemExit(f"{given.pages} holds no page")
            for page in pages:
                found = check(browser, page.stem, page.resolve().as_uri(), None, given.pictures)
                print(f"{page.stem}: {'; '.join(found) or 'good'}", flush=True)
                bad += bool(found)
            for name in ("simulation", "molecules", "archive"):
                depot = given.pages / f"{name}.vld"
                view = subprocess.Popen([given.vldepot, "view", depot], stdout=subprocess.PIPE, text=True)
                try:
                    assert view.stdout is not None
                    address = view.stdout.readline().strip()
                    found = check(browser, name, address, address, None)
                finally:
                    view.kill()
                    view.wait()
                print(f"view of {name}: {'; '.join(found) or 'good'}", flush=True)
                bad += bool(found)
        finally:
            browser.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
