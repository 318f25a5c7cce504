"""Where the methods of the book stand among each other."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from .kit import Drawing

REFERENCES = Path(__file__).resolve().parents[2] / "book" / "references.bib"


@cache
def year(key: str) -> int:
    """The year of a work in the book's list of references."""
    entry = re.search(rf"@\w+{{{key},.*?year = {{(\d{{4}})}}", REFERENCES.read_text(encoding="utf8"), re.DOTALL)
    if entry is None:
        raise KeyError(f"{key} is not in {REFERENCES.name}")
    return int(entry[1])


def pill(drawing: Drawing, x: float, y: float, words: str, kind: str, width: float) -> None:
    drawing.box(x - width / 2, y - 13, width, 26, kind, fill=0.15, radius=13)
    drawing.text(x, y + 4.5, words, size=12.5)


def kinds_of_attention() -> Drawing:
    drawing = Drawing(
        "Kinds of attention: trainable or post-hoc, soft or hard",
        "A plane with four quarters. Trainable and soft: Learn to Pay Attention. Trainable and hard: one window by "
        "REINFORCE, and several glimpses. Post-hoc and soft: saliency, occlusion, CAM, Grad-CAM and HiResCAM. Post-hoc "
        "and hard: a window cut around the peak of a map. T-TAME stands on the border between trainable and post-hoc, "
        "for it trains attention on a finished network.",
        height=316,
    )
    left, top, width, height = 46, 42, 173, 130
    fills = (("att", 0.1), ("rest", 0.06), ("att", 0.04), ("rest", 0.1))
    for place, (kind, fill) in enumerate(fills):
        column, row = place % 2, place // 2
        drawing.box(
            left + column * (width + 4), top + row * (height + 4), width, height, kind, fill=fill, line=0, radius=6
        )
    x1, x2 = left + width / 2, left + 4 + 1.5 * width
    y1, y2 = top, top + height + 4
    drawing.text(x1, 20, "trainable", size=15, bold=True)
    drawing.text(x1, 36, "part of the network", size=12, quiet=True)
    drawing.text(x2, 20, "post-hoc", size=15, bold=True)
    drawing.text(x2, 36, "worked out afterwards", size=12, quiet=True)
    drawing.text(4, y1 + height / 2 - 4, "soft", size=15, bold=True, anchor="start")
    drawing.text(4, y2 + height / 2 - 4, "hard", size=15, bold=True, anchor="start")
    pill(drawing, x1, y1 + 24, "Learn to Pay Attention", "att", 156)
    pill(drawing, x2 - 42, y1 + 24, "saliency", "feat", 76)
    pill(drawing, x2 + 42, y1 + 24, "occlusion", "feat", 80)
    pill(drawing, x2 - 48, y1 + 60, "CAM", "feat", 56)
    pill(drawing, x2 + 34, y1 + 60, "Grad-CAM", "feat", 88)
    pill(drawing, x2 + 34, y1 + 96, "HiResCAM", "feat", 88)
    pill(drawing, left + width + 2, y1 + 96, "T-TAME", "att", 74)
    drawing.text(x1 - 22, y1 + 72, "trained, but for a", size=12, quiet=True)
    drawing.text(x1 - 22, y1 + 87, "finished network", size=12, quiet=True)
    drawing.arrow([(x1 - 22, y1 + 93), (x1 - 22, y1 + 100), (left + width - 38, y1 + 100)], bend=5, head=5)
    pill(drawing, x1, y2 + 36, "one window", "att", 104)
    pill(drawing, x1, y2 + 72, "several glimpses", "att", 124)
    drawing.text(x1, y2 + 106, "learned by REINFORCE", size=12, quiet=True)
    pill(drawing, x2, y2 + 48, "window around a peak", "feat", 162)
    drawing.text(x2, y2 + 82, "cut out of a soft map", size=12, quiet=True)
    return drawing


# Method, work, column, kind. The columns are ways to ask a network.
TIMELINE = (
    ("saliency", "simonyan2013", 1),
    ("occlusion", "zeiler2014", 0),
    ("guided backprop", "springenberg2015", 1),
    ("CAM", "zhou2016", 2),
    ("Grad-CAM", "selvaraju2017", 2),
    ("excitation backprop", "zhang2018", 1),
    ("RISE", "petsiuk2018", 0),
    ("HiResCAM", "draelos2020", 2),
)
WAYS = (("cover and", "compare"), ("follow back", "to the pixels"), ("weight the", "feature maps"))


def post_hoc_timeline() -> Drawing:
    listed = sorted(TIMELINE, key=lambda method: year(method[1]))
    first, last = year(listed[0][1]), year(listed[-1][1])
    said = "; ".join(f"{year(work)} {name}" for name, work, _ in listed)
    top, step = 62, 33
    drawing = Drawing(
        f"Post-hoc methods from {first} to {last}",
        f"Years from top to bottom, three columns: methods that cover parts and compare, that follow the answer back "
        f"to the pixels, and that weight feature maps. {said}. {year('adebayo2018')} sanity checks for saliency maps.",
        height=top + step * (last - first) + 26,
    )
    columns, widths = (92, 214, 338), (84, 144, 96)
    for column, (x, words) in enumerate(zip(columns, WAYS, strict=True)):
        drawing.text(x, 18, words[0], bold=True)
        drawing.text(x, 34, words[1], bold=True)
        own = [top + step * (year(work) - first) for _, work, place in listed if place == column]
        for before, after in pairwise(own):
            if after - before > step:
                drawing.arrow([(x, before + 13), (x, after - 13)], "feat", head=None, faint=True)
    for y in range(first, last + 1):
        drawing.text(4, top + step * (y - first) + 4.5, str(y), anchor="start", quiet=True)
    checks = top + step * (year("adebayo2018") - first) + step / 2 + 1
    drawing.arrow([(48, checks), (396, checks)], head=None, dashed=True)
    drawing.text(50, checks + 16, "sanity checks for saliency maps", size=12.5, anchor="start", quiet=True)
    for name, work, column in listed:
        x, y = columns[column], top + step * (year(work) - first)
        pill(drawing, x, y, name, "feat", widths[column])
    return drawing
