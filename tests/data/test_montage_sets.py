"""Montages: each cell is its picture, classes differ, no picture comes twice."""

import jaxtyping
import pytest
import torch
from tiny import tiny_set

from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.montage_sets import montage, montages

PICTURES = torch.randint(0, 256, (9, 3, 4, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def unchecked():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("n", [2, 3])
def test_cells_are_the_pictures_row_by_row(n):
    made = montage(PICTURES[: n * n], range(n * n))
    assert made.shape == (3, 4 * n, 6 * n)
    for place in range(n * n):
        row, column = divmod(place, n)
        cell = made[:, 4 * row : 4 * row + 4, 6 * column : 6 * column + 6]
        assert torch.equal(cell, PICTURES[place])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("pictures", "labels", "error", "message"),
    [
        (PICTURES[:3], range(3), ValueError, "pictures must be 4, 9, 16, ...: n x n of them; got 3"),
        (PICTURES[:1], range(1), ValueError, "got 1"),
        (PICTURES[:4], range(3), ValueError, "labels must be 4, one a picture; got 3"),
        (PICTURES[:4], [1, 2, 1, 1], ValueError, "labels must be of different classes, .* got class 1 3 times"),
        (
            [*PICTURES[:3], PICTURES[3, :, 1:]],
            range(4),
            ValueError,
            r"pictures must have one size; got \(3, 3, 6\) and",
        ),
        ([*PICTURES[:3], PICTURES[3].float()], range(4), TypeError, "must be uint8 tensors; got torch.float32"),
        ([*PICTURES[:3], "cat.jpg"], range(4), TypeError, "must be uint8 tensors; got str"),
    ],
)
def test_what_cannot_be_one_is_refused(pictures, labels, error, message):
    with pytest.raises(error, match=message):
        montage(pictures, labels)


def test_many_are_drawn_by_lot_without_repeats():
    pictures = digits_in_clutter(40, split="test")
    made = montages(pictures, 8, seed=3)
    assert made.images.shape == (8, 3, 80, 80)
    assert all(len(set(row)) == 4 for row in made.labels.tolist())
    corners = made.images.unfold(2, 40, 40).unfold(3, 40, 40)  # 8, 3, 2, 2, 40, 40
    cells = corners.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    places = [int((pictures.images == cell).flatten(1).all(dim=1).nonzero()) for cell in cells]
    assert len(set(places)) == 32
    assert pictures.labels[places].tolist() == made.labels.flatten().tolist()
    assert made.boxes[0].tolist() == [[0, 0, 40, 40], [0, 40, 40, 80], [40, 0, 80, 40], [40, 40, 80, 80]]
    assert torch.equal(made.images, montages(pictures, 8, seed=3).images)
    assert not torch.equal(made.images, montages(pictures, 8, seed=4).images)
    assert made.checksum != montages(pictures, 8, seed=4).checksum


def test_too_few_pictures_or_classes_are_refused():
    with pytest.raises(ValueError, match=r"4 different classes for each of 1 montages; 32 pictures of 3 classes are"):
        montages(tiny_set(), 1)
    with pytest.raises(ValueError, match=r"9 different classes for each of 5 montages; .* enough for \d"):
        montages(digits_in_clutter(40, split="test"), 5, n=3)
    with pytest.raises(ValueError, match="n must be a whole number of at least 2; got 1"):
        montages(tiny_set(), 1, n=1)
