"""The pictures, explorers and quizzes stored in the chapters are those of a fresh run: nbval compares text only."""

import base64
import io

import nbformat
import notebooks
import numpy as np
import pytest
import rules
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from lpa_core.widgets.explorer import Explorer
from lpa_core.widgets.frames import Control, Frame, Panel

pytestmark = pytest.mark.built

FRESH = notebooks.fresh_folder(notebooks.ROOT)
MOST = 2.0  # mean difference of a channel, of 255: less than a line drawn elsewhere, more than a rounding of colours


def pixels(cell: nbformat.NotebookNode) -> list[np.ndarray]:
    """The pictures of a cell, those of each choice of an explorer, which are data addresses, among them."""
    stored = [bundle[kind] for bundle in rules.data(cell) for kind in ("image/png", "image/jpeg") if kind in bundle]
    for explorer in rules.explorers(cell):
        shown = [explorer["panels"][place][0] for *places, _ in explorer["frames"] for place in places]
        stored += [address.partition(",")[2] for address in shown]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB"), dtype=float) for one in stored]


def words(cell: nbformat.NotebookNode) -> list[object]:
    """What an explorer or a quiz says, pictures apart."""
    said: list[object] = []
    for page in rules.pages(cell):
        held = rules.EXPLORER.search(page)
        said.append(page if held is None else page[: held.start()])
    for explorer in rules.explorers(cell):
        panels = [panel[1:] for panel in explorer["panels"]]
        frames = [([panels[place] for place in places], text) for *places, text in explorer["frames"]]
        said += [explorer["names"], frames]
    return said


def difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The greatest mean difference between pictures; infinite where their number or size differs."""
    if [picture.shape for picture in one] != [picture.shape for picture in other]:
        return float("inf")
    return max((float(np.abs(a - b).mean()) for a, b in zip(one, other, strict=True)), default=0.0)


@pytest.mark.parametrize("chapter", notebooks.chapters(), ids=str)
def test_what_is_stored_is_what_a_fresh_run_shows(chapter):
    assert (FRESH / chapter.name).is_file(), f"{chapter} has not been run: make check"
    stored = notebooks.code_cells(nbformat.read(notebooks.ROOT / chapter, as_version=4))
    fresh = notebooks.code_cells(notebooks.lighter(nbformat.read(FRESH / chapter.name, as_version=4)))
    stale = [
        f"code cell {number}"
        for number, (old, new) in enumerate(zip(stored, fresh, strict=True))
        if rules.MACHINE_DEPENDENT not in rules.tags(old)
        and (difference(pixels(old), pixels(new)) > MOST or words(old) != words(new))
    ]
    assert stale == [], "make outputs stores the new ones"


def test_another_picture_differs():
    picture = np.full((40, 60, 3), 255.0)
    moved = picture.copy()
    moved[10:14] = 0.0
    assert difference([picture], [picture - 0.5]) < MOST < difference([picture], [moved])
    assert difference([picture], []) == difference([picture], [picture[1:]]) == float("inf")


def test_another_explorer_or_quiz_differs():
    def cell(start: str, shade: int, text: str) -> nbformat.NotebookNode:
        def draw(value: int) -> Frame:
            return Frame([Panel(np.full((4, 4, 3), value + shade, dtype=np.uint8), "A square.")], text)

        control = Control(label="Shade", options={"black": 0, "grey": 100}, start=start)
        page = Explorer("Squares", [control], draw).html()
        return new_code_cell(outputs=[new_output("display_data", {"text/html": page})])

    one = cell("black", 0, "Squares.")
    assert len(pixels(one)) == 2
    assert difference(pixels(one), pixels(cell("grey", 0, "Squares."))) == 0
    assert difference(pixels(one), pixels(cell("black", 50, "Squares."))) > MOST
    assert words(one) == words(cell("black", 50, "Squares."))
    assert words(one) != words(cell("black", 0, "Other squares."))
