"""Where the methods of the book stand among each other."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

from .kit import Drawing

REFERENCES = Path(__file__).resolve().parents[2] / "book" / "references.bib"


@cache
def year(key: str) -> int:
    """The year of a work's first public version: that of its arXiv number, or else of the list of references."""
    entry = re.search(rf"^@\w+{{{key},.*?^}}", REFERENCES.read_text(encoding="utf8"), re.DOTALL | re.MULTILINE)
    if entry is None:
        raise KeyError(f"{key} is not in {REFERENCES.name}")
    arxiv = re.search(r"arxiv\.org/abs/(\d{2})\d{2}\.", entry[0])
    return 2000 + int(arxiv[1]) if arxiv else int(re.findall(r"year = {(\d{4})}", entry[0])[0])


def pill(drawing: Drawing, x: float, y: float, words: str, kind: str, width: float) -> None:
    drawing.box(x - width / 2, y - 13, width, 26, kind, fill=0.15, radius=13)
    drawing.text(x, y + 4.5, words, size=12.5)


def kinds_of_attention() -> Drawing:
    drawing = Drawing(
        "Kinds of attention: trainable or post-hoc, soft or hard",
        "A plane with four quarters. Trainable and soft: Learn to Pay Attention. Trainable and hard: one window by "
        "REINFORCE, and several glimpses. Post-hoc and soft: saliency, occlusion, CAM, Grad-CAM and HiResCAM. Post-hoc "
        "and hard: the heaviest window, cut out of a soft map. T-TAME stands on the border between trainable and "
        "post-hoc, for its attention is trained, but for a network that is finished.",
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
    drawing.text(x1 - 22, y1 + 72, "both: trained, for a", size=12, quiet=True)
    drawing.text(x1 - 22, y1 + 87, "finished network", size=12, quiet=True)
    drawing.arrow([(x1 - 22, y1 + 93), (x1 - 22, y1 + 100), (left + width - 38, y1 + 100)], bend=5, head=5)
    pill(drawing, x1, y2 + 36, "one window", "att", 104)
    pill(drawing, x1, y2 + 72, "several glimpses", "att", 124)
    drawing.text(x1, y2 + 106, "learned by REINFORCE", size=12, quiet=True)
    pill(drawing, x2, y2 + 48, "heaviest window", "feat", 130)
    drawing.text(x2, y2 + 82, "cut out of a soft map", size=12, quiet=True)
    return drawing


# Method, work, column. The columns are ways to ask a network.
TIMELINE = (
    ("occlusion", "zeiler2014", 0),
    ("saliency", "simonyan2013", 1),
    ("DeconvNet", "zeiler2014", 1),
    ("guided backprop", "springenberg2015", 1),
    ("CAM", "zhou2016", 2),
    ("Grad-CAM", "selvaraju2017", 2),
    ("excitation backprop", "zhang2018", 1),
    ("integrated gradients", "sundararajan2017", 1),
    ("SmoothGrad", "smilkov2017", 1),
    ("Grad-CAM++", "chattopadhay2018", 2),
    ("RISE", "petsiuk2018", 0),
    ("Score-CAM", "wang2020", 2),
    ("HiResCAM", "draelos2020", 2),
    ("LayerCAM", "jiang2021", 2),
)
WAYS = (("cover and", "compare"), ("follow back", "to the pixels"), ("weight the", "feature maps"))


def post_hoc_timeline() -> Drawing:
    listed = sorted(TIMELINE, key=lambda method: year(method[1]))
    first, last = year(listed[0][1]), year(listed[-1][1])
    said = "; ".join(f"{year(work)} {name}" for name, work, _ in listed)
    # A year is as high as the most methods that one of its columns holds.
    held = Counter((year(work), column) for _, work, column in listed)
    tops, top, step, checked = {}, 62.0, 31, year("adebayo2018")
    for of in range(first, last + 1):
        tops[of] = top
        top += step * max(1, *(held[of, column] for column in range(len(WAYS)))) + 20 * (of == checked)
    drawing = Drawing(
        f"Post-hoc methods by the year of their first public version, {first} to {last}",
        f"Years from top to bottom, three columns: methods that cover parts and compare, that follow the answer back "
        f"to the pixels, and that weight feature maps. {said}. At the end of {checked} stands a line: a paper tests "
        f"whether maps depend on the network at all, the sanity checks.",
        height=top + 14,
    )
    columns, widths = (92, 213, 342), (84, 140, 96)
    for x, words in zip(columns, WAYS, strict=True):
        drawing.text(x, 18, words[0], bold=True)
        drawing.text(x, 34, words[1], bold=True)
    for of, y in tops.items():
        drawing.text(4, y + 4.5, str(of), anchor="start", quiet=True)
    line = tops[checked] + step / 2 + 2
    drawing.arrow([(48, line), (396, line)], head=None, dashed=True)
    drawing.text(222, line + 15, "sanity checks: does a map depend on the network?", size=12, quiet=True)
    placed: Counter[tuple[int, int]] = Counter()
    for name, work, column in listed:
        at = (year(work), column)
        pill(drawing, columns[column], tops[at[0]] + step * placed[at], name, "feat", widths[column])
        placed[at] += 1
    drawing.text(200, top + 6, "Each stands at the year of its first public version.", size=12, quiet=True)
    return drawing
