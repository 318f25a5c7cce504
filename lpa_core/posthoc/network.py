"""Look into any classifier and leave it as it was: eval mode, plain logits, layers by name, checked inputs.

What explaining, perturbing and randomising a network have in common. A classifier here is any ``nn.Module`` that
takes pictures (b, c, h, w) and gives logits (b, K), alone or in a tuple, a dict or an object with ``.logits``.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .._utils.device import device_of
from .._utils.modes import undisturbed
from ..models.trunk import Features

Targets = int | Sequence[int] | Tensor | None


class Logits(nn.Module):
    """``model`` as a module that gives plain logits (b, K), or their softmax with ``probability=True``.

    Of a tuple, a dict or an object it takes ``logits`` if there is one, else the only (b, K) tensor in it.
    Raises: TypeError where that does not name one tensor; ValueError unless it is (b, K), or on NaN.
    """

    def __init__(self, model: nn.Module, *, probability: bool = False) -> None:
        super().__init__()
        self.model, self.probability = model, probability

    def forward(self, images: Tensor) -> Tensor:
        logits = _plain(self.model(images))
        if logits.ndim != 2 or logits.shape[0] != images.shape[0]:
            raise ValueError(f"model must give logits ({images.shape[0]}, K); got {tuple(logits.shape)}")
        if logits.isnan().any():
            raise ValueError("model gives NaN logits for these images")
        return logits.softmax(dim=1) if self.probability else logits


def _plain(output: object) -> Tensor:
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    found = [v for v in values if isinstance(v, Tensor) and v.ndim == 2 and v.is_floating_point()]
    if len(found) != 1:
        raise TypeError(
            f"model must give logits: a tensor (b, K), or one such tensor (or `logits`) in a tuple or dict; "
            f"got {type(output).__name__} with {len(found)} of them. Wrap the model in a module that returns the logits"
        )
    return found[0]


class Task(NamedTuple):
    """What a method works on: the network as plain logits, one batch, its classes, and a layer where one is needed.

    ``posthoc.explain`` makes it from its arguments.
    """

    logits: Logits
    images: Tensor
    targets: Tensor
    layer: nn.Module | None = None
    layer_name: str = ""

    @property
    def network(self) -> nn.Module:
        return self.logits.model

    def first(self) -> "Task":
        """The same with the first picture alone, for checks that one picture settles."""
        return self._replace(images=self.images[:1], targets=self.targets[:1])

    @property
    def map_layer(self) -> nn.Module:
        assert self.layer is not None  # explain() finds one for every method with takes_layer
        return self.layer


def check_pictures(images: Tensor, network: nn.Module) -> Tensor:
    """``images`` where the model is, without their gradient. Maps made of them go back to where ``images`` are.

    Raises: TypeError or ValueError unless they are a finite floating (b, c, h, w) batch.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a floating-point tensor (data.normalise scales uint8); got {kind}")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"images must be (b, c, h, w) with at least one picture; got {tuple(images.shape)}")
    if images.is_meta:
        raise ValueError("images must hold numbers; got a tensor on the device meta, which holds none")
    if not images.isfinite().all():
        raise ValueError(f"images must be finite; {int((~images.isfinite()).sum())} values are NaN or infinite")
    has_place = next(network.parameters(), None) is not None
    return images.detach().to(device_of(network)) if has_place else images.detach()


def check_targets(targets: Targets, n: int) -> Int64[Tensor, " n"] | None:
    """``targets`` as n classes: an integer for all pictures, or one for each. None stays None.

    Raises: TypeError unless they are integers; ValueError when their number is not n, or one is negative.
    """
    if targets is None:
        return None
    try:
        given = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"targets must be integers; got {targets!r}") from error
    if given.dtype.is_floating_point or given.dtype.is_complex or given.dtype == torch.bool:
        raise TypeError(f"targets must be integers; got {given.dtype}")
    if given.ndim > 1 or (given.ndim == 1 and len(given) != n):
        raise ValueError(f"targets must be one class, or one for each of the {n} images; got {tuple(given.shape)}")
    if (given < 0).any():
        raise ValueError(f"targets must be classes from 0; got {int(given.min())}")
    return given.long().expand(n).clone()


@torch.no_grad()
def pick_targets(
    logits: Logits, images: Float[Tensor, "n c h w"], targets: Int64[Tensor, " n"] | None, *, batch_size: int
) -> Int64[Tensor, " n"]:
    """The checked ``targets`` on the images' device, or the predicted class of each picture where they are None.

    Raises: ValueError on a target that is none of the model's classes.
    """
    if targets is None:
        return torch.cat([logits(chunk).argmax(dim=1) for chunk in images.split(batch_size)])
    classes = logits(images[:1]).shape[1]
    if targets.max() >= classes:
        raise ValueError(f"targets must be below the model's {classes} classes; got {int(targets.max())}")
    return targets.to(images.device)


def constant_picture(baseline: float | Tensor, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "1 c h w"]:
    """``baseline``, a number or one picture (c, h, w), as one picture like ``images``; sides of 1 are spread.

    Raises: ValueError on any other shape.
    """
    value = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    size = images.shape[1:]
    if value.ndim not in (0, 3) or any(has not in (1, needs) for has, needs in zip(value.shape, size, strict=False)):
        raise ValueError(f"baseline must be a number or one picture {tuple(size)}; got {tuple(value.shape)}")
    return value.expand(1, *size)


def map_layers(model: nn.Module, images: Float[Tensor, "b c h w"]) -> dict[str, tuple[int, int, int]]:
    """Layers of ``model`` that give a map for pictures like these: name -> (channels, h, w), in order of execution.

    A map is a tensor (b, channels, h, w) with more than one position. A layer that runs more than once counts where
    it runs last.
    """
    with undisturbed(model) as network:
        images = check_pictures(images, network)
        return {name: _size(output) for name, output in _outputs(network, images)[0].items() if _is_map(output)}


def find_layer(network: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """The name and the module of ``layer``, which is either.

    Raises: ValueError when the network has no such layer; the message lists those it has.
    """
    modules = dict(network.named_modules())
    modules.pop("")
    for name, module in modules.items():
        if layer == name if isinstance(layer, str) else layer is module:
            return name, module
    got = repr(layer) if isinstance(layer, str) else f"a {type(layer).__name__} that is not part of it"
    raise ValueError(f"layer must be one of the model's: {', '.join(modules) or 'it has none'}; got {got}")


def last_map_layer(network: nn.Module, images: Float[Tensor, "b c h w"]) -> str:
    """The layer that makes the model's last local map; in a network without ``Features``, its last map.

    "Last" is by execution, and of several modules that give the same tensor the outermost counts: ``layer4`` in a
    ResNet. Adaptive pools are passed over: what they give has the classifier's size, not the picture's.

    Raises: ValueError when no layer gives a map.
    """
    outputs, local = _outputs(network, images)
    names = [name for name, output in outputs.items() if output is local]
    if not names:
        adaptive = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
        modules = dict(network.named_modules())
        names = [n for n, output in outputs.items() if _is_map(output) and not isinstance(modules[n], adaptive)]
    if not names:
        raise ValueError(
            f"layer must give a map (b, c, h, w) with more than one position; for images of {tuple(images.shape[1:])} "
            f"no layer of {type(network).__name__} does"
        )
    return names[-1]


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


def _is_map(output: Tensor) -> bool:
    return output.ndim == 4 and output.is_floating_point() and output.shape[2] * output.shape[3] > 1


def _size(output: Tensor) -> tuple[int, int, int]:
    return output.shape[1], output.shape[2], output.shape[3]
