"""A trunk for photographs of 32x32 that learns from scratch on two CPU cores."""

from jaxtyping import Float
from torch import Tensor, nn

from .trunk import Features, Trunk, check_levels, check_scales, check_size, conv_bn_relu


class PhotoTrunk(Trunk):
    """A compact trunk of three attended levels: 0.94 M parameters and 107 M multiply-adds a picture of 32x32.

    Convolutions of 32 and 64 channels, pool, 64 (level 1), 192 (level 2), pool, 192, 256 (level 3); for 32x32 the
    maps are 64x16x16, 192x16x16 and 256x8x8. g is the average of level 3 through a linear layer.

    Edges are padded with the pixels beside them. Zeros would tell every position near the edge where it is, and
    attention can come to rest on such positions whatever the picture shows (Alsallakh et al., 2021, "Mind the Pad").

    Differs from ``AttentionVGGTrunk``: a pool after the second convolution, 3, 4 and 6 convolutions before the three
    levels instead of 7, 10 and 13, so 107 M multiply-adds in place of 3,786 M; no dropout; the padding.

    Raises: ValueError naming the argument out of range; images smaller than 8x8.
    """

    any_memory_format = True

    CHANNELS = (32, 64, 64, 192, 192, 256)

    def __init__(self, *, in_channels: int = 3, levels: int = 3, global_path: bool = True) -> None:
        super().__init__()
        check_scales(in_channels, 1.0, 0.0)
        check_levels(levels, ("convolution 3", "convolution 4", "convolution 6"))
        self.in_channels, self.levels = in_channels, levels
        self.local_channels = tuple(self.CHANNELS[number - 1] for number in (3, 4, 6))[-levels:]
        self.global_channels = self.CHANNELS[-1]
        self.has_global = global_path
        inputs = (in_channels, *self.CHANNELS[:-1])
        blocks = [conv_bn_relu(i, o, padding="replicate") for i, o in zip(inputs, self.CHANNELS, strict=True)]
        self.stages = nn.ModuleList(
            [
                nn.Sequential(blocks[0], blocks[1], nn.MaxPool2d(2), blocks[2]),
                blocks[3],
                nn.Sequential(nn.MaxPool2d(2), blocks[4], blocks[5]),
            ]
        )
        self.tail = (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.global_channels, self.global_channels))
            if global_path
            else None
        )

    def forward(self, images: Float[Tensor, "b c h w"]) -> Features:
        check_size(images, 8)
        local, x = [], images
        for stage in self.stages:
            x = stage(x)
            local.append(x)
        return Features(tuple(local[-self.levels :]), None if self.tail is None else self.tail(x))
