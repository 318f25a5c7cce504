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

Targets = int | Sequence[int] | Sequence[Sequence[int]] | Tensor | None


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

    ``wanted`` has one class for each picture, (b,); methods that need one pass for all classes also get several,
    (b, k), or None for the predicted ones. ``posthoc.explain`` makes it from its arguments.
    """

    logits: Logits
    images: Tensor
    wanted: Tensor | None
    layer: nn.Module | None = None
    layer_name: str = ""

    @property
    def network(self) -> nn.Module:
        return self.logits.model

    @property
    def targets(self) -> Tensor:
        assert self.wanted is not None  # explain() picks the classes for every method that does not itself
        return self.wanted

    @property
    def map_layer(self) -> nn.Module:
        assert self.layer is not None  # explain() finds one for every method with takes_layer
        return self.layer

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    def classes(self, logits: Tensor) -> Tensor:
        """The classes to explain, (b,) or (b, k): those wanted, else the predicted ones.

        Raises: ValueError on a class that the model does not have.
        """
        if self.wanted is None:
            return logits.detach().argmax(dim=1)
        check_classes(self.wanted, logits.shape[1])
        return self.wanted


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
    # One pass in place of four: a sum is finite only where all its terms are; it may overflow where they are, too.
    if not images.sum().isfinite() and not images.isfinite().all():
        raise ValueError(f"images must be finite; {int((~images.isfinite()).sum())} values are NaN or infinite")
    has_place = next(network.parameters(), None) is not None
    return images.detach().to(device_of(network)) if has_place else images.detach()


def working_copy(images: Tensor, network: nn.Module) -> Tensor:
    """A copy of ``images`` with a gradient of its own, laid out as ``network`` runs fastest.

    On a CPU that is channels_last, for trunks that promise to take it: the same numbers up to rounding. Any other
    network gets the pictures as they are, for it may hold a ``.view`` that channels_last would break.
    """
    faster = images.device.type == "cpu" and getattr(getattr(network, "trunk", None), "any_memory_format", False)
    layout = torch.channels_last if faster else torch.preserve_format
    return images.clone(memory_format=layout).requires_grad_()


def check_targets(targets: Targets, n: int, *, several: bool = False) -> Int64[Tensor, "n *k"] | None:
    """``targets`` as n classes: an integer for all pictures, or one for each. None stays None.

    ``several`` allows (n, k) too: k classes for each picture.
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
    if given.ndim > 1 + several or (given.ndim > 0 and len(given) != n) or 0 in given.shape:
        more = f", or ({n}, k) for k classes each" if several else ""
        raise ValueError(
            f"targets must be one class, or one for each of the {n} images{more}; got {tuple(given.shape)}"
        )
    if (given < 0).any():
        raise ValueError(f"targets must be classes from 0; got {int(given.min())}")
    return given.long().expand(n, *given.shape[1:]).clone()


def check_classes(targets: Tensor, classes: int) -> None:
    """Raise ValueError unless every target is one of the model's classes."""
    if targets.max() >= classes:
        raise ValueError(f"targets must be below the model's {classes} classes; got {int(targets.max())}")


@torch.no_grad()
def pick_targets(
    logits: Logits, images: Float[Tensor, "n c h w"], targets: Int64[Tensor, "n *k"] | None, *, batch_size: int
) -> Int64[Tensor, "n *k"]:
    """The checked ``targets`` on the images' device, or the predicted class of each picture where they are None.

    Raises: ValueError on a target that is none of the model's classes.
    """
    if targets is None:
        return torch.cat([logits(chunk).argmax(dim=1) for chunk in images.split(batch_size)])
    check_classes(targets, logits(images[:1]).shape[1])
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
