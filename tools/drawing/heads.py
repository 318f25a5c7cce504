"""What becomes of three attended vectors: joined or apart; and what is done where l and g differ in length."""

import torch
from torch import Tensor

from lpa_core.models.classifier import AttentionClassifier
from lpa_core.models.trunk import Features, Trunk

from .kit import Drawing
from .step_by_step import pair

VECTORS = ((1.25, 1.5), (2.0, 0.0), (0.0, 1.0))  # one for each level; the first is that of the 2x2 example
ROWS = (((1.0, 0.0), (0.0, 1.0)), ((1.5, 0.0), (0.0, 1.0)), ((1.0, 0.0), (0.0, 1.0)))  # of both classes, by level
CLASSES = ("cat", "zebra")


class Given(Trunk):
    """No layers: the head gets its vectors from us."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.local_channels, self.global_channels, self.has_global = 3, (2, 2, 2), 2, True

    def forward(self, images: Tensor) -> Features:
        raise NotImplementedError


def probabilities(combine: str) -> tuple[Tensor, Tensor]:
    """Of cat and zebra: those of the network's head, and those of each of its linear layers."""
    model = AttentionClassifier(Given(), 2, combine=combine, head="linear").eval()
    blocks = torch.tensor(ROWS)
    wanted = blocks if combine == "indep" else torch.cat(list(blocks), dim=1)[None]
    with torch.no_grad():
        for layer, weight in zip(model.classifiers, wanted, strict=True):
            layer.weight.copy_(weight)
            layer.bias.zero_()
        vectors = [torch.tensor([vector]) for vector in VECTORS]
        logits = model.classify(vectors)[0]
        inputs = vectors if combine == "indep" else [torch.cat(vectors, dim=1)]
        each = [layer(v)[0] for layer, v in zip(model.classifiers, inputs, strict=True)]
    return logits.softmax(0), torch.stack(each)


def shares(values: Tensor) -> str:
    return ", ".join(f"{value:.2f}" for value in values.tolist())


def concat_and_indep() -> Drawing:
    joined, (logits,) = probabilities("concat")
    mean, apart = probabilities("indep")
    drawing = Drawing(
        "The two heads, concat and indep, on the same three vectors",
        f"Left, concat: the three vectors are joined, one linear layer gives the scores {pair(logits)} and a softmax "
        f"the probabilities of cat and zebra, {shares(joined)}. Right, indep: each vector has a linear layer and a "
        f"softmax of its own, "
        f"and the mean of the three gives {shares(mean)}.",
        height=318,
    )
    # Of the three levels, from the left edge of a panel; indep keeps room for the names of the classes.
    spots = {"concat": ((41, 101, 151), (66, 46, 46)), "indep": ((69, 122, 162), (62, 36, 36))}
    for left, name in ((8, "concat"), (208, "indep")):
        places, widths = spots[name]
        drawing.box(left, 4, 184, 310, fill=0.05, line=1, radius=8)
        drawing.text(left + 92, 26, name, size=15, bold=True)
        for level, vector in enumerate(VECTORS):
            x, width = left + places[level], widths[level]
            drawing.text(x, 52, f"$g_a^{level + 1}$")
            drawing.box(x - width / 2, 62, width, 26, "feat")
            drawing.text(x, 79.5, "(" + ", ".join(f"{v:g}" for v in vector) + ")", size=11.5)
    left, middle = 8, 100
    for place in spots["concat"][0]:
        drawing.arrow([(left + place, 90), (left + place, 118)], "feat")
    drawing.box(left + 8, 121, 168, 26, "feat", fill=0.14)
    drawing.text(middle, 138.5, "(" + ", ".join(f"{v:g}" for vector in VECTORS for v in vector) + ")", size=12)
    drawing.arrow([(middle, 149), (middle, 172)])
    drawing.box(left + 8, 175, 168, 26)
    drawing.text(middle, 192.5, "one linear layer")
    drawing.arrow([(middle, 203), (middle, 252)])
    drawing.text(middle + 9, 225, pair(logits), size=12, anchor="start", quiet=True)
    drawing.text(middle + 9, 241, "softmax", size=12, anchor="start", quiet=True)
    left, middle = 208, 300
    places, widths = spots["indep"]
    for row, label in enumerate(CLASSES):
        drawing.text(left + 35, 192.5 + 26 * row, label, size=11.5, anchor="end")
    for level, scores in enumerate(apart):
        x, width = left + places[level], widths[level]
        drawing.arrow([(x, 90), (x, 108)], "feat")
        drawing.box(x - width / 2, 111, width, 26)
        drawing.text(x, 128.5, "linear", size=11.5)
        drawing.arrow([(x, 139), (x, 172)])
        for row, share in enumerate(scores.softmax(0).tolist()):
            drawing.box(x - width / 2, 175 + 26 * row, width, 26, fill=0.05 + 0.35 * share, radius=0, line=1)
            drawing.text(x, 192.5 + 26 * row, f"{share:.2f}", size=12)
        drawing.arrow([(x, 229), (x + 0.25 * (middle - x), 252)])
    drawing.text(left + 95.5, 158, "softmax", size=11.5, quiet=True)
    for middle, final, said in ((100, joined, "probabilities"), (300, mean, "mean of the three")):
        for column, (label, share) in enumerate(zip(CLASSES, final.tolist(), strict=True)):
            x = middle - 84 + 84 * column
            drawing.box(x, 256, 84, 30, fill=0.05 + 0.45 * share, radius=0, line=1.5)
            drawing.text(x + 42, 276, f"{label} {share:.2f}", size=12.5, bold=True)
        drawing.text(middle, 304, said, size=12, quiet=True)
    return drawing


def projections() -> Drawing:
    drawing = Drawing(
        "Two ways to bring l and g to one length",
        "At level 1 a local vector has 256 numbers and g has 512. Left, as in the paper: a linear layer shortens g to "
        "256, and the attended vector has 256 numbers. Right: a matrix P lengthens every local vector to 512, and the "
        "attended vector has 512 numbers.",
        height=292,
    )
    full, half, width, base = 128, 64, 22, 214

    def bar(x: float, height: float, kind: str, name: str, length: int) -> None:
        cells = height // 16
        for cell in range(cells):
            drawing.box(x - width / 2, base - height + 16 * cell, width, 16, kind, fill=0.2, radius=0, line=1)
        drawing.text(x, base + 19, f"${name}$", size=17)
        drawing.text(x, base - height - 8, f"{length}")

    ways = ((8, "$g$ to the size of $l_i$", "the paper’s way"), (208, "$l_i$ to the size of $g$", "the other way"))
    for left, head, said in ways:
        drawing.box(left, 4, 184, 284, fill=0.05, line=1, radius=8)
        drawing.text(left + 92, 26, head, size=14, bold=True)
        drawing.text(left + 92, 47, said, quiet=True, size=12.5)
    bar(32, half, "feat", "l_i", 256)
    bar(88, half, "att", "g′", 256)
    bar(168, full, "rest", "g", 512)
    drawing.arrow([(154, base - 32), (103, base - 32)])
    drawing.text(128, base - 42, "linear", size=12, quiet=True)
    drawing.text(60, base - 27, "+", size=16)
    bar(232, half, "feat", "l_i", 256)
    bar(312, full, "feat", "P l_i", 512)
    bar(368, full, "rest", "g", 512)
    drawing.arrow([(246, base - 32), (297, base - 32)])
    drawing.text(271, base - 42, "$P$", size=13)
    drawing.text(340, base - 27, "+", size=16)
    for left, words in ((8, "$g_a$ has 256 numbers"), (208, "$g_a$ has 512 numbers")):
        drawing.text(left + 92, 268, words)
    return drawing
