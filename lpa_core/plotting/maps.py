"""Figures of maps, curves and scores that can be trusted: every scale is shown, none is changed in secret.

* Functions return matplotlib ``Axes`` and never call ``plt.show`` or change a global setting.
* A map is drawn from 0 to its largest value, or, where it has negative values, from -m to m with m the largest size;
  never from its smallest value, which makes any noise look like a finding. The scale stands on a colour bar or under
  the panel.
* Colours are safe for colour-blind readers: inferno for maps without negative values (brightness rises with the value,
  so it also prints in grey), purple - white - orange for signed ones, Okabe and Ito's palette for lines and bars.
  The picture under a map is grey and of low contrast: colour and light mean the map. ``style="light"`` keeps the
  picture's own colours, and light alone means the map: bright where it is large, dark where it is 0.
* Backgrounds are opaque white. Figures are 7 inches wide at 100 dpi, so 700 pixels, with text that can still be read
  on a phone that shows them at half that.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from torch import Tensor

from .panels import (
    Image,
    Style,
    as_picture,
    check_alpha,
    check_box,
    check_scale,
    check_style,
    colour_bar,
    colour_map,
    draw_overlay,
    draw_picture,
    lit,
    map_values,
    outline,
    quiet_grey,
    scale_of,
)
from .style import ALPHA


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
    draw_picture(ax, as_picture(image, mean, std))
    outline(ax, box)
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
    style: Style = "heat",
    bar: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Axes:
    """Draw a map (h, w) over its picture (c, H, W), turned to grey of three fifths of its contrast.

    The map is enlarged as ``metrics.enlarge`` does for scoring; ``cells=True`` shows its cells as they are.
    ``alpha`` is the map's share of each colour (1 hides the picture), ``scale`` the values at the ends of the colour
    map: by default 0 to the largest, or -m to m for a signed map. ``style="light"`` keeps the picture's colours and
    darkens it where the map is low (there ``alpha`` is without effect). ``bar`` adds the colour bar, tinted by the same
    ``alpha``. ``box``, ``mean`` and ``std`` as in ``show_image``.

    Raises: as ``show_image``; ValueError on a map with NaN or inf, larger than the picture, or of another number of
        axes, on ``alpha`` outside [0, 1], on a ``scale`` that does not rise, or a signed map in the style "light".
    """
    check_alpha(alpha)
    picture = as_picture(image, mean, std)
    if map.ndim != 2:
        raise ValueError(f"map must be (h, w); got {tuple(map.shape)}")
    check_style(style, [map])
    (values,) = map_values(map[None], picture, cells)
    ends = scale_of([map]) if scale is None else check_scale(scale)
    draw_overlay(ax, picture, values, alpha, ends, style)
    outline(ax, box)
    if bar:
        colour_bar(ax.inset_axes((0, -0.11, 1, 0.05)), ends, alpha, style)
    return ax


def pixels(
    image: Image,
    map: Float[Tensor, "_ _"] | None = None,
    *,
    alpha: float = ALPHA,
    boxes: Int[Tensor, "*k 4"] | None = None,
    scale: tuple[float, float] | None = None,
    style: Style = "heat",
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
    check_alpha(alpha)
    if side < 1:
        raise ValueError(f"side must be at least 1; got {side}")
    shown = as_picture(image, mean, std)
    if map is not None:
        if map.ndim != 2:
            raise ValueError(f"map must be (h, w); got {tuple(map.shape)}")
        check_style(style, [map])
        low, high = scale_of([map]) if scale is None else check_scale(scale)
        (values,) = map_values(map[None], shown, cells=False)
        if style == "light":
            shown = lit(shown, values, (low, high))
        else:
            colours = colour_map((low, high))(np.clip((values - low) / (high - low), 0, 1))[..., :3]
            shown = alpha * colours + (1 - alpha) * quiet_grey(shown)[..., None]
    longest = max(shown.shape[:2])
    times = max(1, side // longest)
    if longest > side:
        size = (max(1, round(shown.shape[0] * side / longest)), max(1, round(shown.shape[1] * side / longest)))
        shown = F.adaptive_avg_pool2d(torch.tensor(shown).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
    shown = np.rint(255 * shown).astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
    if boxes is not None:
        check_box(boxes)
        ratio = max(shown.shape[:2]) / longest
        for top, left, bottom, right in (boxes.reshape(-1, 4) * ratio).round().int().tolist():
            for inset, colour in ((0, 255), (1, 26)):
                a, b, c, d = top + inset, left + inset, bottom - inset, right - inset
                shown[a : a + 1, b:d] = shown[c - 1 : c, b:d] = shown[a:c, b : b + 1] = shown[a:c, d - 1 : d] = colour
    return shown
