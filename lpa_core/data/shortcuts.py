"""Digits with a planted shortcut: something else that tells the class, in a known place. Model or method?

Train on such pictures and test a map on them: what the network used is known, because it was put there. A map that
misses the mark of a network that lives on it is the method's fault; one that finds it shows the model's.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from .._utils.checks import check_option
from .image_set import ImageSet, content_checksum

Shortcut = Literal["corner", "tint"]

SIDE = 6  # pixels of a side of the mark in the corner
STRENGTH = 48  # by how much the tint raises one colour and lowers another, of 255
# Ten colours that differ plainly; a class has the one at its place.
COLOURS = (
    *((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)),
    *((0, 255, 255), (255, 255, 255), (0, 0, 0), (255, 128, 0), (128, 0, 255)),
)


class WithShortcut(NamedTuple):
    """The pictures, and where in each of them the shortcut is: a square in the corner, or everywhere for a tint."""

    images: ImageSet
    places: Bool[Tensor, "n h w"]


def plant_shortcut(
    pictures: ImageSet, kind: Shortcut = "corner", *, share: float = 1.0, misleading: bool = False, seed: int = 0
) -> WithShortcut:
    """The same pictures with a shortcut that tells the class, for up to ten classes.

    * ``"corner"``: a square of 6 pixels in the top left corner in the colour of the class. A map should find the
      square where the network uses it, and the digit where it does not.
    * ``"tint"``: the whole picture is drawn towards the colour of the class by 48 of 255. It is everywhere, so no map
      can point at it: a map that points at the digit of a network that lives on the tint says what is not so.

    Whether a network uses it is measured, not assumed: with ``misleading=True`` the shortcut tells another class, at
    random; a network whose accuracy on these falls to about zero, below chance, lived on it.

    Args:
        pictures: as of ``digits_in_clutter``, with three channels and at most ten classes.
        share: of the pictures that get it, drawn by ``seed``; the others stay as they are, and their places are empty.
        misleading: True shows each picture the mark of another class than its own.

    Masks, boxes and sources stay those of the digit. Mean and standard deviation stay too.
    Raises: ValueError on an unknown ``kind``, a ``share`` outside (0, 1], or pictures of other channels or classes.
    """
    check_option("kind", kind, Shortcut)
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1; got {share!r}")
    n, channels, high, wide = pictures.images.shape
    count = len(pictures.classes)
    if channels != 3 or not 2 <= count <= len(COLOURS) or pictures.labels.ndim != 1 or min(high, wide) < SIDE:
        raise ValueError(
            f"pictures must have 3 channels, one label each of 2 to {len(COLOURS)} classes and at least {SIDE} pixels "
            f"a side; got {tuple(pictures.images.shape)} with {count} classes"
        )
    draw = torch.Generator().manual_seed(seed)
    marked = torch.rand(n, generator=draw) < share if share < 1 else torch.ones(n, dtype=torch.bool)
    told = pictures.labels
    if misleading:
        told = (told + torch.randint(1, count, (n,), generator=draw)) % count
    colours = torch.tensor(COLOURS)[told]
    images = pictures.images.clone()
    places = torch.zeros(n, high, wide, dtype=torch.bool)
    if kind == "corner":
        images[marked, :, :SIDE, :SIDE] = colours[marked, :, None, None].to(torch.uint8)
        places[marked, :SIDE, :SIDE] = True
    else:
        shift = torch.round((colours / 127.5 - 1) * STRENGTH)[:, :, None, None]
        tinted = (images + shift).clamp(0, 255).to(torch.uint8)
        images[marked] = tinted[marked]
        places[marked] = True
    changed = replace(
        pictures,
        name=f"{pictures.name} with a {kind}",
        images=images,
        checksum=content_checksum(images, pictures.labels),
    )
    return WithShortcut(changed, places)
