"""The post-hoc methods side by side: what each computes, by which formula, from which paper, and how its map is read.

Symbols: x the picture, s_k(x) the logit of class k, A the activations of a layer with n = h * w positions and channels
f, R the activations or gradients inside a ReLU. A new method is a function of a ``Task`` in ``picture_maps`` or
``layer_maps`` and a line here.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from .layer_maps import (
    attention,
    cam,
    grad_cam,
    grad_cam_plus_plus,
    guided_grad_cam,
    hirescam,
    layer_cam,
    score_cam,
)
from .picture_maps import (
    deconvnet,
    gradient_x_input,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency,
    smooth_grad,
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
        engine: who computes it; ``"yours"`` for a function given to ``explain``.
        class_specific: does the map depend on ``targets``?
        takes_layer: does it need a layer?
        one_pass: does one pass forward serve any number of classes a picture?
    """

    function: Callable[..., Tensor]
    description: str
    formula: str
    paper: str
    sign: Literal["signed", "non-negative"]
    channels: str
    resolution: Literal["image", "layer"]
    relu: bool = False
    engine: Literal["captum", "lpa_core", "yours"] = "captum"
    class_specific: bool = True
    takes_layer: bool = False
    one_pass: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def options(self) -> dict[str, Any]:
        """The method's own options with their defaults, to be passed to ``explain``."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


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
            function=smooth_grad,
            description="The gradient averaged over noisy copies of the picture: its flicker averages out.",
            formula=r"M = \max_c\,\bigl|\tfrac{1}{N} \sum_n \partial s_k / \partial x_c\,(x + \varepsilon_n)\bigr|,\ "
            r"\varepsilon_n \sim \mathcal{N}(0, \sigma^2)",
            paper="Smilkov et al. (2017), arXiv:1706.03825",
            sign="non-negative",
            channels="largest absolute value",
            resolution="image",
            engine="lpa_core",
        ),
        Method(
            function=gradient_x_input,
            description="The gradient times the pixel: what it adds to the score if the network is linear.",
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
            one_pass=True,
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
            engine="lpa_core",
            takes_layer=True,
            one_pass=True,
        ),
        Method(
            function=grad_cam_plus_plus,
            description="Grad-CAM with a weighted sum of positive gradients, meant for small and for several objects.",
            formula=r"M = \max(0, \sum_f w_f A_f),\ w_f = \sum_i \frac{g_{fi}^2}{2 g_{fi}^2 + g_{fi}^3 \sum_j A_{fj}}"
            r"\max(0, g_{fi}),\ g = \partial s_k / \partial A",
            paper="Chattopadhyay et al. (2018), arXiv:1710.11063",
            sign="non-negative",
            channels="sum over features",
            resolution="layer",
            relu=True,
            engine="lpa_core",
            takes_layer=True,
            one_pass=True,
        ),
        Method(
            function=layer_cam,
            description="The feature maps of a layer, each position weighted by its own gradient where it is positive.",
            formula=r"M = \max(0, \sum_f A_f \odot \max(0, \partial s_k / \partial A_f))",
            paper="Jiang et al. (2021), LayerCAM, doi:10.1109/TIP.2021.3089943",
            sign="non-negative",
            channels="sum over features",
            resolution="layer",
            relu=True,
            engine="lpa_core",
            takes_layer=True,
            one_pass=True,
        ),
        Method(
            function=score_cam,
            description="The feature maps of a layer, each weighted by the score of the picture seen through it.",
            formula=r"M = \max(0, \sum_f \alpha_f A_f),\ \alpha = \operatorname{softmax}_f s_k(x \odot H_f),\ "
            r"H_f \text{: } A_f \text{ enlarged, in } [0, 1]",
            paper="Wang et al. (2020), arXiv:1910.01279",
            sign="non-negative",
            channels="sum over features",
            resolution="layer",
            relu=True,
            engine="lpa_core",
            takes_layer=True,
            one_pass=True,
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
            one_pass=True,
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
