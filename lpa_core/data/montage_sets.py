"""Montages: n x n pictures of different classes in one, so that a map for one class has a right and many wrong places.

Source: Böhle et al. (2021), "Convolutional Dynamic Alignment Networks", section 5.2 (the grid pointing game).
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from .._utils.checks import check_count, check_int, is_whole
from .._utils.seeding import generator
from .image_set import ImageSet


def montage(
    pictures: UInt8[Tensor, "k c h w"] | Sequence[UInt8[Tensor, "c h w"]], labels: Sequence[int]
) -> UInt8[Tensor, "c H W"]:
    """k = n x n pictures of different classes side by side, row by row, as one of n times their height and width.

    Raises: TypeError unless they are uint8; ValueError unless their number is a square from 4 on, with one label each,
        all of one size, and no class twice.
    """
    n = math.isqrt(len(pictures))
    if n < 2 or n * n != len(pictures):
        raise ValueError(f"pictures must be 4, 9, 16, ...: n x n of them; got {len(pictures)}")
    if len(labels) != len(pictures):
        raise ValueError(f"labels must be {len(pictures)}, one a picture; got {len(labels)}")
    named = [int(label) for label in labels]
    if twice := sorted({label for label in named if named.count(label) > 1}):
        raise ValueError(
            f"labels must be of different classes, or a map for one of them has several right places; got class "
            f"{twice[0]} {named.count(twice[0])} times"
        )
    if wrong := [picture for picture in pictures if not isinstance(picture, Tensor) or picture.dtype != torch.uint8]:
        raise TypeError(f"pictures must be uint8 tensors; got {getattr(wrong[0], 'dtype', type(wrong[0]).__name__)}")
    if len(sizes := {tuple(picture.shape) for picture in pictures}) > 1:
        raise ValueError(
            f"pictures must have one size; got {' and '.join(map(str, sorted(sizes)[:2]))}: read them with one size="
        )
    rows = [torch.cat([*pictures[row * n : (row + 1) * n]], dim=2) for row in range(n)]
    return torch.cat(rows, dim=1)


def montages(image_set: ImageSet, count: int, *, n: int = 2, seed: int = 0) -> ImageSet:
    """``count`` montages of n x n pictures of ``image_set``, each of different classes, drawn by ``seed``.

    ``labels`` are (count, n * n), row by row, and ``boxes`` (count, n * n, 4) are the cells. Within a montage no class
    comes twice; over all montages no picture does. Take pictures that the network knows, as in the source:
    ``montages(image_set.subset(confident), 250)``.

    Raises: ValueError on a set with several labels a picture, an ``n`` below 2, or too few pictures or classes.
    """
    check_count("count", count)
    check_int("seed", seed, 0)
    if not is_whole(n, 2, 2**10):
        raise ValueError(f"n must be a whole number of at least 2; got {n!r}")
    if image_set.labels.ndim != 1:
        raise ValueError(f"image_set must have one label a picture; got labels {tuple(image_set.labels.shape)}")
    chosen = _drawn(image_set.labels, count, n * n, seed)
    images = torch.stack([montage(image_set.images[row], image_set.labels[row].tolist()) for row in chosen])
    height, width = image_set.images.shape[2:]
    places = torch.tensor([[row * height, column * width] for row in range(n) for column in range(n)])
    cells = torch.cat([places, places + torch.tensor([height, width])], dim=1)
    digest = hashlib.sha256(image_set.checksum.encode() + chosen.numpy().astype("<i8").tobytes()).hexdigest()
    return ImageSet(
        image_set.name,
        image_set.split,
        images,
        image_set.labels[chosen],
        image_set.classes,
        image_set.mean,
        image_set.std,
        f"sha256:{digest}",
        boxes=cells.repeat(count, 1, 1),
    )


def _drawn(labels: Tensor, count: int, cells: int, seed: int) -> Tensor:
    """Positions (count, cells): by lot, no position twice, no class twice in a row."""
    order = torch.randperm(len(labels), generator=generator("montages", seed)).tolist()
    of_class: dict[int, list[int]] = {}
    for position in order:
        of_class.setdefault(int(labels[position]), []).append(position)
    rows: list[list[int]] = []
    for _ in range(count):
        # From the classes with most pictures left; equals in the order of their next picture, which is by lot.
        fullest = sorted(of_class, key=lambda label: -len(of_class[label]))[:cells]
        if len(fullest) < cells:
            raise ValueError(
                f"image_set must have pictures of {cells} different classes for each of {count} montages; "
                f"{len(labels)} pictures of {len(labels.unique())} classes are enough for {len(rows)}"
            )
        rows.append([of_class[label].pop() for label in fullest])
        of_class = {label: left for label, left in of_class.items() if left}
        items = [*of_class.items()]
        mixed = torch.randperm(len(items), generator=generator("montages", seed, len(rows))).tolist()
        of_class = dict(items[i] for i in mixed)
    return torch.tensor(rows)
