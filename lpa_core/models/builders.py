"""Whole models: the builders of the paper's networks, and attention for any other network.

A builder gives an ``AttentionClassifier``, records on it what it was called with (``model.config``), and is listed in
``BUILDERS``; ``build(model.config)`` makes the same network again, with fresh weights.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

from torch import nn

from .._utils.checks import is_number
from ..attention import Compatibility, Match, Normalise
from .adapt import attend_to
from .classifier import AttentionClassifier, Combine, Head, needs_global
from .photo_trunk import PhotoTrunk
from .resnet_trunk import ResNetTrunk
from .small_trunk import SmallTrunk
from .vgg_trunk import AttentionVGGTrunk, ProgressiveVGGTrunk, VGGTrunk

P = ParamSpec("P")

BUILDERS: dict[str, Callable[..., AttentionClassifier]] = {}


def _builder(function: Callable[P, AttentionClassifier]) -> Callable[P, AttentionClassifier]:
    """Register a builder by its name and record on the model what it was called with, so weights can rebuild it."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def build_and_record(*args: P.args, **kwargs: P.kwargs) -> AttentionClassifier:
        model = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        model.config = {"builder": function.__name__, **bound.arguments}
        return model

    BUILDERS[function.__name__] = build_and_record
    return build_and_record


@_builder
def attention_vgg(
    num_classes: int = 100,
    *,
    levels: int = 3,
    compatibility: Compatibility = "pc",
    combine: Combine = "concat",
    match: Match = "global",
    normalise: Normalise = "softmax",
    g_per_level: bool = False,
    width: float = 1.0,
    dropout: float = 1.0,
    in_channels: int = 3,
    global_path: bool = True,
    pooled_local: bool = False,
    head: Head = "bn_relu",
    eps: float = 1e-3,
) -> AttentionClassifier:
    """The paper's network (VGG-att), layer by layer: 19,971,751 parameters at three levels and 100 classes.

    The default is (VGG-att3)-concat-pc. ``levels=3`` attends at layers 7, 10 and 13, 2 at 10 and 13, 1 at 13.
    ``width`` scales every channel count, ``dropout`` the authors' rates. ``global_path=False`` leaves out the layers
    that only make g: exact for pc with softmax, where g cancels; ``"uniform"`` never builds them.
    ``eps`` is what every BatchNorm adds to its variance: the authors' 1e-3, where PyTorch's default is 1e-5.
    The other options are those of ``AttentionClassifier`` and ``AttentionVGGTrunk``.

    Source: Jetley et al. (2018), section 4.1, and the authors' code.
    Raises: ValueError naming the argument out of range.
    """
    if not is_number(eps) or not 0 < eps < 1:
        raise ValueError(f"eps must be above 0 and below 1; got {eps!r}")
    trunk = AttentionVGGTrunk(
        in_channels=in_channels,
        width=width,
        levels=levels,
        dropout=dropout,
        global_path=needs_global(compatibility, combine, global_path),
        pooled_local=pooled_local,
    )
    model = AttentionClassifier(
        trunk,
        num_classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        g_per_level=g_per_level,
        head=head,
        dropout=dropout,
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = eps
    return model


@_builder
def vgg(
    num_classes: int = 100, *, width: float = 1.0, dropout: float = 1.0, in_channels: int = 3
) -> AttentionClassifier:
    """The paper's VGG baseline without attention: 15,038,116 parameters at 100 classes.

    The same 13 convolutions with pools after layers 2, 4, 7, 10 and 13, classified from g. About a twelfth of the
    multiplications of ``attention_vgg``, whose maps stay at full size through layer 7.

    Source: the authors' code.
    Raises: ValueError naming the argument out of range.
    """
    trunk = VGGTrunk(in_channels=in_channels, width=width, dropout=dropout)
    return AttentionClassifier(trunk, num_classes, combine="global", dropout=dropout)


@_builder
def vgg_gap(
    num_classes: int = 100, *, width: float = 1.0, dropout: float = 1.0, in_channels: int = 3
) -> AttentionClassifier:
    """The network that class activation maps (CAM) need: 13 convolutions, average pooling, one linear layer.

    The trunk of ``attention_vgg``, whose two pools leave 8x8 positions of 32x32 pictures; layer 13 is averaged and
    classified without BN, ReLU or dropout in between, so that sum_c w_kc l_ic is what position i says for class k. The
    average is ``compatibility="uniform"`` at one level.

    Source: Jetley et al. (2018), the VGG-GAP baseline, after Zhou et al. (2016); its layers are inferred.
    Raises: ValueError naming the argument out of range.
    """
    trunk = AttentionVGGTrunk(in_channels=in_channels, width=width, levels=1, dropout=dropout, global_path=False)
    return AttentionClassifier(trunk, num_classes, compatibility="uniform", head="linear", dropout=dropout)


@_builder
def vgg_pan(
    num_classes: int = 100,
    *,
    width: float = 1.0,
    dropout: float = 1.0,
    in_channels: int = 3,
    global_path: bool = True,
) -> AttentionClassifier:
    """Progressive attention: a sigmoid pc mask on layer 10 is fed on, softmax pc at layer 13 classifies.

    ``attend`` shows both, the mask first. Options as in ``attention_vgg``; see ``ProgressiveVGGTrunk`` for what differs
    from the paper.

    Source: the authors' code (VGG-PAN).
    Raises: ValueError naming the argument out of range.
    """
    trunk = ProgressiveVGGTrunk(in_channels=in_channels, width=width, dropout=dropout, global_path=global_path)
    return AttentionClassifier(trunk, num_classes, dropout=dropout)


@_builder
def resnet164(
    num_classes: int = 100, *, width: float = 1.0, blocks: int = 18, in_channels: int = 3
) -> AttentionClassifier:
    """The plain pre-activation ResNet-164: 1,726,388 parameters at 100 classes.

    ``blocks`` per stage give ``9 * blocks + 2`` layers. BN - ReLU - average over positions - linear; no dropout.

    Source: He et al. (2016), as the authors' code uses it.
    Raises: ValueError naming the argument out of range.
    """
    trunk = ResNetTrunk(in_channels=in_channels, width=width, blocks=blocks, levels=1, tail="average")
    return AttentionClassifier(trunk, num_classes, combine="global", head="linear")


@_builder
def attention_resnet164(
    num_classes: int = 100,
    *,
    levels: int = 2,
    compatibility: Compatibility = "pc",
    combine: Combine = "concat",
    match: Match = "global",
    normalise: Normalise = "softmax",
    g_per_level: bool = False,
    width: float = 1.0,
    blocks: int = 18,
    dropout: float = 1.0,
    in_channels: int = 3,
    global_path: bool = True,
) -> AttentionClassifier:
    """The paper's residual attention network (RN-att2): 2,430,134 parameters at 100 classes.

    ResNet-164 that attends to the ends of its stages 2 and 3 (``levels=3``: 1, 2 and 3; ``levels=1``: 3), with a
    convolution block and a linear layer that make g. Options as in ``attention_vgg``; ``blocks`` as in ``resnet164``.

    Source: Jetley et al. (2018) and the authors' code.
    Raises: ValueError naming the argument out of range.
    """
    has_global = needs_global(compatibility, combine, global_path)
    trunk = ResNetTrunk(
        in_channels=in_channels,
        width=width,
        blocks=blocks,
        levels=levels,
        tail="conv" if has_global else "none",
        dropout=dropout,
    )
    return AttentionClassifier(
        trunk,
        num_classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        g_per_level=g_per_level,
        head_rate=0.3,
        dropout=dropout,
    )


@_builder
def small_attention_net(
    num_classes: int = 10,
    *,
    levels: int = 3,
    compatibility: Compatibility = "pc",
    combine: Combine = "concat",
    match: Match = "global",
    normalise: Normalise = "softmax",
    g_per_level: bool = False,
    in_channels: int = 3,
    global_path: bool = True,
) -> AttentionClassifier:
    """A shallow network of the paper's three-level design for digits in clutter on a CPU (see ``SmallTrunk``).

    Options as in ``AttentionClassifier``. No dropout.
    Raises: ValueError naming the argument out of range.
    """
    trunk = SmallTrunk(
        in_channels=in_channels, levels=levels, global_path=needs_global(compatibility, combine, global_path)
    )
    return AttentionClassifier(
        trunk,
        num_classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        g_per_level=g_per_level,
        dropout=0.0,
    )


@_builder
def photo_attention_net(
    num_classes: int = 100,
    *,
    levels: int = 3,
    compatibility: Compatibility = "pc",
    combine: Combine = "concat",
    match: Match = "global",
    normalise: Normalise = "softmax",
    g_per_level: bool = False,
    in_channels: int = 3,
    global_path: bool = True,
) -> AttentionClassifier:
    """A compact network of the paper's three-level design for CIFAR on two CPU cores (see ``PhotoTrunk``).

    Options as in ``AttentionClassifier``. No dropout.
    Raises: ValueError naming the argument out of range.
    """
    trunk = PhotoTrunk(
        in_channels=in_channels, levels=levels, global_path=needs_global(compatibility, combine, global_path)
    )
    return AttentionClassifier(
        trunk,
        num_classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        g_per_level=g_per_level,
        dropout=0.0,
    )


BUILDERS["attend_to"] = attend_to  # records its own config: weights are not part of it


def build(config: Mapping[str, Any]) -> AttentionClassifier:
    """Build a model from a recorded ``model.config``: ``{"builder": name, **options}``. Weights are fresh.

    Raises: ValueError on an unknown builder or option (both messages list what exists).
    """
    options = dict(config)
    name = options.pop("builder", None)
    if not isinstance(name, str) or name not in BUILDERS:
        raise ValueError(f"builder must be one of {', '.join(BUILDERS)}; got {name!r}")
    known = inspect.signature(BUILDERS[name]).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    return BUILDERS[name](**options)
