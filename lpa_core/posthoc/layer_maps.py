"""Maps of the size of a layer: class activation maps (the CAM family), and the attention that a network learned.

Each function takes a ``network.Task`` with its layer and gives one raw map per picture, (b, h, w); those that find all
classes in one pass give (b, k, h, w) where the task has k classes a picture. ``posthoc.explain`` makes the task and is
the way to call them; ``posthoc.METHODS`` tabulates them. A is the layer's map, g its gradient dA, i a position, f a
feature.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import activations, by_gradient
from .network import Task
from .picture_maps import Channels, captum, modified_relus, quiet, reduce


def cam(task: Task, *, relu: bool = False) -> Tensor:
    """CAM: the class's evidence at each position. Signed, unless ``relu=True``; no bias: mean(M) + b_k = s_k.

    Needs a network that ends in a map, global average pooling and one linear layer; this is checked on the numbers.
    There CAM / n = Grad-CAM = HiResCAM, before any ReLU.

    Raises: ValueError where the network does not end so.
    """
    linears: list[tuple[nn.Linear, Tensor, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda m, i, output: linears.append((m, i[0], output)))
        for module in task.network.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        activation, logits = activations(task)
    finally:
        for handle in handles:
            handle.remove()
    if linears:
        linear, pooled, output = linears[-1]
        means = activation.mean(dim=(2, 3))
        if pooled.shape == means.shape and _close(pooled, means) and _close(output, logits):
            values = torch.einsum("bchw,b...c->b...hw", activation, linear.weight[task.classes(logits)])
            return values.relu() if relu else values
    raise ValueError(
        f"model must end in global average pooling of layer {task.layer_name!r} and one linear layer for cam; "
        f"{type(task.network).__name__} does not. grad_cam and hirescam fit any network"
    )


def grad_cam(task: Task, *, relu: bool = True) -> Tensor:
    """Grad-CAM. ReLU on the map as in the paper; ``relu=False`` keeps the signs.

    Averaging the gradient forgets where it was: the map can be high where the model used nothing (see ``hirescam``).
    """

    def join(activation: Tensor, gradient: Tensor) -> Tensor:
        return _summed(activation, gradient.mean(dim=(2, 3)), relu)

    return by_gradient(task, join)


def grad_cam_plus_plus(task: Task, *, relu: bool = True) -> Tensor:
    """Grad-CAM++: as Grad-CAM, but a position's gradient counts the more, the less of its feature there is elsewhere.

    w_f = sum_i alpha_fi max(0, g_fi), alpha_fi = g_fi^2 / (2 g_fi^2 + sum_j A_fj g_fi^3); where g_fi = 0, alpha_fi = 0.
    ReLU on the map as in the paper; ``relu=False`` keeps the signs.

    Differs from the paper: its score is exp(s_k), whose derivatives are powers of g times exp(s_k); that factor is the
    same everywhere in a map and left out.
    """

    def join(activation: Tensor, gradient: Tensor) -> Tensor:
        total = activation.sum(dim=(2, 3), keepdim=True)
        divisor = 2 + total * gradient  # both sides divided by g^2
        alpha = torch.where((gradient != 0) & (divisor != 0), 1 / divisor, 0.0)
        return _summed(activation, (alpha * gradient.relu()).sum(dim=(2, 3)), relu)

    return by_gradient(task, join)


def layer_cam(task: Task, *, relu: bool = True) -> Tensor:
    """LayerCAM: every position weighted by its own gradient where that is positive; made for shallow layers too.

    ReLU on the map as in the paper; ``relu=False`` keeps the signs of a layer whose activations have some.
    """

    def join(activation: Tensor, gradient: Tensor) -> Tensor:
        values = (activation * gradient.relu()).sum(dim=1)
        return values.relu() if relu else values

    return by_gradient(task, join)


def hirescam(task: Task, *, relu: bool = False) -> Tensor:
    """HiResCAM: gradient times activation, summed over features. Signed, unless ``relu=True``.

    Where the logit is linear in the layer, sum(M) + bias = s_k exactly, and a position that the model does not use has
    value 0: the gradient stays where it belongs, unlike in Grad-CAM.
    """

    def join(activation: Tensor, gradient: Tensor) -> Tensor:
        values = (activation * gradient).sum(dim=1)
        return values.relu() if relu else values

    return by_gradient(task, join)


def score_cam(task: Task, *, relu: bool = True, evaluations: int = 256) -> Tensor:
    """Score-CAM: each feature weighted by the logit of the picture seen through it alone. No gradient is used.

    The feature map is enlarged to the picture (bilinear, ``align_corners=False``) and scaled to [0, 1],
    H_f = (A_f - min) / (max - min); a constant one shows nothing, H_f = 0. The picture times H_f runs through the
    network: one run for each of the c features, ``evaluations`` pictures at a time. ReLU on the map as in the paper.

    The logit of the picture times 0, which the paper subtracts, is the same for all f and falls out of the softmax.
    """
    activation, logits = activations(task)
    classes = task.classes(logits)
    columns = classes[:, None] if classes.ndim == 1 else classes
    low, high = (function(activation, dim=(2, 3), keepdim=True) for function in (torch.amin, torch.amax))
    seen = torch.where(high > low, (activation - low) / (high - low), 0.0)
    scores = []
    with torch.no_grad():
        for image, features, column in zip(task.images.detach(), seen, columns, strict=True):
            through = [
                task.logits(
                    image * F.interpolate(some[:, None], size=task.picture, mode="bilinear", align_corners=False)
                )
                for some in features.split(max(1, evaluations))
            ]
            scores.append(torch.cat(through)[:, column])
    weights = torch.stack(scores).softmax(dim=1)  # (b, c, k)
    maps = [_summed(activation, weight, relu) for weight in weights.unbind(dim=2)]
    return maps[0] if classes.ndim == 1 else torch.stack(maps, dim=1)


def guided_grad_cam(task: Task, *, absolute: bool = True, channels: Channels = "max") -> Tensor:
    """Guided Grad-CAM: detail from guided backpropagation, place and class from Grad-CAM (with its ReLU).

    The Grad-CAM is enlarged bilinearly (``align_corners=False``), as in the paper. Absolute by default.
    Raises: as ``guided_backprop``.
    """
    coarse = grad_cam(task)[:, None]
    with modified_relus(task), quiet():
        fine = captum().GuidedBackprop(task.logits).attribute(task.images, task.targets)
    enlarged = F.interpolate(coarse, size=task.picture, mode="bilinear", align_corners=False)
    return reduce(fine * enlarged, absolute, channels)


def _summed(activation: Tensor, weights: Tensor, relu: bool) -> Tensor:
    """sum_f w_f A_f, (b, h, w), for weights (b, c)."""
    values = torch.einsum("bchw,bc->bhw", activation, weights)
    return values.relu() if relu else values


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
