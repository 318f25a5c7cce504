"""A headless Chromium that reaches nothing but this machine, for the page checks and the screenshots."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from selenium import webdriver

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"),
    *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--force-color-profile=srgb"),
)
BLOCKED = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

MISSING = """The pages are checked in Chromium, and {} was not found.
  Debian, Ubuntu:  sudo apt-get install chromium chromium-driver
  elsewhere:       install Chromium or Chrome and a chromedriver of the same version, or name them in the
                   environment variables CHROMIUM and CHROMEDRIVER"""


def find() -> tuple[str, str]:
    """The paths of Chromium and chromedriver; FileNotFoundError, naming what to install, where one is missing."""
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    browser = browser or (str(MAC) if MAC.exists() else None)
    driver = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
    found = []
    for what, path in (("a browser", browser), ("chromedriver", driver)):
        if path is None or not os.access(path, os.X_OK):
            raise FileNotFoundError(MISSING.format(f"{what} at {path}" if path else what))
        found.append(path)
    return found[0], found[1]


def start(profile: Path, *, width: int = 1280, height: int = 900) -> webdriver.Chrome:
    """A browser with an empty ``profile`` folder, no network, and logs of its console and its requests."""
    browser, driver = find()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (*QUIET, BLOCKED, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def resize(browser: webdriver.Chrome, width: int, height: int = 900, *, phone: bool = False) -> None:
    metrics: dict[str, Any] = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def settle(browser: webdriver.Chrome) -> None:
    """Wait until the page is loaded, its formulas are set and its pictures are decoded."""
    browser.set_script_timeout(30)
    browser.execute_async_script("""
        const done = arguments[0];
        const loaded = document.readyState === "complete" ? Promise.resolve()
            : new Promise(resolve => window.addEventListener("load", resolve));
        loaded
            .then(() => window.MathJax && MathJax.startup ? MathJax.startup.promise : null)
            .then(() => Promise.all([...document.images].map(image => image.decode().catch(() => null))))
            .then(() => document.fonts.ready)
            .then(() => requestAnimationFrame(() => requestAnimationFrame(() => done())));
    """)


if __name__ == "__main__":
    try:
        print("Chromium: {}, {}".format(*find()))
    except FileNotFoundError as error:
        sys.exit(str(error))
