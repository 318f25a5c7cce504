"""Every figure printed in prose comes from a cell or a cited fact, and the check notices when one does not."""

import copy
import json
import re
from decimal import Decimal
from pathlib import Path

import figures_in_prose as prose
import notebooks
import pytest
from figures_in_prose import Figure, figures, loose, supported, unsupported, unsupported_in_page
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

CHAPTERS = notebooks.chapters()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_every_figure_of_a_chapter_comes_from_a_cell_or_a_published_number(chapter):
    assert unsupported(prose.read(chapter), prose.EXPECTED.get(chapter.as_posix(), {})) == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_every_figure_of_a_chapters_text_is_tied_to_what_it_says(chapter):
    assert loose(prose.read(chapter)) == []


@pytest.mark.parametrize("page", prose.pages(), ids=str)
def test_every_figure_of_a_page_without_code_stands_in_a_chapter(page):
    markdown = (prose.ROOT / page).read_text(encoding="utf8")
    assert unsupported_in_page(page.as_posix(), markdown, prose.everything()) == []


def test_an_exception_is_needed_and_has_a_reason():
    for name, exceptions in prose.EXPECTED.items():
        printed = {figure.text for figure in figures(prose.prose((prose.ROOT / name).read_text(encoding="utf8")))}
        assert set(exceptions) <= printed
        assert all(len(reason) > 20 for reason in exceptions.values())


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        ("It errs in 22.97 % of 10,000 pictures.", [("22.97", True), ("10000", False)]),
        (r"$0.5\,\%$ a step, $12{,}345$ weights", [("0.5", True), ("12345", False)]),
        ("in more than 97 of 100 pictures, 5 per cent", [("97", True), ("5", True)]),
        ("Two of 3, 12 windows, level 1, 40×40", []),
        ("CIFAR-100, ICLR 2018, Williams (1992), `x = 12.5`, [a link](p.ipynb#125)", []),
        ("```python\n0.123\n```\n{cite}`a2018` <div style='1.5em'>", []),
        ("A 512-channel map ends in 3.5.", [("512", False), ("3.5", False)]),
    ],
)
def test_which_numbers_are_figures(markdown, found):
    assert [(str(f.value), f.per_cent) for f in figures(prose.prose(markdown))] == found


@pytest.mark.parametrize(
    ("figure", "known", "holds"),
    [
        ("0.971", "0.9712", True),
        ("0.972", "0.9712", False),
        ("97.1 %", "0.9712", True),
        ("97.1", "0.9712", False),
        ("0.97", "0.9712", False),  # of two digits: must stand there as it is
        ("0.97", "0.970", True),
        ("95 %", "0.95", True),
        ("1,000", "1000", True),
        ("1,000", "1000.4", True),
        ("1,000", "1001", False),
    ],
)
def test_what_stands_for_a_figure(figure, known, holds):
    (found,) = figures(figure)
    assert supported(found, {Decimal(known)}) is holds


def chapter(printed="error 0.123\n", source="n = 4_000", text="The error is 0.123, of 4,000.", **metadata):
    cell = new_code_cell(source, outputs=[new_output("stream", name="stdout", text=printed)], metadata=metadata)
    return new_notebook(cells=[new_markdown_cell(text), cell])


def test_an_altered_output_cell_or_sentence_is_noticed():
    assert unsupported(chapter()) == []
    assert unsupported(chapter(printed="error 0.124\n")) == ["0.123"]
    assert unsupported(chapter(source="n = 5_000")) == ["4,000"]
    assert unsupported(chapter(text="The error is 0.132.")) == ["0.132"]
    assert unsupported(chapter(tags=["machine-dependent"])) == ["0.123"]
    caption = chapter()
    caption.cells[1].metadata = {"mystnb": {"figure": {"caption": "All 300 runs"}, "image": {"alt": "A bar of 0.7"}}}
    assert unsupported(caption) == ["300", "0.7"]
    assert unsupported(caption, {"300": "the reason", "0.7": "the reason"}) == []


def test_a_figure_of_a_page_is_not_rounded():
    known = frozenset({Decimal("0.1234")})
    assert unsupported_in_page("page.md", "It is 0.1234.", known) == []
    assert unsupported_in_page("page.md", "It is 0.123.", known) == ["0.123"]


def one_more(figure: Figure) -> Figure:
    """The figure with its last digit raised by one."""
    return figure._replace(value=figure.value + Decimal(1).scaleb(int(figure.value.as_tuple().exponent)))


def tied(figure: Figure, notebook: NotebookNode) -> bool:
    """Whether the figure is named after its cell wherever it stands: any other value is caught there."""
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    after = re.findall(rf"(?<![\d.,]){re.escape(str(figure.value))}(?![\d.,]*\d)(.{{0,6}})", text)
    return bool(after) and all("<!--" in rest for rest in after)


def test_most_figures_cannot_change_by_their_last_digit_unnoticed():
    tried = noticed = 0
    for path in CHAPTERS:
        notebook = prose.read(path)
        known = prose.evidence(notebook) | prose.published()
        for figure in (found for text in prose.prose_of(notebook) for found in figures(text)):
            if figure.digits > 1:
                tried += 1
                noticed += not supported(one_more(figure), known) or tied(figure, notebook)
    assert tried > 40
    assert noticed > 0.8 * tried  # the others meet a neighbour, such as 22.98 beside 22.97


# ---- ties ----


def tied_chapter(text: str, printed: str = "figure pc-right: 98.4%\n", source: str = "share = 0.25"):
    return chapter(printed=printed, source=source, text=text)


TIED_RIGHT = (
    "It is right in 98.4 %<!--pc-right--> of the pictures.",
    "It is right (98.4 % <!-- pc-right -->).",
    "The paper errs in 22.97 %<!--published-->.",
    "A quarter, 0.25<!--given-->, is left out.",
    "With $a = 0.37$ and 12 windows of 512 channels, `x = 9.9`.",
)
TIED_WRONG = {
    "no tie": ("It is right in 98.4 % of the pictures.", "tied to nothing"),
    "no tie, a fraction": ("A score of 3.7 is high.", "tied to nothing"),
    "another digit": ("It is right in 98.5 %<!--pc-right--> of the pictures.", "pc-right is 98.4%"),
    "more digits": ("It is right in 98.42 %<!--pc-right--> of the pictures.", "pc-right is 98.4%"),
    "no such name": ("It is right in 98.4 %<!--dp-right-->.", "named by no cell"),
    "not published": ("The paper errs in 22.79 %<!--published-->.", "not published"),
    "not given": ("A share of 0.26<!--given--> is left out.", "not in code"),
}


@pytest.mark.parametrize("text", TIED_RIGHT)
def test_a_tied_figure_is_let_through(text):
    assert loose(tied_chapter(text)) == []


@pytest.mark.parametrize("wrong", TIED_WRONG)
def test_a_loose_figure_is_noticed(wrong):
    text, complaint = TIED_WRONG[wrong]
    (found,) = loose(tied_chapter(text))
    assert complaint in found


def test_a_changed_result_fails_at_its_own_place():
    both = "It was 98.4 %<!--pc-right-->, its twin 91.2 %<!--twin-->."
    printed = "figure pc-right: 98.4%\nfigure twin: {}\n"
    assert loose(tied_chapter(both, printed.format("91.2%"))) == []
    assert loose(tied_chapter(both, printed.format("98.4%"))) == ["91.2%: twin is 98.4%"]


def with_another_digit(text: str, start: int, end: int) -> str:
    """``text`` whose last digit between ``start`` and ``end`` is another."""
    place = max(i for i in range(start, end) if text[i].isdigit())
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def ties() -> list[tuple[Path, int, re.Match[str]]]:
    """The figures of the chapters' texts that are tied to cells: chapter, cell, and the number with its tie."""
    return [
        (path, place, found)
        for path in CHAPTERS
        for place, cell in enumerate(prose.read(path).cells)
        if cell.cell_type == "markdown"
        for found in re.finditer(r"(\d[\d,]*(?:\.\d+)?)[^\d<>$\n]{0,12}<!--\s*([\w.:-]+)\s*-->", cell.source)
        if found[2] in prose.named(prose.read(path))
    ]


def ten_ties() -> list[tuple[Path, int, re.Match[str]]]:
    """Ten of them, from all over the book."""
    found = ties()
    assert len(found) >= 10, f"{len(found)} figures of the chapters' texts are tied to cells"
    return [found[number * len(found) // 10] for number in range(10)]


def test_ten_figures_of_the_book_altered_by_one_digit_are_all_caught():
    for path, place, found in ten_ties():
        altered = copy.deepcopy(prose.read(path))
        altered.cells[place].source = with_another_digit(altered.cells[place].source, *found.span(1))
        assert set(loose(altered)) - set(loose(prose.read(path))), (path, found[0])


def test_ten_results_of_the_book_altered_by_one_digit_are_all_caught():
    for path, _, found in ten_ties():
        altered = copy.deepcopy(prose.read(path))
        for cell in notebooks.code_cells(altered):
            for output in cell.outputs:
                text = output.get("text", "")
                if said := re.search(rf"^figure {re.escape(found[2])}: (.+)$", text, re.MULTILINE):
                    output.text = with_another_digit(text, *said.span(1))
        assert set(loose(altered)) - set(loose(prose.read(path))), (path, found[0])


def facts_not_shown(values: dict, notebook) -> list[float]:
    """The published errors that no output of the chapter holds."""
    known = prose.evidence(notebook)
    return [entry["error"] for entry in values["entries"] if Decimal(str(entry["error"])) not in known]


def test_an_altered_fact_is_noticed():
    """The chapter prints the published numbers: what is in the file and what is stored must agree."""
    file = notebooks.ROOT / "book" / "results" / "literature.json"
    values = json.loads(file.read_text(encoding="utf8"))
    results = prose.read(next(path for path in CHAPTERS if path.name.startswith("05")))
    assert facts_not_shown(values, results) == []
    for number, entry in enumerate(values["entries"]):
        altered = copy.deepcopy(values)
        altered["entries"][number]["error"] = round(entry["error"] + 0.13, 2)
        assert len(facts_not_shown(altered, results)) == 1, entry
