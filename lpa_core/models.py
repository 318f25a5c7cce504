"""Whole models: a trunk, attention estimators on its levels, and a classifier.

``model(images)`` gives logits, so whatever expects a classifier works; ``model.attend(images)`` also gives the maps.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, ParamSpec

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .attention import Attended, AttentionEstimator, Compatibility, Match, Normalise, check_option
from .trunks import AttentionVGGTrunk, SmallTrunk, Trunk, VGGTrunk, check_images

Combine = Literal["concat", "indep", "global"]


class AttentionOutput(NamedTuple):
    """Logits (b, K); one ``Attended`` per level, shallow to deep (empty for ``combine="global"``); g (b, k) or None."""

    logits: Float[Tensor, "b classes"]
    attended: tuple[Attended, ...]
    g: Float[Tensor, "b k"] | None


class AttentionClassifier(nn.Module):
    """A classifier that looks: logits from the attended vectors g_a^1 ... g_a^S of a trunk's levels.

    Args:
        trunk: gives ``Features(local, g)``; its ``local_channels`` set the levels.
        num_classes: K.
        compatibility, match, normalise: as in ``AttentionEstimator``.
        combine: how the levels are classified.
            ``"concat"``: each g_a^s - BN - ReLU - dropout, concatenated, one linear layer.
            ``"indep"``: each g_a^s - BN - ReLU - dropout - linear layer of its own; the class probabilities are
            averaged and the logits are the log of that mean (the paper's text; the authors' code adds logits at three
            levels and log-probabilities at two).
            ``"global"``: no attention; g - BN - ReLU - dropout - linear. The control for dp and sigmoid.
        dropout: multiplies the authors' rate of 0.5 in the head and in the projections of g.

    A trunk without a global path gives estimators that use no g (pc with softmax, or uniform).

    Source: Jetley et al. (2018), section 3; head as in the authors' code.
    Raises: ValueError on unknown options, ``num_classes`` below 1, or ``combine="global"`` on a trunk without g.
    """

    config: dict[str, Any]  # what a builder below was called with; empty for a model put together by hand

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        compatibility: Compatibility = "pc",
        combine: Combine = "concat",
        match: Match = "global",
        normalise: Normalise = "softmax",
        dropout: float = 1.0,
    ) -> None:
        super().__init__()
        check_option("combine", combine, Combine)
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1; got {num_classes}")
        if combine == "global" and not trunk.has_global:
            raise ValueError("combine='global' classifies from g; build the trunk with global_path=True")
        self.config = {}
        self.trunk, self.num_classes, self.combine = trunk, num_classes, combine
        estimators = [
            AttentionEstimator(
                channels,
                trunk.global_channels,
                compatibility=compatibility,
                match=match,
                normalise=normalise,
                use_g=trunk.has_global,
                dropout=0.5 * dropout,
            )
            for channels in (() if combine == "global" else trunk.local_channels)
        ]
        lengths = [e.out_channels for e in estimators] or [trunk.global_channels]
        self.estimators = nn.ModuleList(estimators)
        self.prepare = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(n, eps=1e-3), nn.ReLU(), nn.Dropout(0.5 * dropout)) for n in lengths
        )
        inputs = lengths if combine == "indep" else [sum(lengths)]
        self.classifiers = nn.ModuleList(nn.Linear(n, num_classes) for n in inputs)

    def attend(self, images: Float[Tensor, "b c h w"]) -> AttentionOutput:
        """Logits and, for every level, the attended vector, the weights (the map) and the scores.

        Raises: TypeError unless ``images`` is floating point; ValueError unless it is (b, in_channels, h, w).
        """
        check_images(images, self.trunk.in_channels)
        features = self.trunk(images)
        attended = tuple(
            estimator(local, features.g) for estimator, local in zip(self.estimators, features.local, strict=False)
        )
        vectors = [a.vector for a in attended] or [features.g]
        prepared = [prepare(v) for prepare, v in zip(self.prepare, vectors, strict=True)]
        if self.combine == "indep":
            each = torch.stack([layer(v) for layer, v in zip(self.classifiers, prepared, strict=True)])
            logits = each.log_softmax(dim=-1).logsumexp(dim=0) - torch.tensor(float(len(prepared))).log()
        else:
            logits = self.classifiers[0](torch.cat(prepared, dim=1))
        return AttentionOutput(logits, attended, features.g)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.attend(images).logits


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
    width: float = 1.0,
    dropout: float = 1.0,
    in_channels: int = 3,
    global_path: bool = True,
    pooled_local: bool = False,
) -> AttentionClassifier:
    """The paper's network (VGG-att), layer by layer: 19,971,751 parameters at three levels and 100 classes.

    The default is (VGG-att3)-concat-pc. ``levels=3`` attends at layers 7, 10 and 13, 2 at 10 and 13, 1 at 13.
    ``width`` scales every channel count, ``dropout`` the authors' rates. ``global_path=False`` leaves out the layers
    that only make g: exact for pc with softmax, where g cancels; ``"uniform"`` never builds them.
    The other options are those of ``AttentionClassifier`` and ``AttentionVGGTrunk``.

    Source: Jetley et al. (2018), section 4.1, and the authors' code.
    Raises: ValueError naming the argument out of range.
    """
    trunk = AttentionVGGTrunk(
        in_channels=in_channels,
        width=width,
        levels=levels,
        dropout=dropout,
        global_path=_needs_global(compatibility, combine, global_path),
        pooled_local=pooled_local,
    )
    return AttentionClassifier(
        trunk,
        num_classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        dropout=dropout,
    )


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
def small_attention_net(
    num_classes: int = 10,
    *,
    levels: int = 3,
    compatibility: Compatibility = "pc",
    combine: Combine = "concat",
    match: Match = "global",
    normalise: Normalise = "softmax",
    in_channels: int = 3,
    global_path: bool = True,
) -> AttentionClassifier:
    """A shallow network of the paper's three-level design for digits in clutter on a CPU (see ``SmallTrunk``).

    Options as in ``AttentionClassifier``. No dropout.
    Raises: ValueError naming the argument out of range.
    """
    trunk = SmallTrunk(
        in_channels=in_channels, levels=levels, global_path=_needs_global(compatibility, combine, global_path)
    )
    return AttentionClassifier(
        trunk,
        num_classes,
        compatibility=compatibility,
        combine=combine,
        match=match,
        normalise=normalise,
        dropout=0.0,
    )


def _needs_global(compatibility: str, combine: str, asked: bool) -> bool:
    return asked and (compatibility != "uniform" or combine == "global")


def build(config: Mapping[str, Any]) -> AttentionClassifier:
    """Build a model from a recorded ``model.config``: ``{"builder": name, **options}``. Weights are fresh.

    Raises: ValueError on an unknown builder or option (both messages list what exists).
    """
    options = dict(config)
    name = options.pop("builder", None)
    if name not in BUILDERS:
        raise ValueError(f"builder must be one of {', '.join(BUILDERS)}; got {name!r}")
    known = inspect.signature(BUILDERS[name]).parameters
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    return BUILDERS[name](**options)
