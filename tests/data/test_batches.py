"""Batches: every picture once, its chance its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lpa_core.data.batches import Batches
from lpa_core.data.digits import digits_in_clutter
from lpa_core.data.image_set import ImageSet


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


def epoch(pictures, number=0, start=0, **options):
    return list(Batches(pictures, **({"batch_size": 4} | options)).epoch(number, start=start))


def joined(batches):
    batches = list(batches)
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def numbered(n=64, size=(6, 5), **changes):
    """Pictures that say which one they are: label i, and every value of picture i differs from every other's."""
    pictures = random_set(n, size, masks=None, boxes=None, sources=None, **changes)
    return replace(pictures, labels=torch.arange(n), classes=tuple(map(str, range(n))))


def test_an_epoch_shows_each_picture_once_with_its_label():
    pictures = numbered()
    images, labels = joined(epoch(pictures))
    assert sorted(labels.tolist()) == list(range(64))
    assert labels.tolist() != list(range(64))
    torch.testing.assert_close(images, pictures.float_images()[labels], rtol=0, atol=0)
    assert images.dtype == torch.float32


def test_without_shuffle_the_order_is_that_of_the_set():
    assert joined(epoch(numbered(), shuffle=False))[1].tolist() == list(range(64))


def test_the_last_batch_is_dropped_or_short():
    for drop_last, sizes in ((True, [4, 4]), (False, [4, 4, 2])):
        batches = Batches(random_set(10), 4, drop_last=drop_last)
        assert len(batches) == len(sizes)
        assert [len(labels) for _, labels in batches] == sizes
    assert len(Batches(random_set(8), 4, drop_last=False)) == 2


def test_an_epoch_depends_on_the_seed_and_its_number_alone(chance_untouched):
    options = {"crop": 2, "flip": True}
    pictures = numbered()
    with chance_untouched():
        first = joined(epoch(pictures, 3, seed=5, **options))
    torch.rand(7)
    again = joined(epoch(pictures, 3, seed=5, **options))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    for number, seed in ((3, 6), (4, 5), (5, 3)):
        assert not torch.equal(joined(epoch(pictures, number, seed=seed, **options))[1], first[1])
    batches = Batches(pictures, 4, seed=5, **options)
    assert torch.equal(joined(batches)[0], joined(batches.epoch(0))[0])


@pytest.mark.parametrize("start", [0, 1, 7, 16])
def test_a_resumed_epoch_goes_on_where_it_stopped(start):
    pictures, options = numbered(), {"crop": 2, "flip": True, "seed": 1}
    whole, rest = epoch(pictures, 2, **options), epoch(pictures, 2, start, **options)
    assert len(rest) == 16 - start
    for (images, labels), (later_images, later_labels) in zip(whole[start:], rest, strict=True):
        assert torch.equal(images, later_images)
        assert torch.equal(labels, later_labels)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_crop_and_flip_against_a_loop_over_pictures(flip, channels_last):
    size, crop = (9, 7), 2  # a larger crop would make some windows their own mirror image
    pictures = numbered(64, size)
    images, labels = joined(epoch(pictures, crop=crop, flip=flip, channels_last=channels_last))
    plain = pictures.float_images()
    seen = set()
    for image, label in zip(images, labels, strict=True):
        padded = torch.from_numpy(np.pad(plain[label].numpy(), ((0, 0), (crop, crop), (crop, crop)), mode="reflect"))
        found = []
        for top in range(2 * crop + 1):
            for left in range(2 * crop + 1):
                window = padded[:, top : top + size[0], left : left + size[1]]
                found += [(top, left, m) for m in (False, True) if torch.equal(image, window.flip(2) if m else window)]
        assert len(found) == 1, "not a window of its picture"
        seen.add(found[0])
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(2 * crop + 1))
    assert {mirrored for _, _, mirrored in seen} == ({False, True} if flip else {False})


def test_flips_alone_are_half_of_all_and_differ_within_a_batch():
    pictures = numbered(400)
    images, labels = joined(epoch(pictures, batch_size=100, flip=True))
    plain = pictures.float_images()[labels]
    flipped = (images == plain.flip(3)).flatten(1).all(dim=1)
    assert ((images == plain).flatten(1).all(dim=1) ^ flipped).all()
    for part in flipped.split(100):
        assert 30 < part.sum() < 70


@pytest.mark.parametrize("options", [{}, {"crop": 2}, {"flip": True}, {"crop": 2, "flip": True}])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_memory_format_is_kept(options, channels):
    pictures = random_set(16, (8, 8), channels)
    for images, _ in epoch(pictures, channels_last=True, **options):
        assert images.is_contiguous(memory_format=torch.channels_last)
    for images, _ in epoch(pictures, **options):
        assert images.is_contiguous()
    last, first = (joined(epoch(pictures, channels_last=c, **options))[0] for c in (True, False))
    assert torch.equal(last, first)


def test_batches_leave_the_set_alone():
    pictures = random_set(16)
    before = pictures.images.clone()
    epoch(pictures, crop=1, flip=True)
    assert torch.equal(pictures.images, before)


def test_two_labels_a_picture_come_along():
    pictures = digits_in_clutter(8, digits=2)
    images, labels = joined(epoch(pictures, shuffle=False))
    assert torch.equal(labels, pictures.labels)
    assert images.shape == (8, 3, 40, 40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"batch_size": 2.0}, "batch_size must be an integer of at least 1; got 2.0"),
        ({"batch_size": 13}, "batch_size must be at most 12, the pictures there are, or drop_last=False; got 13"),
        ({"seed": -1}, "seed must be an integer of at least 0; got -1"),
        ({"crop": -1}, "crop must be an integer of at least 0; got -1"),
        ({"crop": 5}, "crop must be below 5, the size of the pictures; got 5"),
    ],
)
def test_batches_refuse_bad_options(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        Batches(random_set(12), **({"batch_size": 4} | options))


@pytest.mark.parametrize(
    ("number", "start", "message"),
    [
        (-1, 0, "number must be an integer of at least 0; got -1"),
        (0, -1, "start must be an integer of at least 0; got -1"),
        (0, 4, "start must be at most 3, the batches of an epoch; got 4"),
    ],
)
def test_an_epoch_refuses_a_bad_start_before_the_first_batch(number, start, message):
    batches = Batches(random_set(12), 4)
    with pytest.raises(ValueError, match=message):
        batches.epoch(number, start=start)
