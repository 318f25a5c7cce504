"""Maps of the size of a layer: class activation maps (the CAM family), and the attention that a network learned.

Each function takes a ``probe.Task`` with its layer and gives one raw map per picture, (b, h, w). ``posthoc.explain``
makes the task and is the way to call them; ``posthoc.METHODS`` tabulates them. CAM and HiResCAM are written here.
"""

import torch
from torch import Tensor, nn

from .network import Task
from .picture_maps import Channels, captum, modified_relus, quiet, reduce


def cam(task: Task, *, relu: bool = False) -> Tensor:
    """CAM: the class's evidence at each position. Signed, unless ``relu=True``; no bias: mean(M) + b_k = s_k.

    Needs a network that ends in a map, global average pooling and one linear layer; this is checked on the numbers.
    There CAM / n = Grad-CAM = HiResCAM, before any ReLU.

    Raises: ValueError where the network does not end so.
    """
    maps: list[object] = []
    linears: list[tuple[nn.Linear, Tensor, Tensor]] = []
    layer = task.map_layer
    handles = [layer.register_forward_hook(lambda _module, _inputs, output: maps.append(_copy(output)))]
    for module in task.network.modules():
        if isinstance(module, nn.Linear):
            handles.append(module.register_forward_hook(lambda m, i, output: linears.append((m, i[0], output))))
    try:
        with torch.no_grad():
            logits = task.logits(task.images)
    finally:
        for handle in handles:
            handle.remove()
    activation = _last_map(maps, task)
    if linears:
        linear, pooled, output = linears[-1]
        means = activation.mean(dim=(2, 3))
        if pooled.shape == means.shape and _close(pooled, means) and _close(output, logits):
            values = torch.einsum("bchw,bc->bhw", activation, linear.weight[task.targets])
            return values.relu() if relu else values
    raise ValueError(
        f"model must end in global average pooling of layer {task.layer_name!r} and one linear layer for cam; "
        f"{type(task.network).__name__} does not. grad_cam and hirescam fit any network"
    )


def grad_cam(task: Task, *, relu: bool = True) -> Tensor:
    """Grad-CAM. ReLU on the map as in the paper; ``relu=False`` keeps the signs.

    Averaging the gradient forgets where it was: the map can be high where the model used nothing (see ``hirescam``).
    """
    activation_and_gradient(task.first())
    engine = captum().LayerGradCam(task.logits, task.map_layer)
    with quiet():
        return engine.attribute(task.images, target=task.targets, relu_attributions=relu)[:, 0]


def guided_grad_cam(task: Task, *, absolute: bool = True, channels: Channels = "max") -> Tensor:
    """Guided Grad-CAM: detail from guided backpropagation, place and class from Grad-CAM (with its ReLU).

    The Grad-CAM is enlarged bilinearly (``align_corners=False``), as in the paper. Absolute by default.
    Raises: as ``guided_backprop``.
    """
    activation_and_gradient(task.first())
    with modified_relus(task), quiet():
        engine = captum().GuidedGradCam(task.logits, task.map_layer)
        product = engine.attribute(task.images, target=task.targets, interpolate_mode="bilinear")
    return reduce(product, absolute, channels)


def hirescam(task: Task, *, relu: bool = False) -> Tensor:
    """HiResCAM: gradient times activation, summed over features. Signed, unless ``relu=True``.

    Where the logit is linear in the layer, sum(M) + bias = s_k exactly, and a position that the model does not use has
    value 0: the gradient stays where it belongs, unlike in Grad-CAM.
    """
    activation, gradient = activation_and_gradient(task)
    values = (activation * gradient).sum(dim=1)
    return values.relu() if relu else values


def activation_and_gradient(task: Task) -> tuple[Tensor, Tensor]:
    """The layer's map and the gradient of the scores with respect to it, both (b, c, h, w)."""
    saved: list[object] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> object:
        saved.append(output)
        return _copy(output)  # what follows may change its input in place

    handle = task.map_layer.register_forward_hook(keep)
    try:
        scores = task.logits(task.images).gather(1, task.targets[:, None]).sum()
    finally:
        handle.remove()
    activation = _last_map(saved, task)
    gradient = None
    if activation.requires_grad:
        (gradient,) = torch.autograd.grad(scores, activation, allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer must lead from the images to the logits; no gradient reaches {task.layer_name!r}")
    return activation.detach(), gradient


def _copy(output: object) -> object:
    return output.clone() if isinstance(output, Tensor) else output


def _last_map(outputs: list[object], task: Task) -> Tensor:
    """What the layer gave when it ran last. Raises: ValueError unless that is a map."""
    output = outputs[-1] if outputs else None
    if isinstance(output, Tensor) and output.ndim == 4 and output.shape[0] == len(task.images):
        return output
    got = f"gives {tuple(output.shape)}" if isinstance(output, Tensor) else f"gives a {type(output).__name__}"
    raise ValueError(
        f"layer must give a map (b, c, h, w); {task.layer_name!r} {got if outputs else 'did not run'}. "
        f"probe.map_layers lists the layers that do"
    )


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


# Trained attention ----------------------------------------------------------------------------------------------------


def attention(task: Task, *, level: int = -1) -> Tensor:
    """The model's own attention weights at ``level``, counted from 0 (shallow); -1 is the deepest. Takes no class.

    Raises: ValueError where the model has no attention, or not this level.
    """
    attend = getattr(task.network, "attend", None)
    if attend is None:
        raise ValueError(f"model must have attention (an `attend` method); {type(task.network).__name__} has none")
    with torch.no_grad():
        attended = attend(task.images.detach()).attended
    if not attended:
        raise ValueError(f"model must have attention; this {type(task.network).__name__} has no level to show")
    if not -len(attended) <= level < len(attended):
        raise ValueError(f"level must be one of the model's {len(attended)}, from 0 (shallow) or -1; got {level}")
    return attended[level].weights
