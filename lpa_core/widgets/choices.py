"""What explorers of pictures have in common: which picture, which place, in words."""

from typing import Any

from torch import Tensor

from ..data.image_set import ImageSet
from .frames import Control


def check_shown(shown: int, pictures: ImageSet) -> None:
    if not 1 <= shown <= len(pictures):
        raise ValueError(f"shown must be from 1 to the {len(pictures)} pictures there are; got {shown}")


def picture_control(
    label: str, pictures: ImageSet, shown: int, *, named: bool = True, start: int = 1, live: int | None = None
) -> Control:
    def options(n: int) -> dict[str, int]:
        if not named or pictures.labels.ndim != 1:
            return {f"{i + 1}": i for i in range(n)}
        return {f"{i + 1}: {pictures.classes[int(label)]}": i for i, label in enumerate(pictures.labels[:n])}

    some: dict[str, Any] = options(shown)
    return Control(label=label, options=some, start=list(some)[start - 1], live=options(live or len(pictures)))


def box_of(pictures: ImageSet, place: int) -> Tensor | None:
    return None if pictures.boxes is None else pictures.boxes[place]


def in_words(row: int, column: int, height: int, width: int) -> str:
    """Where a position lies, in words."""
    vertical = ("top", "middle", "bottom")[min(2, 3 * row // height)]
    horizontal = ("left", "middle", "right")[min(2, 3 * column // width)]
    words = [word for word in (vertical, horizontal) if word != "middle"]
    return f"at the {' '.join(words)}" if words else "in the middle"
