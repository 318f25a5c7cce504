"""Pages say how long their outputs took and on what, where they were run."""

import json

import chapter_times
import pytest
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

RUN = {"seconds": 75.2, "scale": "quick", "processes": 1, "busy": False, "machine": "Maker 7, 2 cores, no GPU used"}
TIMES = "How long\n--------\n\nMeasured here.\n\n.. chapter-times::\n\nWhat else\n---------\n\nMore.\n"
CHAPTERS = {"01-one": "One", "02-two": "Two", "03-three": "Three"}


@pytest.fixture
def built(tmp_path):
    """Build a small book with the given times; its pages by name."""
    source = tmp_path / "source"
    (source / "book").mkdir(parents=True)
    names = "".join(f"   book/{name}\n" for name in CHAPTERS)
    (source / "index.rst").write_text(f"Book\n====\n\n.. toctree::\n\n{names}\n{TIMES}")
    for name, title in CHAPTERS.items():
        page = f"{title}\n=====\n\n.. container:: chapter-facts\n\n   **Time** seconds\n"
        (source / "book" / f"{name}.rst").write_text(page)

    def build(times):
        if times is not None:
            (source / "times.json").write_text(json.dumps(times))
        settings = {"extensions": ["chapter_times"], "html_theme": "basic"}
        out = tmp_path / "html"
        with docutils_namespace():
            Sphinx(source, None, out, tmp_path / "trees", "html", settings, status=None, warningiserror=True).build()
        pages = {
            path.stem: BeautifulSoup(path.read_text(encoding="utf8"), "html.parser") for path in out.rglob("*.html")
        }
        lines = {name: pages[name].find(class_="measured") for name in CHAPTERS}
        facts = {name: line.get_text() for name, line in lines.items() if line is not None}
        rows = [[cell.get_text() for cell in row.find_all("td")] for row in pages["index"].select("tbody tr")]
        return pages["index"], facts, rows

    return build


def test_times_stand_on_the_pages_and_in_the_table(built):
    other = RUN | {"seconds": 7.4, "processes": 2, "busy": True}
    index, facts, rows = built({"book/01-one.ipynb": RUN, "book/02-two.ipynb": other, "book/09-gone.ipynb": RUN})
    assert (
        facts["01-one"]
        == "Measured 1 min 15 s for the outputs on this page (Maker 7, 2 cores, no GPU used, scale quick)"
    )
    assert facts["02-two"].endswith("scale quick, 2 chapters at once, slowed by other work)")
    assert "03-three" not in facts
    assert rows == [
        ["One", "1 min 15 s"],
        ["Two", "7 s"],
        ["Three", "not run in this build"],
        ["the 2 that were run", "1 min 23 s"],
    ]
    assert "How long" in index.get_text()
    assert index.select_one("tbody a")["href"] == "book/01-one.html"
    assert "Maker 7, 2 cores, no GPU used, scale quick; Maker 7, 2 cores" in index.get_text()


@pytest.mark.parametrize(
    "times", [None, {}, {"book/01-one.ipynb": {"seconds": 3.0, "scale": "quick", "machine": "Maker 7"}}]
)
def test_nothing_is_said_where_no_run_is_known(built, times):
    index, facts, rows = built(times)
    assert (facts, rows) == ({}, [])
    assert "How long" not in index.get_text()
    assert "Measured" not in index.get_text()
    assert "What else" in index.get_text()


def test_all_chapters_are_summed(built):
    _, _, rows = built({f"book/{name}.ipynb": RUN | {"seconds": 20.0} for name in CHAPTERS})
    assert rows[-1] == ["all, one after the other", "1 min 0 s"]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (351.5, "5 min 52 s")]
)
def test_durations(seconds, said):
    assert chapter_times.duration(seconds) == said
