"""Residual trunks: the paper's ResNet-164 and, with a tail that makes g, the trunk of its attention network.

Pre-activation bottlenecks in three stages; at 32x32 the stages end in maps of 64x32x32, 128x16x16 and 256x8x8.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from .._utils.checks import check_count, check_option
from .trunk import Features, Trunk, check_levels, check_scales, check_size, conv_bn_relu, scaled
from .vgg_trunk import TAIL_DROPOUT

Tail = Literal["average", "conv", "none"]

STEM_CHANNELS = 16
STAGE_CHANNELS = (64, 128, 256)
EXPANSION = 4  # a bottleneck's 3x3 convolution has a quarter of its channels


def _convolution(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)
    nn.init.normal_(conv.weight, std=(2 / (size**2 * out_channels)) ** 0.5)
    return conv


class Bottleneck(nn.Module):
    """Pre-activation bottleneck: x + f(x), f = BN - ReLU - 1x1 - BN - ReLU - 3x3 - BN - ReLU - 1x1, no biases.

    Where the size or the channels change, x is replaced by a 1x1 convolution of the first BN - ReLU.

    Source: He et al. (2016), "Identity mappings in deep residual networks".
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        middle = max(1, out_channels // EXPANSION)
        self.activate = nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU())
        self.residual = nn.Sequential(
            _convolution(in_channels, middle, 1),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            _convolution(middle, middle, 3, stride),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            _convolution(middle, out_channels, 1),
        )
        same = in_channels == out_channels and stride == 1
        self.shortcut = None if same else _convolution(in_channels, out_channels, 1, stride)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d p q"]:
        active = self.activate(x)
        return self.residual(active) + (x if self.shortcut is None else self.shortcut(active))


class ResNetTrunk(Trunk):
    """Pre-activation ResNet with ``9 * blocks + 2`` layers; local features are the sums that end its stages.

    Args:
        in_channels, width: as in ``AttentionVGGTrunk``.
        blocks: bottlenecks in each of the three stages; 18 is ResNet-164.
        levels: how many local maps to give, from the deepest: 3 = stages 1, 2, 3; 2 = 2, 3; 1 = 3.
        tail: what makes g. ``"average"``: BN - ReLU - average over positions, the plain ResNet. ``"conv"``: BN - ReLU -
            pool - 3x3 convolution block with dropout 0.4 - pool - dropout 0.5 - linear, the attention network; the
            last pool is adaptive, so other sizes than 32x32 work. ``"none"``: no g.
        dropout: multiplies the authors' dropout rates, which only the tail ``"conv"`` has.

    Source: the authors' code; blocks of He et al. (2016). Both pools of the tail are maximum pools, as in their VGG.
    Raises: ValueError naming the argument out of range; images smaller than 16x16.
    """

    any_memory_format = True

    def __init__(
        self,
        *,
        in_channels: int = 3,
        width: float = 1.0,
        blocks: int = 18,
        levels: int = 1,
        tail: Tail = "average",
        dropout: float = 1.0,
    ) -> None:
        super().__init__()
        check_scales(in_channels, width, dropout)
        check_count("blocks", blocks)
        check_levels(levels, ("stage 1", "stage 2", "stage 3"))
        check_option("tail", tail, Tail)
        channels = [scaled(c, width) for c in (STEM_CHANNELS, *STAGE_CHANNELS)]
        self.in_channels, self.levels = in_channels, levels
        self.local_channels = tuple(channels[1:][-levels:])
        top = self.global_channels = channels[-1]
        self.has_global = tail != "none"
        self.stem = _convolution(in_channels, channels[0], 3)
        self.stages = nn.ModuleList(
            nn.Sequential(
                Bottleneck(channels[stage], channels[stage + 1], stride=1 if stage == 0 else 2),
                *(Bottleneck(channels[stage + 1], channels[stage + 1]) for _ in range(blocks - 1)),
            )
            for stage in range(3)
        )
        self.tail: nn.Sequential | None = None
        if tail == "average":
            self.tail = nn.Sequential(nn.BatchNorm2d(top), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        elif tail == "conv":
            self.tail = nn.Sequential(
                nn.BatchNorm2d(top),
                nn.ReLU(),
                nn.MaxPool2d(2),
                conv_bn_relu(top, top, TAIL_DROPOUT * dropout),
                nn.AdaptiveMaxPool2d(1),
                nn.Flatten(),
                nn.Dropout(0.5 * dropout),
                nn.Linear(top, top),
            )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        check_size(images, 16)
        local, x = [], self.stem(images)
        for stage in self.stages:
            x = stage(x)
            local.append(x)
        return Features(tuple(local[-self.levels :]), None if self.tail is None else self.tail(x))
