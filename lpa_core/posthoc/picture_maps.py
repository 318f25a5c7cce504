"""Maps of the size of the picture: cover parts of it, or follow the score's gradient back to its pixels.

Each function takes a ``network.Task`` and gives one raw map per picture, (b, h, w). ``posthoc.explain`` makes the task
and is the way to call them; ``posthoc.METHODS`` tabulates them. captum computes what it has.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .network import Logits, Task, constant_picture

Channels = Literal["sum", "mean", "max"]


def captum() -> Any:
    """captum.attr, imported when a method needs it. Raises: ImportError with the way to install it."""
    try:
        import captum.attr
    except ImportError as error:
        raise ImportError(
            "this method needs captum: pip install captum; grad_cam, hirescam and the other "
            "methods of METHODS whose engine is 'lpa_core' do without"
        ) from error
    return captum.attr


@contextmanager
def quiet() -> Iterator[None]:
    """Without captum's warnings, which say on every call what explain() sees to: hooks are removed, gradients set."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"captum\.")
        yield


def reduce(attributions: Tensor, absolute: bool, channels: str) -> Tensor:
    """(b, c, h, w) -> (b, h, w); the absolute value comes before the channels are joined."""
    values = attributions.abs() if absolute else attributions
    return values.amax(dim=1) if channels == "max" else getattr(values, channels)(dim=1)


# Change the picture ---------------------------------------------------------------------------------------------------


def occlusion(
    task: Task,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: float | Tensor = 0.0,
    probability: bool = False,
    evaluations: int = 256,
) -> Tensor:
    """Occlusion: each pixel has the mean fall of the score over the windows that cover it. Signed, no ReLU.

    ``window`` and ``stride`` are in pixels; None for a fifth of the picture's shorter side, and half a window. The
    last window of a row or column is cut off at the border. ``baseline`` covers, a number or a picture (c, h, w) in the
    units of the images: 0 is the mean colour of normalised pictures. All windows of a picture run in one batched
    pass, or in several where that would be more than ``evaluations`` pictures.

    Differs from the paper: the fall of the logit; ``probability=True`` gives the paper's. The paper keeps a value per
    window, here pixels average theirs.
    """
    shorter = min(task.images.shape[-2:])
    window = max(1, round(shorter / 5)) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 1 <= window <= shorter or not 1 <= stride <= window:
        raise ValueError(
            f"window must be 1 to {shorter} pixels and stride 1 to window; got window={window}, stride={stride}"
        )
    channels = task.images.shape[1]
    with quiet():
        attributions = (
            captum()
            .Occlusion(Logits(task.network, probability=probability))
            .attribute(
                task.images.detach(),
                sliding_window_shapes=(channels, window, window),
                strides=(channels, stride, stride),
                baselines=constant_picture(baseline, task.images),
                target=task.targets,
                perturbations_per_eval=max(1, evaluations // len(task.images)),
            )
        )
    return attributions[:, 0].to(task.images.dtype)  # the same for every channel; captum gives float32


# Gradients with respect to the picture --------------------------------------------------------------------------------


def saliency(task: Task, *, absolute: bool = True, channels: Channels = "max") -> Tensor:
    """Saliency: the size of the gradient, largest over the colours. Absolute by default, no ReLU."""
    with quiet():
        gradient = captum().Saliency(task.logits).attribute(task.images, target=task.targets, abs=False)
    return reduce(gradient, absolute, channels)


def smooth_grad(
    task: Task,
    *,
    samples: int = 32,
    noise: float = 0.15,
    absolute: bool = True,
    channels: Channels = "max",
    seed: int = 0,
) -> Tensor:
    """SmoothGrad: the gradient averaged over noisy copies of the picture. Absolute by default, no ReLU.

    The noise is Gaussian, its deviation ``noise`` times the picture's range (largest minus smallest value); the same
    draws for every picture, from ``seed``. The signed gradients are averaged, then made absolute: what flickers with
    the noise cancels.

    Raises: ValueError on ``samples`` below 1 or a negative ``noise``.
    """
    if samples < 1 or not 0 <= noise < math.inf:
        raise ValueError(f"samples must be at least 1 and noise at least 0; got {samples} and {noise}")
    images = task.images.detach()
    deviation = noise * (images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True))
    draw = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(images)
    for _ in range(samples):
        drawn = torch.randn(images.shape[1:], generator=draw, dtype=torch.float64).to(images)
        noisy = (images + deviation * drawn).requires_grad_()
        score = task.logits(noisy).gather(1, task.targets[:, None]).sum()
        total += torch.autograd.grad(score, noisy)[0]
    return reduce(total / samples, absolute, channels)


def gradient_x_input(task: Task, *, absolute: bool = False, channels: Channels = "sum") -> Tensor:
    """Gradient times input, summed over the colours. Signed by default, no ReLU. Depends on where the input has 0."""
    with quiet():
        product = captum().InputXGradient(task.logits).attribute(task.images, target=task.targets)
    return reduce(product, absolute, channels)


def integrated_gradients(
    task: Task,
    *,
    steps: int = 50,
    baseline: float | Tensor = 0.0,
    absolute: bool = False,
    channels: Channels = "sum",
    evaluations: int = 256,
) -> Tensor:
    """Integrated gradients. Signed by default, no ReLU; with the default sum, sum(M) = s_k(x) - s_k(baseline).

    That completeness holds up to the error of ``steps`` Gauss-Legendre points. ``baseline`` is a number or a picture
    (c, h, w) in the units of the images: 0 is the mean colour of normalised pictures. ``evaluations`` pictures run at
    a time.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    with quiet():
        attributions = (
            captum()
            .IntegratedGradients(task.logits)
            .attribute(
                task.images,
                baselines=constant_picture(baseline, task.images),
                target=task.targets,
                n_steps=steps,
                internal_batch_size=max(evaluations, len(task.images)),
            )
        )
    # captum's integration points are float64, and so is what it gives.
    return reduce(attributions.to(task.images.dtype), absolute, channels)


def deconvnet(task: Task, *, absolute: bool = True, channels: Channels = "max") -> Tensor:
    """DeconvNet: the gradient, with another rule at each ReLU. Absolute by default; no ReLU on the map itself.

    Raises: ValueError where a ReLU between picture and logit is not an ``nn.ReLU`` module.
    """
    with modified_relus(task), quiet():
        return reduce(captum().Deconvolution(task.logits).attribute(task.images, task.targets), absolute, channels)


def guided_backprop(task: Task, *, absolute: bool = True, channels: Channels = "max") -> Tensor:
    """Guided backpropagation. Absolute by default; no ReLU on the map itself.

    It restores edges of the picture and hardly depends on the upper layers: it fails the sanity checks of Adebayo et
    al. (2018), as does guided Grad-CAM. Raises: ValueError where a ReLU is not an ``nn.ReLU`` module.
    """
    with modified_relus(task), quiet():
        return reduce(captum().GuidedBackprop(task.logits).attribute(task.images, task.targets), absolute, channels)


@contextmanager
def modified_relus(task: Task) -> Iterator[None]:
    """Make captum's rule for ReLUs exact, and refuse models on which it would be silently wrong.

    captum hooks ``nn.ReLU`` modules, so a functional ReLU keeps the plain gradient. And it changes the gradient of
    the tensor that enters the ReLU: wrong where a skip connection uses that tensor as well, or where a module is used
    twice. A copy made before every ReLU leaves the copy's gradient, which is the ReLU's alone, to be changed.
    """
    relus = [module for module in task.network.modules() if isinstance(module, nn.ReLU)]
    made: list[Any] = []
    handles = [m.register_forward_hook(lambda _module, _inputs, output: made.append(output.grad_fn)) for m in relus]
    try:
        score = task.logits(task.images[:1])[0, task.targets[0]]
    finally:
        for handle in handles:
            handle.remove()
    used = _relu_nodes(score.grad_fn)
    functional = used.difference(made)
    if functional or not used:
        found = f"{len(functional)} of {len(used)} are functional, or ReLU6" if used else "there is none"
        raise ValueError(
            f"model must apply its ReLUs as nn.ReLU modules, whose backward pass this method changes; between picture "
            f"and logit of {type(task.network).__name__} {found}. Use nn.ReLU in place of torch.relu, or saliency"
        )
    handles = [m.register_forward_pre_hook(lambda _module, inputs: (inputs[0].clone(),)) for m in relus]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _relu_nodes(last: Any) -> set[Any]:
    """The ReLU operations in the graph that ends in ``last``; those of ReLU6, which captum passes over, too."""
    seen: set[Any] = set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(before for before, _ in node.next_functions)
    return {node for node in seen if node.name() in ("ReluBackward0", "HardtanhBackward0")}
