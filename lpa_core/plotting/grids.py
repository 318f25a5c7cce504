"""Grids of pictures and their maps."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .._utils.checks import check_option
from ..data.pictures import Picture, read_picture
from ..look import Look, Model, look_at
from ..models.classifier import AttentionOutput
from .panels import (
    Images,
    Style,
    as_picture,
    check_alpha,
    check_drawable,
    check_scale,
    check_style,
    colour_bar,
    draw_overlay,
    draw_picture,
    map_values,
    outline,
    scales_of,
)
from .style import ALPHA, DPI, INK, TEXT, WIDTH, tick_text

Share = Literal["column", "all", "panel"]
DRAWN = 1200  # pixels of the longer side of a photograph that is drawn


def map_grid(
    images: Images,
    maps_per_level: Sequence[Float[Tensor, "b _ _"]],
    *,
    titles: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    boxes: Int[Tensor, "b *k 4"] | None = None,
    share: Share = "column",
    scale: tuple[float, float] | None = None,
    cells: bool = False,
    style: Style = "heat",
    alpha: float = ALPHA,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    first_title: str = "picture",
    quantity: str = "",
    width: float = WIDTH,
    figure: Figure | None = None,
) -> np.ndarray:
    """A grid of pictures and their maps: one row a picture; columns: the picture, then each level. Returns the Axes.

    ``titles`` name the levels ("level 1" and so on; the size of the map is added below), ``labels`` the rows.
    ``share`` says which panels have a scale in common: ``"column"`` (one colour bar under each level),
    ``"all"`` (one bar for all levels) or ``"panel"`` (each its own, its ends printed below it). ``scale`` fixes it for
    all, and ``quantity`` names what it measures ("weight"). Everything else as in ``overlay``. ``figure`` is drawn into
    (and resized) if given; else pyplot makes one.

    Raises: as ``overlay``; ValueError when the numbers of pictures, maps, titles, labels or boxes differ.
    """
    check_option("share", share, Share)
    check_alpha(alpha)
    check_drawable(images)
    check_style(style, maps_per_level)
    n, levels = len(images), len(maps_per_level)
    if n == 0 or levels == 0:
        raise ValueError(f"map_grid needs at least one picture and one level; got {n} and {levels}")
    for level, maps in enumerate(maps_per_level):
        if maps.ndim != 3 or len(maps) != n:
            raise ValueError(f"maps_per_level[{level}] must be ({n}, h, w), a map a picture; got {tuple(maps.shape)}")
    names = [f"level {level + 1}" for level in range(levels)] if titles is None else list(titles)
    for name, given, wanted in (("titles", names, levels), ("labels", labels, n), ("boxes", boxes, n)):
        if given is not None and len(given) != wanted:
            raise ValueError(f"{name} must be {wanted}; got {len(given)}")
    pictures = [as_picture(image, mean, std) for image in images]
    values = [map_values(maps, pictures[0], cells) for maps in maps_per_level]
    scales = scales_of(maps_per_level, share, None if scale is None else check_scale(scale))
    own = share == "panel" and scale is None
    one_bar = levels > 1 and (share == "all" or scale is not None)

    lines = max((label.count("\n") + 1 for label in labels or ()), default=0)
    grid = _Grid(n, levels + 1, images.shape[-2] / images.shape[-1], width, name_lines=lines, own_scales=own)
    figure = grid.make(figure)
    axes = np.empty((n, levels + 1), dtype=object)
    for row in range(n):
        box = None if boxes is None else boxes[row]
        axes[row, 0] = grid.panel(figure, row, 0)
        draw_picture(axes[row, 0], pictures[row])
        outline(axes[row, 0], box)
        if labels is not None:
            axes[row, 0].set_ylabel(labels[row], fontsize=TEXT, color=INK, labelpad=6)
        for level in range(levels):
            ax = axes[row, level + 1] = grid.panel(figure, row, level + 1)
            draw_overlay(ax, pictures[row], values[level][row], alpha, scales[level][row], style)
            outline(ax, box)
            if own:
                low, high = scales[level][row]
                ax.set_xlabel(f"{tick_text(low)} to {tick_text(high)}", fontsize=TEXT, color=INK, labelpad=3)
    sizes = [f"{maps.shape[1]}×{maps.shape[2]}" for maps in maps_per_level]
    for ax, title in zip(
        axes[0], [first_title, *(f"{a}\n{b}" for a, b in zip(names, sizes, strict=True))], strict=True
    ):
        ax.set_title(title, fontsize=TEXT, color=INK, pad=5, linespacing=1.15)
    if own:
        for ax in axes[:, 0]:
            ax.set_xlabel(quantity, fontsize=TEXT, color=INK, labelpad=3, loc="right")
    else:
        grid.name_bars(figure, quantity)
        for first, last in [(1, levels)] if one_bar else [(level, level) for level in range(1, levels + 1)]:
            colour_bar(grid.bar(figure, first, last), scales[first - 1][0], alpha, style)
    return axes


def attention_figure(
    image: Picture,
    output: AttentionOutput | Look | Model,
    *,
    index: int = 0,
    size: int | tuple[int, int] | None = None,
    classes: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    box: Int[Tensor, "*k 4"] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    share: Share = "column",
    cells: bool = False,
    style: Style = "heat",
    alpha: float = ALPHA,
    figure: Figure | None = None,
) -> np.ndarray:
    """One picture, what the model takes it for, and where it looks at every level. Returns the Axes, (1, 1 + levels).

    ``attention_figure("cat.jpg", "photo-pc")`` shows a picture to a model: ``output`` is the name of weights, a file, a
    run folder or a model, and ``image`` any picture, as in ``look.look_at``, which also takes ``size``, ``classes``,
    ``mean`` and ``std``. The maps lie over the photograph as it was given, whatever its size and aspect ratio, not over
    the small copy that the model took; ``output`` may also be what ``look_at`` gave for it. Or it is what
    ``model.attend`` gave for a batch with this picture at ``index``. The maps are a_i, the attention weights; the
    percentage is the softmax of the logits. Other options as in ``map_grid``.

    Raises: as ``map_grid`` and ``look_at``; ValueError where ``output`` has no maps (``combine="global"``), ``index``
        is outside the batch, ``size`` comes with an output, or ``classes`` do not number the logits.
    """
    if not isinstance(output, AttentionOutput):
        if isinstance(output, Look):
            seen = output
        else:
            seen = look_at(output, image, size=size, classes=classes, mean=mean, std=std)
        image, output, classes, mean, std = drawable(seen.photograph), seen.output, seen.classes, None, None
    elif size is not None:
        raise ValueError(f"size is for a model that is still to look; output has looked already; got {size!r}")
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor where output is what model.attend gave; got {type(image).__name__}")
    if not output.attended:
        raise ValueError("output has no attention maps: a model with combine='global' does not attend")
    n, k = output.logits.shape
    if not -n <= index < n:
        raise ValueError(f"index must be within the batch of {n}; got {index}")
    if classes is not None and len(classes) != k:
        raise ValueError(f"classes must name the {k} logits; got {len(classes)}")
    probability, best = output.logits[index].detach().float().softmax(dim=0).max(dim=0)
    name = f"class {int(best)}" if classes is None else str(classes[int(best)])
    return map_grid(
        image[None],
        [a.weights[index][None].detach() for a in output.attended],
        titles=titles,
        boxes=None if box is None else box[None],
        share=share,
        cells=cells,
        style=style,
        alpha=alpha,
        mean=mean,
        std=std,
        first_title=f"{name}\npredicted, {100 * float(probability):.0f} %",
        quantity="weight",
        figure=figure,
    )


def drawable(image: UInt8[Tensor, "c h w"], longest: int = DRAWN) -> UInt8[Tensor, "c H W"]:
    """The picture, scaled down where its longer side is longer than ``longest`` pixels: more does not show."""
    height, width = image.shape[1:]
    if max(height, width) <= longest:
        return image
    ratio = longest / max(height, width)
    return read_picture(image, size=(max(2, round(height * ratio)), max(2, round(width * ratio))))


class _Grid:
    """Places the panels of a grid to the hundredth of an inch, so that nothing depends on the size of a text."""

    GAP, TITLE, SCALE, NAME, LINE, EDGE = 0.12, 0.52, 0.48, 0.34, 0.2, 0.02

    def __init__(
        self, rows: int, columns: int, aspect: float, width: float, *, name_lines: int, own_scales: bool
    ) -> None:
        self.rows, self.columns, self.width = rows, columns, width
        self.left = self.NAME + (name_lines - 1) * self.LINE if name_lines else self.EDGE
        self.wide = (width - self.left - self.EDGE - (columns - 1) * self.GAP) / columns
        self.high = self.wide * aspect
        self.row_gap = 0.32 if own_scales else self.GAP
        self.below = 0.3 if own_scales else self.SCALE
        self.height = self.TITLE + rows * self.high + (rows - 1) * self.row_gap + self.below

    def make(self, figure: Figure | None) -> Figure:
        if figure is None:
            figure = plt.figure(figsize=(self.width, self.height), dpi=DPI, layout="none")
        else:
            figure.set_size_inches(self.width, self.height)
        return figure

    def _axes(self, figure: Figure, left: float, bottom: float, wide: float, high: float) -> Axes:
        share = (left / self.width, bottom / self.height, wide / self.width, high / self.height)
        return figure.add_axes(share, facecolor="white")

    def panel(self, figure: Figure, row: int, column: int) -> Axes:
        bottom = self.height - self.TITLE - (row + 1) * self.high - row * self.row_gap
        return self._axes(figure, self.left + column * (self.wide + self.GAP), bottom, self.wide, self.high)

    def name_bars(self, figure: Figure, quantity: str) -> None:
        """What the bars measure, left of the first."""
        right, middle = (self.left + self.wide) / self.width, (self.below - 0.145) / self.height
        figure.text(right, middle, quantity, fontsize=TEXT, color=INK, ha="right", va="center")

    def bar(self, figure: Figure, first: int, last: int) -> Axes:
        left = self.left + first * (self.wide + self.GAP)
        wide = (last - first + 1) * (self.wide + self.GAP) - self.GAP
        return self._axes(figure, left, self.below - 0.2, wide, 0.11)
