"""Many picture files at one size, and the mean and standard deviation of pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from .pictures import read_picture


def read_pictures(files: Sequence[str | Path], size: int) -> Tensor:
    """RGB, upright, scaled so that the shorter side is ``size``, the middle cut out: (n, 3, size, size) uint8."""
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for row, file in zip(images, files, strict=True):
        row.copy_(read_picture(file, size=size))
    return images


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of images / 255 per channel, exact, from counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256)
        mean.append(float((counts * values).sum() / counts.sum()))
        variance = float((counts * (values - mean[-1]) ** 2).sum() / counts.sum())
        std.append(max(variance**0.5, 1 / 255))  # pictures of a single value are not divided by zero
    return tuple(mean), tuple(std)
