"""Trunks: networks that name their local features and their global vector.

A trunk turns pictures into ``Features``: one map of local features per attention level, shallow to deep, and the
global vector g. Attention is put on it by ``AttentionClassifier``; only the progressive trunk holds a gate of its own.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import check_count, is_number
from ..attention import Attended

Padding = Literal["zeros", "replicate"]


class Features(NamedTuple):
    """Local feature maps (b, c_s, h_s, w_s), shallow to deep, and the global vector (b, k), or None if not built.

    ``gates``: what a progressive trunk attended to on the way, below every local map; empty for the others.
    """

    local: tuple[Float[Tensor, "b _ _ _"], ...]
    g: Float[Tensor, "b k"] | None
    gates: tuple[Attended, ...] = ()


class Trunk(nn.Module):
    """What a trunk promises: three channel counts, and ``forward(images) -> Features`` in this order.

    ``global_channels`` is the length of g whether or not this trunk builds it (``has_global``). ``any_memory_format``
    promises that it takes ``torch.channels_last`` too, which a CPU runs faster; code with ``.view`` does not.
    """

    in_channels: int
    local_channels: tuple[int, ...]
    global_channels: int
    has_global: bool
    any_memory_format: bool = False

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        raise TypeError(f"{type(self).__name__} must define forward(images) -> Features")


def conv_bn_relu(
    in_channels: int, out_channels: int, dropout: float = 0.0, *, padding: Padding = "zeros"
) -> nn.Sequential:
    """The authors' building block: 3x3 convolution (padding 1, bias) - BatchNorm (eps 1e-3) - ReLU - dropout.

    Initialised as theirs: weights N(0, sqrt(2 / (9 * out_channels))), bias 0. No dropout module where the rate is 0.
    ``padding="replicate"`` continues the picture at its edges with the pixels there, instead of the authors' zeros.
    """
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, padding_mode=padding)
    nn.init.normal_(conv.weight, std=(2 / (9 * out_channels)) ** 0.5)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(out_channels, eps=1e-3), nn.ReLU()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, rounded, at least 1."""
    return max(1, round(channels * width))


def check_scales(in_channels: int, width: float, dropout: float) -> None:
    """Raise ValueError naming the argument out of range: what every trunk of the paper has in common."""
    check_count("in_channels", in_channels)
    if not is_number(width) or not 0 < width < 1e6:
        raise ValueError(f"width must be above 0 (1.0 is the paper's network) and below a million; got {width!r}")
    if not is_number(dropout) or not 0 <= dropout < 2:
        raise ValueError(f"dropout multiplies the authors' rates (up to 0.5) and must be in [0, 2); got {dropout!r}")


def check_size(images: Tensor, least: int) -> None:
    """Raise ValueError unless ``images`` are at least ``least`` pixels high and wide."""
    if min(images.shape[-2:]) < least:
        raise ValueError(f"images must be at least {least}x{least} for this trunk; got {tuple(images.shape[-2:])}")


def check_levels(levels: object, places: tuple[str, str, str] = ("layer 7", "layer 10", "layer 13")) -> None:
    """Raise ValueError unless ``levels`` is 1, 2 or 3; ``places`` are the names of the levels, shallow to deep."""
    if isinstance(levels, bool) or not isinstance(levels, int) or levels not in (1, 2, 3):
        _, middle, deep = places
        raise ValueError(f"levels must be 1 ({deep}), 2 ({middle}, {deep}) or 3 ({', '.join(places)}); got {levels!r}")


def check_images(images: Tensor, in_channels: int) -> None:
    """Raise ValueError or TypeError unless ``images`` is a floating (b, in_channels, h, w) batch."""
    if not isinstance(images, Tensor) or not torch.is_floating_point(images):
        got = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images must be floating point (scale uint8 with data.normalise); got {got}")
    if images.ndim != 4 or images.shape[1] != in_channels:
        raise ValueError(f"images must be (b, {in_channels}, h, w); got {tuple(images.shape)}")
