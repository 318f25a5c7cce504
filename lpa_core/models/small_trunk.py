"""A shallow trunk for digits in clutter on a CPU."""

from jaxtyping import Float
from torch import Tensor, nn

from .trunk import Features, Trunk, check_levels, check_scales, check_size, conv_bn_relu


class SmallTrunk(Trunk):
    """A shallow trunk of the paper's three-level design, for pages that run on a CPU.

    Four blocks of 16, 32, 64 and 64 channels (1, 1, 2 and 2 convolutions) with a pool after each of the first three.
    As in the paper the local features leave before the pools, and what follows the last level makes g: the fourth
    block, averaged, and a linear layer. For 40x40 pictures the maps are 16x40x40, 32x20x20 and 64x10x10.

    Differs from ``AttentionVGGTrunk``: 1, 2 and 4 convolutions before the three levels instead of 7, 10 and 13; g from
    a mean in place of two pools; no dropout.

    Raises: ValueError naming the argument out of range; images smaller than 8x8.
    """

    any_memory_format = True

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
        self.pools = nn.ModuleList(nn.MaxPool2d(2) for _ in range(3))  # a module each: DeepLift needs it so
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
        for stage, pool in zip(self.stages, self.pools, strict=True):
            local.append(stage(x))
            x = pool(local[-1])
        return Features(tuple(local[-self.levels :]), None if self.tail is None else self.tail(x))
