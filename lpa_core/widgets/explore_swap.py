"""An explorer of the global vector: g taken from another picture."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .._utils.device import device_of
from .._utils.modes import evaluating
from ..data.image_set import ImageSet
from ..models.classifier import AttentionClassifier
from ..plotting.maps import pixels
from .choices import check_shown, in_words, picture_control
from .explorer import Explorer
from .frames import Frame, Panel


def swap_explorer(
    models: Mapping[str, AttentionClassifier],
    pictures: ImageSet,
    *,
    level: int = 2,
    shown: int = 4,
    title: str = "Swap the global vector",
) -> Explorer:
    """A picture's maps at one level, with g taken from another picture, for one model or several side by side.

    "Weight moved" is half the sum of absolute differences between the map with the picture's own g and the one shown:
    the share of the weight that lies elsewhere, in [0, 1]. ``level`` counts from 1. The plain face holds ``shown``
    pictures, the live one all.

    Raises: ValueError without models, on a ``level`` that a model lacks or a model without g, or when ``shown`` is out
        of range.
    """
    check_shown(shown, pictures)
    if not models:
        raise ValueError("models must hold at least one model; got none")
    for name, model in models.items():
        if not 1 <= level <= len(model.estimators):
            raise ValueError(f"level must be from 1 to {len(model.estimators)} for {name}; got {level}")
        if not model.trunk.has_global:
            raise ValueError(f"{name} has no global vector to swap: build it with a global path")

    def weights(model: AttentionClassifier, place: int, donor: int) -> Tensor:
        with evaluating(model), torch.no_grad():
            one, other = (pictures.float_images([i]).to(device_of(model)) for i in (place, donor))
            local, g = model.trunk(one).local[level - 1], model.trunk(other).g
            return model.estimators[level - 1](local, g).weights[0].cpu()

    def draw(place: int, donor: int) -> Frame:
        own = donor == place
        panels = [
            Panel(pixels(pictures.images[place]), f"Picture {place + 1}, which is looked at.", f"picture {place + 1}"),
            Panel(pixels(pictures.images[donor]), f"Picture {donor + 1}, which gives g.", f"g of picture {donor + 1}"),
        ]
        said = []
        for name, model in models.items():
            a, before = weights(model, place, donor), weights(model, place, place)
            moved = 0.5 * float((a - before).abs().sum())
            row, column = divmod(int(a.argmax()), a.shape[1])
            what = f"Map of {name} at level {level} over picture {place + 1}, with the g of picture {donor + 1}"
            panels.append(
                Panel(
                    pixels(pictures.images[place], a),
                    f"{what}: brightest {in_words(row, column, *a.shape)}, {100 * moved:.0f} % of the weight moved.",
                    name,
                    (0.0, float(a.max())),
                )
            )
            said.append(f"{name} {100 * moved:.0f} %")
        whose = "its own g, so nothing moves" if own else f"the g of picture {donor + 1}"
        return Frame(panels, f"Picture {place + 1} with {whose}. Weight moved: {', '.join(said)}.")

    other = min(2, shown)
    return Explorer(
        title,
        [
            picture_control("Picture", pictures, shown, named=False),
            picture_control("Global vector from", pictures, shown, named=False, start=other),
        ],
        draw,
    )
