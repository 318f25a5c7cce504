"""The figures that the pages print in prose, and where each comes from.

A figure is a number with a decimal point, of three digits or more, in per cent or of 100, in the text of a Markdown
cell, a caption or an alternative text. Code, addresses and names such as CIFAR-100 do not count. In a chapter it must
stand in the source or in a checked output of one of its cells, in ``book/results/literature.json``, or in ``EXPECTED``
with a reason. A page without code may print what any chapter holds.

In a Markdown cell each figure with a decimal point or in per cent says what it is, in a comment behind it that no page
shows: ``98.4 %<!--pc-right-->``. The name is one that a cell gives with ``recorded.prose.figures``, which prints it
with the text that the prose must have; ``<!--published-->`` is a figure of ``literature.json``, ``<!--given-->`` one
that we chose and that the code of the chapter holds. So a changed result fails at its own place and nowhere else.

An output may hold more digits than the prose: 0.9712 stands for 97.1 % and for 0.971. A figure of one digit or
two, such as 0.8, must stand there as it is, for nearly every output has a number that rounds to it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from notebooks import ROOT, chapters, code_cells
from rules import MACHINE_DEPENDENT, data, tags

# What no cell can hold: page, figure as it is printed, and the reason.
EXPECTED: dict[str, dict[str, str]] = {
    "README.md": {"3.11": "the oldest Python; pyproject.toml says the same, which a test compares"},
}

NUMBER = re.compile(r"(?<![\w.^{])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(\s?%|\sper cent|\sof\s(?:the\s)?100\b)?")
ANY_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:[,_]\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?")
NAMES = re.compile(r"\b[A-Za-z]+-\d+|\b(?:ICLR|CVPR|since) \d{4}|\(?\b(?:18|19|20)\d\d\b\)?")


TIED = re.compile(r"<!--\s*([\w.:-]+)\s*-->")
GIVEN, PUBLISHED = "given", "published"
NAMED = re.compile(r"^figure ([\w-]+): (.+)$", re.MULTILINE)


class Figure(NamedTuple):
    """A number as it is printed; ``value`` without separators, ``per_cent`` where it counts hundredths."""

    text: str
    value: Decimal
    per_cent: bool

    @property
    def digits(self) -> int:
        """Significant digits."""
        return len(str(self.value).replace(".", "").lstrip("0"))


def prose(markdown: str) -> str:
    """Markdown without code, addresses and roles; formulas stay."""
    markdown = re.sub(r"^(```+|~~~+).*?^\1\s*$", " ", markdown, flags=re.DOTALL | re.MULTILINE)
    markdown = re.sub(r"\{[a-z:-]+\}`[^`]*`|`[^`]*`", " ", markdown)
    markdown = re.sub(r"\]\([^)]*\)|<[^>]*>|https?://\S+", " ", markdown)
    return NAMES.sub(" ", markdown.replace(r"\,", "").replace("{,}", ",").replace(r"\%", "%"))


def figures(text: str) -> list[Figure]:
    """The numbers of a text that say something that can be wrong."""
    found = []
    for match in NUMBER.finditer(text):
        whole, fraction, unit = match.groups()
        plain = whole.replace(",", "") + (fraction or "")
        if fraction or unit or len(whole.replace(",", "")) >= 3:
            found.append(Figure(match.group().strip(), Decimal(plain), bool(unit)))
    return found


def numbers(text: str) -> set[Decimal]:
    return {Decimal(found.replace(",", "").replace("_", "")) for found in ANY_NUMBER.findall(text)}


def cell_texts(cell: NotebookNode) -> Iterator[str]:
    """What a code cell says: its source, and what it prints unless that depends on the machine."""
    yield cell.source
    if MACHINE_DEPENDENT in tags(cell):
        return
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
    for bundle in data(cell):
        for kind in ("text/plain", "text/markdown", "text/latex", "text/html"):
            if kind in bundle and "lpa-explorer" not in bundle[kind] and "lpa-stepper" not in bundle[kind]:
                yield str(bundle[kind])


@cache
def published() -> frozenset[Decimal]:
    return frozenset(numbers((ROOT / "book" / "results" / "literature.json").read_text(encoding="utf8")))


def evidence(notebook: NotebookNode) -> set[Decimal]:
    return {number for cell in code_cells(notebook) for text in cell_texts(cell) for number in numbers(text)}


def supported(figure: Figure, known: Iterable[Decimal], *, rounded: bool = True) -> bool:
    """Whether a number of ``known`` is this figure, or rounds to it."""
    wanted = figure.value
    places = Decimal(1).scaleb(int(wanted.as_tuple().exponent))
    for number in known:
        for scale in (1, 100) if figure.per_cent else (1,):
            given = number * scale
            if given == wanted:
                return True
            if rounded and figure.digits > 2 and given.quantize(places, ROUND_HALF_UP) == wanted:
                return True
    return False


def prose_of(notebook: NotebookNode) -> Iterator[str]:
    """The Markdown, captions and alternative texts of a chapter."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield prose(cell.source)
        shown = cell.metadata.get("mystnb", {})
        for text in (shown.get("figure", {}).get("caption"), shown.get("image", {}).get("alt")):
            if text:
                yield prose(text)


def unsupported(notebook: NotebookNode, expected: Iterable[str] = ()) -> list[str]:
    """The figures of a chapter that no cell, no published number and no entry of ``expected`` holds."""
    known = evidence(notebook) | published()
    return [
        figure.text
        for text in prose_of(notebook)
        for figure in figures(text)
        if figure.text not in expected and not supported(figure, known)
    ]


def unsupported_in_page(name: str, markdown: str, known: frozenset[Decimal]) -> list[str]:
    """The figures of a page without code that are not in ``known``, to the last digit, nor published or expected."""
    return [
        figure.text
        for figure in figures(prose(markdown))
        if figure.text not in EXPECTED.get(name, {}) and not supported(figure, known | published(), rounded=False)
    ]


def named(notebook: NotebookNode) -> dict[str, str]:
    """What the cells of a chapter call by name: the text of each figure."""
    printed = "\n".join(o.text for cell in code_cells(notebook) for o in cell.outputs if o.output_type == "stream")
    return dict(NAMED.findall(printed))


def without_formulas(markdown: str) -> str:
    markdown = re.sub(
        r"^(```+|:::+|~~~+)\{(?:math|bibliography).*?^\1\s*$", " ", markdown, flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"\$\$.*?\$\$|(?<![\w$])\$[^$\n]+\$", " ", markdown, flags=re.DOTALL)


def loose(notebook: NotebookNode) -> list[str]:
    """The figures in a chapter's text that are tied to nothing, or to something that says otherwise."""
    names, found = named(notebook), []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += loose_in(without_formulas(cell.source), names, evidence(notebook))
    return found


def loose_in(markdown: str, names: Mapping[str, str], code: Iterable[Decimal]) -> list[str]:
    """As ``loose``, for one text: ``names`` are the figures that cells name, ``code`` the numbers that they hold."""
    text = TIED.sub(lambda tie: f"\x00{tie[1]}\x00", markdown)  # else they would go with the other tags
    text, wrong = prose(text), []
    for match in re.finditer(NUMBER.pattern + r"[\s)]?(?:\x00([^\x00]+)\x00)?", text):
        whole, fraction, unit, tie = match.groups()
        printed = "".join(match.group().split("\x00")[0].split())
        (figure,) = figures(printed.replace("percent", " per cent").replace("of100", " of 100")) or (None,)
        if tie is None:
            wrong += [f"{printed}: tied to nothing"] if figure and (fraction or unit) else []
        elif tie == PUBLISHED:
            wrong += [] if figure and supported(figure, published(), rounded=False) else [f"{printed}: not published"]
        elif tie == GIVEN:
            wrong += (
                [] if Decimal(whole.replace(",", "") + (fraction or "")) in {*code} else [f"{printed}: not in code"]
            )
        elif "".join(names.get(tie, "no cell's").split()) not in (printed, printed.rstrip("%")):
            wrong.append(f"{printed}: {tie} is {names.get(tie, 'named by no cell')}")
    return wrong


def pages() -> list[Path]:
    """The pages without code, relative to the repository."""
    return sorted(path.relative_to(ROOT) for path in [*(ROOT / "book").rglob("*.md"), ROOT / "README.md"])


@cache
def read(path: Path) -> NotebookNode:
    return nbformat.read(ROOT / path, as_version=4)


@cache
def everything() -> frozenset[Decimal]:
    """All that the cells of all chapters hold."""
    return frozenset(number for path in chapters() for number in evidence(read(path)))


def count() -> int:
    """How many figures are checked."""
    texts = [text for path in chapters() for text in prose_of(read(path))]
    texts += [prose((ROOT / path).read_text(encoding="utf8")) for path in pages()]
    return sum(len(figures(text)) for text in texts)


if __name__ == "__main__":
    print(f"{count()} figures in prose")
