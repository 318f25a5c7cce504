"""Fewer steps, the same numbers: BatchNorm, padding and activations become part of the step beside them."""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from .functions import Step

TAKES_SCALE = ("conv", "linear")


def folded(steps: Sequence[Step]) -> list[Step]:
    """The same computation in fewer steps. Arithmetic is in float64.

    * A scale and shift after W x + b, where nothing else reads W x + b: (scale W) x + (scale b + shift).
    * Padding before a convolution: the convolution pads.
    * An activation: the step before it applies it to its result.

    Raises: ValueError on padding that no convolution follows.
    """
    uses = Counter(value for step in steps for value in step.of)
    kept: list[Step] = []
    new = {0: 0}  # number of a value before -> after

    for number, step in enumerate(steps, start=1):
        before = kept[new[step.of[0]] - 1] if new[step.of[0]] else None
        alone = before is not None and uses[step.of[0]] == 1 and "act" not in before.options
        if before is not None and alone and step.do == "scale" and before.do in TAKES_SCALE:
            before.numbers = _scaled(before.numbers, step.numbers)
            new[number] = new[step.of[0]]
        elif before is not None and alone and step.do == "act" and before.do not in ("pad", "attend"):
            before.options = {**before.options, **step.options}
            new[number] = new[step.of[0]]
        elif before is not None and alone and _pads(before, step):
            kept[-1] = Step("conv", before.of, step.numbers, {**step.options, **before.options})
            new[number] = len(kept)
        else:
            kept.append(Step(step.do, tuple(new[value] for value in step.of), step.numbers, dict(step.options)))
            new[number] = len(kept)
    if any(step.do == "pad" for step in kept):
        raise ValueError("model holds what a page cannot run: padding that stands before no convolution of its own")
    return kept


def _pads(before: Step, step: Step) -> bool:
    return before.do == "pad" and step.do == "conv" and step.options["padding"] == [0, 0]


def _scaled(numbers: dict[str, Tensor], by: dict[str, Tensor]) -> dict[str, Tensor]:
    weight, bias, scale, shift = (t.double() for t in (numbers["weight"], numbers["bias"], by["scale"], by["shift"]))
    return {"weight": weight * scale.view(-1, *[1] * (weight.ndim - 1)), "bias": bias * scale + shift}
