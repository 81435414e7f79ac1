"""Opens the status page in Chromium by its debugging pipe, and looks at it as people would."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

browser, page, shots = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
SHOWN = [
    "gotoassist-grpc", "ready", "version", "up", "3\nwatchers", "2\npolls", "GoToAssist answers",
    "requests a second", "Watched sessions", "waiting 1", "active 1", "SESSION_NOT_FOUND",
    "NOT_FOUND", "metrics",
]
HIDDEN = ["250040302", "250040303", "nobody", "example.com"]
SIZES = {"phone": (390, 844), "desk": (1280, 900)}


class Chromium:
    def __init__(self, folder):
        to_child, self.write = os.pipe()
        self.read, from_child = os.pipe()

        def as_three_and_four():
            # Away first: the pipes may be 3 and 4 themselves.
            ends = os.dup(to_child), os.dup(from_child)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        arguments += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        self.process = subprocess.Popen(
            [browser, *arguments], preexec_fn=as_three_and_four, close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(to_child)
        os.close(from_child)
        self.number, self.unread, self.session = 0, b"", None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.unread:
                self.unread += os.read(self.read, 1 << 20) or sys.exit("Chromium is gone")
            line, self.unread = self.unread.split(b"\0", 1)
            answer = json.loads(line)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def value(self, expression):
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]
        return result.get("value")

    def until(self, expression):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.value(expression):
                return
            time.sleep(0.1)
        sys.exit(f"in vain: {expression}: {self.value('document.body?.innerText')}")


def luminance(colour):
    red, green, blue = (int(part) for part in colour[4:-1].split(",")[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def look(chromium, size, scheme):
    width, height = SIZES[size]
    chromium.ask("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=size == "phone")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.ask("Emulation.setEmulatedMedia", features=features)
    chromium.ask("Page.navigate", url=page)
    chromium.until("document.readyState == 'complete' && /3\\s+watchers/.test(document.body.innerText)")
    text = chromium.value("document.body.innerText")
    for shown in SHOWN:
        assert shown in text, f"{shown!r} is missing in {text}"
    for hidden in HIDDEN:
        assert hidden not in text, f"{hidden!r} is in {text}"
    assert chromium.value("document.scripts.length") == 0
    assert chromium.value("document.querySelector('meta[http-equiv=refresh]').content") == "5"
    overflow = chromium.value("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{size}: {overflow} pixels too wide"
    bars = chromium.value(
        "[...document.querySelectorAll('svg .sent')].filter(b => b.getBoundingClientRect().height > 1).length")
    paper = luminance(chromium.value("getComputedStyle(document.body).backgroundColor"))
    ink = luminance(chromium.value("getComputedStyle(document.body).color"))
    assert (paper < 0.2 < 0.8 < ink) if scheme == "dark" else (ink < 0.2 < 0.8 < paper), (paper, ink)
    shot = chromium.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    (shots / f"{size}-{scheme}.png").write_bytes(base64.b64decode(shot))
    print(f"    {size}, {scheme}: {len(text)} characters, {bars} bars")
    return bars


with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    chromium = Chromium(folder)
    try:
        # Whatever the page needs must work without script.
        chromium.ask("Emulation.setScriptExecutionDisabled", value=True)
        bars = [look(chromium, size, scheme) for size in SIZES for scheme in ("light", "dark")]
        # A bar is drawn every ten seconds, and the page brings itself up to date.
        chromium.until("[...document.querySelectorAll('svg .sent')].some(b => b.getBoundingClientRect().height > 1)")
        print("    the page has refreshed itself, and the chart has bars")
    finally:
        chromium.process.kill()
        chromium.process.wait()
