"""Digits in clutter as a whole."""

import pytest
import torch
from sklearn.datasets import load_digits

from lpa_core.data.digits import DIGITS_MEAN, DIGITS_STD, digits_in_clutter
from lpa_core.data.image_set import ImageSet
from lpa_core.data.painting import handwritten
from lpa_core.data.sources import load
from lpa_core.metrics.baselines import blurred_brightness
from lpa_core.metrics.localisation import box_masks, pointing_game


def same(a: ImageSet, b: ImageSet, *fields: str) -> bool:
    return all(torch.equal(getattr(a, field), getattr(b, field)) for field in fields)


def test_digits_are_what_they_say():
    pictures = digits_in_clutter(300, split="test")
    assert (pictures.name, pictures.split, len(pictures)) == ("digits", "test", 300)
    assert pictures.images.shape == (300, 3, 40, 40)
    assert pictures.images.is_contiguous()
    assert pictures.classes == tuple("0123456789")
    assert torch.equal(pictures.labels, torch.from_numpy(load_digits().target)[pictures.sources])
    assert set(pictures.sources.tolist()) <= set(handwritten().splits["test"].tolist())
    assert set(pictures.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("digits", [1, 2])
def test_boxes_are_the_edges_of_the_masks(digits):
    pictures = digits_in_clutter(200, digits=digits)
    masks, boxes = pictures.masks.flatten(0, -3), pictures.boxes.flatten(0, -2)
    for mask, box in zip(masks, boxes, strict=True):
        rows, columns = mask.nonzero().unbind(1)
        assert box.tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


@pytest.mark.parametrize("digits", [1, 2])
def test_pictures_depend_on_the_seed_alone_and_the_first_k_not_on_n(digits, chance_untouched):
    with chance_untouched():
        first = digits_in_clutter(700, seed=3, digits=digits)
    fields = ("images", "labels", "masks", "boxes", "sources")
    again, fewer = digits_in_clutter(700, seed=3, digits=digits), digits_in_clutter(13, seed=3, digits=digits)
    assert same(first, again, *fields)
    assert first.checksum == again.checksum
    assert same(first.subset(slice(13)), fewer, *fields)
    for other in (
        digits_in_clutter(13, seed=4, digits=digits),
        digits_in_clutter(13, split="all", seed=3, digits=digits),
    ):
        assert not any(same(fewer, other, field) for field in fields)
        assert other.checksum != fewer.checksum


def test_digits_stay_the_same_from_one_release_to_the_next():
    # Scores of the shipped weights and recorded runs are for these pictures. (The photographs are left out: their
    # JPEG decoder is not ours.)
    pictures = digits_in_clutter(5, split="test")
    assert pictures.sources.tolist() == [723, 457, 1777, 934, 141]
    assert pictures.boxes[:2].tolist() == [[7, 24, 24, 35], [21, 26, 38, 38]]
    assert pictures.masks.sum(dim=(1, 2)).tolist() == [110, 128, 102, 105, 104]
    assert digits_in_clutter(2, split="train", digits=2).sources.tolist() == [[427, 916], [1072, 1297]]


@pytest.mark.parametrize("digits", [1, 2])
def test_without_the_digit_only_the_digit_is_gone(digits):
    with_it, without = (digits_in_clutter(300, digits=digits, show_digit=show) for show in (True, False))
    assert same(with_it, without, "labels", "masks", "boxes", "sources")
    changed = (with_it.images != without.images).any(dim=1)
    ink = with_it.masks if digits == 1 else with_it.masks.any(dim=1)
    assert (changed & ink).sum() > 0.99 * ink.sum()
    # Beyond the ink there are its soft edges, here and there a faint stroke, and nothing else.
    near = torch.nn.functional.max_pool2d(ink[:, None].float(), 7, stride=1, padding=3)[:, 0].bool()
    assert (changed & ~near).sum() < 0.01 * changed.sum()
    brighter = with_it.float_images().mean(1)[ink].mean() - without.float_images().mean(1)[ink].mean()
    assert brighter > 1


def test_swapped_clutter_keeps_the_digits_and_changes_all_else():
    here, there = digits_in_clutter(300), digits_in_clutter(300, clutter_seed=1)
    assert same(here, there, "labels", "masks", "boxes", "sources")
    assert same(here, digits_in_clutter(300, clutter_seed=0), "images")
    behind, other = digits_in_clutter(300, show_digit=False), digits_in_clutter(300, show_digit=False, clutter_seed=1)
    assert (behind.images != other.images).any(dim=1).float().mean() > 0.95
    assert not same(here, there, "images")


def test_clutter_does_not_know_the_digit():
    # The same clutter seed with other digits: where neither has an item, the pictures are equal.
    a, b = (digits_in_clutter(300, seed=seed, clutter_seed=9, show_digit=False) for seed in (1, 2))
    assert not same(a, b, "labels")
    equal = (a.images == b.images).all(dim=1).float().mean()
    assert 0.5 < equal < 0.9


def test_two_digits_are_of_two_classes():
    pictures = digits_in_clutter(3000, digits=2)
    assert pictures.labels.shape == pictures.sources.shape == (3000, 2)
    assert pictures.masks.shape == (3000, 2, 40, 40)
    assert pictures.boxes.shape == (3000, 2, 4)
    assert torch.equal(pictures.labels, torch.from_numpy(load_digits().target)[pictures.sources])
    assert (pictures.labels[:, 0] != pictures.labels[:, 1]).all()
    assert not pictures.masks.all(dim=1).any()
    assert set(pictures.sources.flatten().tolist()) <= set(handwritten().splits["train"].tolist())
    pairs = torch.zeros(10, 10).index_put_(tuple(pictures.labels.T), torch.tensor(1.0), accumulate=True)
    assert pairs.fill_diagonal_(1).min() > 0


@pytest.mark.parametrize("digits", [1, 2])
def test_every_digit_of_a_split_is_shown_about_equally_often(digits):
    pictures = digits_in_clutter(9000, split="test", digits=digits)
    counts = pictures.sources.flatten().bincount(minlength=1797)[handwritten().splits["test"]]
    mean = 9000 * digits / 360
    assert counts.min() > mean / 3
    assert counts.max() < mean * 2


def test_mean_and_std_are_those_of_the_training_pictures():
    pictures = load("digits", "train", n=3000).images.double() / 255
    torch.testing.assert_close(pictures.mean((0, 2, 3)), torch.tensor(DIGITS_MEAN).double(), rtol=0, atol=0.005)
    torch.testing.assert_close(pictures.std((0, 2, 3)), torch.tensor(DIGITS_STD).double(), rtol=0, atol=0.005)
    assert digits_in_clutter(3, split="test").mean == DIGITS_MEAN


def hits(images: torch.Tensor, boxes: torch.Tensor) -> float:
    """Share of pictures whose digit holds the peak of a blurred channel, at the best of several widths."""
    masks = box_masks(boxes, (40, 40))
    return max(pointing_game(blurred_brightness(images, sigma=s), masks).mean().item() for s in (2.0, 3.0, 4.0))


def test_the_digit_cannot_be_found_by_brightness_colour_or_contrast():
    # An early version with smaller clutter gave brightness 98 %; a trained network must have something to learn.
    pictures = digits_in_clutter(500, split="test")
    assert 0.3 < hits(pictures.images, pictures.boxes) <= 0.55
    brightest, darkest = pictures.images.amax(1, keepdim=True), pictures.images.amin(1, keepdim=True)
    assert hits(brightest - darkest, pictures.boxes) <= 0.55  # saturation
    grey = pictures.images.float().mean(1, keepdim=True)
    around = torch.nn.functional.avg_pool2d(grey, 9, stride=1, padding=4, count_include_pad=False)
    assert hits((grey - around).abs().clamp(max=255).to(torch.uint8), pictures.boxes) <= 0.55  # contrast


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be an integer of at least 1; got 0"),
        ({"n": 2.5}, "n must be an integer of at least 1; got 2.5"),
        ({"n": True}, "n must be an integer"),
        ({"split": "training"}, "split must be one of 'train', 'validation', 'test', 'all'; got 'training'"),
        ({"seed": -1}, "seed must be an integer of at least 0; got -1"),
        ({"digits": 3}, "digits must be 1 or 2; got 3"),
        ({"digits": True}, "digits must be 1 or 2; got True"),
        ({"clutter_seed": -2}, "clutter_seed must be an integer of at least 0; got -2"),
    ],
)
def test_digits_refuse_bad_options(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        digits_in_clutter(**({"n": 4} | options))
