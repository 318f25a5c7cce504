"""Pictures of every built page and of each diagram alone, light, dark and phone-narrow, into ``_build/screenshots``."""

import base64
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser

BUILD = Path(__file__).resolve().parent.parent / "_build"
HIGHEST = 16_000
LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "390px": (390, "light")}


def whole(chromium: Any, width: int) -> Iterator[bytes]:
    """The page in one picture, or in several where it is higher than Chromium can draw at once."""
    for _ in range(2):  # what is filled in late makes the page higher
        height = chromium.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["height"]
        # As high as the page: a capture beyond the window is now and then taken in mid-layout.
        browser.resize(chromium, width, min(height, HIGHEST), phone=width < 600)
        browser.settle(chromium)
    for top in range(0, height, HIGHEST):
        chromium.execute_script("window.scrollTo(0, arguments[0])", top)
        browser.settle(chromium)
        yield base64.b64decode(chromium.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])


def main(names: list[str]) -> None:
    html, out = BUILD / "html", BUILD / "screenshots"
    pages = sorted(path for path in html.rglob("*.html") if "_static" not in path.parts)
    pages += sorted((html / "_static" / "diagrams").glob("*.svg"))
    pages = [page for page in pages if not names or any(name in page.name for name in names)]
    if not pages:
        sys.exit(f"no page in {html}: run make book first" + (f"; asked for {names}" if names else ""))
    if not names:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        chromium = browser.start(Path(profile))
        try:
            # Look by look: a page keeps some of its phone layout when it is made wide again.
            for look, (width, theme) in LOOKS.items():
                for page in pages:
                    browser.resize(chromium, width, phone=width < 600)
                    # A diagram alone follows the browser, a page its own switch.
                    scheme = [{"name": "prefers-color-scheme", "value": theme}]
                    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
                    chromium.get(page.as_uri())
                    chromium.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
                    browser.settle(chromium)
                    name = "-".join(page.relative_to(html).with_suffix("").parts).removeprefix("_static-")
                    for part, picture in enumerate(whole(chromium, width)):
                        (out / f"{name}-{look}{f'-{part + 1}' if part else ''}.png").write_bytes(picture)
        finally:
            chromium.quit()
    print(f"{len(pages) * len(LOOKS)} pictures in {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
