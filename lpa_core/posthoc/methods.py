"""Post-hoc maps: where did a trained classifier look? One verb, ``explain``, and a table of its ``METHODS``.

Post-hoc means: computed after training, from a network that was not built to show anything. Beside them stands the
trained attention of the network itself (``method="attention"``), which takes no class.

Symbols: x the picture, s_k(x) the logit of class k, A the activations of a layer with n = h * w positions and channels
f, R the activations or gradients inside a ReLU. Maps come raw: not normalised, not enlarged, signs kept where the
method has signs. captum computes what it has; CAM and HiResCAM are written here.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import check_option
from .._utils.modes import undisturbed
from .layer_maps import attention, cam, grad_cam, guided_grad_cam, hirescam
from .network import Logits, Targets, Task, check_pictures, check_targets, find_layer, last_map_layer, pick_targets
from .picture_maps import (
    Channels,
    captum,
    deconvnet,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency,
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One line of ``METHODS``: what a method computes, and how its map is to be read.

    Attributes:
        function: computes the map; its docstring has the details. ``name`` is its name.
        description: one sentence.
        formula: LaTeX.
        paper: where it comes from.
        sign: of the map with the default options.
        relu: is a ReLU applied to the map by default (``relu=False`` leaves it out where that is an option)?
        channels: how colours or features become one number.
        resolution: the map has the size of the images or of the layer.
        engine: who computes it.
        class_specific: does the map depend on ``targets``?
        takes_layer: does it need a layer?
    """

    function: Callable[..., Tensor]
    description: str
    formula: str
    paper: str
    sign: Literal["signed", "non-negative"]
    channels: str
    resolution: Literal["image", "layer"]
    relu: bool = False
    engine: Literal["captum", "lpa_core"] = "captum"
    class_specific: bool = True
    takes_layer: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def options(self) -> dict[str, Any]:
        """The method's own options with their defaults, to be passed to ``explain``."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def explain(
    model: nn.Module,
    images: Float[Tensor, "b c height width"],
    targets: Targets = None,
    *,
    method: str = "grad_cam",
    layer: str | nn.Module | None = None,
    batch_size: int = 64,
    **options: Any,
) -> Float[Tensor, "b h w"]:
    """Where did ``model`` look? One raw map per picture, by any of ``METHODS``.

    The map explains the *logit* of one class. It has the size of the images, or of the layer for the CAM family and
    attention, and is neither normalised nor enlarged (``metrics.enlarge``). How each method treats signs, ReLU and
    channels stands in its entry of ``METHODS`` and in the docstring of its function below.

    The model is left as it was: eval mode only meanwhile, no hook, no gradient, no buffer changes; ``images`` stay
    untouched too. The caller may be under ``torch.no_grad()``. Any ``nn.Module`` that gives logits works.

    Args:
        model: a classifier; compiled models run uncompiled meanwhile.
        images: (b, c, height, width), normalised as the model expects; they follow it to its device, and the maps come
            back to theirs.
        targets: the class to explain, one for all or one for each picture; None for the predicted class. A trained
            attention map has no class: ``"attention"`` refuses targets.
        method: a key of ``METHODS``.
        layer: for the CAM family, a module of the model or its name; None for the last local map of the trunk, or the
            last map in any other network (``probe.map_layers`` lists them). Of a layer that runs several times the
            last run counts. The map explains what passes through this layer, and nothing that goes around it.
        batch_size: pictures at a time.
        options: those of the method: ``METHODS[method].options``.

    Raises: ValueError on an unknown method, option or layer, a layer that gives no map or does not reach the logits,
        a target outside the classes, images that are empty or not finite, or a model the method does not fit;
        TypeError on images, targets or model outputs of the wrong type; ImportError where captum is missing.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    chosen = METHODS[method]
    if unknown := sorted(set(options) - set(chosen.options)):
        raise ValueError(f"{method} has no option {', '.join(unknown)}; it has {', '.join(chosen.options) or 'none'}")
    if "channels" in options:
        check_option("channels", options["channels"], Channels)
    if targets is not None and not chosen.class_specific:
        raise ValueError(f"{method} takes no targets, the map is the same for every class; got {targets!r}")
    if layer is not None and not chosen.takes_layer:
        has = " (choose among the model's own maps with level=)" if method == "attention" else ""
        raise ValueError(f"{method} takes no layer{has}; got {layer!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; got {batch_size}")
    if chosen.engine == "captum":
        captum()
    with undisturbed(model) as network:
        home, images = images.device, check_pictures(images, network)
        classes = check_targets(targets, len(images))
        name, module = "", None
        if chosen.takes_layer:
            name, module = find_layer(network, last_map_layer(network, images) if layer is None else layer)
        logits = Logits(network)
        if chosen.class_specific:
            classes = pick_targets(logits, images, classes, batch_size=batch_size)
        else:
            classes = torch.zeros(len(images), dtype=torch.long)
        maps = []
        for some, of_class in zip(images.split(batch_size), classes.split(batch_size), strict=True):
            task = Task(logits, some.clone().requires_grad_(), of_class, module, name)
            maps.append(chosen.function(task, **options).detach())
    result = torch.cat(maps)
    if not result.isfinite().all():
        raise ValueError(f"{method} gives NaN or infinite values for this model and these images")
    return result.to(home)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            function=occlusion,
            description="Cover a window with a constant and see how far the score falls.",
            formula=r"M_i = \operatorname{mean}_{w \ni i}\,[s_k(x) - s_k(x \text{ with } w \text{ covered})]",
            paper="Zeiler & Fergus (2013), arXiv:1311.2901",
            sign="signed",
            channels="all channels are covered together",
            resolution="image",
        ),
        Method(
            function=saliency,
            description="How fast does the score change with each pixel?",
            formula=r"M = \max_c\,|\partial s_k / \partial x_c|",
            paper="Simonyan et al. (2013), arXiv:1312.6034",
            sign="non-negative",
            channels="largest absolute value",
            resolution="image",
        ),
        Method(
            function=gradient_x_input,
            description="The gradient weighted by the pixel: what a linear network with this gradient would owe to it.",
            formula=r"M = \sum_c x_c\,\partial s_k / \partial x_c",
            paper="Shrikumar et al. (2016), arXiv:1605.01713",
            sign="signed",
            channels="sum",
            resolution="image",
        ),
        Method(
            function=integrated_gradients,
            description="Gradients averaged on the way from a baseline to the picture; the map sums to the rise.",
            formula=r"M = \sum_c (x_c - x'_c) \int_0^1 \frac{\partial s_k}{\partial x_c}(x' + t\,(x - x'))\,dt",
            paper="Sundararajan et al. (2017), arXiv:1703.01365",
            sign="signed",
            channels="sum",
            resolution="image",
        ),
        Method(
            function=deconvnet,
            description="Backwards through the network, every ReLU passing what is positive on the way back.",
            formula=r"R^{l} = \max(R^{l+1}, 0) \text{ at each ReLU}; \quad M = \max_c |R^0_c|",
            paper="Zeiler & Fergus (2013), arXiv:1311.2901",
            sign="non-negative",
            channels="largest absolute value",
            resolution="image",
        ),
        Method(
            function=guided_backprop,
            description="DeconvNet and the gradient at once: a ReLU passes what is positive on both ways.",
            formula=r"R^{l} = [A^{l} > 0]\,\max(R^{l+1}, 0) \text{ at each ReLU}; \quad M = \max_c |R^0_c|",
            paper="Springenberg et al. (2014), arXiv:1412.6806",
            sign="non-negative",
            channels="largest absolute value",
            resolution="image",
        ),
        Method(
            function=cam,
            description="The feature maps before global average pooling, weighted by the class's row of weights.",
            formula=r"M = \sum_f w_{kf}\,A_f",
            paper="Zhou et al. (2016), arXiv:1512.04150",
            sign="signed",
            channels="sum over features",
            resolution="layer",
            engine="lpa_core",
            takes_layer=True,
        ),
        Method(
            function=grad_cam,
            description="A layer's feature maps, each weighted by its mean gradient; only what speaks for the class.",
            formula=r"M = \max(0, \sum_f \alpha_f A_f),\ \alpha_f = \frac{1}{n} \sum_i \partial s_k / \partial A_{fi}",
            paper="Selvaraju et al. (2017), arXiv:1610.02391",
            sign="non-negative",
            channels="sum over features",
            resolution="layer",
            relu=True,
            takes_layer=True,
        ),
        Method(
            function=guided_grad_cam,
            description="Guided backpropagation, weighted by the enlarged Grad-CAM.",
            formula=r"M = \max_c |M^{\text{guided}}_c| \cdot \text{enlarged}\,M^{\text{Grad-CAM}}",
            paper="Selvaraju et al. (2017), arXiv:1610.02391",
            sign="non-negative",
            channels="largest absolute value",
            resolution="image",
            takes_layer=True,
        ),
        Method(
            function=hirescam,
            description="The feature maps of a layer times their gradients, position by position.",
            formula=r"M = \sum_f A_f \odot \partial s_k / \partial A_f",
            paper="Draelos & Carin (2020), arXiv:2011.08891",
            sign="signed",
            channels="sum over features",
            resolution="layer",
            engine="lpa_core",
            takes_layer=True,
        ),
        Method(
            function=attention,
            description="The weights the network itself learned to look with, at one of its levels.",
            formula=r"M_i = a_i = \exp c_i \,/\, \sum_j \exp c_j",
            paper="Jetley et al. (2018), arXiv:1804.02391",
            sign="non-negative",
            channels="none: one weight per position",
            resolution="layer",
            engine="lpa_core",
            class_specific=False,
        ),
    )
}
