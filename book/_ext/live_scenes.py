"""The living scenes of ``book/live.md``: scripts, weights, digits and backgrounds, made when the book is built.

Everything lies in ``_static/live`` and is loaded by the one page that uses it. Weights lie in a file of their own each,
fetched by a script tag when a scene first wants them, so that the page works from a file.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from docutils import nodes
from sphinx.application import Sphinx

PAGE = "book/live"
DIGITS = ("digits-pc", "digits-dp", "digits-uniform")
PHOTO = "cifar100-pc"  # the network of the photographs: any of load_weights with classes of everyday things
OWN = ("scene", "draw", "occlude", "start")  # the scripts of book/_live
HANDS = 4  # that write each digit
# Photograph, top and left of 40x40 pixels of it, by what is seen there.
GROUNDS = {
    "petals": (1, 150, 30),
    "roof": (0, 320, 5),
    "branches": (0, 340, 120),
    "lake": (0, 215, 100),
    "fir": (0, 170, 260),
}
# What shows a 3 beside another digit.
OTHERS = {8: (1, 90, 60), 5: (0, 300, 60), 0: (1, 250, 90), 7: (0, 225, 10), 2: (1, 370, 20), 6: (0, 150, 240)}
TINTS = ((250, 210, 60), (90, 200, 110), (150, 190, 220))


def add_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    if pagename == PAGE:
        app.add_css_file("live/live.css")
        app.add_js_file("live/live.js")
        app.add_js_file("live/scenes.js")


def write_scripts(app: Sphinx, exception: Exception | None) -> None:
    """The files of the scenes, beside the page's other static files."""
    if exception is not None or app.builder.name != "html" or PAGE not in app.env.found_docs:
        return
    from lpa_core.models.weights import load_weights
    from lpa_core.widgets import live_network

    folder = Path(app.outdir) / "_static" / "live"
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text + "\n", encoding="utf8")

    own = [(Path(app.srcdir) / "book" / "_live" / f"{name}.js").read_text(encoding="utf8") for name in OWN]
    write("live.js", "\n".join([live_network.script(), *own]))
    write("live.css", live_network.style() + (Path(app.srcdir) / "book" / "_live" / "scenes.css").read_text("utf8"))
    shown = {}
    for name in (*DIGITS, PHOTO):
        model, info = load_weights(name)
        data = live_network.described(
            model, classes=info.classes, mean=info.mean, std=info.std, size=info.size or (32, 32)
        )
        write(f"{name}.js", live_network.network_script(name, data))
        shown[name] = {key: data[key] for key in ("classes", "mean", "colours", "alpha")}
    write("scenes.js", f"const lpaScenes = {json.dumps(scenes() | {'networks': shown[DIGITS[0]]})};")


def scenes() -> dict[str, Any]:
    """Handwriting and photographs that no network was trained on, small enough for a page."""
    from lpa_core.data.painting import handwritten, photographs, shuffled
    from lpa_core.widgets import live_network

    written, (photos, _) = handwritten(), photographs("right")
    test = written.splits["test"]
    by_class = [test[written.labels[test] == digit] for digit in range(10)]
    twisted = shuffled(written.ink[test[:40]])  # (8, 40, 8, 8)
    grounds = [{"pixels": _crop(photos, *place), "words": words} for words, place in GROUNDS.items()]
    return {
        "digits": [[_ink(written.ink[source]) for source in sources[:HANDS]] for sources in by_class],
        "distractors": [_ink(twisted[1, 8]), _ink(twisted[4, 21])],
        "backgrounds": grounds,
        "pairs": [_pair(number, by_class, twisted, photos) for number in range(len(OTHERS))],
        "photo": PHOTO,
        "pictures": live_network.bundled(),
    }


def _pair(number: int, by_class: list[np.ndarray], twisted: np.ndarray, photos: np.ndarray) -> dict[str, Any]:
    """A 3, another digit and a distractor, in three corners of a photograph."""
    from lpa_core.data.painting import handwritten

    ink = handwritten().ink
    other, place = list(OTHERS.items())[number]
    corners = [(2, 3), (3, 21), (21, 2), (20, 20)]
    chosen = [corners[(number + k) % 4] for k in range(3)]
    what = [ink[by_class[3][5 + number]], ink[by_class[other][5 + number]], twisted[2, 10 + number]]
    names = {(2, 3): "top left", (3, 21): "top right", (21, 2): "bottom left", (20, 20): "bottom right"}
    return {
        "digits": [3, other],
        "words": f"A 3 at the {names[chosen[0]]}, a {other} at the {names[chosen[1]]}, a shuffled digit.",
        "background": _crop(photos, *place),
        "items": [
            {"ink": _ink(i), "size": 17, "top": corner[0], "left": corner[1], "tint": list(tint)}
            for i, corner, tint in zip(what, chosen, TINTS, strict=True)
        ],
    }


def _ink(values: np.ndarray) -> str:
    """8x8 whole numbers from 0 to 16, a letter each."""
    return "".join("0123456789abcdefg"[int(value)] for value in np.ravel(values))


def _crop(photos: np.ndarray, photo: int, top: int, left: int) -> str:
    """40x40 pixels of a photograph, in base64."""
    return base64.b64encode(np.ascontiguousarray(photos[photo, top : top + 40, left : left + 40]).tobytes()).decode()


def draw_stills(app: Sphinx) -> None:
    """The pictures that stand in for the scenes where no script runs."""
    if not (Path(app.srcdir) / f"{PAGE}.md").exists():
        return
    from matplotlib.figure import Figure
    from sklearn.datasets import load_sample_image

    from lpa_core.data.digits import digits_in_clutter
    from lpa_core.look import look_at
    from lpa_core.models.weights import load_weights
    from lpa_core.plotting.grids import attention_figure, map_grid
    from lpa_core.posthoc.methods import explain

    folder = Path(app.srcdir) / "book"
    picture = digits_in_clutter(12, split="test").subset([8])
    seen = look_at(load_weights(DIGITS[0]), picture.images[0])
    figure = Figure()
    attention_figure(seen.picture, seen.output, classes=seen.classes, figure=figure)
    figure.savefig(folder / "live-draw.png", dpi=80, facecolor="white")
    two = digits_in_clutter(12, split="test", digits=2).subset([0])
    model = load_weights(DIGITS[0]).model
    torch.manual_seed(0)
    maps = explain(model, two.float_images(), int(two.labels[0, 0]), method="occlusion", window=8, stride=4)
    figure = Figure()
    map_grid(two.images, [maps.detach()], titles=[f"occlusion, class {int(two.labels[0, 0])}"], figure=figure)
    figure.savefig(folder / "live-occlude.png", dpi=80, facecolor="white")
    photo = look_at(load_weights(PHOTO), load_sample_image("flower.jpg"))
    figure = Figure()
    attention_figure(photo.picture, photo.output, classes=photo.classes, figure=figure)
    figure.savefig(folder / "live-photograph.png", dpi=80, facecolor="white")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", draw_stills)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", write_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
