"""Digits in clutter: pictures made here, of which it is known where the object is."""

import torch
from torch import Tensor

from .._utils.checks import check_int
from .image_set import ImageSet, check_split, content_checksum
from .painting import paint_digits

DIGITS_N = {"train": 6_400, "validation": 2_000, "test": 2_000, "all": 6_400}  # what load("digits", split) makes
# Channel mean and standard deviation of images / 255 over 20,000 training pictures of seed 0.
DIGITS_MEAN, DIGITS_STD = (0.258, 0.271, 0.248), (0.226, 0.202, 0.214)


def digits_in_clutter(
    n: int,
    *,
    split: str = "train",
    seed: int = 0,
    digits: int = 1,
    clutter_seed: int | None = None,
    show_digit: bool = True,
) -> ImageSet:
    """``n`` pictures (3, 40, 40) of a handwritten digit on a photograph, beside two shuffled digits that are none.

    Each picture: a random crop of a photograph at half its brightness; a handwritten digit of 8x8, enlarged smoothly 2
    to 2.4 times, at a random place, in a random tint brighter than what it lies on; and two distractors of the same
    size, tinted by the same rule: other handwritten digits whose four quarters have changed places. The three never
    overlap. Handwritten digits and halves of the photographs are split, so none is in both training and test
    ("validation" has digits of its own on the training halves; "all" is the digits of train and validation together).

    All chance comes from (split, seed, digits), picture by picture: the first k of n pictures are the same for any n.
    The arithmetic is in whole numbers, so the pictures are equal bit by bit on any processor. The clutter (crop,
    distractors, their tints) is independent of the label.

    Args:
        digits: 2 shows two digits of different classes and one distractor; labels, masks, boxes and sources then have
            a second axis, (n, 2).
        clutter_seed: another number gives the same digits in the same places amid other clutter (a tint moves where
            it would lack contrast with its new background). Default: ``seed``.
        show_digit: False leaves the digits out and shows the background instead; all else stays, labels and masks too.

    Returns: an ``ImageSet`` with masks (ink), boxes (around that ink) and sources (0 to 1796, the handwritten digit).
    Raises: ValueError on ``n`` below 1, an unknown split, a negative seed, or ``digits`` other than 1 or 2.
    """
    check_int("n", n, 1)
    check_split(split)
    check_int("seed", seed, 0)
    if isinstance(digits, bool) or not isinstance(digits, int) or digits not in (1, 2):
        raise ValueError(f"digits must be 1 or 2; got {digits!r}")
    clutter_seed = seed if clutter_seed is None else clutter_seed
    check_int("clutter_seed", clutter_seed, 0)
    painted = paint_digits(n, split, seed, digits, clutter_seed, show_digit)
    images = torch.from_numpy(painted.images)
    # Without two-digit mode the axis of the digits goes.
    labels, sources, masks = (torch.from_numpy(a[:, 0] if digits == 1 else a) for a in painted[1:4])
    return ImageSet(
        name="digits",
        split=split,
        images=images,
        labels=labels,
        classes=tuple("0123456789"),
        mean=DIGITS_MEAN,
        std=DIGITS_STD,
        checksum=content_checksum(images, labels),
        masks=masks,
        boxes=_ink_boxes(masks),
        sources=sources,
    )


def _ink_boxes(masks: Tensor) -> Tensor:
    """Top, left, bottom, right (half-open) of the ink in each mask (..., h, w); every mask has some."""
    ends = []
    for used in (masks.any(dim=-1).byte(), masks.any(dim=-2).byte()):
        ends.append((used.argmax(-1), used.shape[-1] - used.flip(-1).argmax(-1)))
    return torch.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], dim=-1)
