"""Trunks: networks that name their local features and their global vector.

A trunk turns pictures into ``Features``: one map of local features per attention level, shallow to deep, and the
global vector g. Attention is put on it by ``AttentionClassifier``; only the progressive trunk holds a gate of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .attention import Attended, AttentionEstimator, check_count
from .checks import is_number

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

    ``global_channels`` is the length of g whether or not this trunk builds it (``has_global``).
    """

    in_channels: int
    local_channels: tuple[int, ...]
    global_channels: int
    has_global: bool

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        raise TypeError(f"{type(self).__name__} must define forward(images) -> Features")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in eval mode; afterwards every module is in the mode that it was in, frozen parts included."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:  # parents first: train() passes the mode down, then the exceptions follow
            if module.training != mode:
                module.train(mode)


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


# The 13 convolutions that the authors' VGGs share: channels at full width, and the dropout rate that follows each.
# The rates of layers 7, 10 and 13 are zero: there the local features leave (or, in the baseline, a pool follows).
VGG_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_DROPOUT = (0.3, 0.0, 0.4, 0.0, 0.4, 0.4, 0.0, 0.4, 0.4, 0.0, 0.4, 0.4, 0.0)
TAIL_CHANNELS, TAIL_DROPOUT = 512, 0.4
LEVEL_LAYERS = (7, 10, 13)


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


def _vgg_layers(in_channels: int, width: float, dropout: float) -> list[nn.Sequential]:
    """The 13 blocks, without pools."""
    channels = [in_channels, *(scaled(c, width) for c in VGG_CHANNELS)]
    return [
        conv_bn_relu(i, o, rate * dropout) for i, o, rate in zip(channels[:-1], channels[1:], VGG_DROPOUT, strict=True)
    ]


class VGGTrunk(Trunk):
    """The plain VGG baseline: 13 convolutions with pools after layers 2, 4, 7, 10 and 13; g from the flattened top.

    For 32x32 pictures the last pool leaves 1x1, then dropout 0.5 and a linear layer give g. The last pool is
    adaptive, so other sizes (16x16 and up) work and 32x32 is unchanged. The one local map is layer 13 before its
    pool, (b, 512, 2, 2) for 32x32. ``in_channels``, ``width`` and ``dropout`` as in ``AttentionVGGTrunk``.

    Source: the authors' code; between configurations D and E of Simonyan & Zisserman (2015).
    Raises: ValueError naming the argument out of range; images smaller than 16x16.
    """

    def __init__(self, *, in_channels: int = 3, width: float = 1.0, dropout: float = 1.0) -> None:
        super().__init__()
        check_scales(in_channels, width, dropout)
        self.in_channels = in_channels
        self.local_channels = (scaled(VGG_CHANNELS[-1], width),)
        self.global_channels = self.local_channels[0]
        self.has_global = True
        modules: list[nn.Module] = []
        for layer, block in enumerate(_vgg_layers(in_channels, width, dropout), start=1):
            modules.append(block)
            if layer in (2, 4, 7, 10):
                modules.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*modules)
        self.tail = nn.Sequential(
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.5 * dropout),
            nn.Linear(self.global_channels, self.global_channels),
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        check_size(images, 16)
        local = self.layers(images)
        return Features((local,), self.tail(local))


class AttentionVGGTrunk(Trunk):
    """The paper's trunk: no pools up to layer 7; local features leave after layers 7, 10 and 13; the tail makes g.

    For 32x32 pictures at full width the local maps are 256x32x32, 512x16x16 and 512x8x8, and g has 512 channels:
    layers 14 and 15, each with a pool, then dropout 0.5 and a linear layer (no BatchNorm, no ReLU after it).
    The last pool is adaptive: identical at 32x32, and other sizes (16x16 and up) work.

    Args:
        in_channels: channels of the pictures.
        width: multiplies every channel count; 1.0 is the paper's network.
        levels: how many local maps to give, from the deepest: 3 = layers 7, 10, 13; 2 = 10, 13; 1 = 13.
        dropout: multiplies the authors' dropout rates; 0 for none.
        global_path: False leaves out layers 14-16 and gives ``g=None``.
        pooled_local: True takes the local features after the pool that follows each level.

    Source: Jetley et al. (2018), figure 2, and the authors' code.
    Raises: ValueError naming the argument out of range; images smaller than 16x16.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        levels: int = 3,
        dropout: float = 1.0,
        global_path: bool = True,
        pooled_local: bool = False,
    ) -> None:
        super().__init__()
        check_scales(in_channels, width, dropout)
        check_levels(levels)
        self.in_channels, self.levels, self.pooled_local = in_channels, levels, pooled_local
        self.local_channels = tuple(scaled(VGG_CHANNELS[layer - 1], width) for layer in LEVEL_LAYERS)[-levels:]
        top = self.global_channels = scaled(TAIL_CHANNELS, width)
        self.has_global = global_path
        layers = _vgg_layers(in_channels, width, dropout)
        self.stages = nn.ModuleList(
            nn.Sequential(*layers[first:last])
            for first, last in zip((0, *LEVEL_LAYERS[:-1]), LEVEL_LAYERS, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.tail = (
            nn.Sequential(
                conv_bn_relu(self.local_channels[-1], top, TAIL_DROPOUT * dropout),
                nn.MaxPool2d(2),
                conv_bn_relu(top, top, TAIL_DROPOUT * dropout),
                nn.AdaptiveMaxPool2d(1),
                nn.Flatten(),
                nn.Dropout(0.5 * dropout),
                nn.Linear(top, top),
            )
            if global_path
            else None
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        check_size(images, 16)
        local, x = [], images
        for stage in self.stages:
            before = stage(x)
            x = self.pool(before)
            local.append(x if self.pooled_local else before)
        return Features(tuple(local[-self.levels :]), None if self.tail is None else self.tail(x))


class ProgressiveVGGTrunk(AttentionVGGTrunk):
    """The paper's trunk with progressive attention: a gate at layer 10, local features from layer 13.

    The gate is a sigmoid pc mask, a_i = 1 / (1 + exp(-<u, l_i + g>)), that multiplies the map of layer 10 on its way to
    layer 11; what it saw is ``Features.gates[0]``. Its g is the average of that map, without parameters: the deeper
    layers, which make g elsewhere, wait for the gate.

    Arguments as in ``AttentionVGGTrunk``; there is one level, layer 13.

    Differs from the paper: where the g of this level comes from there is unknown to us; this choice is ours.

    Source: the authors' code (VGG-PAN): a sigmoid mask on layer 10, softmax attention on layer 13.
    Raises: ValueError naming the argument out of range; images smaller than 16x16.
    """

    def __init__(
        self, *, in_channels: int = 3, width: float = 1.0, dropout: float = 1.0, global_path: bool = True
    ) -> None:
        super().__init__(in_channels=in_channels, width=width, levels=1, dropout=dropout, global_path=global_path)
        channels = scaled(VGG_CHANNELS[LEVEL_LAYERS[1] - 1], width)
        self.gate = AttentionEstimator(channels, channels, compatibility="pc", normalise="sigmoid")

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        check_size(images, 16)
        below = self.stages[1](self.pool(self.stages[0](images)))
        gate = self.gate(below, below.mean(dim=(2, 3)))
        local = self.stages[2](self.pool(below * gate.weights[:, None].to(below.dtype)))
        return Features((local,), None if self.tail is None else self.tail(self.pool(local)), (gate,))


class SmallTrunk(Trunk):
    """A shallow trunk of the paper's three-level design, for pages that run on a CPU.

    Four blocks of 16, 32, 64 and 64 channels (1, 1, 2 and 2 convolutions) with a pool after each of the first three.
    As in the paper the local features leave before the pools, and what follows the last level makes g: the fourth
    block, averaged, and a linear layer. For 40x40 pictures the maps are 16x40x40, 32x20x20 and 64x10x10.

    Differs from ``AttentionVGGTrunk``: 1, 2 and 4 convolutions before the three levels instead of 7, 10 and 13; g from
    a mean in place of two pools; no dropout.

    Raises: ValueError naming the argument out of range; images smaller than 8x8.
    """

    CHANNELS, CONVOLUTIONS = (16, 32, 64, 64), (1, 1, 2, 2)

    def __init__(self, *, in_channels: int = 3, levels: int = 3, global_path: bool = True) -> None:
        super().__init__()
        check_scales(in_channels, 1.0, 0.0)
        check_levels(levels, ("block 1", "block 2", "block 3"))
        self.in_channels, self.levels = in_channels, levels
        self.local_channels = self.CHANNELS[:3][-levels:]
        self.global_channels = self.CHANNELS[-1]
        self.has_global = global_path
        blocks, previous = [], in_channels
        for channels, convolutions in zip(self.CHANNELS, self.CONVOLUTIONS, strict=True):
            inputs = [previous, *[channels] * (convolutions - 1)]
            blocks.append(nn.Sequential(*(conv_bn_relu(i, channels) for i in inputs)))
            previous = channels
        self.stages = nn.ModuleList(blocks[:3])
        self.pool = nn.MaxPool2d(2)
        self.tail = (
            nn.Sequential(
                blocks[3], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.global_channels, self.global_channels)
            )
            if global_path
            else None
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        check_size(images, 8)
        local, x = [], images
        for stage in self.stages:
            local.append(stage(x))
            x = self.pool(local[-1])
        return Features(tuple(local[-self.levels :]), None if self.tail is None else self.tail(x))


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
