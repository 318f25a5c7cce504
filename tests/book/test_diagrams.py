"""The diagrams are what their code draws, can be read on a phone, and stand in the page with a name of their own."""

import re
import xml.etree.ElementTree as ElementTree

import diagrams
import notebooks
import pytest
from bs4 import BeautifulSoup
from draw_diagrams import FOLDER
from drawing import DIAGRAMS, families, kit
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

PHONE, SMALLEST = 358, 10  # pixels that a drawing has on a phone of 390; the smallest letters there
every_diagram = pytest.mark.parametrize("name", DIAGRAMS)


@pytest.fixture(scope="module")
def drawn():
    return {name: draw().svg(name) for name, draw in DIAGRAMS.items()}


def test_the_files_are_the_diagrams():
    assert {path.stem for path in FOLDER.glob("*.svg")} == set(DIAGRAMS)


@every_diagram
def test_the_file_is_what_the_code_draws(name, drawn):
    stored = (FOLDER / f"{name}.svg").read_text(encoding="utf8")
    assert stored == drawn[name], "python tools/draw_diagrams.py"


@every_diagram
def test_a_diagram_alone_says_what_it_is_and_asks_nobody(name, drawn):
    root = ElementTree.fromstring(drawn[name])
    svg = "{http://www.w3.org/2000/svg}"
    assert (root.get("role"), root.get("class")) == ("img", "lpa-diagram")
    assert len(root.find(f"{svg}title").text) >= 20
    assert len(root.find(f"{svg}desc").text) >= 60
    assert re.findall(r"<script|<image|<foreignObject|href=|@import|url\(", drawn[name]) == []


@every_diagram
def test_the_letters_can_be_read_on_a_phone(name, drawn):
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', drawn[name])]
    assert sizes
    assert min(sizes) * PHONE / kit.WIDTH >= SMALLEST


@every_diagram
def test_the_style_of_a_diagram_touches_nothing_else(name, drawn):
    style = re.search(r"<style>(.*?)</style>", drawn[name], re.DOTALL)[1]
    rules = re.findall(r"([^{}]+)\{[^{}]*\}", re.sub(r"@media[^{]*\{(.*)\}\s*$", r"\1", style, flags=re.MULTILINE))
    assert len(rules) > 8
    assert [rule for rule in rules for part in rule.split(",") if ".lpa-diagram" not in part] == []


def test_the_numbers_of_the_four_steps_are_those_of_the_chapter(drawn):
    words = re.sub(r"<[^>]+>", "", drawn["four-steps"])
    for said in ("(0, 4)", "(1, 0)", "(2, 2)", "(0, 0)", "1/8", "2/8", "4/8", "(3, 5)", "(ln 2, 0)", "(1.25, 1.5)"):
        assert said in words


def test_arrows_are_as_thick_as_weights(drawn):
    widths = re.findall(r'<path class="att" d="[^"]*" fill-opacity="0" stroke-width="([\d.]+)"', drawn["four-steps"])
    thinnest = float(widths[0])
    assert [float(width) / thinnest for width in widths] == [1, 2, 4, 1]


def test_the_years_of_the_timeline_are_those_of_the_first_public_versions():
    # Of the number on arXiv where there is one (CAM was at a conference in 2016), else of the list of references.
    assert [families.year(key) for key in ("simonyan2013", "zhou2016", "jiang2021")] == [2013, 2015, 2021]
    with pytest.raises(KeyError, match="nobody2000"):
        families.year("nobody2000")


# ---- in a page ----

SVG = '<?xml version="1.0"?>\n' + (
    '<svg xmlns="http://www.w3.org/2000/svg" class="lpa-diagram" role="img" aria-labelledby="x-title" '
    'aria-describedby="x-desc x-more" viewBox="0 0 4 4"><title id="x-title">A title</title><desc id="x-desc">A</desc>'
    '<desc id="x-more">B</desc><g id="a" fill="url(#a)"/><use href="#a"/></svg>'
)


def ids_and_references(page: str) -> tuple[list[str], list[str]]:
    parsed = BeautifulSoup(page, "html.parser")
    used = [name for tag in parsed.select("[aria-describedby]") for name in tag["aria-describedby"].split()]
    used += re.findall(r'(?:url\(|href=")#([\w-]+)', page)
    return [tag["id"] for tag in parsed.find_all(id=True)], used


def test_a_drawing_is_named_by_the_alternative_text():
    svg = BeautifulSoup(diagrams.inlined(SVG, 'Two "boxes" & an arrow'), "html.parser").svg
    assert (svg["role"], svg["aria-label"]) == ("img", 'Two "boxes" & an arrow')
    assert "aria-labelledby" not in svg.attrs
    assert svg.find("title") is None


def test_a_drawing_that_comes_again_has_ids_of_its_own():
    ids, used = ids_and_references(diagrams.inlined(SVG, "One") + diagrams.inlined(SVG, "Two", 2))
    assert len(ids) == len(set(ids)) == 6
    assert set(used) == set(ids)


@pytest.fixture
def built(tmp_path):
    """Build a small page with a builder; what it wrote."""
    source = tmp_path / "source"
    (source / "_static" / "diagrams").mkdir(parents=True)
    (source / "_static" / "diagrams" / "x.svg").write_text(SVG)
    (source / "_static" / "other.svg").write_text(SVG)
    page = "Page\n====\n\n" + ".. image:: _static/diagrams/x.svg\n   :alt: Seen here\n\n" * 2
    (source / "index.rst").write_text(page + ".. image:: _static/other.svg\n   :alt: No diagram\n")

    def build(builder):
        settings = {"extensions": ["diagrams"], "html_theme": "basic"}
        with docutils_namespace():
            app = Sphinx(source, None, tmp_path / builder, tmp_path / "trees", builder, settings, status=None)
            app.build()
        return (tmp_path / builder / {"html": "index.html", "xml": "index.xml"}[builder]).read_text(encoding="utf8")

    return build


def test_a_page_holds_the_drawing_itself(built):
    page = built("html")
    parsed = BeautifulSoup(page, "html.parser")
    assert [svg["aria-label"] for svg in parsed.select("svg.lpa-diagram")] == ["Seen here"] * 2
    assert [image["alt"] for image in parsed.select("img")] == ["No diagram"]
    ids, _ = ids_and_references(str(parsed.select("svg")))
    assert len(ids) == len(set(ids)) == 6


def test_another_builder_keeps_the_picture(built):
    assert "<svg" not in built("xml")


def test_the_book_uses_the_extension():
    assert re.search(r"local_extensions:.*\bdiagrams: book/_ext", (notebooks.ROOT / "_config.yml").read_text("utf8"))
