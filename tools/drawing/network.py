"""The whole network, as in figure 2 of the paper, and the same with one step of attention brought forward."""

import torch

from lpa_core.attention import attend
from lpa_core.models.vgg_trunk import LEVEL_LAYERS, TAIL_CHANNELS, VGG_CHANNELS

from .kit import Drawing

STEPS = ("scores", "weights", "vector", "classes")
SAID = {
    "": "The network of the paper",
    "scores": "The network, with the scores brought forward",
    "weights": "The network, with the weights brought forward",
    "vector": "The network, with the attended vectors brought forward",
    "classes": "The network, with the classification brought forward",
}
DESCRIPTION = (
    "A picture goes through convolutions 1 to 7, 8 to 10 and 11 to 13, with a pool between them. Three maps leave: "
    "256 channels of 32 by 32 positions, 512 of 16 by 16, and 512 of 8 by 8. Layers 14 and 15 and a linear layer make "
    "the global vector g. At each level an estimator compares the local features with g, turns scores into weights, "
    "and sums the same local features with these weights into one attended vector. The three vectors are joined and "
    "classified."
)
CENTRES = (114, 200, 284)  # of the three levels, from the left
POSITIONS = (32, 16, 8)  # a side of the map
GRIDS = (7, 5, 3)  # cells a side that stand for them
SCORES, WEIGHTS, VECTORS, CLASSES = 174, 218, 256, 298  # where the rows are


def network(step: str = "") -> Drawing:
    drawing = Drawing(SAID[step], DESCRIPTION, height=344, top=20)
    rows = {"scores": (SCORES, 44), "weights": (WEIGHTS, 42), "vector": (VECTORS, 34), "classes": (CLASSES, 44)}
    if step:
        middle, height = rows[step]
        drawing.box(1, middle - height / 2, 398, height, "att", fill=0.13, line=0, radius=8)
    faint = {name: bool(step) and name != step for name in STEPS}
    trunk(drawing, faint=bool(step))
    levels(drawing, faint)
    classes(drawing, faint["classes"])
    names = {"scores": "scores", "weights": "weights", "vector": "vectors", "classes": "class"}
    for name, (middle, _) in rows.items():
        chosen = name == step
        drawing.text(8, middle + 4.5, names[name], anchor="start", bold=chosen, quiet=not chosen)
    drawing.text(200, 338, "The small raised number is the level: 1, 2 or 3.", size=12, quiet=True)
    return drawing


def trunk(drawing: Drawing, *, faint: bool) -> None:
    """The picture, the three maps and g, from left to right."""
    middle = 62
    drawing.box(8, middle - 18, 36, 36, fill=0.1, faint=faint)
    drawing.arrow([(13, 74), (21, 62), (26, 68), (32, 57), (39, 74)], head=None, bend=1, faint=faint)
    drawing.dot(18, 53, 3)
    drawing.text(26, 96, "picture", quiet=True)
    right = 44.0
    between = zip(CENTRES, POSITIONS, LEVEL_LAYERS, ("1–7", "8–10", "11–13"), strict=True)
    for level, (centre, positions, layer, made_by) in enumerate(between):
        side, channels = 16 + positions, VGG_CHANNELS[layer - 1]
        slabs = 3 if channels == VGG_CHANNELS[LEVEL_LAYERS[0] - 1] else 5
        left, top = centre - side / 2, middle - side / 2
        drawing.arrow([(right + 3, middle), (left - 3, middle)], faint=faint)
        drawing.text((right + left) / 2 - 1, middle - 8, made_by, quiet=True)
        drawing.text((right + left) / 2 - 1, middle + 16, "pool" if level else "conv", quiet=True)
        drawing.box(left, top, side, side, "feat", fill=0.22, radius=1, line=1, faint=faint)
        for behind in range(1, slabs):
            x, y, step = left + 2.5 * behind, top - 2.5 * behind, 2.5
            edge = [(x, y + step), (x, y), (x + side, y), (x + side, y + side), (x + side - step, y + side)]
            drawing.arrow(edge, "feat", head=None, width=1, bend=1, faint=faint)
        drawing.text(centre, 107, f"layer {layer}", quiet=True)
        drawing.text(centre, 122, f"{channels} × {positions}²")
        right = centre + side / 2 + 2.5 * (slabs - 1)
    drawing.arrow([(right + 3, middle), (357, middle)], faint=faint)
    drawing.text(332, middle - 8, "14, 15", quiet=True)
    drawing.text(332, middle + 16, "linear", quiet=True)
    for cell in range(6):
        drawing.box(360, middle - 30 + 10 * cell, 10, 10, fill=0.3, radius=0, line=1, faint=faint)
    drawing.text(376, middle + 5, "$g$", anchor="start", size=18)
    drawing.text(365, 107, f"{TAIL_CHANNELS}", quiet=True)


def levels(drawing: Drawing, faint: dict[str, bool]) -> None:
    """What happens at each of the three levels, from top to bottom."""
    bus, under_g = 151, 365
    drawing.arrow(
        [(under_g, 112), (under_g, bus), (CENTRES[0] + 9, bus), (CENTRES[0] + 9, SCORES - 17)], faint=faint["scores"]
    )
    for level, (centre, cells) in enumerate(zip(CENTRES, GRIDS, strict=True), start=1):
        if level > 1:
            drawing.arrow([(centre + 9, bus), (centre + 9, SCORES - 17)], faint=faint["scores"])
        drawing.arrow([(centre - 9, 128), (centre - 9, SCORES - 17)], "feat", faint=faint["scores"])
        drawing.text(centre - 39, SCORES - 31, f"$l_i^{level}$", anchor="end", size=16)
        scores, weights = look(cells)
        drawing.grid(centre - 15, SCORES - 15, 30, scores, "rest", faint=faint["scores"], line=0.8)
        drawing.text(centre + 21, SCORES + 5, "$c_i$", anchor="start", size=16)
        drawing.arrow([(centre, SCORES + 17), (centre, WEIGHTS - 17)], faint=faint["weights"])
        drawing.grid(centre - 15, WEIGHTS - 15, 30, weights, "att", faint=faint["weights"], line=0.8)
        drawing.text(centre + 21, WEIGHTS + 5, "$a_i$", anchor="start", size=16)
        drawing.arrow([(centre, WEIGHTS + 17), (centre, VECTORS - 8)], "att", faint=faint["vector"])
        count = 4 if level == 1 else 6
        # The sum is over the local features: they go past the scores, straight to it.
        past = [(centre - 9, 136), (centre - 33, 136), (centre - 33, VECTORS), (centre - 3.5 * count - 2, VECTORS)]
        drawing.arrow(past, "feat", faint=faint["vector"])
        for cell in range(count):
            left = centre - 3.5 * count + 7 * cell
            drawing.box(left, VECTORS - 5, 7, 10, "feat", fill=0.35, radius=0, line=1, faint=faint["vector"])
        drawing.text(centre + 3.5 * count + 5, VECTORS + 6, f"$g_a^{level}$", anchor="start", size=16)
        drawing.arrow([(centre, VECTORS + 9), (centre, CLASSES - 15)], "feat", faint=faint["classes"])


def classes(drawing: Drawing, faint: bool) -> None:
    left, right = CENTRES[0] - 36, CENTRES[2] + 36
    drawing.box(left, CLASSES - 13, right - left, 26, fill=0.12, faint=faint)
    drawing.text((left + right) / 2, CLASSES + 5, "join the three · linear layer")
    drawing.arrow([(right + 3, CLASSES), (350, CLASSES)], faint=faint)
    drawing.text(375, CLASSES + 5, "“cat”", size=15)


def look(cells: int) -> tuple[list[list[float]], list[list[float]]]:
    """Scores that grow towards a place of a ``cells`` x ``cells`` map, and their softmax, both from 0 to 1."""
    rows, columns = torch.meshgrid(torch.arange(cells) / (cells - 1), torch.arange(cells) / (cells - 1), indexing="ij")
    scores = -5 * ((rows - 0.4) ** 2 + (columns - 0.6) ** 2)
    weights = attend(scores[None, None], scores[None]).weights[0]
    shown = (scores - scores.min()) / (scores.max() - scores.min())
    return (0.05 + 0.5 * shown).tolist(), (0.04 + 0.96 * (weights / weights.max()) ** 1.5).tolist()
