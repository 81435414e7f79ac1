"""Shows the status page in a real headless browser: at the width of a phone and of a desktop, in a
light and a dark scheme, and without scripts. Screenshots stay in the folder `status_page` of the
tools."""

import base64
import shutil

import pytest

from chromium import Chromium
from processes import Program, Service
from tools import BINARY, TOOLS, binary

SHOWN = [
    *("gotoassist-grpc", "ready", "version", "up", "3\nwatchers", "2\npolls"),
    *("GoToAssist answers", "requests a second", "Watched sessions", "waiting 1", "active 1"),
    *("SESSION_NOT_FOUND", "NOT_FOUND", "metrics"),
]
HIDDEN = ["250040302", "250040303", "nobody", "example.com"]
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
# The number of visible bars of the chart.
BARS = (
    "[...document.querySelectorAll('svg .sent')]"
    ".filter(bar => bar.getBoundingClientRect().height > 1).length"
)


@pytest.fixture(scope="module")
def page(simulator):
    """The page of a service with three watchers and a failed call."""
    with Service(simulator) as service:
        server = ["--server", f"http://{service.address}", "--token", "interop"]
        binary("get", "nobody", *server).expect(69)
        watches = [
            Program("watch", BINARY, "watch", session, *server)
            for session in ("250040302", "250040303", "250040303")
        ]
        with watches[0], watches[1], watches[2]:
            yield f"http://{service.admin}/"


@pytest.fixture(scope="module")
def chromium(scratch):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed (Debian: chromium)")
    with Chromium(browser, scratch) as chromium:
        # The page must work without scripts.
        chromium.ask("Emulation.setScriptExecutionDisabled", value=True)
        yield chromium


def luminance(colour):
    red, green, blue = (int(part) for part in colour[4:-1].split(",")[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def show(chromium, page, size, scheme):
    """Opens the page at a size and in a colour scheme, and waits until it shows the watchers."""
    width, height = SIZES[size]
    chromium.ask(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=height,
        deviceScaleFactor=1,
        mobile=size == "phone",
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chromium.ask("Emulation.setEmulatedMedia", features=features)
    chromium.ask("Page.navigate", url=page)
    chromium.until(
        "document.readyState == 'complete' && /3\\s+watchers/.test(document.body.innerText)"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_in_chromium(chromium, page, size, scheme):
    show(chromium, page, size, scheme)
    text = chromium.value("document.body.innerText")
    assert not [each for each in SHOWN if each not in text], text
    assert not [each for each in HIDDEN if each in text], text
    assert chromium.value("document.scripts.length") == 0
    assert chromium.value("document.querySelector('meta[http-equiv=refresh]').content") == "5"
    overflow = chromium.value("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{overflow} pixels too wide"
    hidden = "[...document.querySelectorAll('section')].filter(s => s.scrollWidth > s.clientWidth)"
    assert chromium.value(f"{hidden}.length") == 0, "a table falls off its section"

    paper = luminance(chromium.value("getComputedStyle(document.body).backgroundColor"))
    ink = luminance(chromium.value("getComputedStyle(document.body).color"))
    dark, light = (paper, ink) if scheme == "dark" else (ink, paper)
    assert dark < 0.2
    assert light > 0.8

    shot = chromium.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    folder = TOOLS / "status_page"
    folder.mkdir(exist_ok=True)
    (folder / f"{size}-{scheme}.png").write_bytes(base64.b64decode(shot))


def test_page_refreshes_itself_and_the_chart_gets_bars(chromium, page):
    """A bar is drawn every ten seconds."""
    show(chromium, page, "desk", "dark")
    chromium.until(f"{BARS} > 0")
