"""A stepper: attention on 2×2 local vectors, one step on each click, every number computed on the page."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .._utils.checks import check_option, is_number
from ..attention import Attended, Compatibility, attend, dot_scores, parametrised_scores
from .assets import controls_script, controls_style
from .frames import number

# What the sliders offer besides the number that they begin with.
U_REACH, U_STEP = 3, 0.1
G_REACH, G_STEP = 10, 0.5
TEMPERATURES = tuple(2.0 ** (power / 2) for power in range(-8, 9))


@dataclass(frozen=True)
class Stepper:
    """Attention on a 2×2 grid, step by step; ``stepper`` makes it. Show it by making it the last expression of a cell.

    On a page it is plain HTML with a script of its own: no kernel, no network, no library. Its state stands in the
    address, as in ``#stepper&step=3&u1=0.5`` (the second stepper of a page is called ``stepper-2``). Where no script
    runs, a table shows the four steps with their numbers.

    Attributes:
        local, g, u: the four local vectors (2, 2, 2), channels first, the global vector (2,) and the direction (2,).
        classes: class -> its two weights in the linear layer, which has no bias.
        positions: what is seen at the four positions, row by row; may be empty.
        compatibility, temperature: what it begins with.
        title: names it, for readers of the screen too.
    """

    local: Float[Tensor, "2 2 2"]
    g: Float[Tensor, " 2"]
    u: Float[Tensor, " 2"]
    classes: dict[str, tuple[float, float]]
    positions: tuple[str, ...]
    compatibility: Compatibility
    temperature: float
    title: str

    def __repr__(self) -> str:
        return f"<Stepper {self.title!r}: 2×2 positions, classes {', '.join(self.classes)}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def attended(self) -> Attended:
        """Scores, weights and vector of what it begins with, as ``lpa_core.attention`` computes them; float64."""
        local, g, u = self.local.double()[None], self.g.double()[None], self.u.double()
        scores = parametrised_scores(local, g, u) if self.compatibility == "pc" else dot_scores(local, g)
        vector, weights, _ = attend(local, scores / self.temperature)
        return Attended(vector, weights, scores)

    def html(self) -> str:
        """HTML that needs nothing else."""
        begin = {f"{name}{k}": float(vector[k - 1]) for name, vector in (("u", self.u), ("g", self.g)) for k in (1, 2)}
        stops = {
            **{name: _stops(begin[name], U_REACH, U_STEP) for name in ("u1", "u2")},
            **{name: _stops(begin[name], G_REACH, G_STEP) for name in ("g1", "g2")},
            "T": sorted({*TEMPERATURES, self.temperature}),
        }
        data = {
            "local": self.local.double().flatten(1).T.tolist(),
            "positions": self.positions,
            "classes": list(self.classes),
            "rows": list(self.classes.values()),
            "begin": {"step": 0, "kind": self.compatibility, **begin, "T": self.temperature},
            "stops": stops,
        }
        # Escaped within JSON, the data is safe in an attribute and looks like no tag to those who strip tags.
        text = json.dumps(data, ensure_ascii=False)
        for character in "&<>'":
            text = text.replace(character, f"\\u{ord(character):04x}")
        title = html.escape(self.title)
        script = controls_script("live_network/address.js") + controls_script("stepper.js")
        return (
            f"<style>{controls_style('stepper.css')}</style>"
            f'<div class="lpa-stepper" role="group" aria-label="{title}" data-stepper=\'{text}\'>'
            f"<p><strong>{title}</strong></p>{self._still()}<script>(() => {{{script}}})();</script></div>"
        )

    def _still(self) -> str:
        """The four steps as a table, for where no script runs."""
        vector, weights, scores = (x[0].flatten() for x in self.attended())
        heads = ("position", "local vector", "1. score", "2. weight")
        rows = zip(self.local.double().flatten(1).T, scores, weights, strict=True)
        cells = [
            (f"{k} {name}".strip(), _pair(vector_i), number(float(c)), f"{float(a):.3f}")
            for k, (name, (vector_i, c, a)) in enumerate(zip(self.positions or ("",) * 4, rows, strict=True), start=1)
        ]
        logits = torch.tensor(list(self.classes.values()), dtype=torch.float64) @ vector
        shares = zip(self.classes, logits.softmax(0).tolist(), strict=True)
        told = ", ".join(f"{html.escape(name)} {share:.1%}" for name, share in shares)
        head = "".join(f"<th>{text}</th>" for text in heads)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in cells)
        return (
            f'<div class="lpa-stepper-still"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
            f"<p>3. attended vector: {_pair(vector)}. 4. classes: {told}.</p>"
            f"<p>In a notebook, run this cell to go through the steps.</p></div>"
        )


def stepper(
    local: Float[Tensor, "2 2 2"],
    g: Float[Tensor, " 2"],
    u: Float[Tensor, " 2"],
    *,
    classes: Mapping[str, Sequence[int | float]],
    compatibility: Compatibility = "pc",
    temperature: int | float = 1.0,
    positions: Sequence[str] = (),
    title: str = "Attention, one step at a time",
) -> Stepper:
    r"""Attention on a 2×2 grid, step by step: c_i = <u, l_i + g> or <l_i, g>; a = softmax(c / T); g_a = sum_i a_i l_i.

    The last step is a linear layer without bias on g_a, and a softmax over its classes. Sliders change u (-3 to 3), g
    (-10 to 10) and T (1/16 to 16), and a choice changes the compatibility; what a given number lies outside of is
    widened to hold it.

    Args:
        local: two channels at 2×2 positions.
        g, u: the global vector and the direction, of two numbers each.
        classes: class -> its two weights, ``{"cat": (2, 0), "zebra": (0, 1)}``; two classes or more.
        compatibility: ``"pc"`` or ``"dp"``, to begin with.
        temperature: above 0, to begin with.
        positions: what is seen at the four positions, row by row; none to call them by number.
        title: names it, for readers of the screen too.

    Source: Jetley et al. (2018), section 3; the temperature is not in the paper.
    Raises: ValueError on other shapes, on a number that is not finite, with fewer than two classes, without two weights
        for each, with other than four or no ``positions``, an unknown ``compatibility`` or a temperature not above 0.
    """
    for name, tensor, shape in (("local", local, (2, 2, 2)), ("g", g, (2,)), ("u", u, (2,))):
        if tuple(tensor.shape) != shape or not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} must be finite and {shape}; got {tuple(tensor.shape)}: {tensor.tolist()}")
    check_option("compatibility", compatibility, Compatibility)
    if compatibility not in ("pc", "dp"):
        raise ValueError(f"compatibility must be 'pc' or 'dp' in a stepper; got {compatibility!r}")
    if not is_number(temperature) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be a finite number above 0; got {temperature!r}")
    if len(classes) < 2:
        raise ValueError(f"classes must be at least two; got {list(classes)}")
    for name, row in classes.items():
        if len(row) != 2 or not all(is_number(weight) and math.isfinite(weight) for weight in row):
            raise ValueError(f"classes must give two finite weights for each class; got {row!r} for {name!r}")
    if len(positions) not in (0, 4):
        raise ValueError(f"positions must name the 4 positions, or none; got {list(positions)}")
    rows = {name: (float(row[0]), float(row[1])) for name, row in classes.items()}
    local, g, u = local.detach().cpu(), g.detach().cpu(), u.detach().cpu()
    return Stepper(local, g, u, rows, tuple(positions), compatibility, float(temperature), title)


# Inside ---------------------------------------------------------------------------------------------------------------


def _stops(start: float, reach: int, step: float) -> list[float]:
    """The values of a slider: even steps, and the number that it begins with."""
    reach = max(reach, math.ceil(abs(start)))
    count = round(reach / step)
    return sorted({round(k * step, 6) for k in range(-count, count + 1)} | {start})


def _pair(vector: Tensor) -> str:
    return f"({', '.join(f'{x:.3g}'.replace('-', '−') for x in vector.tolist())})"
