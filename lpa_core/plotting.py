"""Figures of maps, curves and scores that can be trusted: every scale is shown, none is changed in secret.

* Functions return matplotlib ``Axes`` and never call ``plt.show`` or change a global setting.
* A map is drawn from 0 to its largest value, or, where it has negative values, from -m to m with m the largest size;
  never from its smallest value, which makes any noise look like a finding. The scale stands on a colour bar or under
  the panel.
* Colours are safe for colour-blind readers: inferno for maps without negative values (brightness rises with the value,
  so it also prints in grey), purple - white - orange for signed ones, Okabe and Ito's palette for lines and bars.
  The picture under a map is grey and of low contrast: colour and light mean the map.
* Backgrounds are opaque white. Figures are 7 inches wide at 100 dpi, so 700 pixels, with text that can still be read
  on a phone that shows them at half that.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .attention import check_option
from .look import Model, look_at
from .metrics import Interval, Row, enlarge
from .models import AttentionOutput
from .pictures import Picture

Share = Literal["column", "all", "panel"]
Score = Literal["pointing", "energy", "iou"]
Image = UInt8[Tensor, "c h w"] | Float[Tensor, "c h w"]
Images = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]

SEQUENTIAL, DIVERGING = "inferno", "PuOr_r"
# Okabe and Ito's hues, darkened where needed to a contrast of 4.5 on white, since lines are named in their colour.
COLOURS = ("#0072B2", "#B84A00", "#007A5A", "#A6408A", "#7A5C00", "#3B3B3B")
INK, QUIET = "#1A1A1A", "#8C8C8C"
BAR, BASELINE_BAR = "#56B4E9", "#C4C4C4"
DPI, WIDTH, TEXT = 100, 7.0, 12.5  # text in points: 17 pixels at 700, 9 on a phone 360 pixels wide
ALPHA, CONTRAST = 0.65, 0.6  # the map's share of each colour; what is left of the picture's contrast beneath


# Pictures and maps ----------------------------------------------------------------------------------------------------


def show_image(
    ax: Axes,
    image: Image,
    *,
    box: Int[Tensor, "*k 4"] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Axes:
    """Draw one picture (c, h, w), in grey for c = 1, with its boxes outlined.

    ``image`` is uint8, or float in [0, 1]; a normalised picture needs the ``mean`` and ``std`` it was normalised with.
    ``box`` is (4,) or (k, 4): top, left, bottom, right in pixels, half-open. Pixel (i, j) covers [j, j + 1] across and
    [i, i + 1] down.

    Raises: TypeError or ValueError on another dtype or shape, on NaN, or on values outside [0, 1].
    """
    _draw(ax, _picture(image, mean, std))
    _outline(ax, box)
    return ax


def overlay(
    ax: Axes,
    image: Image,
    map: Float[Tensor, "_ _"],
    *,
    alpha: float = ALPHA,
    box: Int[Tensor, "*k 4"] | None = None,
    scale: tuple[float, float] | None = None,
    cells: bool = False,
    bar: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Axes:
    """Draw a map (h, w) over its picture (c, H, W), turned to grey of three fifths of its contrast.

    The map is enlarged as ``metrics.enlarge`` does for scoring; ``cells=True`` shows its cells as they are.
    ``alpha`` is the map's share of each colour (1 hides the picture), ``scale`` the values at the ends of the colour
    map: by default 0 to the largest, or -m to m for a signed map. ``bar`` adds the colour bar, tinted by the same
    ``alpha``. ``box``, ``mean`` and ``std`` as in ``show_image``.

    Raises: as ``show_image``; ValueError on a map with NaN or inf, larger than the picture, or of another number of
        axes, on ``alpha`` outside [0, 1], or on a ``scale`` that does not rise.
    """
    _check_alpha(alpha)
    picture = _picture(image, mean, std)
    if map.ndim != 2:
        raise ValueError(f"map must be (h, w); got {tuple(map.shape)}")
    (values,) = _values(map[None], picture, cells)
    ends = _scale_of([map]) if scale is None else _check_scale(scale)
    _overlay(ax, picture, values, alpha, ends)
    _outline(ax, box)
    if bar:
        _colour_bar(ax.inset_axes((0, -0.11, 1, 0.05)), ends, alpha)
    return ax


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
    _check_alpha(alpha)
    _check_images(images)
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
    pictures = [_picture(image, mean, std) for image in images]
    values = [_values(maps, pictures[0], cells) for maps in maps_per_level]
    scales = _scales(maps_per_level, share, None if scale is None else _check_scale(scale))
    own = share == "panel" and scale is None
    one_bar = levels > 1 and (share == "all" or scale is not None)

    lines = max((label.count("\n") + 1 for label in labels or ()), default=0)
    grid = _Grid(n, levels + 1, images.shape[-2] / images.shape[-1], width, name_lines=lines, own_scales=own)
    figure = grid.make(figure)
    axes = np.empty((n, levels + 1), dtype=object)
    for row in range(n):
        box = None if boxes is None else boxes[row]
        axes[row, 0] = grid.panel(figure, row, 0)
        _draw(axes[row, 0], pictures[row])
        _outline(axes[row, 0], box)
        if labels is not None:
            axes[row, 0].set_ylabel(labels[row], fontsize=TEXT, color=INK, labelpad=6)
        for level in range(levels):
            ax = axes[row, level + 1] = grid.panel(figure, row, level + 1)
            _overlay(ax, pictures[row], values[level][row], alpha, scales[level][row])
            _outline(ax, box)
            if own:
                low, high = scales[level][row]
                ax.set_xlabel(f"{_number(low)} to {_number(high)}", fontsize=TEXT, color=INK, labelpad=3)
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
            _colour_bar(grid.bar(figure, first, last), scales[first - 1][0], alpha)
    return axes


def attention_figure(
    image: Picture,
    output: AttentionOutput | Model,
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
    alpha: float = ALPHA,
    figure: Figure | None = None,
) -> np.ndarray:
    """One picture, what the model takes it for, and where it looks at every level. Returns the Axes, (1, 1 + levels).

    ``attention_figure("photo.jpg", "digits-pc")`` shows a picture to a model: ``output`` is the name of weights, a
    file, a run folder or a model, and ``image`` any picture, as in ``look.look_at``, which also takes ``size``,
    ``classes``, ``mean`` and ``std``. Or ``output`` is what ``model.attend`` gave for a batch with this picture at
    ``index``. The maps are a_i, the attention weights; the percentage is the softmax of the logits. Other options as in
    ``map_grid``.

    Raises: as ``map_grid`` and ``look_at``; ValueError where ``output`` has no maps (``combine="global"``), ``index``
        is outside the batch, ``size`` comes with an output, or ``classes`` do not number the logits.
    """
    if not isinstance(output, AttentionOutput):
        seen = look_at(output, image, size=size, classes=classes, mean=mean, std=std)
        image, output, classes, mean, std = seen.picture, seen.output, seen.classes, None, None
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
        alpha=alpha,
        mean=mean,
        std=std,
        first_title=f"{name}\npredicted, {100 * float(probability):.0f} %",
        quantity="weight",
        figure=figure,
    )


def pixels(
    image: Image,
    map: Float[Tensor, "_ _"] | None = None,
    *,
    alpha: float = ALPHA,
    boxes: Int[Tensor, "*k 4"] | None = None,
    scale: tuple[float, float] | None = None,
    side: int = 120,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> UInt8[np.ndarray, "tall wide 3"]:
    """What ``show_image`` and ``overlay`` draw, as plain pixels for a page: no figure, no text, no colour bar.

    A picture smaller than ``side`` is enlarged by the whole number that takes its longer side nearest below or to
    ``side``; a larger one is averaged down to it. ``boxes`` are outlined by a white line beside a dark one. Everything
    else as in ``overlay``.

    Raises: as ``overlay``; ValueError on a ``side`` below 1.
    """
    _check_alpha(alpha)
    if side < 1:
        raise ValueError(f"side must be at least 1; got {side}")
    shown = _picture(image, mean, std)
    if map is not None:
        if map.ndim != 2:
            raise ValueError(f"map must be (h, w); got {tuple(map.shape)}")
        low, high = _scale_of([map]) if scale is None else _check_scale(scale)
        values = (_values(map[None], shown, cells=False)[0] - low) / (high - low)
        colours = _colours((low, high))(np.clip(values, 0, 1))[..., :3]
        shown = alpha * colours + (1 - alpha) * _quiet(shown)[..., None]
    longest = max(shown.shape[:2])
    times = max(1, side // longest)
    if longest > side:
        size = (max(1, round(shown.shape[0] * side / longest)), max(1, round(shown.shape[1] * side / longest)))
        shown = F.adaptive_avg_pool2d(torch.tensor(shown).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
    shown = np.rint(255 * shown).astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
    if boxes is not None:
        _check_box(boxes)
        ratio = max(shown.shape[:2]) / longest
        for top, left, bottom, right in (boxes.reshape(-1, 4) * ratio).round().int().tolist():
            for inset, colour in ((0, 255), (1, 26)):
                a, b, c, d = top + inset, left + inset, bottom - inset, right - inset
                shown[a : a + 1, b:d] = shown[c - 1 : c, b:d] = shown[a:c, b : b + 1] = shown[a:c, d - 1 : d] = colour
    return shown


# Curves and scores ----------------------------------------------------------------------------------------------------


def curves(
    ax: Axes,
    history: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    *,
    x: str = "epoch",
    labels: Sequence[str] | None = None,
    colours: Sequence[str] | None = None,
    ylabel: str = "",
) -> Axes:
    """Draw quantities of a training run over ``x``, each named at the end of its line; no legend to look up.

    ``history`` is a run's records, one mapping each (the lines of ``history.jsonl``). A record without a key, or with
    None or NaN there, leaves a gap in no line: the points that exist are joined.

    Raises: ValueError on a key that no record has (the message lists those there are), or when ``labels`` or
        ``colours`` do not number the keys.
    """
    known = sorted({key for record in history for key in record})
    if not keys or (missing := [key for key in (x, *keys) if key not in known]):
        wanted = ", ".join(missing) if keys else "no key"
        raise ValueError(f"keys must be among {', '.join(known) or 'nothing: history is empty'}; got {wanted}")
    names = [key.replace("_", " ") for key in keys] if labels is None else list(labels)
    palette = [COLOURS[i % len(COLOURS)] for i in range(len(keys))] if colours is None else list(colours)
    for name, given in (("labels", names), ("colours", palette)):
        if len(given) != len(keys):
            raise ValueError(f"{name} must be {len(keys)}, one a key; got {len(given)}")
    _plain(ax)
    ends = []
    for key, name, colour in zip(keys, names, palette, strict=True):
        points = [(r[x], r[key]) for r in history if x in r and r.get(key) is not None and not np.isnan(r[key])]
        xs, ys = zip(*points, strict=True) if points else ((), ())
        ax.plot(xs, ys, color=colour, linewidth=2.2, marker="o", markersize=4 if len(points) <= 30 else 0, label=name)
        if points:
            ends.append((float(xs[-1]), float(ys[-1]), name, colour))
    ax.set_xlabel(x, fontsize=TEXT, color=INK)
    ax.set_ylabel(ylabel, fontsize=TEXT, color=INK)
    if all(float(r[x]).is_integer() for r in history if x in r):
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, nbins=6))
    _name_lines(ax, ends)
    return ax


def bars_with_intervals(
    ax: Axes, rows: Sequence[Row] | Sequence[tuple[str, Interval]], *, score: Score = "pointing", xlabel: str = ""
) -> Axes:
    """Horizontal bars from 0, one a row, each with its interval as a line and its value as a number.

    ``rows`` come from ``metrics.compare_maps`` (baselines are grey) or are pairs of a name and an interval.
    The axis runs from 0 to 1.

    Raises: ValueError when there is no row or ``score`` is unknown.
    """
    check_option("score", score, Score)
    if not rows:
        raise ValueError("rows must hold at least one row")
    _plain(ax)
    titles = {"pointing": "pointing game", "energy": "energy in mask", "iou": "IoU"}
    for place, row in enumerate(rows):
        if isinstance(row, Row):
            interval, colour = getattr(row, score), BASELINE_BAR if row.baseline else BAR
        else:
            interval, colour = row[1], BAR
        ax.barh(place, interval.mean, height=0.62, color=colour)
        ax.plot([interval.low, interval.high], [place, place], color=INK, linewidth=2, solid_capstyle="butt")
        right = np.nanmax([interval.mean, interval.high, 0.0])
        text = "no value" if np.isnan(interval.mean) else f"{interval.mean:.2f}"
        ax.annotate(
            text, (right, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=TEXT, color=INK
        )
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xlabel(xlabel or (titles[score] if isinstance(rows[0], Row) else ""), fontsize=TEXT, color=INK)
    ax.tick_params(axis="y", length=0)
    return ax


# Inside ---------------------------------------------------------------------------------------------------------------


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


def _picture(image: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> np.ndarray:
    """(c, h, w) uint8 or float -> (h, w, 3) float in [0, 1]."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"image must be (3, h, w), or (1, h, w) for grey; got {tuple(image.shape)}")
    if (mean is None) != (std is None):
        raise ValueError(f"mean and std must be given together; got mean={mean}, std={std}")
    image = image.detach().cpu()
    if image.dtype == torch.uint8:
        if mean is not None:
            raise ValueError("mean and std undo the normalisation of a float image; a uint8 image has none")
        image = image.float() / 255
    elif not torch.is_floating_point(image):
        raise TypeError(f"image must be uint8 or floating point; got {image.dtype}")
    elif mean is not None and std is not None:
        if len(mean) != len(image) or len(std) != len(image):
            raise ValueError(f"mean and std must have {len(image)} values; got {len(mean)} and {len(std)}")
        image = image.float() * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    slack = 1e-3  # what undoing a normalisation in float16 may add
    if not ((image >= -slack) & (image <= 1 + slack)).all():
        raise ValueError(
            f"image must be in [0, 1]; got {image.min().item():.3g} to {image.max().item():.3g}. "
            f"Give mean and std to undo a normalisation"
        )
    return image.float().clamp(0, 1).expand(3, -1, -1).permute(1, 2, 0).numpy()


def _check_images(images: Tensor) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must be (b, c, h, w); got {tuple(images.shape)}")


def _check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1]; got {alpha}")


def _check_scale(scale: tuple[float, float]) -> tuple[float, float]:
    if len(scale) != 2 or not scale[0] < scale[1] or not np.isfinite(scale).all():
        raise ValueError(f"scale must be (low, high) with low < high; got {scale}")
    return scale


def _scale_of(maps: Sequence[Tensor]) -> tuple[float, float]:
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    if low < 0:
        size = max(-low, high)
        return -size, size
    return 0.0, high if high > 0 else 1.0


def _scales(
    maps_per_level: Sequence[Tensor], share: str, fixed: tuple[float, float] | None
) -> list[list[tuple[float, float]]]:
    """The scale of every panel, [level][row]."""
    if fixed is None and share == "panel":
        return [[_scale_of([m]) for m in maps] for maps in maps_per_level]
    if fixed is None and share == "all":
        fixed = _scale_of(maps_per_level)
    return [[fixed or _scale_of([maps])] * len(maps) for maps in maps_per_level]


def _colours(scale: tuple[float, float]) -> Colormap:
    return mpl.colormaps[DIVERGING if scale[0] < 0 < scale[1] else SEQUENTIAL]


def _draw(ax: Axes, picture: np.ndarray, **options: Any) -> Any:
    """imshow with pixel edges on whole numbers, no ticks and no frame, on opaque white."""
    high, wide = picture.shape[:2]
    drawn = ax.imshow(picture, extent=(0, wide, high, 0), interpolation="antialiased", **options)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    _white(ax)
    return drawn


def _values(maps: Tensor, picture: np.ndarray, cells: bool) -> np.ndarray:
    """Maps (b, h, w) as they are drawn: enlarged to the picture, or cell by cell."""
    enlarged = enlarge(maps, picture.shape[:2])  # checks the maps, whichever way they are drawn
    return (maps.detach().float() if cells else enlarged).cpu().numpy()


def _quiet(picture: np.ndarray) -> np.ndarray:
    """The picture in grey, of low contrast: what lies under a map."""
    return 0.5 + CONTRAST * (picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32) - 0.5)


def _overlay(ax: Axes, picture: np.ndarray, values: np.ndarray, alpha: float, scale: tuple[float, float]) -> None:
    grey = _quiet(picture)
    _draw(ax, grey, cmap="gray", vmin=0, vmax=1)
    high, wide = grey.shape
    # Cells stay sharp; only a picture larger than its panel is averaged down.
    sharp = "nearest" if values.shape != grey.shape else "antialiased"
    ax.imshow(
        values,
        extent=(0, wide, high, 0),
        cmap=_colours(scale),
        norm=Normalize(*scale),
        alpha=alpha,
        interpolation=sharp,
    )


def _check_box(box: Tensor) -> None:
    if box.ndim not in (1, 2) or box.shape[-1] != 4:
        raise ValueError(f"box must be (4,) or (k, 4): top, left, bottom, right; got {tuple(box.shape)}")


def _outline(ax: Axes, box: Tensor | None) -> None:
    """Boxes as a white line on a dark one, which shows on any picture."""
    if box is None:
        return
    _check_box(box)
    for top, left, bottom, right in box.reshape(-1, 4).tolist():
        for colour, line in ((INK, 3.2), ("white", 1.4)):
            ax.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=line)
            )


def _colour_bar(cax: Axes, scale: tuple[float, float], alpha: float) -> None:
    """A horizontal bar with its two ends (and 0) named, in the colours that a panel shows over mid-grey."""
    colours = _colours(scale)(np.linspace(0, 1, 128))[:, :3] * alpha + 0.5 * (1 - alpha)
    mappable = ScalarMappable(Normalize(*scale), ListedColormap(colours))
    ticks = [scale[0], 0.0, scale[1]] if scale[0] < 0 < scale[1] else list(scale)
    bar = cax.figure.colorbar(mappable, cax=cax, orientation="horizontal", ticks=ticks)
    bar.outline.set_visible(False)
    cax.set_xticks(ticks, [_number(tick) for tick in ticks])
    cax.tick_params(length=0, pad=2, labelsize=TEXT, labelcolor=INK)
    names = cax.get_xticklabels()
    names[0].set_horizontalalignment("left")
    names[-1].set_horizontalalignment("right")


def _number(value: float) -> str:
    return f"{value:.2g}".replace("e-0", "e-").replace("-", "\u2212")


def _white(ax: Axes) -> None:
    ax.patch.set(facecolor="white", alpha=1)
    ax.figure.figure.patch.set(facecolor="white", alpha=1)


def _plain(ax: Axes) -> None:
    """Axes with two quiet spines and text that can be read."""
    _white(ax)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set(color=QUIET)
    ax.tick_params(labelsize=TEXT, labelcolor=INK, color=QUIET)


def _name_lines(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each name right of its line's end; names that would touch are moved apart, in order."""
    if not ends:
        return
    ax.set_ylim(*ax.get_ylim())  # fixed from here on, since the names are placed by it
    to_share = ax.transData + ax.transAxes.inverted()  # data -> share of the height, on any kind of axis
    inches = ax.get_position().height * ax.figure.figure.get_size_inches()[1]
    least = 1.4 * TEXT / 72 / inches
    ordered = sorted((to_share.transform(end[:2])[1], name, colour) for *end, name, colour in ends)
    wanted = [place for place, _, _ in ordered]
    places = list(wanted)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + least)
    shift = (sum(places) - sum(wanted)) / len(places)
    across = max(end[0] for end in ends)
    for (_, name, colour), place in zip(ordered, places, strict=True):
        ax.annotate(
            name,
            (across, place - shift),
            xycoords=("data", "axes fraction"),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
            color=colour,
            annotation_clip=False,
        )
