"""Digits in clutter, from numbers to pictures: whole numbers only, and no loop over pictures.

``data.digits_in_clutter`` is the front and says what the pictures are; here are its parts, in numpy. Each picture
holds three items: the digits that are shown come first, then the distractors.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from .._utils.seeding import generator, stratified

SIZE = 40  # pictures are SIZE x SIZE
DIGIT_SIZES = (16, 17, 18, 19)  # 8x8 digits enlarged 2 to 2.4 times, one size a picture
DIM = 2  # photographs are shown at 1 / DIM of their brightness, so that every tint can be brighter than what it lies on
CONTRAST = 80  # by how much at least, in luma (0 to 255), over the mean of the background under it
ITEMS = 3
# Ways to put the quarters of a digit so that none is where it was. The ninth, swapping top and bottom, is left out:
# it makes a 1 of a 1 and often an 8 of an 8. After these eight nothing is as near to a digit as digits are.
SHUFFLES = np.array(
    [[1, 0, 3, 2], [1, 2, 3, 0], [1, 3, 0, 2], [2, 0, 3, 1], [2, 3, 1, 0], [3, 0, 1, 2], [3, 2, 0, 1], [3, 2, 1, 0]]
)
_OPAQUE = 128  # opacity is a whole number from 0 to 128, so that opacity times a colour fits in an int16
_CHUNK = 512  # pictures painted at a time, so that the work stays in the processor's cache


class Painted(NamedTuple):
    """n pictures and what is on them; ``digits`` is 1 or 2."""

    images: np.ndarray  # (n, 3, SIZE, SIZE) uint8
    labels: np.ndarray  # (n, digits) int64
    sources: np.ndarray  # (n, digits) int64, which handwritten digit
    masks: np.ndarray  # (n, digits, SIZE, SIZE) bool, its ink
    squares: np.ndarray  # (n, ITEMS, 3) int64, top, left and size of every item


class Handwritten(NamedTuple):
    """scikit-learn's handwritten digits."""

    ink: np.ndarray  # (1797, 64) float32, whole numbers from 0 to 16
    labels: np.ndarray  # (1797,) int64
    splits: dict[str, np.ndarray]  # the positions of the digits in each split


def paint_digits(n: int, split: str, seed: int, digits: int, clutter_seed: int, show_digit: bool) -> Painted:
    """Draw and paint ``n`` pictures; the arguments are those of ``data.digits_in_clutter`` and checked there."""
    # One row of numbers per picture, so that no picture depends on how many are asked for.
    where = _uniform((n, 11), "where", split, digits, seed)
    what = _uniform((n, digits, 5), "what", split, digits, seed)
    others = _uniform((n, ITEMS - digits, 5), "others", split, digits, clutter_seed)
    behind = _uniform((n, 3), "behind", split, digits, clutter_seed)

    pool = handwritten().splits[split]
    shown = _pick_digits(what[..., :2], pool)
    sources = np.concatenate([shown, pool[_choose(others[..., 0], len(pool))]], axis=1)
    shuffles = np.concatenate([np.zeros_like(shown), 1 + _choose(others[..., 1], len(SHUFFLES))], axis=1)
    colours = _choose(np.concatenate([what, others], axis=1)[..., 2:], 256)
    sizes, places = _layout(where)

    photos, sums = photographs("right" if split == "test" else "left")
    photo, top, left = _choose(behind, np.array(photos.shape[:3]) - (0, SIZE - 1, SIZE - 1)).T
    # The mean luma under each item, from four corners of the photograph's running sums.
    side = sizes[:, None]
    rows, columns = top[:, None] + places[..., 0], left[:, None] + places[..., 1]
    corner = [sums[photo[:, None], rows + i * side, columns + j * side] for i in (0, 1) for j in (0, 1)]
    tints = with_contrast(colours, (corner[3] - corner[2] - corner[1] + corner[0]) // (DIM * side**2)).astype(np.int16)

    images = np.empty((n, 3, SIZE, SIZE), dtype=np.uint8)
    masks = np.zeros((n, digits, SIZE, SIZE), dtype=bool)
    first = (photo * photos.shape[1] + top) * photos.shape[2] + left
    for start in range(0, n, _CHUNK):
        part = slice(start, start + _CHUNK)
        crop_rows = 3 * (first[part, None] + photos.shape[2] * np.arange(SIZE))
        # Colours lie last while painting: a row of a crop or of an item is then one run of bytes, copied at once.
        canvas = _runs(photos, 3 * SIZE)[crop_rows].reshape(-1, SIZE, SIZE, 3) // DIM
        for size in DIGIT_SIZES:
            picture, item = np.nonzero(np.repeat(sizes[part, None] == size, ITEMS, axis=1))
            at = start + picture
            opacity = glyphs(size)[shuffles[at, item], sources[at, item]]
            lines = places[at, item, 0, None] + np.arange(size)
            pixels = (picture[:, None] * SIZE + lines) * SIZE + places[at, item, 1, None]
            shown_here = item < digits
            mask = (at * digits + item - picture)[shown_here, None]  # masks are numbered apart from the canvases
            inked = opacity[shown_here] >= _OPAQUE // 2
            _runs(masks, size)[pixels[shown_here] + mask * SIZE**2] = inked
            drawn = np.ones_like(shown_here) if show_digit else ~shown_here
            _blend(canvas, pixels[drawn], opacity[drawn], tints[at, item][drawn])
        images[part] = canvas.transpose(0, 3, 1, 2)
    squares = np.concatenate([places, np.repeat(sizes[:, None, None], ITEMS, axis=1)], axis=2)
    return Painted(images, handwritten().labels[shown], shown, masks, squares)


@lru_cache(maxsize=1)
def handwritten() -> Handwritten:
    """The 1797 digits: 360 of them for test, 144 of the rest for validation, each class in proportion; always so."""
    from sklearn.datasets import load_digits

    ink, labels = load_digits(return_X_y=True)
    labels = labels.astype(np.int64)
    test = stratified(labels, 360, key=0)
    rest = np.flatnonzero(~test)
    held_out = stratified(labels[rest], 144, key=1)
    splits = {"train": rest[~held_out], "validation": rest[held_out], "test": np.flatnonzero(test), "all": rest}
    return Handwritten(ink.astype(np.float32), labels, splits)


@lru_cache(maxsize=2)
def photographs(half: str) -> tuple[np.ndarray, np.ndarray]:
    """One half ("left" or "right") of scikit-learn's two photographs, plain and mirrored: (4, 427, 320, 3) uint8.

    With it the running sums of its luma, (4, 428, 321): entry (y, x) sums all that lies above y and left of x.
    """
    from sklearn.datasets import load_sample_image

    photos = np.stack([load_sample_image("china.jpg"), load_sample_image("flower.jpg")])
    middle = photos.shape[2] // 2
    photos = photos[:, :, :middle] if half == "left" else photos[:, :, middle:]
    photos = np.concatenate([photos, photos[:, :, ::-1]])
    sums = luma(photos.astype(np.int64)).cumsum(axis=1).cumsum(axis=2)
    return photos, np.pad(sums, ((0, 0), (1, 0), (1, 0)))


@lru_cache(maxsize=len(DIGIT_SIZES))
def glyphs(size: int) -> np.ndarray:
    """Opacity (0 to 128) of every digit, whole and in its eight shuffles: (9, 1797, size, size) uint8.

    The enlargement is bilinear, with weights in whole parts of (2 * size) ** 2: exact in float32.
    """
    twice = 2 * size
    at = (2 * np.arange(size) + 1) * 8 - size  # where each pixel's centre lies in the small picture, times 2 * size
    low, part = at // twice, at % twice
    weights = np.zeros((size, 8), dtype=np.float32)
    np.add.at(weights, (np.arange(size), low.clip(0, 7)), twice - part)
    np.add.at(weights, (np.arange(size), (low + 1).clip(0, 7)), part)
    small = np.concatenate([handwritten().ink.reshape(1, -1, 8, 8), shuffled(handwritten().ink)])
    large = (weights @ small @ weights.T).astype(np.int32)
    # A quarter more than the ink there is, cut off at opaque: strokes are solid, their edges still smooth.
    return np.minimum(large * (_OPAQUE + _OPAQUE // 4) // (16 * twice**2), _OPAQUE).astype(np.uint8)


def shuffled(ink: np.ndarray) -> np.ndarray:
    """Digits (m, 64) with their 4x4 quarters moved in each of the eight ways: (8, m, 8, 8)."""
    quarters = ink.reshape(-1, 2, 4, 2, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 4)
    moved = quarters[:, SHUFFLES].reshape(-1, len(SHUFFLES), 2, 2, 4, 4)
    return moved.transpose(1, 0, 2, 4, 3, 5).reshape(len(SHUFFLES), -1, 8, 8)


def luma(colour: np.ndarray) -> np.ndarray:
    """Brightness 0 to 255 of colours (..., 3) of whole numbers 0 to 255."""
    return (77 * colour[..., 0] + 150 * colour[..., 1] + 29 * colour[..., 2]) >> 8


def with_contrast(colours: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Colours (..., 3) moved towards white as far as their luma needs to be CONTRAST above ``background`` (...)."""
    now = luma(colours)
    missing = np.maximum(background + CONTRAST - now, 0)[..., None]
    # Rounded up, so that the contrast is reached.
    return np.minimum(colours - (-missing * (255 - colours) // np.maximum(255 - now, 1)[..., None]), 255)


def _uniform(shape: tuple[int, ...], *key: object) -> np.ndarray:
    return torch.rand(shape, generator=generator(*key), dtype=torch.float64).numpy()


def _choose(uniform: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1) to whole numbers 0 .. count - 1."""
    return (uniform * count).astype(np.int64)


def _pick_digits(draws: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Which handwritten digits are shown, (n, digits); a second one is of another class than the first."""
    first = pool[_choose(draws[:, 0, 0], len(pool))]
    if draws.shape[1] == 1:
        return first[:, None]
    labels = handwritten().labels
    by_class = pool[np.argsort(labels[pool], kind="stable")]
    counts = np.bincount(labels[pool], minlength=10)
    label = (labels[first] + 1 + _choose(draws[:, 1, 0], 9)) % 10
    second = by_class[(np.cumsum(counts) - counts)[label] + _choose(draws[:, 1, 1], counts[label])]
    return np.stack([first, second], axis=1)


def _layout(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One size per picture (n,), and top and left of three disjoint squares of that size (n, ITEMS, 2).

    One square is at the left, the two others to the right of it, one above the other; then the picture is turned
    over, both ways and along the diagonal, and the items are dealt out, all at random. Straight cuts can always part
    three disjoint squares, so this misses no arrangement, and nothing is drawn only to be thrown away.
    """
    sizes = np.array(DIGIT_SIZES)[_choose(draws[:, 0], len(DIGIT_SIZES))]
    room = SIZE - sizes
    left = _choose(draws[:, 1], room - sizes + 1)
    lefts = [left, *(left + sizes + _choose(draws[:, i], room - sizes - left + 1) for i in (2, 3))]
    upper = _choose(draws[:, 4], room - sizes + 1)
    tops = [_choose(draws[:, 5], room + 1), upper, upper + sizes + _choose(draws[:, 6], room - sizes - upper + 1)]
    places = np.stack([np.stack(tops, axis=1), np.stack(lefts, axis=1)], axis=2)
    turned = draws[:, 7:9, None] < 0.5
    places = np.where(turned.transpose(0, 2, 1), room[:, None, None] - places, places)
    places = np.where(draws[:, 9, None, None] < 0.5, places[:, :, ::-1], places)
    orders = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    return sizes, np.take_along_axis(places, orders[_choose(draws[:, 10], 6)][:, :, None], axis=1)


def _runs(array: np.ndarray, length: int) -> np.ndarray:
    """Every run of ``length`` neighbours of a contiguous array, read as one line: a view that can be written to."""
    line = array.reshape(-1)
    return np.lib.stride_tricks.as_strided(line, (line.size - length + 1, length), line.strides * 2)


def _blend(canvas: np.ndarray, pixels: np.ndarray, opacity: np.ndarray, tints: np.ndarray) -> None:
    """Paint m items into ``canvas``: background + (tint - background) * opacity, rounded.

    ``pixels`` (m, size): where in the canvas each of their rows begins; ``opacity`` (m, size, size); ``tints`` (m, 3).
    """
    size = opacity.shape[-1]
    rows, at = _runs(canvas, 3 * size), 3 * pixels
    under = rows[at].reshape(-1, size, size, 3).astype(np.int16)
    over = tints[:, None, None] - under
    over *= opacity[..., None]
    under += (over + _OPAQUE // 2) >> 7
    rows[at] = under.astype(np.uint8).reshape(-1, size, 3 * size)
