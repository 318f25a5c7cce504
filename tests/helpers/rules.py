"""What a chapter must keep to, as functions from a notebook to a list of what is wrong with it."""

import json
import re
import statistics
from collections.abc import Iterator
from typing import Any

import nbformat

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import repository
from notebooks import cleaned, code_cells

CHECKED, MACHINE_DEPENDENT = "nbval-check-output", "machine-dependent"
UNCHECKING = {"nbval-skip", "nbval-ignore-output", "raises-exception"}
MOST_LINES, MEDIAN_LINES, MOST_WORDS, SHORTEST_ALT = 30, 8, 1850, 20
MOST_EXPLORER = 150_000  # bytes of one explorer, pictures and all
MOST_COLUMNS = 76  # what fits beside the two sidebars at 1,280 pixels
# A cell of which the page shows nothing, and one whose code it does not show.
UNSEEN, CODELESS = "remove-cell", {"remove-cell", "remove-input"}
SOLUTION = "Solution"  # what the bars say that open the solutions of exercises
ALIGNED = re.compile(r":[^{}\"']?[<>^]\d|[lrc]just\(")  # columns made by hand, in place of a table

FIGURE_TEXT = re.compile(r"<(Figure|Axes|Explorer|Quiz|Stepper)\b[^\n]*>")
EXPLORER = re.compile(r"<div class=\"lpa-explorer\"[^>]*? data-frames='([^']*)'")
QUIZ, STEPPER = '<div class="lpa-quizzes">', '<div class="lpa-stepper"'
PATH_OR_HASH = re.compile(r"\S*[/\\]\S*|\S+\.(png|jpe?g|svg|webp|gif)|[0-9a-f]{12,}", re.IGNORECASE)
VOLATILE_TEXT = re.compile(r"\bat 0x[0-9a-f]{6,}|(?<![\w./])/(home|root|tmp|Users|usr|work)/\w+")


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def data(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output.data for output in cell.outputs if "data" in output]


def pictures(cell: nbformat.NotebookNode) -> int:
    """How many pictures a cell shows."""
    return sum(any(kind.startswith("image/") for kind in bundle) for bundle in data(cell))


def pages(cell: nbformat.NotebookNode) -> list[str]:
    """The HTML that a cell shows."""
    return [str(bundle["text/html"]) for bundle in data(cell) if "text/html" in bundle]


def explorers(cell: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """What the explorers of a cell hold: names of the choices, panels (picture, alternative text, …) and frames."""
    return [json.loads(found) for page in pages(cell) for found in EXPLORER.findall(page)]


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """The text that a cell shows: what it prints, and its results, save what matplotlib calls its own objects."""
    printed = [output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout"]
    kinds = ("text/plain", "text/markdown", "text/latex")
    results = [str(bundle[kind]) for bundle in data(cell) for kind in kinds if kind in bundle]
    return printed + [text for text in results if not FIGURE_TEXT.fullmatch(text.strip())]


def alt_problem(alt: object) -> str | None:
    """What is wrong with a picture's alternative text, if anything."""
    if not isinstance(alt, str) or not alt.strip():
        return "no alt text"
    if PATH_OR_HASH.fullmatch(alt.strip()):
        return f"alt text {alt!r} is a path or a hash"
    if len(alt.strip()) < SHORTEST_ALT:
        return f"alt text {alt!r} is shorter than {SHORTEST_ALT} characters"
    return None


def words(notebook: nbformat.NotebookNode) -> int:
    """Words of prose: formulas, links' addresses, table rules, roles' names and what no page shows do not count."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    unread = r"\$\$.*?\$\$|\$[^$\n]+\$|\]\([^)]*\)|<!--.*?-->|\{[\w:-]+\}(?=`)"
    prose = re.sub(unread, " ", prose, flags=re.DOTALL)
    return len(re.findall(r"[^\W\d_][\w’'-]*", prose))


def cell_problems(cell: nbformat.NotebookNode) -> Iterator[str]:
    own = tags(cell)
    if cell.execution_count is None and cell.source.strip():
        yield "no execution count is stored: nbval would not compare its output (make outputs)"
    if len(cell.source.splitlines()) > MOST_LINES:
        yield f"more than {MOST_LINES} lines"
    if own & UNCHECKING or "NBVAL_" in cell.source:
        yield "its output is kept from being checked by another way than the tag machine-dependent"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"its stored output is an error: {output.ename}"
        if output.output_type == "stream" and output.name == "stderr":
            yield "it writes to stderr"
    if any(kind.startswith("application/vnd.jupyter.widget") for bundle in data(cell) for kind in bundle):
        yield "its output is a widget, which needs a kernel: give it a text/html face"

    text = texts(cell)
    if text and not own & {CHECKED, MACHINE_DEPENDENT}:
        yield f"it shows text and is tagged neither {CHECKED} nor {MACHINE_DEPENDENT}"
    if CHECKED in own and not text:
        yield f"it is tagged {CHECKED} and has no text to check"
    if MACHINE_DEPENDENT in own:
        if CHECKED in own:
            yield f"it is tagged both {CHECKED} and {MACHINE_DEPENDENT}"
        if len(str(cell.metadata.get("lpa", {}).get("reason", ""))) < 10:
            yield f'{MACHINE_DEPENDENT} without a reason: metadata "lpa": {{"reason": "…"}}'
    elif any(VOLATILE_TEXT.search(part) for part in text):
        yield "its text holds an address in memory or a path of the machine"

    yield from page_problems(cell)
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    shown = pictures(cell)
    if shown > 1:
        yield f"{shown} pictures in one cell"
    if shown:
        if not re.fullmatch(r"fig-[a-z0-9-]+", str(figure.get("name", ""))):
            yield 'a picture without a name "fig-…" in metadata mystnb.figure.name'
        if len(str(figure.get("caption", "")).split()) < 3:
            yield "a picture without a caption in metadata mystnb.figure.caption"
        wrong = alt_problem(cell.metadata.get("mystnb", {}).get("image", {}).get("alt"))
        if wrong:
            yield f"a picture with {wrong} (metadata mystnb.image.alt)"
    elif figure:
        yield "metadata of a figure, and no picture is stored"


def page_problems(cell: nbformat.NotebookNode) -> Iterator[str]:
    """What is wrong with the HTML that a cell shows: its explorers, its quizzes, and scripts that are neither's."""
    shown = pages(cell)
    interactive = [page for page in shown if EXPLORER.search(page) or QUIZ in page or STEPPER in page]
    if len(interactive) > 1:
        yield f"{len(interactive)} explorers, quizzes or steppers in one cell"
    if interactive and CHECKED in tags(cell):
        yield "an explorer or a quiz in a checked cell, where nbval would compare its pictures byte by byte"
    for page in shown:
        if "<script" in page and page not in interactive:
            yield "its HTML holds a script that is neither an explorer's nor a quiz's nor a stepper's"
        if "lpa-explorer" in page and len(page.encode()) > MOST_EXPLORER:
            yield f"an explorer of {len(page.encode())} bytes; at most {MOST_EXPLORER}: fewer choices, smaller pictures"
    for explorer in explorers(cell):
        wrong = {problem for panel in explorer["panels"] if (problem := alt_problem(panel[1]))}
        yield from (f"an explorer's picture with {problem}" for problem in sorted(wrong))


def reading_problems(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """What stands in a reader's way: code that is clipped, or that is there for the tests and not for the reader."""
    for number, cell in enumerate(code_cells(notebook)):
        own, where = tags(cell), f"code cell {number} ({cell.source.strip().splitlines()[0][:40]})"
        if own & CODELESS or not cell.source.strip():
            continue
        if wide := [line for line in cell.source.splitlines() if len(line) > MOST_COLUMNS]:
            yield f"{where}: {len(wide)} lines of more than {MOST_COLUMNS} columns; the first: {wide[0].strip()[:60]}"
        if re.search(r"\bscale\s*[=!]=", cell.source):
            yield f"{where}: asks for the scale; give that to a cell tagged {UNSEEN}"
        if ALIGNED.search(cell.source):
            yield f"{where}: sets columns by hand; show a table (a pandas DataFrame)"
        prompt = cell.metadata.get("mystnb", {}).get("code_prompt_show", "")
        if "hide-cell" in own and not str(prompt).startswith(SOLUTION):
            yield f"{where}: a bar that hides no solution: tag it {UNSEEN}, or let code_prompt_show say {SOLUTION!r}"
        if "hide-cell" not in own and re.search(r"^\s*assert\b", cell.source, re.MULTILINE):
            yield f"{where}: an assertion among the teaching code; give it to a cell tagged {UNSEEN}"
    if (first := shown_first(notebook)) != "picture":
        yield f"the first thing that the page shows after its title and question is {first}, not a picture"


def shown_first(notebook: nbformat.NotebookNode) -> str:
    """What stands first on the page besides text: "picture", "code" or "nothing"."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if re.search(r"!\[|\{figure\}|<img|<svg", cell.source):
                return "picture"
        elif UNSEEN not in tags(cell):
            return "picture" if pictures(cell) or explorers(cell) or "live" in "".join(pages(cell)) else "code"
    return "nothing"


def problems(notebook: nbformat.NotebookNode) -> list[str]:
    """Everything that is wrong with one chapter, in words that say where."""
    code = code_cells(notebook)
    if all(cell.execution_count is None for cell in code):
        return ["it holds no outputs (make outputs)"]
    found = [
        f"code cell {number} ({cell.source.strip().splitlines()[0][:40] if cell.source.strip() else 'empty'}): {wrong}"
        for number, cell in enumerate(code)
        for wrong in cell_problems(cell)
    ]
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not first.source.startswith("# "):
        found.append("the first cell is not a title")
    if not code or code[0].source != repository.first_cell(repository.address()):
        found.append("the first code cell is not the one that finds lpa_core (python tools/repository.py writes it)")
    parameters = [cell for cell in code if "parameters" in tags(cell)]
    if len(parameters) != 1 or not re.search(r"^scale = .*LPA_SCALE", parameters[0].source, re.MULTILINE):
        found.append('not exactly one cell tagged parameters that sets scale from os.environ.get("LPA_SCALE", "quick")')
    if not any(CHECKED in tags(cell) for cell in code):
        found.append(f"no cell is tagged {CHECKED}")
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    if None not in counts and counts != list(range(1, len(counts) + 1)):
        found.append("the cells were not run once, from top to bottom (make outputs)")
    if code and statistics.median(len(cell.source.splitlines()) for cell in code) > MEDIAN_LINES:
        found.append(f"the median code cell has more than {MEDIAN_LINES} lines")
    if words(notebook) > MOST_WORDS:
        found.append(f"{words(notebook)} words of prose; at most {MOST_WORDS}")
    if notebook != cleaned(notebook):
        found.append("volatile metadata, such as widget state, times or versions (make outputs removes it)")
    return found


def figure_names(notebook: nbformat.NotebookNode) -> list[str]:
    cells = code_cells(notebook)
    return [cell.metadata.mystnb.figure.name for cell in cells if cell.metadata.get("mystnb", {}).get("figure")]


if __name__ == "__main__":  # python tests/helpers/rules.py book/03-….ipynb: what a chapter breaks
    for path in sys.argv[1:]:
        read = nbformat.read(path, as_version=4)
        print(path, *problems(read), *reading_problems(read), sep="\n  ")
