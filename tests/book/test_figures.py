"""The pictures stored in the chapters are those that a fresh run draws: nbval compares text only."""

import base64
import io

import nbformat
import notebooks
import numpy as np
import pytest
import rules
from PIL import Image

pytestmark = pytest.mark.built

EXECUTED = notebooks.ROOT / "_build" / "executed"
MOST = 2.0  # mean difference of a channel, of 255: less than a line drawn elsewhere, more than a rounding of colours


def pixels(cell: nbformat.NotebookNode) -> list[np.ndarray]:
    stored = [bundle["image/png"] for bundle in rules.data(cell) if "image/png" in bundle]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"), dtype=float) for png in stored]


def difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The greatest mean difference between pictures; infinite where their number or size differs."""
    if [picture.shape for picture in one] != [picture.shape for picture in other]:
        return float("inf")
    return max((float(np.abs(a - b).mean()) for a, b in zip(one, other, strict=True)), default=0.0)


@pytest.mark.parametrize("chapter", notebooks.chapters(), ids=str)
def test_stored_pictures_are_those_of_a_fresh_run(chapter):
    assert (EXECUTED / chapter).is_file(), f"{chapter} has not been run: make book"
    stored = notebooks.code_cells(nbformat.read(notebooks.ROOT / chapter, as_version=4))
    fresh = notebooks.code_cells(nbformat.read(EXECUTED / chapter, as_version=4))
    stale = [
        f"code cell {number}"
        for number, (old, new) in enumerate(zip(stored, fresh, strict=True))
        if rules.MACHINE_DEPENDENT not in rules.tags(old) and difference(pixels(old), pixels(new)) > MOST
    ]
    assert stale == [], "make outputs stores the new ones"


def test_another_picture_differs():
    picture = np.full((40, 60, 3), 255.0)
    moved = picture.copy()
    moved[10:14] = 0.0
    assert difference([picture], [picture - 0.5]) < MOST < difference([picture], [moved])
    assert difference([picture], []) == difference([picture], [picture[1:]]) == float("inf")
