"""Text and lists cite a work in the same words."""

import notebooks
import pytest
from bs4 import BeautifulSoup
from citations import Labels
from pybtex.database import parse_file
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

ENTRY = "@misc{{{key}, author = {{{authors}}}, title = {{On {key}}}, year = {{{year}}}}}\n"
WORKS = {
    "one": ("Draelos, Rachel Lea", "2019a", "Draelos, 2019a"),
    "again": ("Draelos, Rachel Lea", "2019b", "Draelos, 2019b"),
    "two": ("Jain, Sarthak and Wallace, Byron C.", "2019", "Jain and Wallace, 2019"),
    "three": ("Böhle, Moritz and Fritz, Mario and Schiele, Bernt", "2021", "Böhle et al., 2021"),
    "others": ("Dosovitskiy, Alexey and others", "2020", "Dosovitskiy et al., 2020"),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    entries = (ENTRY.format(key=key, authors=authors, year=year) for key, (authors, year, _) in WORKS.items())
    (source / "works.bib").write_text("".join(entries), encoding="utf8")
    cited = "\n".join(f"- :cite:p:`{key}` and :cite:t:`{key}`" for key in WORKS)
    (source / "index.rst").write_text(f"Book\n====\n\n{cited}\n\n.. bibliography::\n", encoding="utf8")
    settings = {
        "extensions": ["sphinxcontrib.bibtex", "citations"],
        "bibtex_bibfiles": ["works.bib"],
        "bibtex_reference_style": "author_year_everywhere",
        "bibtex_default_style": "author_year_everywhere",
        "html_theme": "basic",
    }
    with docutils_namespace():
        out = source / "html"
        Sphinx(source, None, out, source / "trees", "html", settings, status=None, warningiserror=True).build()
    return BeautifulSoup((out / "index.html").read_text(encoding="utf8"), "html.parser")


def test_the_list_has_the_words_of_the_text(page):
    listed = {label.get_text().strip("[]") for label in page.select(".citation .label")}
    assert listed == {words for _, _, words in WORKS.values()}


@pytest.mark.parametrize("key", WORKS)
def test_the_text_names_authors_and_year(page, key):
    words = WORKS[key][2]
    names, year = words.rsplit(", ", 1)
    (line,) = (item.get_text() for item in page.select("li") if words in item.get_text())
    assert line == f"[{words}] and {names} [{year}]"


def test_no_two_works_of_the_book_are_cited_alike():
    entries = parse_file(str(notebooks.ROOT / "book" / "references.bib"), bib_format="bibtex").entries.values()
    labels = list(Labels().format_labels(entries))
    assert sorted(labels) == sorted(set(labels)) != []
