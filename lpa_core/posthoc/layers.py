"""The layers of a network that give maps, by name: for choosing one, and the one that is taken by default.

A layer is read as a map as ``models.layouts`` says: channels first, channels last, or the tokens of a vision
transformer laid out as the grid they came from.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._utils.modes import undisturbed
from ..models.layouts import Layout, MapOf, layout_of, token_blocks
from ..models.trunk import Features
from .network import Logits, check_pictures


def map_layers(model: nn.Module, images: Float[Tensor, "b c h w"]) -> dict[str, tuple[int, int, int]]:
    """Layers of ``model`` that give a map for pictures like these: name -> (channels, h, w), in order of execution.

    A map has more than one position: (b, channels, h, w), (b, h, w, channels), or tokens (b, n, channels) with at most
    five more than make a grid of the picture's proportions. A layer that runs more than once counts where it runs last.
    """
    with undisturbed(model) as network:
        images = check_pictures(images, network)
        layouts = _layouts(_outputs(network, images)[0], images)
        return {name: (each.channels, each.height, each.width) for name, each in layouts.items()}


def used_map_layers(model: nn.Module, images: Float[Tensor, "b c h w"]) -> dict[str, tuple[int, int, int]]:
    """Those of ``map_layers`` that lead to the logits: a network may compute maps that its answer does not rest on."""
    with undisturbed(model) as network, torch.enable_grad():
        images = check_pictures(images, network)
        layouts = _layouts(_outputs(network, images)[0], images)
        used = {*_with_gradient(network, images, layouts)}
    return {name: (each.channels, each.height, each.width) for name, each in layouts.items() if name in used}


def find_layer(network: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The name and the module of ``layer``, which is either.

    Raises: ValueError when the network has no such layer; the message lists those it has.
    """
    for name, module in network.named_modules():
        if name and (layer == name if isinstance(layer, str) else layer is module):
            return name, module
    modules = [name for name, _ in network.named_modules() if name]
    got = repr(layer) if isinstance(layer, str) else f"a {type(layer).__name__} that is not part of it"
    raise ValueError(f"layer must be one of the model's: {', '.join(modules) or 'it has none'}; got {got}")


def last_map_layer(network: nn.Module, images: Float[Tensor, "b c h w"]) -> str:
    """The layer that makes the model's last local map; in a network without ``Features``, its last map.

    "Last" is by execution, and of several modules that give the same tensor the outermost counts: ``layer4`` in a
    ResNet. Adaptive pools are passed over: what they give has the classifier's size, not the picture's. In a vision
    transformer it is the last block whose patches still lead to the logits: where the class token alone is classified,
    the patches of the very last block do not.

    Raises: ValueError when no layer gives a map.
    """
    outputs, local = _outputs(network, images)
    names = [name for name, output in outputs.items() if output is local]
    if names:
        return names[-1]
    adaptive = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
    modules = dict(network.named_modules())
    layouts = {n: each for n, each in _layouts(outputs, images).items() if not isinstance(modules[n], adaptive)}
    if not layouts:
        raise ValueError(
            f"layer must give a map (b, c, h, w) with more than one position; for images of {tuple(images.shape[1:])} "
            f"no layer of {type(network).__name__} does"
        )
    last = next(reversed(layouts))
    if layouts[last].kind != "tokens":
        return last
    tokens = {name: each for name, each in layouts.items() if each.kind == "tokens"}
    candidates = token_blocks(network, tokens) or tuple(tokens)
    used = _with_gradient(network, images, {name: tokens[name] for name in candidates})
    return used[-1] if used else last


def _layouts(outputs: dict[str, Tensor], images: Tensor) -> dict[str, Layout]:
    """How each output for one picture is a map, of those that are one with several positions."""
    found: dict[str, Layout] = {}
    for name, output in outputs.items():
        layout = layout_of(tuple(output.shape[1:]), (images.shape[2], images.shape[3]))
        if layout is not None and layout.positions > 1 and output.shape[0] == 1 and output.is_floating_point():
            found[name] = layout
    return found


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """What every module gave when it ran last, in order of execution, and the last local map of a trunk."""
    outputs: dict[str, Tensor] = {}
    local: list[Tensor] = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Features) and output.local:
            local.append(output.local[-1])
        if isinstance(output, Tensor):
            outputs.pop(name, None)  # a layer that runs again moves to the end
            outputs[name] = output

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        network(images[:1].detach().clone())
    finally:
        for handle in handles:
            handle.remove()
    return outputs, local[-1] if local else None


def _with_gradient(network: nn.Module, images: Tensor, layouts: dict[str, Layout]) -> list[str]:
    """Those of the layers whose positions lead to the largest logit of the first picture."""
    outputs: dict[str, Tensor] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
        for name in layouts
    ]
    try:
        score = Logits(network)(images[:1].detach().clone().requires_grad_()).amax()
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(score, list(outputs.values()), allow_unused=True)
    return [
        name
        for name, gradient in zip(outputs, gradients, strict=True)
        if gradient is not None and bool(MapOf(layouts[name])(gradient).any())
    ]
