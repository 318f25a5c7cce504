"""What a frame of a living page costs: the networks of the book in Chromium, one picture after another.

Targets: at most 60 ms a picture for the digits. Needs Chromium and chromedriver, as the page checks do.
"""

import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import Row
from lpa_core.models.weights import available, load_weights
from lpa_core.widgets.live_network import described, network_script, script

FRAMES = 40
# Milliseconds of one look after another, the first few (not yet compiled by the browser) left out; and of the attention
# alone, as when only a map or the temperature changes.
SCRIPT = """
    const [name, frames, done] = arguments, engine = lpaEngine();
    engine.open(lpaNetworks[name]).then((network) => {
        const [h, w] = network.size, middle = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
        const pixels = {data: Uint8Array.from({length: 3 * h * w}, (_, i) => i * 37 % 256), h, w};
        const measure = (picture) => Array.from({length: frames}, () => {
            const start = performance.now();
            engine.look(network, picture && engine.prepared(pixels, network));
            return performance.now() - start;
        }).slice(5);
        done([middle(measure(true)), middle(measure(null))]);
    });"""


def run() -> Iterator[Row]:
    tools = str(Path(__file__).resolve().parent.parent / "tools")
    if tools not in sys.path:
        sys.path.append(tools)
    browser = importlib.import_module("browser")
    networks = {name: load_weights(name) for name in available() if name != "photo-pc"}  # its backbone pads unevenly
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lines, sizes = [], {}
        for name, (model, info) in networks.items():
            data = described(model, classes=info.classes, mean=info.mean, std=info.std, size=info.size or (32, 32))
            lines.append(network_script(name, data))
            sizes[name] = len(lines[-1]) / 1000
        page = Path(folder) / "page.html"
        page.write_text(f"<!doctype html><script>{script()}{''.join(lines)}</script>", encoding="utf8")
        chromium = browser.start(Path(folder) / "profile")
        try:
            chromium.get(page.as_uri())
            chromium.set_script_timeout(120)
            for name, size in sizes.items():
                whole, attention = chromium.execute_async_script(SCRIPT, name, FRAMES)
                yield Row(f"look, {name}", whole, "ms", f"{size:,.0f} kB of script; median of {FRAMES - 5}")
                yield Row(f"attention alone, {name}", attention, "ms", "as when the temperature or a map changes")
        finally:
            chromium.quit()
