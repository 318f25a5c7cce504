"""What a trained hard-attention network is judged by: accuracy, where it looks, and what a look costs."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .._utils.device import device_of
from .._utils.modes import evaluating
from .._utils.seeding import generator
from ..data.image_set import ImageSet
from .kinds import KINDS, HardConfig, look


@torch.no_grad()
def score(model: nn.Module, images: ImageSet, config: HardConfig, *, batch_size: int = 250) -> dict[str, float]:
    """How well, and where: mean ``accuracy``, ``hit`` and ``iou`` over the set, at test time.

    * ``hit``: is the place looked at inside the digit's box? Hard: the middle of the (last) window. Soft: the
      brightest position of the deepest map, the pointing game on the box. ``hit_any``, for glimpses: any of them.
    * ``iou``: of the digit's box with the window. Soft: with the window of ``config`` that holds most of the deepest
      map; uniform weights favour no window and get the mean over all.

    The pictures follow the model to its device. A set without boxes has ``accuracy`` alone.
    """
    totals: dict[str, float] = {}
    lot, device = generator("score", config.seed), device_of(model)
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            pictures, labels = images.float_images(part).to(device), images.labels[part].to(device)
            seen = look(model, pictures, config, lot=lot)
            found = {"accuracy": (seen.logits.argmax(dim=1) == labels).float()}
            if images.boxes is not None:
                boxes = images.boxes[part].to(device)
                found |= KINDS[config.kind].places(model, pictures, seen, boxes, config)
            for name, values in found.items():
                totals[name] = totals.get(name, 0.0) + float(values.sum())
    return {name: total / len(images) for name, total in totals.items()}


def cost(model: nn.Module, picture: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates of one picture (channels, h, w), positions looked at, and parameters of ``model``.

    Positions: places at which a network reads numbers: all pixels, unless the model has a method ``positions`` that
    knows better.
    """
    _, height, width = picture
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *picture, device=device_of(model)))
    positions: int = model.positions(height, width) if hasattr(model, "positions") else height * width  # type: ignore[operator]
    parameters = sum(p.numel() for p in model.parameters())
    return {"macs": counter.get_total_flops() // 2, "positions": positions, "parameters": parameters}


@torch.no_grad()
def shown(model: nn.Module, images: ImageSet, config: HardConfig, n: int = 6) -> dict[str, Any]:
    """Where the first ``n`` pictures are looked at, as plain lists: windows, or the weights of the deepest level."""
    few = images.float_images(slice(0, n)).to(device_of(model))
    with evaluating(model):
        return KINDS[config.kind].shown(model, few, config, generator("windows", config.seed))
