"""The chapters keep to the rules of the book, and the rules notice when one does not."""

import copy
import re
from collections import Counter
from collections.abc import Callable

import nbformat
import notebooks
import numpy as np
import pytest
import repository
import rules
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lpa_core.widgets.explorer import Explorer
from lpa_core.widgets.frames import Control, Frame, Panel
from lpa_core.widgets.quizzes import quiz

CHAPTERS = notebooks.chapters()
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII="

QUIZ = quiz("Again?", {"a": "No.", "b": "Yes."}, "b").html()
WIDGET = "application/vnd.jupyter.widget-view+json"


def read(path) -> NotebookNode:
    return nbformat.read(notebooks.ROOT / path, as_version=4)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_chapter_keeps_to_the_rules(chapter):
    found = rules.problems(read(chapter))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_chapter_is_written_for_its_readers(chapter):
    found = list(rules.reading_problems(read(chapter)))
    assert not found, "\n".join(found)


def test_a_misspelt_scale_is_refused_before_it_decides_anything():
    asking = [
        path for path in CHAPTERS if any(' if scale == "quick"' in c.source for c in notebooks.code_cells(read(path)))
    ]
    assert asking
    for path in asking:
        code = "\n".join(cell.source for cell in notebooks.code_cells(read(path)))
        guard = code.index('assert scale in ("quick", "full")')
        assert guard < code.index("if scale == ")
        with pytest.raises(AssertionError, match="not 'quik'"):
            exec(code[guard : code.index("\n", guard)], {"scale": "quik"})


LOOKED_UP = {"book/my-map-looks-wrong.ipynb"}  # pages that run and are no chapters: they have no number


def test_chapters_are_numbered_and_each_figure_has_a_name_of_its_own():
    assert CHAPTERS
    unnumbered = {p.as_posix() for p in CHAPTERS if not re.fullmatch(r"book/\d\d-[a-z0-9-]+\.ipynb", p.as_posix())}
    assert unnumbered == LOOKED_UP
    names = Counter(name for path in CHAPTERS for name in rules.figure_names(read(path)))
    assert [name for name, times in names.items() if times > 1] == []


def test_every_notebook_of_the_folder_is_a_chapter():
    stored = {path.relative_to(notebooks.ROOT) for path in (notebooks.ROOT / "book").glob("*.ipynb")}
    assert stored == set(CHAPTERS)


# ---- the rules themselves ----


def code(source: str, *outputs: NotebookNode, **metadata: object) -> NotebookNode:
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


def a_good_notebook() -> NotebookNode:
    figure = {
        "figure": {"name": "fig-dot", "caption": "One black dot."},
        "image": {"alt": "A single black dot in the middle of nothing."},
    }
    cells = [
        new_markdown_cell("# A title\n\nProse."),
        code(repository.first_cell(repository.address())),
        code('import os\n\nscale = os.environ.get("LPA_SCALE", "quick")', tags=["parameters"]),
        code("print(0.25)", new_output("stream", name="stdout", text="0.25\n"), tags=["nbval-check-output"]),
        code(
            "draw();",
            new_output("display_data", {"image/png": PICTURE, "text/plain": "<Figure size 640x480 with 1 Axes>"}),
            mystnb=figure,
        ),
        code(
            "seconds",
            new_output("execute_result", {"text/plain": "1.23"}, execution_count=5),
            tags=["machine-dependent"],
            lpa={"reason": "it is a measured time"},
        ),
    ]
    for count, cell in enumerate(cells[1:], start=1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata=notebooks.METADATA)


def test_a_good_notebook_has_no_problems():
    assert rules.problems(a_good_notebook()) == []


def alter(cell: int, **changes: object) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        for name, value in changes.items():
            setattr(notebook.cells[cell], name, nbformat.from_dict(value))

    return change


def explorer_html(alt: str = "A grey square without anything in it.", padding: int = 0) -> str:
    def draw(shade: int) -> Frame:
        image = np.full((4, 4, 3), shade, dtype=np.uint8)
        return Frame([Panel(image, alt if shade else "A black square without anything in it.")], "A square.")

    control = Control(label="Shade", options={"black": 0, "grey": 100})
    return Explorer("Squares" + " " * padding, [control], draw).html()


def html(page: str, text: str = "<Explorer 'Squares': 2 Shade>") -> NotebookNode:
    return new_output("display_data", {"text/html": page, "text/plain": text})


def show(*outputs: NotebookNode, **metadata: object) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells.append(
        new_code_cell("show", outputs=list(outputs), metadata=metadata, execution_count=6)
    )


def test_an_explorer_and_a_quiz_need_no_tag():
    notebook = a_good_notebook()
    show(html(explorer_html()))(notebook)
    notebook.cells.append(new_code_cell("quiz", outputs=[html(QUIZ, "<Quiz of 1 question>")], execution_count=7))
    assert rules.problems(notebook) == []
    assert [panel[1] for panel in rules.explorers(notebook.cells[6])[0]["panels"]] == [
        "A black square without anything in it.",
        "A grey square without anything in it.",
    ]


def stream(name: str, text: str) -> list[dict[str, str]]:
    return [{"output_type": "stream", "name": name, "text": text}]


def alt(text: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[4].metadata.mystnb.image.update(alt=text)


BREAKAGES: dict[str, tuple[Callable[[NotebookNode], object], str]] = {
    "text is not checked": (alter(3, metadata={}), "tagged neither"),
    "tag is misspelt": (alter(3, metadata={"tags": ["nbval-check-outputs"]}), "tagged neither"),
    "nothing is checked": (lambda nb: nb.cells.pop(3), "no cell is tagged"),
    "skipped": (lambda nb: nb.cells[3].metadata.tags.append("nbval-skip"), "kept from being checked"),
    "skipped by comment": (alter(3, source="# NBVAL_IGNORE_OUTPUT\nprint(1)"), "kept from being checked"),
    "no reason": (lambda nb: nb.cells[5].metadata.pop("lpa"), "without a reason"),
    "checked and machine-dependent": (lambda nb: nb.cells[5].metadata.tags.append(rules.CHECKED), "tagged both"),
    "never run": (lambda nb: [cell.update(execution_count=None) for cell in nb.cells[1:]], "holds no outputs"),
    "no count": (alter(3, execution_count=None), "no execution count"),
    "run out of order": (alter(3, execution_count=7), "top to bottom"),
    "no stored output": (alter(3, outputs=[]), "no text to check"),
    "no stored picture": (alter(4, outputs=[]), "no picture is stored"),
    "error": (
        alter(3, outputs=[{"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": []}]),
        "an error: KeyError",
    ),
    "stderr": (alter(3, outputs=stream("stderr", "UserWarning")), "stderr"),
    "address": (alter(3, outputs=stream("stdout", "<Thing at 0x7f3c2a1b>")), "address in memory"),
    "path": (alter(3, outputs=stream("stdout", "saved to /tmp/run")), "path of the machine"),
    "no title": (alter(0, source="Prose."), "not a title"),
    "another first cell": (alter(1, source="import sys"), "not the one that finds lpa_core"),
    "no first cell": (lambda nb: nb.cells.pop(1), "not the one that finds lpa_core"),
    "no parameters": (alter(2, metadata={}), "tagged parameters"),
    "fixed scale": (alter(2, source='scale = "quick"'), "tagged parameters"),
    "no name": (lambda nb: nb.cells[4].metadata.mystnb.figure.pop("name"), "without a name"),
    "no caption": (lambda nb: nb.cells[4].metadata.mystnb.figure.pop("caption"), "without a caption"),
    "no alt": (lambda nb: nb.cells[4].metadata.mystnb.pop("image"), "no alt text"),
    "path as alt": (alt("../_images/0f3a9c.png"), "path or a hash"),
    "hash as alt": (alt("0f3a9c7e0f3a9c7e0f3a9c7e"), "path or a hash"),
    "short alt": (alt("A picture."), "shorter than"),
    "two pictures": (lambda nb: nb.cells[4].outputs.append(nb.cells[4].outputs[0]), "2 pictures in one cell"),
    "long cell": (alter(3, source="x = 1\n" * 31), "more than 30 lines"),
    "long cells": (lambda nb: [cell.update(source="x = 1\n" * 9) for cell in nb.cells[3:]], "median"),
    "too many words": (alter(0, source="# Title\n" + "word " * 1850), "words of prose"),
    "widget state": (lambda nb: nb.metadata.update(widgets={}), "volatile metadata"),
    "run times": (lambda nb: nb.cells[3].metadata.update(execution={"start": "now"}), "volatile metadata"),
    "checked explorer": (show(html(explorer_html()), tags=[rules.CHECKED]), "in a checked cell"),
    "explorer without alt": (show(html(explorer_html("Grey."))), "explorer's picture with alt text 'Grey.' is shorter"),
    "large explorer": (show(html(explorer_html(padding=150_000))), "at most 150000"),
    "two explorers": (show(html(explorer_html()), html(QUIZ)), "2 explorers, quizzes or steppers in one cell"),
    "script": (show(html("<p>1</p><script>1</script>", "<Figure 1>")), "a script that is neither"),
    "table without a tag": (show(html("<table></table>", "0 1 2")), "tagged neither"),
    "widget": (
        alter(3, outputs=[{"output_type": "display_data", "data": {WIDGET: {}}, "metadata": {}}]),
        "is a widget",
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_rule_is_noticed(breakage):
    notebook = copy.deepcopy(a_good_notebook())
    change, complaint = BREAKAGES[breakage]
    change(notebook)
    assert any(complaint in problem for problem in rules.problems(notebook)), rules.problems(notebook)


# ---- the rules for readers ----


def a_readable_notebook() -> NotebookNode:
    """A picture first, then code, and a solution behind its bar."""
    solution = {"code_prompt_show": "Solution in code", "code_prompt_hide": "Hide the solution in code"}
    cells = [
        new_markdown_cell("# A title\n\nWhere is the dot?"),
        code("import os", tags=["remove-cell"]),
        new_markdown_cell("![A single black dot in the middle.](_static/diagrams/dot.svg)\n\n*One dot.*"),
        code("dots = count(picture)\ndots"),
        code("assert dots == 1", tags=["remove-cell"]),
        code('draw("a title of a figure that is long enough to be longer than a page is wide")', tags=["remove-input"]),
        code("answer = dots + 1\nassert answer == 2", tags=["hide-cell"], mystnb=solution),
    ]
    return new_notebook(cells=cells, metadata=notebooks.METADATA)


def add(source: str, **metadata: object) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells.append(code(source, **metadata))


READING_BREAKAGES: dict[str, tuple[Callable[[NotebookNode], object], str]] = {
    "wide code": (add("x = " + "1 + " * 18 + "1"), "1 lines of more than 76 columns"),
    "wide code behind a bar": (add("x = " + "1 + " * 18 + "1", tags=["hide-input"]), "more than 76 columns"),
    "scale": (add('steps = 20 if scale == "quick" else 2000'), "asks for the scale"),
    "other scale": (add('if scale != "full":\n    steps = 20'), "asks for the scale"),
    "columns by hand": (add('print(f"{name:<10} {share:>6.1%}")'), "sets columns by hand"),
    "columns by method": (add("print(name.ljust(12), share)"), "sets columns by hand"),
    "assertion": (add("x = 1\nassert x == 1"), "an assertion among the teaching code"),
    "assertion in a block": (add("for x in xs:\n    assert x"), "an assertion among the teaching code"),
    "assertion behind a bar": (add("assert x", tags=["hide-input"]), "an assertion among the teaching code"),
    "a bar that hides no solution": (add("x = 1", tags=["hide-cell"]), "a bar that hides no solution"),
    "a bar with other words": (
        add("x = 1", tags=["hide-cell"], mystnb={"code_prompt_show": "Show more"}),
        "a bar that hides no solution",
    ),
    "code first": (lambda nb: nb.cells.pop(2), "is code, not a picture"),
    "nothing to see": (lambda nb: nb.update(cells=nb.cells[:2]), "is nothing, not a picture"),
}


def test_a_readable_notebook_has_no_problems():
    assert list(rules.reading_problems(a_readable_notebook())) == []


@pytest.mark.parametrize("breakage", READING_BREAKAGES)
def test_what_stands_in_a_readers_way_is_noticed(breakage):
    notebook = a_readable_notebook()
    change, complaint = READING_BREAKAGES[breakage]
    change(notebook)
    found = list(rules.reading_problems(notebook))
    assert len(found) == 1, found
    assert complaint in found[0]


@pytest.mark.parametrize("what", ["picture", "explorer"])
def test_the_opening_picture_may_come_from_a_cell(what):
    notebook = a_readable_notebook()
    shown = new_output("display_data", {"image/png": PICTURE}) if what == "picture" else html(explorer_html())
    notebook.cells[2] = code("draw();", shown, tags=["remove-input"])
    assert list(rules.reading_problems(notebook)) == []


# ---- stored outputs against a fresh run ----


def test_one_altered_digit_of_a_checked_output_fails(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(notebooks, "fresh_folder", lambda root: tmp_path / "fresh")
    notebook = a_good_notebook()
    notebook.cells = notebook.cells[:4]
    stored = {tmp_path / "true.ipynb": "0.25\n", tmp_path / "altered.ipynb": "0.26\n"}
    for path, text in stored.items():
        notebook.cells[3].outputs[0].text = text
        notebooks.write(notebook, path)
    status = notebooks.nbval(list(stored), notebooks.ROOT, processes=1)
    report = capfd.readouterr().out
    assert status == 1, report
    assert "1 failed, 5 passed" in report
    assert r"'0.26\n' == '0.25\n'" in report
    for path in stored:
        fresh = nbformat.read(tmp_path / "fresh" / path.name, as_version=4)
        assert [output.text for output in fresh.cells[3].outputs] == ["0.25\n"]
