"""The grid pointing game: of a montage of n x n pictures, how much of the map for a class lies on its picture?

Chance is 1 / n^2, and no cell is in the middle: a map that says "the object is in the centre" gains nothing here, as it
does with boxes. A map that is the same for every class scores 1 / n^2 on the average of a montage's classes, whatever
it shows: its shares of all cells sum to 1.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .._utils.checks import is_whole
from .localisation import MapScores, box_masks, score_maps


def grid_pointing_game(
    maps: Float[Tensor, "b h w"], cells: Int[Tensor, " b"], *, n: int = 2, size: tuple[int, int] | None = None
) -> MapScores:
    """Of each map of a montage, the share of its positive part that lies in the cell of the class it is for.

    ``energy`` is the score of the source; ``pointing`` asks for the largest value alone, ``iou`` for as many of the
    largest as the cell has pixels. Each is in [0, 1]; a constant map scores 1 / n^2, 1 / n^2 and 1 / (2 n^2 - 1).

    Args:
        maps: one map a class, (b, h, w); signed maps are allowed, their negative part is left out of ``energy``.
        cells: which cell the class's picture is in, row by row from 0.
        n: pictures a side.
        size: height and width to enlarge the maps to, such as the montage's own; None for the least multiples of n
            that are at least the maps' size.

    Source: Böhle et al. (2021), section 5.2.
    Raises: ValueError on a cell outside 0 to n^2 - 1, a ``size`` that n does not divide, or another number of cells;
        otherwise as ``score_maps``.
    """
    if not is_whole(n, 2, 2**10):
        raise ValueError(f"n must be a whole number of at least 2; got {n!r}")
    if len(cells) != len(maps) or (len(cells) and not bool(((cells >= 0) & (cells < n * n)).all())):
        raise ValueError(
            f"cells must be {len(maps)} numbers from 0 to {n * n - 1}, one a map; got {cells.tolist()[:8]}"
        )
    high, wide = size or (-(-maps.shape[-2] // n) * n, -(-maps.shape[-1] // n) * n)
    if high % n or wide % n:
        raise ValueError(f"size must be a multiple of n={n} in height and width, so that cells are equal; got {size}")
    rows, columns = torch.div(cells, n, rounding_mode="floor"), cells % n
    corners = torch.stack([rows, columns, rows + 1, columns + 1], dim=1)
    boxes = corners * torch.tensor([high // n, wide // n, high // n, wide // n], device=cells.device)
    return score_maps(maps, box_masks(boxes, (high, wide)), clamp=True)
