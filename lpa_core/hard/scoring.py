"""What a trained hard-attention network is judged by: accuracy, where it looks, and what a look costs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from .._utils.device import device_of
from .._utils.modes import evaluating
from .._utils.seeding import generator
from ..data.image_set import ImageSet
from ..metrics.localisation import box_masks, pointing_game
from .glimpses import RecurrentAttention
from .kinds import HardConfig, Look, look
from .model import HardAttention
from .windows import box_iou, grid, heaviest_window, window_boxes


@torch.no_grad()
def score(model: nn.Module, images: ImageSet, config: HardConfig, *, batch_size: int = 250) -> dict[str, float]:
    """How well, and where: mean ``accuracy``, ``hit`` and ``iou`` over the set, at test time.

    * ``hit``: is the place looked at inside the digit's box? Hard: the middle of the (last) window. Soft: the
      brightest position of the deepest map, the pointing game on the box. ``hit_any``, for glimpses: any of them.
    * ``iou``: of the digit's box with the window. Soft: with the window of the same size that holds most of the deepest
      map; uniform weights favour no window and get the mean over all.

    A set without boxes has ``accuracy`` alone.
    """
    totals: dict[str, float] = {}
    lot = generator("score", config.seed)
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            pictures, labels = images.float_images(part).to(device_of(model)), images.labels[part].to(device_of(model))
            seen = look(model, pictures, config, lot=lot)
            found = {"accuracy": (seen.logits.argmax(dim=1) == labels).float()}
            if images.boxes is not None:
                found |= _places(model, pictures, seen, images.boxes[part].to(device_of(model)))
            for name, values in found.items():
                totals[name] = totals.get(name, 0.0) + float(values.sum())
    return {name: total / len(images) for name, total in totals.items()}


def cost(model: nn.Module, picture: tuple[int, int, int]) -> dict[str, int]:
    """Multiply-accumulates of one picture (channels, h, w), positions looked at, and parameters of ``model``.

    Positions: places at which a network reads numbers. Soft: all pixels. Hard: cells of the coarse view, and pixels of
    the window. Glimpses: cells of the coarse view, and of all patches of all glimpses.
    """
    _, height, width = picture
    with evaluating(model), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *picture, device=device_of(model)))
    positions = height * width
    if isinstance(model, HardAttention):
        positions = (height // model.stride) * (width // model.stride) + model.size[0] * model.size[1]
    elif isinstance(model, RecurrentAttention):
        sensor = model.glimpse_network.sensor
        shrink = model.location_network.shrink
        positions = (height // shrink) * (width // shrink) + model.glimpses * sensor.scales * sensor.size**2
    parameters = sum(p.numel() for p in model.parameters())
    return {"macs": counter.get_total_flops() // 2, "positions": positions, "parameters": parameters}


def _places(model: nn.Module, pictures: Tensor, seen: Look, boxes: Tensor) -> dict[str, Tensor]:
    """``hit`` and ``iou`` of every picture of a batch, as ``score`` says."""
    size = (pictures.shape[2], pictures.shape[3])
    if seen.boxes is not None:
        middles = (seen.boxes[..., :2] + seen.boxes[..., 2:]) / 2
        inside = ((middles >= boxes[:, None, :2]) & (middles < boxes[:, None, 2:])).all(dim=2).float()
        return {"hit": inside[:, -1], "hit_any": inside.amax(dim=1), "iou": box_iou(seen.boxes[:, -1], boxes)}
    weights = model.attend(pictures).attended[-1].weights  # type: ignore[operator]
    hit, window = pointing_game(weights, box_masks(boxes, size)), (18, 12)
    if model.config["compatibility"] == "uniform":  # type: ignore[index]
        rows, columns = grid(size, window, 2)
        corners = torch.cartesian_prod(torch.arange(rows) * 2, torch.arange(columns) * 2).to(boxes.device)
        every = [box_iou(window_boxes(c.expand(len(boxes), 2), window), boxes) for c in corners]
        return {"hit": hit, "iou": torch.stack(every).mean(dim=0)}
    maps = functional.interpolate(weights[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    return {"hit": hit, "iou": box_iou(window_boxes(heaviest_window(maps, window, stride=2), window), boxes)}


@torch.no_grad()
def shown(model: nn.Module, images: ImageSet, config: HardConfig, n: int = 6) -> dict[str, Any]:
    """Where the first ``n`` pictures are looked at, as plain lists: windows, or the weights of the deepest level."""
    few = images.float_images(slice(0, n)).to(device_of(model))
    with evaluating(model):
        if config.kind in ("soft", "uniform"):
            weights = model.attend(few).attended[-1].weights  # type: ignore[operator]
            return {"weights": [[[round(w, 4) for w in row] for row in map] for map in weights.tolist()]}
        boxes = look(model, few, config, lot=generator("windows", config.seed)).boxes
    return {"windows": None if boxes is None else boxes.tolist()}
