"""The planted shortcut: where it is, what it tells, what it leaves alone."""

import pytest
import torch

from lpa_core.data import digits_in_clutter, plant_shortcut


@pytest.fixture(scope="module")
def digits():
    return digits_in_clutter(60, split="validation", seed=0)


def colour_of_corner(images: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(picture[:, 0, 0].tolist()) for picture in images]


def test_a_corner_tells_the_class_and_nothing_else_changes(digits):
    planted, places = plant_shortcut(digits)
    colours = colour_of_corner(planted.images)
    by_class = {int(label): colour for label, colour in zip(planted.labels, colours, strict=True)}
    assert len(set(by_class.values())) == len(by_class) == 10
    assert all(by_class[int(label)] == colour for label, colour in zip(planted.labels, colours, strict=True))
    assert torch.equal(planted.images.masked_fill(places[:, None], 0), digits.images.masked_fill(places[:, None], 0))
    assert places.sum((1, 2)).unique().tolist() == [36]
    assert places[:, :6, :6].all()
    assert torch.equal(planted.masks, digits.masks)
    assert planted.checksum != digits.checksum


def test_a_tint_is_everywhere_and_tells_the_class(digits):
    planted, places = plant_shortcut(digits, "tint")
    assert places.all()
    moved = planted.images.int() - digits.images.int()
    free = (digits.images > 50) & (digits.images < 200)  # where nothing is cut off at 0 or 255
    shifts = set()
    for label in range(10):
        of = digits.labels == label
        each = [moved[of][:, channel][free[of][:, channel]].unique().tolist() for channel in range(3)]
        assert all(len(values) == 1 and abs(values[0]) <= 48 for values in each), label
        shifts.add(tuple(values[0] for values in each))
    assert len(shifts) == 10


def test_a_misleading_one_never_tells_the_class(digits):
    right, _ = plant_shortcut(digits)
    wrong, _ = plant_shortcut(digits, misleading=True, seed=3)
    pairs = zip(colour_of_corner(right.images), colour_of_corner(wrong.images), strict=True)
    assert all(one != other for one, other in pairs)
    assert torch.equal(wrong.labels, digits.labels)


def test_a_share_leaves_the_others_as_they_are(digits):
    planted, places = plant_shortcut(digits, share=0.5, seed=1)
    marked = places.flatten(1).any(dim=1)
    assert 15 < int(marked.sum()) < 45
    assert torch.equal(planted.images[~marked], digits.images[~marked])
    again, _ = plant_shortcut(digits, share=0.5, seed=1)
    assert torch.equal(again.images, planted.images)


def test_what_cannot_be_planted_is_refused(digits):
    with pytest.raises(ValueError, match="share must be above 0 and at most 1; got 0"):
        plant_shortcut(digits, share=0.0)
    with pytest.raises(ValueError, match="one label each of 2 to 10 classes"):
        plant_shortcut(digits_in_clutter(4, digits=2))
