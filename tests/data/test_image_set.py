"""Picture sets: what belongs together stays together, and what does not fit is named."""

import numpy as np
import pytest
import torch

from lpa_core.data.image_set import ImageSet, normalise

NAN = float("nan")


def random_set(n=12, size=(6, 5), channels=3, seed=0, **changes):
    """Noise, with every field an ImageSet can have."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    corners = torch.tensor([1, 2]), torch.tensor([height - 1, width])
    fields = {
        "name": "noise",
        "split": "train",
        "images": torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator),
        "labels": torch.arange(n) % 4,
        "classes": ("a", "b", "c", "d"),
        "mean": (0.5, 0.4, 0.3)[:channels],
        "std": (0.2, 0.3, 0.4)[:channels],
        "checksum": "md5:0",
        "masks": torch.rand(n, height, width, generator=generator) < 0.5,
        "boxes": torch.cat(corners).repeat(n, 1),
        "sources": torch.arange(n) + 100,
    }
    return ImageSet(**(fields | changes))


@pytest.mark.parametrize(
    "index", [slice(2, 9, 3), [2, 5, 8], torch.tensor([2, 5, 8]), torch.arange(12) % 3 == 2, [2, 5, -4]]
)
def test_subset_takes_all_that_belongs_to_a_picture(index):
    whole = random_set()
    part = whole.subset(index)
    where = torch.tensor([2, 5, 8] if len(part) == 3 else [2, 5, 8, 11])
    assert len(part) == len(where)
    for field in ("images", "labels", "masks", "boxes", "sources"):
        assert torch.equal(getattr(part, field), getattr(whole, field)[where]), field
    for field in ("name", "split", "classes", "mean", "std"):
        assert getattr(part, field) == getattr(whole, field), field


def test_checksum_of_a_subset_says_of_what_and_which():
    whole = random_set()
    checksum = whole.subset([0, 1]).checksum
    assert checksum.startswith("sha256:")
    assert checksum == whole.subset(slice(0, 2)).checksum
    others = [whole.checksum, whole.subset([1, 0]).checksum, random_set(checksum="md5:1").subset([0, 1]).checksum]
    assert checksum not in others


def test_subset_leaves_out_what_a_set_does_not_have():
    part = random_set(masks=None, boxes=None, sources=None).subset([3])
    assert (part.masks, part.boxes, part.sources) == (None, None, None)


@pytest.mark.parametrize("index", [[], slice(5, 5), torch.zeros(12, dtype=torch.bool)])
def test_subset_of_nothing_is_refused(index, unchecked):
    with pytest.raises(ValueError, match="index must choose at least one of the 12 pictures"):
        random_set().subset(index)


@pytest.mark.parametrize("index", [[0.5], torch.tensor([1.0]), torch.zeros(2, 2, dtype=torch.int64)])
def test_subset_needs_positions(index, unchecked):
    with pytest.raises(TypeError, match="index must be a slice, integers or a boolean mask"):
        random_set().subset(index)


@pytest.mark.parametrize("index", [[12], torch.ones(11, dtype=torch.bool)])
def test_subset_beyond_the_end_is_refused(index):
    with pytest.raises(IndexError):
        random_set().subset(index)


def test_float_images_are_the_pictures_normalised():
    pictures = random_set()
    expected = (pictures.images.double() / 255 - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.2, 0.3, 0.4]
    ).view(3, 1, 1)
    torch.testing.assert_close(pictures.float_images(), expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pictures.float_images([3, 1]), expected[[3, 1]].float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pictures.float_images(slice(2)), expected[:2].float(), rtol=1e-5, atol=1e-5)


ONES = torch.ones(12, dtype=torch.int64)
REFUSED = [
    ("split", "training", ValueError, "split must be one of 'train', 'validation', 'test', 'all'; got 'training'"),
    ("images", torch.rand(12, 3, 6, 5), TypeError, "images must be a uint8 tensor .*; got torch.float32"),
    ("images", torch.full((12, 3, 6, 5), NAN), TypeError, "images must be a uint8 tensor .*; got torch.float32"),
    ("images", np.zeros((12, 3, 6, 5), np.uint8), TypeError, "images must be a uint8 tensor .*; got ndarray"),
    ("images", torch.zeros(12, 6, 5, dtype=torch.uint8), ValueError, r"images must be \(n, channels, height, width\)"),
    ("images", torch.zeros(12, 0, 6, 5, dtype=torch.uint8), ValueError, r"images must be .*got \(12, 0, 6, 5\)"),
    ("images", torch.zeros(0, 3, 6, 5, dtype=torch.uint8), ValueError, "images must hold at least one picture"),
    ("labels", ONES.float(), TypeError, "labels must be a torch.int64 tensor; got torch.float32"),
    ("labels", ONES.int(), TypeError, "labels must be a torch.int64 tensor; got torch.int32"),
    ("labels", [1] * 12, TypeError, "labels must be a torch.int64 tensor; got list"),
    ("labels", ONES[:11], ValueError, r"labels must be \(12,\); got \(11,\)"),
    ("labels", ONES.view(12, 1, 1), ValueError, r"labels must be \(12, 1\); got \(12, 1, 1\)"),
    ("labels", torch.tensor(1), ValueError, r"labels must be \(12,\); got \(\)"),
    ("labels", 4 * ONES, ValueError, "labels must be from 0 to 3 for 4 classes; got 4 to 4"),
    ("labels", torch.arange(12) - 9, ValueError, "labels must be from 0 to 3 for 4 classes; got -9 to 2"),
    ("classes", ("a", "b"), ValueError, "labels must be from 0 to 1 for 2 classes; got 0 to 3"),
    ("mean", (0.5,), ValueError, r"mean must be 3 numbers \(one per channel\), finite; got \(0.5,\)"),
    ("mean", (0.5, NAN, 0.5), ValueError, r"mean must be 3 numbers .*got \(0.5, nan, 0.5\)"),
    ("std", (0.5, 0.0, 0.5), ValueError, "std must be 3 numbers .*finite and above 0; got"),
    ("std", (0.5, float("inf"), 0.5), ValueError, "std must be 3 numbers"),
    ("masks", torch.zeros(12, 6, 5), TypeError, "masks must be a torch.bool tensor; got torch.float32"),
    ("masks", torch.zeros(12, 5, 6, dtype=torch.bool), ValueError, r"masks must be \(12, 6, 5\); got \(12, 5, 6\)"),
    ("boxes", torch.zeros(12, 4), TypeError, "boxes must be a torch.int64 tensor"),
    ("boxes", torch.zeros(12, 3, dtype=torch.int64), ValueError, r"boxes must be \(12, 4\)"),
    ("boxes", torch.tensor([[2, 0, 2, 5]] * 12), ValueError, "boxes must be top, left, bottom, right.* within 6x5"),
    ("boxes", torch.tensor([[0, 0, 5, 6]] * 12), ValueError, "within 6x5"),
    ("boxes", torch.tensor([[0, -1, 5, 5]] * 12), ValueError, "within 6x5"),
    ("boxes", torch.tensor([[0, 0, 7, 5]] * 12), ValueError, "within 6x5"),
    ("boxes", torch.tensor([[0, 3, 5, 2]] * 12), ValueError, "within 6x5"),
    ("sources", ONES.float(), TypeError, "sources must be a torch.int64 tensor"),
    ("sources", ONES[:3], ValueError, r"sources must be \(12,\); got \(3,\)"),
]


@pytest.mark.parametrize(("field", "value", "error", "message"), REFUSED)
def test_a_field_that_does_not_fit_is_named(field, value, error, message, unchecked):
    with pytest.raises(error, match=message):
        random_set(**{field: value})


def test_two_labels_a_picture_need_two_of_all_else(unchecked):
    two = {
        "labels": ONES.view(12, 1).expand(12, 2),
        "masks": torch.ones(12, 2, 6, 5, dtype=torch.bool),
        "boxes": torch.tensor([0, 0, 1, 1]).expand(12, 2, 4),
        "sources": ONES.view(12, 1).expand(12, 2),
    }
    assert random_set(**two).labels.shape == (12, 2)
    for field in ("masks", "boxes", "sources"):
        with pytest.raises(ValueError, match=rf"{field} must be \(12, 2"):
            random_set(**(two | {field: two[field][:, 0]}))


def test_normalise_by_hand():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 1, 1)
    expected = torch.tensor([[-1.0, 0.0], [0.0, 0.5], [4.0, 2.5]])
    normalised = normalise(images, (0.2, 0.0), (0.2, 0.4))
    torch.testing.assert_close(normalised[:, :, 0, 0], expected)
    assert images[0, 0, 0, 0] == 0  # the input is left alone
    assert normalised.dtype == torch.float32


def test_normalise_keeps_channels_last():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert normalise(images, (0.0,) * 3, (1.0,) * 3).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("images", "mean", "std", "error", "message"),
    [
        (torch.rand(1, 3, 2, 2), (0.5,) * 3, (1.0,) * 3, TypeError, "images must be a uint8 tensor"),
        (torch.full((1, 3, 2, 2), NAN), (0.5,) * 3, (1.0,) * 3, TypeError, "images must be a uint8 tensor"),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), (0.5,) * 3, (1.0,) * 3, ValueError, "images must be"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), (0.5,) * 3, (1.0,) * 3, ValueError, "must be 1 numbers.*got 3"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), (0.5,) * 3, (1.0,) * 2, ValueError, "std must be 3 numbers"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), (NAN,) * 3, (1.0,) * 3, ValueError, "mean must be 3 numbers"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), (0.5,) * 3, (0.0,) * 3, ValueError, "std must be 3 numbers"),
    ],
)
def test_normalise_refuses_what_does_not_fit(images, mean, std, error, message, unchecked):
    with pytest.raises(error, match=message):
        normalise(images, mean, std)
