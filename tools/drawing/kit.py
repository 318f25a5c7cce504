"""A small kit to draw diagrams with: SVG that follows the reader's theme and can be read on a phone.

A drawing is 400 units wide and as high as it needs. On a phone of 390 pixels it is 358 pixels wide, so nothing is
written smaller than ``SMALLEST``. Orange is attention, blue is features, grey is the rest; text has the colour of the
page. The style is bound to the class ``lpa-diagram``; opened alone, a drawing has a ground and follows the browser.
"""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

WIDTH, SHOWN = 400, 470  # units; pixels on a laptop
SMALLEST = 11.2  # units: ten pixels on a phone
TEXT, SYMBOL = 13, 16
LINE = 1.5
Point = tuple[float, float]

STYLE = """
.lpa-diagram{--att:#c25700;--feat:#0072b2;--rest:#69707c;font-family:system-ui,-apple-system,"Segoe UI",sans-serif}
html[data-theme="dark"] .lpa-diagram{--att:#ffa24d;--feat:#62b8ec;--rest:#a3abb8}
svg.lpa-diagram:root{background:#fff;color:#1f2328}
@media(prefers-color-scheme:dark){svg.lpa-diagram:root{--att:#ffa24d;--feat:#62b8ec;--rest:#a3abb8;background:#14181e;color:#e6e8eb}}
.lpa-diagram text{fill:currentColor}
.lpa-diagram .quiet{fill-opacity:.8}
.lpa-diagram .symbol{font-family:"STIX Two Text","Times New Roman",Times,serif}
.lpa-diagram .att{stroke:var(--att);fill:var(--att)}
.lpa-diagram .feat{stroke:var(--feat);fill:var(--feat)}
.lpa-diagram .rest{stroke:var(--rest);fill:var(--rest)}
.lpa-diagram text.att,.lpa-diagram text.feat{stroke:none}
.lpa-diagram .faint{opacity:.3}
"""


def number(value: float) -> str:
    """At most two decimals, so that every machine writes the same."""
    return f"{round(value, 2) + 0:g}"


def symbols(source: str, size: float) -> str:
    """``g_a^1`` and its like as spans: letters in italics, real sub- and superscripts, one above the other."""
    small = max(0.7 * size, SMALLEST)
    spans, raised, before = [], 0.0, ""
    for script, group, single in re.findall(r"([_^]?)(?:\{([^}]*)\}|(.))", source):
        content = group or single
        level = {"": 0.0, "_": 0.24 * size, "^": -0.42 * size}[script]
        # One above the other: back by what the script before it is wide.
        back = (
            -small * sum(0.3 if c in "ijl" else 0.52 for c in before) if script and raised and level != raised else 0.0
        )
        style = ' font-style="italic"' if len(content) == 1 and content.isalpha() else ""
        shift = f' dy="{number(level - raised)}"' if level != raised else ""
        shift += f' dx="{number(back)}"' if back else ""
        shift += f' font-size="{number(small)}"' if script else ""
        spans.append(f'<tspan class="symbol"{style}{shift}>{escape(content)}</tspan>')
        raised, before = level, content
    if raised:
        spans.append(f'<tspan dy="{number(-raised)}">\u200b</tspan>')
    return "".join(spans)


class Drawing:
    """What is drawn so far. Every method adds to it; ``svg`` gives the file."""

    def __init__(self, title: str, description: str, *, height: float, top: float = 0) -> None:
        self.title, self.description, self.height, self.top = title, description, height, top
        self.parts: list[str] = []

    def svg(self, name: str) -> str:
        height = self.height - self.top
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="lpa-diagram" role="img" width="{SHOWN}" '
            f'height="{number(height * SHOWN / WIDTH)}" '
            f'viewBox="0 {number(self.top)} {WIDTH} {number(height)}" aria-labelledby="{name}-title" '
            f'aria-describedby="{name}-desc">\n<title id="{name}-title">{escape(self.title)}</title>\n'
            f'<desc id="{name}-desc">{escape(self.description)}</desc>\n<style>{STYLE}</style>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )

    def add(self, tag: str, kind: str, *, inner: str = "", faint: bool = False, **attributes: float | str) -> None:
        said = "".join(
            f' {key.replace("_", "-")}="{value if isinstance(value, str) else number(value)}"'
            for key, value in attributes.items()
        )
        kind += " faint" * faint
        self.parts.append(
            f"<{tag}{f' class={chr(34)}{kind.strip()}{chr(34)}' if kind.strip() else ''}{said}"
            + (f">{inner}</{tag}>" if inner else "/>")
        )

    def box(
        self, x: float, y: float, width: float, height: float, kind: str = "rest", *, fill: float = 0.14,
        line: float = LINE, radius: float = 5, dashed: bool = False, faint: bool = False,
    ) -> None:  # fmt: skip
        """A rectangle by its top left corner; ``fill`` is how strongly it is filled."""
        more = {"stroke_dasharray": "4 3"} if dashed else {}
        self.add(
            "rect", kind, faint=faint, x=x, y=y, width=width, height=height, rx=radius, fill_opacity=fill,
            stroke_width=line, **more,
        )  # fmt: skip

    def dot(self, x: float, y: float, radius: float, kind: str = "rest", *, fill: float = 1, line: float = 0) -> None:
        self.add("circle", kind, cx=x, cy=y, r=radius, fill_opacity=fill, stroke_width=line)

    def text(
        self, x: float, y: float, words: str, *, size: float = TEXT, anchor: str = "middle", bold: bool = False,
        quiet: bool = False, kind: str = "",
    ) -> None:  # fmt: skip
        """Words, with symbols between dollar signs; ``y`` is the line that they stand on."""
        pieces = [
            symbols(piece, size * SYMBOL / TEXT if size < SYMBOL else size) if odd % 2 else escape(piece)
            for odd, piece in enumerate(words.split("$"))
        ]
        inner = "".join(
            f'<tspan font-size="{number(size * SYMBOL / TEXT)}">{piece}</tspan>' if odd % 2 and size < SYMBOL else piece
            for odd, piece in enumerate(pieces)
        )
        style: dict[str, float | str] = {"font_weight": "600"} if bold else {}
        kind = f"{kind} quiet".strip() if quiet else kind
        self.add("text", kind, inner=inner, x=x, y=y, font_size=size, text_anchor=anchor, **style)

    def lines(self, x: float, y: float, words: str, *, gap: float = 15, **options: Any) -> None:
        """Several lines of text, the middle of them at ``y``."""
        rows = words.split("\n")
        for row, line in enumerate(rows):
            self.text(x, y + (row - (len(rows) - 1) / 2) * gap + 4.5, line, **options)

    def arrow(
        self, points: Sequence[Point], kind: str = "rest", *, width: float = LINE, head: float | None = 6,
        dashed: bool = False, faint: bool = False, bend: float = 8,
    ) -> None:  # fmt: skip
        """A line through ``points`` with round corners and, unless ``head`` is None, an arrow's head at its end."""
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        end = points[-1] if head is None else (x1 - dx * head * 0.9, y1 - dy * head * 0.9)
        more = {"stroke_dasharray": "4 3"} if dashed else {}
        path = rounded([*points[:-1], end], bend)
        self.add("path", kind, faint=faint, d=path, fill_opacity=0, stroke_width=width, stroke_linejoin="round", **more)
        if head is not None:
            half = 0.5 * head + 0.3 * width
            tip = [(x1, y1), (x1 - dx * head - dy * half, y1 - dy * head + dx * half)]
            tip.append((x1 - dx * head + dy * half, y1 - dy * head - dx * half))
            corners = " ".join(f"{number(x)},{number(y)}" for x, y in tip)
            self.add("polygon", kind, faint=faint, points=corners, stroke_width=0)

    def grid(
        self, x: float, y: float, side: float, fills: Sequence[Sequence[float]], kind: str, *, faint: bool = False,
        labels: Iterable[str] = (), size: float = TEXT, line: float = 1,
    ) -> None:  # fmt: skip
        """Cells from the top left corner, filled as strongly as ``fills`` says (0 to 1), with words in them."""
        cell, words, cells, said = side / len(fills[0]), iter(labels), "", []
        for row, values in enumerate(fills):
            for column, value in enumerate(values):
                left, top, wide = x + column * cell, y + row * cell, number(cell)
                square = f"M{number(left)} {number(top)}h{wide}v{wide}h-{wide}z"
                cells += f'<path d="{square}" fill-opacity="{number(value)}"/>'
                said.append((left + cell / 2, top + cell / 2 + 0.36 * size, next(words, "")))
        self.add("g", kind, inner=cells, faint=faint, stroke_width=line)
        for middle, base, word in said:
            if word:
                self.text(middle, base, word, size=size)


def rounded(points: Sequence[Point], bend: float) -> str:
    """A path through ``points`` whose corners are quarter turns of ``bend`` units."""
    path = f"M{number(points[0][0])} {number(points[0][1])}"
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        before, after = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        turn = min(bend, before / 2, after / 2)
        start = (x1 - (x1 - x0) / before * turn, y1 - (y1 - y0) / before * turn)
        end = (x1 + (x2 - x1) / after * turn, y1 + (y2 - y1) / after * turn)
        path += f"L{number(start[0])} {number(start[1])}Q{number(x1)} {number(y1)} {number(end[0])} {number(end[1])}"
    return path + f"L{number(points[-1][0])} {number(points[-1][1])}"
