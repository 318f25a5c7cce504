"""A layer's map and what the score's gradient does to it: what the CAM family has in common."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models.layouts import Layout, MapOf, layout_of
from .network import Task


class Activations(NamedTuple):
    """What a layer gave, as a map (b, c, h, w), and the logits (b, K) that came of it."""

    maps: Tensor
    logits: Tensor


def by_gradient(task: Task, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``join(A, dA)`` for the layer's map A and its gradient, (b, c, h, w) both, to one map per picture (b, h, w).

    With several classes a picture, (b, k, h, w): one pass forward, one back for each class. Nothing before the layer
    keeps what a gradient needs, so this costs hardly more memory than a prediction.

    Raises: ValueError where the layer gives no map, or does not lead to the logits.
    """
    layer, logits = _leaf_and_logits(task, early=True)
    if not logits.requires_grad:  # the network turns gradients on or off by itself on the way
        layer, logits = _leaf_and_logits(task, early=False)
    to_map = MapOf(read(layer, task))
    classes = task.classes(logits)
    columns = classes[:, None] if classes.ndim == 1 else classes
    activation, maps = to_map(layer.detach()), []
    for number, column in enumerate(columns.unbind(dim=1), start=1):
        gradient = None
        if logits.requires_grad:
            score = logits.gather(1, column[:, None]).sum()
            more = number < columns.shape[1]
            (gradient,) = torch.autograd.grad(score, layer, allow_unused=True, retain_graph=more)
        if gradient is None:
            raise ValueError(f"layer must lead from the images to the logits; no gradient reaches {task.layer_name!r}")
        at_positions = to_map(gradient)
        if to_map.layout.extra and gradient.any() and not at_positions.any():
            raise ValueError(
                f"layer must lead from its patches to the logits; after {task.layer_name!r} the class token alone "
                f"counts: take a layer before it, or None for the last that fits"
            )
        maps.append(join(activation, at_positions))
    return maps[0] if classes.ndim == 1 else torch.stack(maps, dim=1)


def _leaf_and_logits(task: Task, *, early: bool) -> tuple[Tensor, Tensor]:
    """The layer's output when it ran last, cut off from what is before it, and the logits.

    ``early``: gradients are recorded from the layer on; else from the start.
    """
    saved: list[object] = []

    def cut(_module: nn.Module, _inputs: object, output: object) -> object:
        saved.append(output)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            return output
        torch.set_grad_enabled(True)
        saved[-1] = leaf = output.detach().requires_grad_()
        return leaf.clone()  # what follows may change its input in place

    handle = task.map_layer.register_forward_hook(cut)
    try:
        with torch.set_grad_enabled(not early):
            logits = task.logits(task.images.detach())
    finally:
        handle.remove()
    return check_output(saved, task), logits


def activations(task: Task) -> Activations:
    """The layer's map when it ran last, and the logits, without gradients."""
    saved: list[object] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        saved.append(output.clone() if isinstance(output, Tensor) else output)  # what follows may overwrite it

    handle = task.map_layer.register_forward_hook(keep)
    try:
        with torch.no_grad():
            logits = task.logits(task.images.detach())
    finally:
        handle.remove()
    output = check_output(saved, task)
    return Activations(MapOf(read(output, task))(output), logits)


def check_output(saved: list[object], task: Task) -> Tensor:
    """What the layer gave when it ran last. Raises: ValueError unless that is a map."""
    output = saved[-1] if saved else None
    if isinstance(output, Tensor) and output.is_floating_point() and len(output) == len(task.images):
        layout = layout_of(tuple(output.shape[1:]), task.picture)
        if layout is not None:
            return output
    got = f"gives {tuple(output.shape)}" if isinstance(output, Tensor) else f"gives a {type(output).__name__}"
    raise ValueError(
        f"layer must give a map (b, c, h, w) or (b, h, w, c), or tokens (b, n, c) of a grid; {task.layer_name!r} "
        f"{got if saved else 'did not run'}. posthoc.map_layers lists the layers that do"
    )


def read(output: Tensor, task: Task) -> Layout:
    layout = layout_of(tuple(output.shape[1:]), task.picture)
    assert layout is not None  # check_output saw to it
    return layout
