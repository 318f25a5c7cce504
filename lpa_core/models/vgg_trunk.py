"""The paper's VGG trunks: the plain baseline, the one that attention looks at, and the progressive one."""

from jaxtyping import Float
from torch import Tensor, nn

from ..attention import AttentionEstimator
from .trunk import Features, Trunk, check_levels, check_scales, check_size, conv_bn_relu, scaled

# The 13 convolutions that the authors' VGGs share: channels at full width, and the dropout rate that follows each.
# The rates of layers 7, 10 and 13 are zero: there the local features leave (or, in the baseline, a pool follows).
VGG_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
VGG_DROPOUT = (0.3, 0.0, 0.4, 0.0, 0.4, 0.4, 0.0, 0.4, 0.4, 0.0, 0.4, 0.4, 0.0)
TAIL_CHANNELS, TAIL_DROPOUT = 512, 0.4
LEVEL_LAYERS = (7, 10, 13)


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

    any_memory_format = True

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

    any_memory_format = True

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
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in LEVEL_LAYERS)  # a module each: DeepLift needs it so
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
        for stage, pool in zip(self.stages, self.pools, strict=True):
            before = stage(x)
            x = pool(before)
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
        below = self.stages[1](self.pools[0](self.stages[0](images)))
        gate = self.gate(below, below.mean(dim=(2, 3)))
        local = self.stages[2](self.pools[1](below * gate.weights[:, None].to(below.dtype)))
        return Features((local,), None if self.tail is None else self.tail(self.pools[2](local)), (gate,))
