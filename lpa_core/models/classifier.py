"""A trunk, attention estimators on its levels, and a classifier: the model that the builders in ``models`` make.

``model(images)`` gives logits, so whatever expects a classifier works; ``model.attend(images)`` also gives the maps,
and ``attention_maps(model, images)`` gives nothing but them, as large as the pictures.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .._utils.checks import check_count, check_option, height_and_width, is_number
from .._utils.device import device_of
from .._utils.modes import evaluating
from ..attention import Attended, AttentionEstimator, Compatibility, Match, Normalise
from .trunk import Trunk, check_images

Combine = Literal["concat", "indep", "global"]
Head = Literal["bn_relu", "linear"]


class AttentionOutput(NamedTuple):
    """Logits (b, K); one ``Attended`` per level, shallow to deep (empty for ``combine="global"``); g (b, k) or None."""

    logits: Float[Tensor, "b classes"]
    attended: tuple[Attended, ...]
    g: Float[Tensor, "b k"] | None

    def to(self, device: str | torch.device) -> "AttentionOutput":
        """The same on another device."""
        attended = tuple(Attended(*(part.to(device) for part in level)) for level in self.attended)
        return AttentionOutput(self.logits.to(device), attended, None if self.g is None else self.g.to(device))


class AttentionClassifier(nn.Module):
    """A classifier that looks: logits from the attended vectors g_a^1 ... g_a^S of a trunk's levels.

    Args:
        trunk: gives ``Features(local, g)``; its ``local_channels`` set the levels.
        num_classes: the number of classes, K.
        compatibility, match, normalise: as in ``AttentionEstimator``.
        combine: how the levels are classified, with prepare = BN - ReLU - dropout.
            ``"concat"``: each g_a^s prepared, concatenated, one linear layer.
            ``"indep"``: each g_a^s prepared, a linear layer of its own; the class probabilities are averaged and the
            logits are the log of that mean (the paper's text; the authors' code adds logits at three levels and
            log-probabilities at two).
            ``"global"``: no attention; g prepared, one linear layer. The control for dp and sigmoid.
        g_per_level: False: one g for all levels, projected only where its length differs from the local features'.
            True: every level has a projection of g of its own.
        head: ``"bn_relu"`` (the paper): prepare as above. ``"linear"``: no preparation, the linear layers alone.
        head_rate: the authors' dropout rate in the head.
        dropout: multiplies ``head_rate`` and the authors' rate of 0.5 in the projections of g.

    A trunk without a global path gives estimators that use no g (pc with softmax, or uniform).

    Source: Jetley et al. (2018), section 3; head as in the authors' code.
    Raises: ValueError on unknown options, ``num_classes`` below 1, or ``combine="global"`` on a trunk without g.
    """

    config: dict[str, Any]  # what a builder was called with; empty for a model put together by hand
    mean: tuple[float, ...] | None = None  # what pictures in [0, 1] are normalised with, where the backbone says so
    std: tuple[float, ...] | None = None

    def __init__(
        self,
        trunk: Trunk,
        num_classes: int,
        *,
        compatibility: Compatibility = "pc",
        combine: Combine = "concat",
        match: Match = "global",
        normalise: Normalise = "softmax",
        g_per_level: bool = False,
        head: Head = "bn_relu",
        head_rate: float = 0.5,
        dropout: float = 1.0,
    ) -> None:
        super().__init__()
        check_option("combine", combine, Combine)
        check_option("head", head, Head)
        check_count("num_classes", num_classes)
        if not is_number(dropout) or not 0 <= dropout * max(head_rate, 0.5) <= 1:
            raise ValueError(
                f"dropout multiplies rates up to {max(head_rate, 0.5)} and must leave [0, 1]; got {dropout}"
            )
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
                own_g=g_per_level,
                use_g=trunk.has_global,
                dropout=0.5 * dropout,
            )
            for channels in (() if combine == "global" else trunk.local_channels)
        ]
        lengths = [e.out_channels for e in estimators] or [trunk.global_channels]
        self.estimators = nn.ModuleList(estimators)
        self.prepare = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(n, eps=1e-3), nn.ReLU(), nn.Dropout(head_rate * dropout))
            if head == "bn_relu"
            else nn.Identity()
            for n in lengths
        )
        inputs = lengths if combine == "indep" else [sum(lengths)]
        self.classifiers = nn.ModuleList(nn.Linear(n, num_classes) for n in inputs)

    @property
    def device(self) -> torch.device:
        """Where the model is. Its own methods take pictures that are there; the functions of this package move them."""
        return device_of(self)

    def attend(self, images: Float[Tensor, "b c h w"]) -> AttentionOutput:
        """Logits and, for every level, the attended vector, the weights (the map) and the scores.

        Raises: TypeError unless ``images`` is floating point; ValueError unless it is (b, in_channels, h, w).
        """
        check_images(images, self.trunk.in_channels)
        features = self.trunk(images)
        # combine="global" has no estimators, whatever maps the trunk gives.
        attended = tuple(
            estimator(local, features.g) for estimator, local in zip(self.estimators, features.local, strict=False)
        )
        vectors = [a.vector for a in attended] or [features.g]
        return AttentionOutput(self.classify(vectors), (*features.gates, *attended), features.g)

    def classify(self, vectors: Sequence[Float[Tensor, "b _"]]) -> Float[Tensor, "b classes"]:
        """Logits from one attended vector per level, shallow to deep (from [g] for ``combine="global"``).

        What ``attend`` ends with, apart, so that maps can be tested: change or delete a vector and classify again.

        Raises: ValueError unless there is one vector per level.
        """
        if len(vectors) != len(self.prepare):
            raise ValueError(f"vectors must be {len(self.prepare)}, one for each level; got {len(vectors)}")
        prepared = [prepare(v) for prepare, v in zip(self.prepare, vectors, strict=True)]
        if self.combine == "indep":
            each = torch.stack([layer(v) for layer, v in zip(self.classifiers, prepared, strict=True)])
            return each.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(prepared))
        return self.classifiers[0](torch.cat(prepared, dim=1))

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.attend(images).logits

    def __prepare_scriptable__(self) -> Any:
        """What ``torch.jit.script`` calls first. Raises: TypeError with what to use instead."""
        raise TypeError(
            f"{type(self).__name__} cannot be compiled by torch.jit.script, which PyTorch no longer develops; use "
            f"torch.export.export(model, (images,)), torch.compile(model) or python -m lpa_core export"
        )

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As ``nn.Module.load_state_dict``, but weights of another variant change nothing.

        Raises: ValueError where ``strict`` and a name or a shape differs; names both sides, before any work.
        """
        if strict:
            check_weights(self, state_dict)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)


def needs_global(compatibility: str, combine: str, asked: bool) -> bool:
    """Should the trunk make g? Not for ``"uniform"``, which never looks at it, unless it is classified from g."""
    check_option("compatibility", compatibility, Compatibility)
    return asked and (compatibility != "uniform" or combine == "global")


def check_weights(model: AttentionClassifier, state_dict: Mapping[str, Any]) -> None:
    """Raise ValueError unless ``state_dict`` has the names and shapes of ``model``; the message lists what differs."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    given = {name: tuple(getattr(value, "shape", ())) for name, value in state_dict.items()}
    differences = [
        *(f"{name} is {given[name]}, not {own[name]}" for name in own if name in given and given[name] != own[name]),
        *(f"{name} is missing" for name in own if name not in given),
        *(f"{name} is unknown" for name in given if name not in own),
    ]
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if len(differences) > 4 else "")
        variant = ", ".join(f"{key}={value!r}" for key, value in model.config.items()) or "put together by hand"
        raise ValueError(f"state_dict must fit this model ({variant}, {model.num_classes} classes): {shown}")


def attention_maps(
    model: nn.Module,
    images: Float[Tensor, "b c h w"] | Float[Tensor, "c h w"],
    *,
    size: int | tuple[int, int] | None = None,
) -> tuple[Float[Tensor, "b H W"], ...]:
    """Picture in, maps out: the attention weights of every level, shallow to deep, as large as the picture.

    Runs in eval mode without gradients and leaves the model as it was. The weights a_i are
    enlarged bilinearly (``align_corners=False``) and otherwise untouched: each value is still the weight of one of the
    level's h * w positions, so a uniform level is 1 / (h * w) everywhere and levels are not on one scale.

    Args:
        model: any model of ``lpa_core.models``, in train or eval mode; compiled, or wrapped for several devices
            (``nn.DataParallel``, ``DistributedDataParallel``), it is asked directly.
        images: (b, c, h, w), or one picture (c, h, w), prepared as for training; they follow the model to its
            device, and the maps come back to theirs.
        size: height and width of the maps, or one number for both; None for the size of the pictures.

    Raises: TypeError unless ``images`` is floating point and ``model`` an ``AttentionClassifier``; ValueError on other
        shapes, on NaN, on a ``size`` below 1, and for a model without levels.
    """
    model = unwrapped(model)
    if not isinstance(model, AttentionClassifier):
        raise TypeError(
            f"model must be an AttentionClassifier, as attend_to and the builders make; got {type(model).__name__}. "
            f"For another classifier there is explain"
        )
    batch = images[None] if isinstance(images, Tensor) and images.ndim == 3 else images
    check_images(batch, model.trunk.in_channels)
    if batch.isnan().any():
        raise ValueError("images must be numbers; got NaN")
    height, width = batch.shape[-2:] if size is None else height_and_width(size)
    if not model.estimators:
        raise ValueError(f"model must have levels to look at; combine={model.combine!r} classifies from g alone")
    with torch.no_grad(), evaluating(model):
        attended = model.attend(batch.to(device_of(model))).attended
    return tuple(maps.to(batch.device) for maps in enlarged(attended, (height, width)))


def unwrapped(model: nn.Module) -> nn.Module:
    """The network inside ``nn.DataParallel``, ``DistributedDataParallel`` or ``torch.compile``'s wrapper."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inside := getattr(model, "_orig_mod", None), nn.Module):
            model = inside
        else:
            return model


def enlarged(attended: Sequence[Attended], size: tuple[int, int]) -> tuple[Float[Tensor, "b H W"], ...]:
    """The weights of every level at one size, by bilinear interpolation (``align_corners=False``)."""
    return tuple(
        functional.interpolate(a.weights[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
        for a in attended
    )
