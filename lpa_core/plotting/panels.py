"""What every picture and map is drawn with: pixels, scales, outlines, colour bars."""

from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.patches import Rectangle
from torch import Tensor

from .._utils.checks import check_option
from ..metrics.localisation import enlarge
from .style import CONTRAST, DARK, DIVERGING, INK, SEQUENTIAL, TEXT, tick_text, white

Image = UInt8[Tensor, "c h w"] | Float[Tensor, "c h w"]
Style = Literal["heat", "light"]
Images = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]


def as_picture(image: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> np.ndarray:
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


def check_drawable(images: Tensor) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must be (b, c, h, w); got {tuple(images.shape)}")


def check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1]; got {alpha}")


def check_scale(scale: tuple[float, float]) -> tuple[float, float]:
    if len(scale) != 2 or not scale[0] < scale[1] or not np.isfinite(scale).all():
        raise ValueError(f"scale must be (low, high) with low < high; got {scale}")
    return scale


def scale_of(maps: Sequence[Tensor]) -> tuple[float, float]:
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    if low < 0:
        size = max(-low, high)
        return -size, size
    return 0.0, high if high > 0 else 1.0


def scales_of(
    maps_per_level: Sequence[Tensor], share: str, fixed: tuple[float, float] | None
) -> list[list[tuple[float, float]]]:
    """The scale of every panel, [level][row]."""
    if fixed is None and share == "panel":
        return [[scale_of([m]) for m in maps] for maps in maps_per_level]
    if fixed is None and share == "all":
        fixed = scale_of(maps_per_level)
    return [[fixed or scale_of([maps])] * len(maps) for maps in maps_per_level]


def colour_map(scale: tuple[float, float]) -> Colormap:
    return mpl.colormaps[DIVERGING if scale[0] < 0 < scale[1] else SEQUENTIAL]


def draw_picture(ax: Axes, picture: np.ndarray, **options: Any) -> Any:
    """imshow with pixel edges on whole numbers, no ticks and no frame, on opaque white."""
    high, wide = picture.shape[:2]
    drawn = ax.imshow(picture, extent=(0, wide, high, 0), interpolation="antialiased", **options)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    white(ax)
    return drawn


def map_values(maps: Tensor, picture: np.ndarray, cells: bool) -> np.ndarray:
    """Maps (b, h, w) as they are drawn: enlarged to the picture, or cell by cell."""
    enlarged = enlarge(maps, picture.shape[:2])  # checks the maps, whichever way they are drawn
    return (maps.detach().float() if cells else enlarged).cpu().numpy()


def quiet_grey(picture: np.ndarray) -> np.ndarray:
    """The picture in grey, of low contrast: what lies under a map."""
    return 0.5 + CONTRAST * (picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32) - 0.5)


def draw_overlay(
    ax: Axes, picture: np.ndarray, values: np.ndarray, alpha: float, scale: tuple[float, float], style: Style = "heat"
) -> None:
    if style == "light":
        draw_picture(ax, lit(picture, values, scale))
        return
    grey = quiet_grey(picture)
    draw_picture(ax, grey, cmap="gray", vmin=0, vmax=1)
    high, wide = grey.shape
    # Cells stay sharp; only a picture larger than its panel is averaged down.
    sharp = "nearest" if values.shape != grey.shape else "antialiased"
    ax.imshow(
        values,
        extent=(0, wide, high, 0),
        cmap=colour_map(scale),
        norm=Normalize(*scale),
        alpha=alpha,
        interpolation=sharp,
    )


def lit(picture: np.ndarray, values: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """The picture (H, W, 3) in its own colours, dark where the map is at the low end of ``scale``."""
    share = np.clip((values - scale[0]) / (scale[1] - scale[0]), 0, 1)
    if share.shape != picture.shape[:2]:  # cells, as they are
        rows, columns = (np.arange(n) * m // n for n, m in zip(picture.shape[:2], share.shape, strict=True))
        share = share[rows[:, None], columns]
    lighted: np.ndarray = picture * (DARK + (1 - DARK) * share)[..., None]
    return lighted


def check_style(style: object, maps_per_level: Sequence[Tensor]) -> None:
    check_option("style", style, Style)
    if style == "light" and any(bool((maps < 0).any()) for maps in maps_per_level):
        raise ValueError("style='light' is for maps without negative values: light has no sign; take 'heat'")


def check_box(box: Tensor) -> None:
    if box.ndim not in (1, 2) or box.shape[-1] != 4:
        raise ValueError(f"box must be (4,) or (k, 4): top, left, bottom, right; got {tuple(box.shape)}")


def outline(ax: Axes, box: Tensor | None) -> None:
    """Boxes as a white line on a dark one, which shows on any picture."""
    if box is None:
        return
    check_box(box)
    for top, left, bottom, right in box.reshape(-1, 4).tolist():
        for colour, line in ((INK, 3.2), ("white", 1.4)):
            ax.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=line)
            )


def colour_bar(cax: Axes, scale: tuple[float, float], alpha: float, style: Style = "heat") -> None:
    """A horizontal bar with its two ends (and 0) named, in the colours of a panel over mid-grey (or white, if lit)."""
    shares = np.linspace(0, 1, 128)
    if style == "light":
        colours = np.repeat(DARK + (1 - DARK) * shares[:, None], 3, axis=1)
    else:
        colours = colour_map(scale)(shares)[:, :3] * alpha + 0.5 * (1 - alpha)
    mappable = ScalarMappable(Normalize(*scale), ListedColormap(colours))
    ticks = [scale[0], 0.0, scale[1]] if scale[0] < 0 < scale[1] else list(scale)
    bar = cax.figure.colorbar(mappable, cax=cax, orientation="horizontal", ticks=ticks)
    bar.outline.set_visible(False)
    cax.set_xticks(ticks, [tick_text(tick) for tick in ticks])
    cax.tick_params(length=0, pad=2, labelsize=TEXT, labelcolor=INK)
    names = cax.get_xticklabels()
    names[0].set_horizontalalignment("left")
    names[-1].set_horizontalalignment("right")
