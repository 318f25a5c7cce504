"""The four steps on a map of 2x2 positions, and what differs between the two compatibilities and the two heads.

Every number is computed by the package from the example of chapter 3.
"""

import math

import torch
from torch import Tensor

from lpa_core.attention import attend, dot_scores, parametrised_scores

from .kit import Drawing

LOCAL = torch.tensor([[[[0.0, 1.0], [2.0, 0.0]], [[4.0, 0.0], [2.0, 0.0]]]])  # l_1 … l_4 of two channels
G, U = torch.tensor([[3.0, 5.0]]), torch.tensor([math.log(2), 0.0])


def plain(value: float) -> str:
    """A number without needless digits, with a real minus."""
    return f"{round(value, 2) + 0:g}".replace("-", "−")


def pair(vector: Tensor) -> str:
    return f"({', '.join(plain(v) for v in vector.tolist())})"


def rows(values: Tensor) -> list[list[float]]:
    return values.reshape(2, 2).tolist()


def tint(values: Tensor, most: float = 0.75) -> list[list[float]]:
    """How strongly to fill a cell: in proportion, the largest value as strongly as text can stand on."""
    return rows(0.04 + (most - 0.04) * values / values.max())


def four_steps() -> Drawing:
    vectors = LOCAL.flatten(2)[0].T
    attended = attend(LOCAL, parametrised_scores(LOCAL, G, U))
    scores, weights = attended.scores.flatten(), attended.weights.flatten()
    shares = shares_of(weights)
    drawing = Drawing(
        "The four steps of attention on a map of 2 × 2 positions",
        f"Four local vectors {', '.join(map(pair, vectors))} get the scores "
        f"{', '.join(plain(s / math.log(2)) for s in scores.tolist())} times ln 2, the weights {', '.join(shares)}, "
        f"and their weighted sum is the attended vector {pair(attended.vector[0])}.",
        height=316,
        top=4,
    )
    side, top, lefts = 90, 44, (6, 155, 304)
    heads = ("features $l_i$", "1  scores $c_i$", "2  weights $a_i$")
    for left, head in zip(lefts, heads, strict=True):
        drawing.text(left + side / 2, 28, head, bold=True)
    names = [plain(s / math.log(2)) + " ln 2" for s in scores.tolist()]
    drawing.grid(lefts[0], top, side, [[0.16] * 2] * 2, "feat", labels=map(pair, vectors))
    drawing.grid(lefts[1], top, side, rows(0.03 + 0.05 * (scores / math.log(2))), "rest", labels=names)
    drawing.grid(lefts[2], top, side, tint(weights, 0.6), "att", labels=shares, size=15)
    for left, words in ((lefts[0], "score"), (lefts[1], "softmax")):
        x = left + side
        drawing.arrow([(x + 6, top + side / 2), (x + 54, top + side / 2)])
        drawing.text(x + 29, top + side / 2 - 8, words, size=12, quiet=True)
    given = f"$c_i$ = ⟨$u$, $l_i$ + $g$⟩ with $g$ = {pair(G[0])} and $u$ = (ln 2, 0)"
    drawing.text(200, top + side + 23, given, quiet=True)
    middle, goal = 204, 281
    drawing.text(8, middle - 15, "3  attended vector $g_a$ = ∑ $a_i l_i$", anchor="start", bold=True)
    for place, (vector, weight, share) in enumerate(zip(vectors, weights.tolist(), shares, strict=True)):
        x = 56 + 96 * place
        drawing.box(x - 30, middle - 3, 60, 24, "feat", fill=0.16)
        drawing.text(x, middle + 13.5, pair(vector))
        end = 200 + 22 * (place - 1.5)
        drawing.arrow([(x, middle + 24), (end, goal - 5)], "att", width=16 * weight, head=8 + 7 * weight)
        drawing.text(x + (-12 if place < 2 else 12), middle + 43, share, anchor="end" if place < 2 else "start")
    drawing.box(200 - 52, goal, 104, 30, "att", fill=0.16)
    drawing.text(200, goal + 20.5, pair(attended.vector[0]), size=16, bold=True)
    drawing.text(200 - 60, goal + 20.5, "$g_a$ =", anchor="end", size=15)
    return drawing


def pc_and_dp() -> Drawing:
    pc, dp = attend(LOCAL, parametrised_scores(LOCAL, G, U)), attend(LOCAL, dot_scores(LOCAL, G))
    drawing = Drawing(
        "The two compatibilities, pc and dp, on the same four vectors",
        "Left, pc: the sum of l and g is compared with a learned vector u. Right, dp: l is compared with g itself. "
        f"Of the four weights pc gives {', '.join(shares_of(pc.weights))}, dp {', '.join(shares_of(dp.weights))}.",
        height=312,
    )
    panels = (
        (8, "pc: parametrised", "$c_i$ = ⟨$u$, $l_i$ + $g$⟩", pc, ("ask with $u$, learned", "once for all pictures")),
        (208, "dp: dot product", "$c_i$ = ⟨$l_i$, $g$⟩", dp, ("ask with $g$, which each", "picture has of its own")),
    )
    for left, name, formula, attended, said in panels:
        middle = left + 92
        drawing.box(left, 4, 184, 304, fill=0.05, line=1, radius=8)
        drawing.text(middle, 26, name, size=14, bold=True)
        drawing.text(middle, 50, formula, size=16)
        if attended is pc:
            drawing.box(left + 14, 68, 34, 26, "feat")
            drawing.text(left + 31, 86, "$l_i$")
            drawing.box(left + 14, 106, 34, 26, "rest")
            drawing.text(left + 31, 124, "$g$")
            drawing.arrow([(left + 50, 81), (left + 77, 96)], "feat")
            drawing.arrow([(left + 50, 119), (left + 77, 104)])
            drawing.dot(left + 87, 100, 10, "rest", fill=0.1, line=1.5)
            drawing.text(left + 87, 105, "+", size=16)
            drawing.arrow([(left + 99, 100), (left + 128, 100)])
            drawing.box(left + 130, 87, 40, 26, "att")
            drawing.text(left + 150, 105, "· $u$")
        else:
            drawing.box(left + 36, 68, 34, 26, "feat")
            drawing.text(left + 53, 86, "$l_i$")
            drawing.box(left + 36, 106, 34, 26, "att")
            drawing.text(left + 53, 124, "$g$")
            drawing.arrow([(left + 72, 81), (left + 125, 96)], "feat")
            drawing.arrow([(left + 72, 119), (left + 125, 104)], "att")
            drawing.dot(left + 136, 100, 10, "rest", fill=0.1, line=1.5)
            drawing.dot(left + 136, 100, 2.5)
        for row, words in enumerate(said):
            drawing.text(middle, 154 + 16 * row, words, quiet=True)
        unit = math.log(2) if attended is pc else 1.0
        labels = [plain(s / unit) + (" ln 2" if attended is pc else "") for s in attended.scores.flatten().tolist()]
        side = 72
        drawing.grid(left + 12, 206, side, [[0.08] * 2] * 2, "rest", labels=labels, size=11.5)
        drawing.arrow([(left + 12 + side + 2, 206 + side / 2), (left + 172 - side - 2, 206 + side / 2)], head=5)
        weights = attended.weights.flatten()
        drawing.grid(left + 172 - side, 206, side, tint(weights, 0.6), "att", labels=shares_of(weights))
        drawing.text(left + 12 + side / 2, 199, "scores", quiet=True)
        drawing.text(left + 172 - side / 2, 199, "weights", quiet=True)
        drawing.text(middle, 298, f"$g_a$ = {pair(attended.vector[0])}")
    return drawing


def shares_of(weights: Tensor) -> list[str]:
    """Weights as eighths where they are some, else with two decimals."""
    values = weights.flatten().tolist()
    eighths = [round(8 * value) for value in values]
    if all(abs(8 * value - n) < 1e-5 for value, n in zip(values, eighths, strict=True)):
        return [f"{n}/8" for n in eighths]
    return [f"{value:.2f}" for value in values]
