"""An explorer of insertion and deletion: what a map marks, taken out of the picture and put back, step by step."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from ..metrics.baselines import random_maps
from ..metrics.insertion_deletion import Baseline, Curve, curve, pixel_ranks, replacement
from ..plotting.maps import pixels
from ..plotting.style import COLOURS, INK, QUIET
from .explorer import Explorer
from .frames import Control, Frame, Panel

SIDE = 200  # pixels of a panel
DELETED, INSERTED = COLOURS[1], COLOURS[0]


def deletion_explorer(
    model: nn.Module,
    image: Float[Tensor, "b c height width"],
    map: Float[Tensor, "b _ _"],
    target: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    name: str = "the class",
    steps: int = 10,
    baseline: Baseline = "mean",
    seed: int = 0,
    title: str = "Take away what the map marks, or keep nothing else",
) -> Explorer:
    """One picture without the pixels that a map marks, the marked pixels alone, and the probability of a class.

    A slider moves the share of marked pixels from none to all in ``steps``. The curves are those of ``metrics.curve``:
    deletion and insertion in the map's order, and dotted the control, the order of a random map of the same size.

    Args:
        model: a classifier; left as it was.
        image, map, target: one picture, normalised as the model expects, its map, and the class that is followed.
        mean, std: what the picture was normalised with, to show it.
        name: of the class, for the texts.
        baseline: what stands in place of pixels: ``"mean"``, the mean colour, which can be seen, or ``"blur"``.

    Source: Petsiuk et al. (2018), as ``metrics.curve``.
    Raises: as ``metrics.curve``; ValueError when there is more than one picture.
    """
    if len(image) != 1:
        raise ValueError(f"image must be one picture, (1, c, height, width); got {tuple(image.shape)}")
    orders = {"map": map, "random": random_maps(1, (map.shape[-2], map.shape[-1]), seed=seed).to(map.device)}
    curves = {
        (order, kind): curve(model, image, marked, target, kind=kind, steps=steps, baseline=baseline, seed=seed)
        for order, marked in orders.items()
        for kind in ("deletion", "insertion")
    }
    ranks, other = pixel_ranks(map, image, seed=seed), replacement(image, baseline)
    count = image.shape[-2] * image.shape[-1]

    def shown(changed: Tensor) -> UInt8[np.ndarray, "h w 3"]:
        back = changed[0].cpu() * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
        return pixels(back.clamp(0, 1), side=SIDE)

    def draw(step: int) -> Frame:
        marked = (ranks < round(count * step / steps)).to(image.device)
        percent = f"{100 * step / steps:.0f} %"
        value = {key: float(found.scores[0, step]) for key, found in curves.items()}
        without, alone = (value["map", kind] for kind in ("deletion", "insertion"))
        chance, chance_alone = (value["random", kind] for kind in ("deletion", "insertion"))
        return Frame(
            [
                Panel(
                    shown(torch.where(marked, other, image)),
                    f"The picture without the {percent} that the map marks most.",
                    f"without the marked {percent}",
                ),
                Panel(
                    shown(torch.where(marked, image, other)),
                    f"Only the {percent} of the picture that the map marks most; the rest is painted over.",
                    f"the marked {percent} alone",
                ),
                Panel(
                    _chart(curves, step),
                    f"Probability of {name} over the share of marked pixels: without them {without:.2f}, with them "
                    f"alone {alone:.2f}; in random order {chance:.2f} and {chance_alone:.2f}.",
                    f"probability of {name}",
                ),
            ],
            f"{percent} of the pixels marked. Without them the probability of {name} is {without:.2f}, in random order "
            f"{chance:.2f}. With them alone it is {alone:.2f}, in random order {chance_alone:.2f}.",
        )

    shares = {f"{100 * step / steps:.0f} %": step for step in range(steps + 1)}
    start = list(shares)[min(2, steps)]
    return Explorer(title, [Control(label="Pixels marked", options=shares, start=start, slider=True)], draw)


def _chart(curves: Mapping[tuple[str, str], Curve], step: int) -> UInt8[np.ndarray, "h w 3"]:
    """The four curves with a line at the step, as pixels."""
    figure = Figure(figsize=(SIDE / 100, SIDE / 100), dpi=100, facecolor="white")
    ax = figure.add_axes((0.1, 0.2, 0.86, 0.76), facecolor="white")
    for kind, colour, label in (("deletion", DELETED, "without"), ("insertion", INSERTED, "alone")):
        ours, control = curves["map", kind], curves["random", kind]
        x = 100 * ours.fractions.cpu()
        ax.plot(x, ours.scores[0].cpu(), color=colour, linewidth=2, label=label)
        ax.plot(x, control.scores[0].cpu(), ":", color=colour, linewidth=1.5)
        ax.plot(x[step], ours.scores[0, step].cpu(), "o", color=colour, markersize=6)
        ax.axvline(float(x[step]), color=QUIET, linewidth=0.8, zorder=0)
    ax.plot([], [], ":", color=INK, linewidth=1.5, label="random order")
    ax.set(xlim=(-2, 102), ylim=(-0.03, 1.03), xticks=(0, 50, 100), yticks=(0, 1))
    ax.set_xlabel("% marked", fontsize=8, color=INK, labelpad=1)
    ax.tick_params(labelsize=8, labelcolor=INK, color=QUIET, length=2, pad=2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=7, frameon=True, framealpha=0.85, edgecolor="none", loc="center right", handlelength=1.3)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    few = Image.open(file).convert("RGB").quantize(9, dither=Image.Dither.NONE)  # enough for lines and text
    return np.asarray(few.convert("RGB"))
