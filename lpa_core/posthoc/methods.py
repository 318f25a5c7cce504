"""Post-hoc maps: where did a trained classifier look? One verb, ``explain``, for all ``METHODS`` and for your own.

Post-hoc means: computed after training, from a network that was not built to show anything. Beside them stands the
trained attention of the network itself (``method="attention"``), which takes no class. Maps come raw: not normalised,
not enlarged, signs kept where the method has signs.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import check_option
from .._utils.modes import undisturbed
from .layers import find_layer, last_map_layer
from .network import Logits, Targets, Task, check_pictures, check_targets, pick_targets, working_copy
from .picture_maps import Channels, captum
from .table import METHODS, Method

OwnMethod = Callable[..., Any]  # (model, images, targets, **options) -> maps


def explain(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    targets: Targets = None,
    *,
    method: str | OwnMethod = "grad_cam",
    layer: str | nn.Module | None = None,
    batch_size: int = 64,
    **options: Any,
) -> Float[Tensor, "b *k h w"]:
    """Where did ``model`` look? One raw map per picture, by any of ``METHODS``, or one for each of k classes.

    The map explains the *logit* of one class. It has the size of the images, or of the layer for the CAM family and
    attention, and is neither normalised nor enlarged (``metrics.enlarge``). How each method treats signs, ReLU and
    channels stands in its entry of ``METHODS`` and in the docstring of its function below.

    The model is left as it was: eval mode only meanwhile, no hook, no gradient, no buffer changes; ``images`` stay
    untouched too. The caller may be under ``torch.no_grad()``. Any ``nn.Module`` that gives logits works.

    Args:
        model: a classifier; compiled models run uncompiled meanwhile.
        images: (b, c, height, width), normalised as the model expects; they follow it to its device, and the maps come
            back to theirs.
        targets: the class to explain, one for all or one for each picture; None for the predicted class. (b, k) asks
            for k classes of every picture and gives (b, k, h, w), in one pass forward for methods with ``one_pass``.
            A trained attention map has no class: ``"attention"`` refuses targets.
        method: a key of ``METHODS``, or a function of your own, ``(model, images, targets) -> maps``, which gets the
            model in eval mode, a batch, one class for each picture and the ``options``, and gives (b, h, w), a tensor
            or an array, no larger than the pictures.
        layer: for the CAM family, a module of the model or its name; None for the last local map of the trunk, or the
            last map in any other network (``posthoc.map_layers`` lists them). Channels may lie first or last; tokens of
            a vision transformer are laid out as the grid they came from. Of a layer that runs several times the last
            run counts. The map explains what passes through this layer, and nothing that goes around it.
        batch_size: pictures at a time.
        options: those of the method: ``METHODS[method].options``.

    Raises: ValueError on an unknown method, option or layer, a layer that gives no map or does not reach the logits,
        a target outside the classes, images that are empty or not finite, or a model the method does not fit;
        TypeError on images, targets or model outputs of the wrong type; ImportError where the method needs captum
        (its ``engine``) and that is missing.
    """
    chosen = find_method(method)
    unknown = sorted(set(options) - set(chosen.options)) if chosen.engine != "yours" else []
    if unknown:
        raise ValueError(
            f"{chosen.name} has no option {', '.join(unknown)}; it has {', '.join(chosen.options) or 'none'}"
        )
    if "channels" in options and chosen.engine != "yours":
        check_option("channels", options["channels"], Channels)
    if targets is not None and not chosen.class_specific:
        raise ValueError(f"{chosen.name} takes no targets, the map is the same for every class; got {targets!r}")
    if layer is not None and not chosen.takes_layer:
        has = " (choose among the model's own maps with level=)" if method == "attention" else ""
        raise ValueError(f"{chosen.name} takes no layer{has}; got {layer!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}")
    if chosen.engine == "captum":
        captum()
    with undisturbed(model) as network:
        given, images = images, check_pictures(images, network)
        classes = check_targets(targets, len(images), several=True)
        name, module = "", None
        if chosen.takes_layer:
            name, module = find_layer(network, last_map_layer(network, images) if layer is None else layer)
        logits = Logits(network)
        if classes is not None:
            classes = classes.to(images.device)
        if chosen.class_specific and not chosen.one_pass:
            classes = pick_targets(logits, images, classes, batch_size=batch_size)
        maps = []
        for start in range(0, len(images), batch_size):
            some = working_copy(images[start : start + batch_size], network)
            task = Task(logits, some, None if classes is None else classes[start : start + batch_size], module, name)
            maps.append(_maps(chosen, task, options))
    result = torch.cat(maps)
    if not result.isfinite().all():
        raise ValueError(f"{chosen.name} gives NaN or infinite values for this model and these images")
    return result.to(given.device)


def _maps(chosen: Method, task: Task, options: dict[str, Any]) -> Tensor:
    """The maps of one batch, (b, h, w), or (b, k, h, w) where the task has k classes a picture."""
    if task.wanted is None or task.wanted.ndim == 1 or chosen.one_pass:
        return chosen.function(task, **options).detach()
    each = [chosen.function(task._replace(wanted=column), **options).detach() for column in task.wanted.unbind(dim=1)]
    return torch.stack(each, dim=1)


def find_method(method: str | OwnMethod) -> Method:
    """The line of ``METHODS`` with this name, or one made for a function ``(model, images, targets) -> maps``.

    Raises: ValueError on an unknown name; lists what exists.
    """
    if callable(method):
        return _line_for(method)
    if method not in METHODS:
        raise ValueError(
            f"method must be one of {', '.join(METHODS)}, or a function (model, images, targets) -> maps; "
            f"got {method!r}"
        )
    return METHODS[method]


def _line_for(own: OwnMethod) -> Method:
    called = getattr(own, "__name__", type(own).__name__)

    def function(task: Task, **options: Any) -> Tensor:
        given = own(task.network, task.images.detach(), task.targets, **options)
        try:
            maps = torch.as_tensor(given, device=task.images.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{called} must give a tensor or an array; got {type(given).__name__}") from error
        high, wide = task.picture
        if maps.ndim != 3 or len(maps) != len(task.images) or not (maps.shape[1] <= high and maps.shape[2] <= wide):
            raise ValueError(
                f"{called} must give maps ({len(task.images)}, h, w), at most {high}x{wide}; got {tuple(maps.shape)}"
            )
        return maps if maps.is_floating_point() else maps.to(task.images.dtype)

    function.__name__ = called
    return Method(
        function=function,
        description="A function of yours.",
        formula="",
        paper="",
        sign="signed",
        channels="as the function does",
        resolution="image",
        engine="yours",
    )
