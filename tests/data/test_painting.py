"""The parts of digits in clutter: the split, the halves, the glyphs, the shuffles, the layout, the tints, the paint."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_image

from lpa_core.data import painting
from lpa_core.data.painting import (
    CONTRAST,
    DIGIT_SIZES,
    SHUFFLES,
    SIZE,
    glyphs,
    handwritten,
    luma,
    paint_digits,
    photographs,
    shuffled,
    with_contrast,
)

GREY = 90


def paint(n=200, split="train", seed=0, digits=1, clutter_seed=0, show_digit=True):
    return paint_digits(n, split, seed, digits, clutter_seed, show_digit)


@pytest.fixture
def plain_photographs(monkeypatch):
    """Photographs of one grey, darker on the left (training) than on the right (test)."""

    def of_one_grey(half):
        photos = np.full((1, 50, 60, 3), GREY if half == "left" else 2 * GREY, dtype=np.uint8)
        sums = np.pad(luma(photos.astype(np.int64)).cumsum(1).cumsum(2), ((0, 0), (1, 0), (1, 0)))
        return photos, sums

    monkeypatch.setattr(painting, "photographs", of_one_grey)


def in_square(squares, item):
    """True in the square of one item of each picture: (n, SIZE, SIZE)."""
    top, left, size = (squares[:, item, i, None, None] for i in range(3))
    rows, columns = np.arange(SIZE)[:, None], np.arange(SIZE)
    return (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)


# the handwritten digits and the photographs ---------------------------------------------------------------------------


def test_digits_are_split_once_and_for_all_in_proportion():
    splits = handwritten().splits
    assert {name: len(positions) for name, positions in splits.items()} == {
        "train": 1293, "validation": 144, "test": 360, "all": 1437,
    }  # fmt: skip
    together = np.concatenate([splits["train"], splits["validation"], splits["test"]])
    assert sorted(together) == list(range(1797))
    assert sorted(np.concatenate([splits["train"], splits["validation"]])) == splits["all"].tolist()
    labels = load_digits().target
    for name, positions in splits.items():
        shares = np.bincount(labels) * len(positions) / 1797
        assert (np.abs(np.bincount(labels[positions]) - shares) < 1.5).all(), name
    # Recorded scores rest on this split.
    assert splits["test"][:8].tolist() == [4, 5, 6, 9, 14, 17, 18, 19]


def test_no_handwritten_digit_occurs_twice():
    # Otherwise a digit could be in training and in test under two numbers.
    assert len(np.unique(handwritten().ink, axis=0)) == 1797


def test_photographs_are_halves_that_share_no_pixel():
    whole = np.stack([load_sample_image("china.jpg"), load_sample_image("flower.jpg")])
    left, right = photographs("left")[0], photographs("right")[0]
    assert np.array_equal(np.concatenate([left[:2], right[:2]], axis=2), whole)
    for half in (left, right):
        assert np.array_equal(half[2:], half[:2, :, ::-1])


@pytest.mark.parametrize("half", ["left", "right"])
def test_running_sums_give_the_mean_luma_of_any_rectangle(half):
    photos, sums = photographs(half)
    top, bottom, left, right = 30, 47, 100, 119
    by_corners = sums[3, bottom, right] - sums[3, top, right] - sums[3, bottom, left] + sums[3, top, left]
    assert by_corners == luma(photos[3, top:bottom, left:right].astype(np.int64)).sum()
    assert (sums[:, 0] == 0).all()
    assert (sums[:, :, 0] == 0).all()


@pytest.mark.parametrize(("split", "background"), [("train", 45), ("validation", 45), ("all", 45), ("test", 90)])
def test_each_split_has_its_half_at_half_its_brightness(plain_photographs, split, background):
    painted = paint(split=split)
    outside = ~(in_square(painted.squares, 0) | in_square(painted.squares, 1) | in_square(painted.squares, 2))
    assert (painted.images.transpose(0, 2, 3, 1)[outside] == background).all()


def test_crops_come_from_all_over_the_photographs(monkeypatch):
    # A photograph whose red says the row and whose green the column: the top left pixel tells where the crop is.
    rows, columns = np.meshgrid(np.arange(100), np.arange(80), indexing="ij")
    photo = np.stack([2 * rows, 2 * columns, 0 * rows], axis=2).astype(np.uint8)[None]
    sums = np.zeros((1, 101, 81), dtype=np.int64)
    monkeypatch.setattr(painting, "photographs", lambda half: (photo, sums))
    painted = paint(n=1500)
    free = ~np.stack([in_square(painted.squares, i) for i in range(3)]).any(axis=0)
    origin = painted.images[:, :2].astype(int) - np.stack(np.meshgrid(range(SIZE), range(SIZE), indexing="ij"))
    crops = np.array([origin[i][:, free[i]][:, 0] for i in range(len(origin))])
    for i in range(len(crops)):  # the whole crop is in one piece
        assert (origin[i][:, free[i]] == crops[i][:, None]).all()
    assert set(crops[:, 0]) == set(range(61))
    assert set(crops[:, 1]) == set(range(41))


# glyphs and shuffles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", DIGIT_SIZES)
def test_glyphs_are_the_digits_enlarged(size):
    ink = torch.from_numpy(handwritten().ink).view(-1, 1, 8, 8).double() / 16
    enlarged = torch.nn.functional.interpolate(ink, size=(size, size), mode="bilinear", align_corners=False)
    expected = (enlarged[:, 0] * 1.25 * 128).clamp(max=128)
    difference = expected - torch.from_numpy(glyphs(size)[0])
    assert difference.min() > -1e-9  # rounded down
    assert difference.max() < 1
    # The shuffles are enlarged alike: same ink before, so about the same after.
    assert np.abs(glyphs(size)[1:].mean(axis=(1, 2, 3)) / glyphs(size)[0].mean() - 1).max() < 0.05


def test_shuffles_move_every_quarter():
    assert len(np.unique(SHUFFLES, axis=0)) == 8
    for order in SHUFFLES:
        assert sorted(order) == [0, 1, 2, 3]
        assert all(order[i] != i for i in range(4))


def test_shuffled_digits_are_their_quarters_moved():
    ink = np.arange(64, dtype=np.float32)[None]
    square = ink.reshape(8, 8)
    quarters = [square[:4, :4], square[:4, 4:], square[4:, :4], square[4:, 4:]]
    for moved, order in zip(shuffled(ink)[:, 0], SHUFFLES, strict=True):
        by_hand = np.block([[quarters[order[0]], quarters[order[1]]], [quarters[order[2]], quarters[order[3]]]])
        assert np.array_equal(moved, by_hand)


def test_no_shuffled_digit_is_like_a_digit():
    ink = handwritten().ink

    def to_nearest_digit(pictures, besides=None):
        squared = (pictures**2).sum(1)[:, None] + (ink**2).sum(1) - 2 * pictures @ ink.T
        if besides is not None:
            squared[besides, besides] = np.inf
        return squared.min(axis=1)

    loneliest = to_nearest_digit(ink, np.arange(1797)).max()
    for moved, order in zip(shuffled(ink), SHUFFLES, strict=True):
        assert to_nearest_digit(moved.reshape(-1, 64)).min() > 1.3 * loneliest, order


# layout and tints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [1, 2])
def test_items_are_inside_and_never_overlap(digits):
    squares = paint(n=5000, digits=digits).squares
    tops, lefts, sizes = squares[..., 0], squares[..., 1], squares[..., 2]
    assert (squares[..., :2] >= 0).all()
    assert (tops + sizes <= SIZE).all()
    assert (lefts + sizes <= SIZE).all()
    assert (sizes == sizes[:, :1]).all()
    assert set(sizes[:, 0]) == set(DIGIT_SIZES)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        apart = np.maximum(np.abs(tops[:, a] - tops[:, b]), np.abs(lefts[:, a] - lefts[:, b]))
        assert (apart >= sizes[:, 0]).all()


def test_every_item_is_everywhere_alike():
    squares = paint(n=12_000).squares
    covered = np.stack([in_square(squares, item).mean(axis=0) for item in range(3)])
    assert covered.min() > 0.005  # the corners
    assert np.abs(covered - covered.mean(axis=0)).max() < 0.016  # the place does not tell the digit from the others
    mean = covered.mean(axis=0)
    for turned in (mean[::-1], mean[:, ::-1], mean.T):
        assert np.abs(mean - turned).max() < 0.016


def test_tints_are_brighter_than_their_background_by_the_contrast():
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (5000, 3))
    background = generator.integers(0, 128, 5000)
    tints = with_contrast(colours, background)
    assert tints.min() >= 0
    assert tints.max() <= 255
    assert (luma(tints) >= background + CONTRAST - 1).all()  # luma itself is rounded down
    enough = luma(colours) >= background + CONTRAST
    assert 0.1 < enough.mean() < 0.9
    assert np.array_equal(tints[enough], colours[enough])
    assert (luma(tints)[~enough] <= background[~enough] + CONTRAST + 2).all()  # no further than needed


def test_luma_weighs_green_most():
    colours = np.array([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])
    assert luma(colours).tolist() == [255, 76, 149, 28, 0]


# paint ----------------------------------------------------------------------------------------------------------------


def test_paint_is_background_and_tint_mixed_by_opacity():
    generator = np.random.default_rng(1)
    canvas = generator.integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    before, size = canvas.copy(), 16
    corners = [(0, 3, 5), (0, 21, 24), (1, 24, 0)]  # picture, top, left
    opacity = generator.integers(0, 129, (3, size, size)).astype(np.uint8)
    tints = generator.integers(0, 256, (3, 3)).astype(np.int16)
    pixels = np.array([[(p * SIZE + top + row) * SIZE + left for row in range(size)] for p, top, left in corners])
    painting._blend(canvas, pixels, opacity, tints)
    expected = before.astype(float)
    for (p, top, left), alpha, tint in zip(corners, opacity / 128, tints, strict=True):
        for y in range(size):
            for x in range(size):
                under = expected[p, top + y, left + x]
                expected[p, top + y, left + x] = under + (tint - under) * alpha[y, x]
    assert np.abs(canvas - expected).max() <= 0.5


@pytest.mark.parametrize("digits", [1, 2])
def test_each_digit_is_where_its_mask_says_and_what_its_source_says(plain_photographs, digits):
    painted = paint(n=600, digits=digits)  # more than are painted at a time
    pictures = painted.images.transpose(0, 2, 3, 1).astype(int)
    for i in range(0, 600, 37):
        for d in range(digits):
            top, left, size = painted.squares[i, d].tolist()
            opacity = glyphs(size)[0][painted.sources[i, d]]
            inside = (slice(top, top + size), slice(left, left + size))
            mask = np.zeros((SIZE, SIZE), dtype=bool)
            mask[inside] = opacity >= 64
            assert np.array_equal(painted.masks[i, d], mask)
            tint = pictures[i][inside][opacity == 128][0]
            mixed = GREY // 2 + (tint - GREY // 2) * opacity[..., None] / 128
            assert np.abs(pictures[i][inside] - mixed).max() <= 0.5
            assert luma(tint[None])[0] >= GREY // 2 + CONTRAST - 1


@pytest.mark.parametrize("digits", [1, 2])
def test_without_the_digit_its_square_is_background_and_all_else_is_the_same(digits):
    with_it, without = paint(digits=digits), paint(digits=digits, show_digit=False)
    assert np.array_equal(with_it.masks, without.masks)
    changed = (with_it.images != without.images).any(axis=1)
    allowed = np.stack([in_square(with_it.squares, d) for d in range(digits)]).any(axis=0)
    assert not (changed & ~allowed).any()
    ink = with_it.masks.any(axis=1)
    assert (changed & ink).sum() > 0.99 * ink.sum()


def test_other_clutter_has_other_distractors_and_leaves_the_digit_as_it_is(plain_photographs):
    here, there = paint(), paint(clutter_seed=1)
    same = (here.images == there.images).all(axis=1)
    assert same[in_square(here.squares, 0)].all()
    for item in (1, 2):
        squares = in_square(here.squares, item)
        assert not (same | ~squares).all(axis=(1, 2)).any()


def test_distractors_are_shuffled_digits_of_the_same_split(plain_photographs):
    for split in ("train", "test"):
        painted = paint(n=24, split=split)
        pool = handwritten().splits[split]
        pictures = painted.images.transpose(0, 2, 3, 1).astype(float)
        seen = set()
        for i in range(24):
            for item in (1, 2):
                top, left, size = painted.squares[i, item].tolist()
                patch = pictures[i, top : top + size, left : left + size]
                under = patch.min(axis=(0, 1))
                channel = (patch.max(axis=(0, 1)) - under).argmax()
                opacity = (patch[..., channel] - under[channel]) / np.ptp(patch[..., channel]) * 128
                errors = np.abs(glyphs(size)[:, pool] - opacity).max(axis=(2, 3))
                way, _ = np.unravel_index(errors.argmin(), errors.shape)
                assert errors.min() < 3  # the tint is rounded
                assert way > 0
                seen.add(way)
        assert seen == set(range(1, 9))
