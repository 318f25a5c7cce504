"""Diagrams stand in the page itself, so that they follow its theme.

A picture ``![what is seen](_static/diagrams/x.svg)`` becomes the drawing in that file, with the alternative text as its
name. Other builders, and those who open the notebook, keep the picture.
"""

import html
import re
from collections import Counter
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

DIAGRAM = re.compile(r"(?:.*/)?_static/diagrams/([\w-]+)\.svg")


def inlined(svg: str, alt: str, number: int = 1) -> str:
    """The drawing for a page, named by ``alt``. ``number`` tells it from the same drawing elsewhere on the page."""

    def own(name: str) -> str:
        return f"diagram-{name}" if number == 1 else f"diagram-{name}-{number}"

    svg = svg[svg.index("<svg") :].strip()  # no XML declaration within a page
    svg = re.sub(r"<title\b.*?</title>\s*", "", svg, count=1, flags=re.DOTALL)  # a page would show it to every mouse
    svg = re.sub(r'\sid="([^"]+)"', lambda found: f' id="{own(found[1])}"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{own(found[1])})", svg)
    svg = re.sub(r'href="#([^"]+)"', lambda found: f'href="#{own(found[1])}"', svg)
    tag, rest = svg.split(">", 1)
    tag = re.sub(r'\s(?:role|aria-label|aria-labelledby)="[^"]*"', "", tag)
    described = re.search(r'\saria-describedby="([^"]*)"', tag)
    if described:
        tag = tag.replace(described[0], f' aria-describedby="{" ".join(map(own, described[1].split()))}"')
    return f'{tag} role="img" aria-label="{html.escape(alt)}">{rest}'


def put_in_diagrams(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Every picture of a diagram becomes the diagram. Those that come again get ids of their own."""
    if app.builder.format != "html":
        return
    seen: Counter[str] = Counter()
    for image in list(doctree.findall(nodes.image)):
        found = DIAGRAM.fullmatch(image["uri"])
        if found is None:
            continue
        seen[found[1]] += 1
        svg = (Path(app.srcdir) / image["uri"]).read_text(encoding="utf8")
        mark_paragraphs(image.parent)
        image.replace_self(nodes.raw("", inlined(svg, image.get("alt", ""), seen[found[1]]), format="html"))


def mark_paragraphs(paragraph: nodes.Node) -> None:
    """A class for the paragraph of a diagram, and for its caption: the next paragraph, if all of it is in italics."""
    paragraph["classes"].append("diagram")
    following = paragraph.next_node(descend=False, siblings=True)
    if isinstance(following, nodes.paragraph) and [type(child) for child in following] == [nodes.emphasis]:
        following["classes"].append("diagram-caption")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", put_in_diagrams)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
