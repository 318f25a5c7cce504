"""The form that all pictures take here: an ``ImageSet``, uint8 with labels, classes, mean and standard deviation."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

Split = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures with labels: what every source of data gives and every user of data takes.

    * ``images``: uint8 (n, c, h, w), values 0 to 255.
    * ``labels``: int64 (n,), or (n, 2) in two-digit mode; each an index into ``classes``.
    * ``mean``, ``std``: per channel, of images / 255, from the training split whatever the split of this set.
    * ``checksum``: identifies the data (md5 of the files, or sha256 of the pictures).
    * ``masks``: True on the ink of the digit. ``boxes``: top, left, bottom, right of that ink in pixels, half-open.
      ``sources``: which handwritten digit it is, the cluster for intervals. Digits in clutter have these three,
      Tiny ImageNet has boxes.

    Raises: TypeError or ValueError naming the field that does not fit.
    """

    name: str
    split: str
    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, "n *k"]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    checksum: str
    masks: Bool[Tensor, "n *k h w"] | None = None
    boxes: Int64[Tensor, "n *k 4"] | None = None
    sources: Int64[Tensor, "n *k"] | None = None

    def __post_init__(self) -> None:
        check_split(self.split)
        check_uint8(self.images)
        n, channels, height, width = self.images.shape
        if n == 0:
            raise ValueError("images must hold at least one picture; got none")
        labels = (n, *getattr(self.labels, "shape", ())[1:2])
        _check_field("labels", self.labels, torch.int64, labels)
        last = len(self.classes) - 1
        if int(self.labels.min()) < 0 or int(self.labels.max()) > last:
            raise ValueError(
                f"labels must be from 0 to {last} for {last + 1} classes; "
                f"got {int(self.labels.min())} to {int(self.labels.max())}"
            )
        _check_statistics(self.mean, self.std, channels)
        if self.masks is not None:
            _check_field("masks", self.masks, torch.bool, (*labels, height, width))
        if self.sources is not None:
            _check_field("sources", self.sources, torch.int64, labels)
        if self.boxes is not None:
            _check_field("boxes", self.boxes, torch.int64, (*labels, 4))
            top, left, bottom, right = self.boxes.unbind(-1)
            if not bool(((top >= 0) & (top < bottom) & (bottom <= height)).all()) or not bool(
                ((left >= 0) & (left < right) & (right <= width)).all()
            ):
                raise ValueError(f"boxes must be top, left, bottom, right, half-open, within {height}x{width}")

    def __len__(self) -> int:
        return self.images.shape[0]

    def subset(self, index: slice | Sequence[int] | Tensor) -> "ImageSet":
        """The pictures at ``index`` (a slice, integers or a boolean mask), with everything that belongs to them.

        The checksum becomes one of the old checksum and the positions taken.
        """
        chosen = _positions(index, len(self)).to(self.images.device)
        digest = hashlib.sha256(self.checksum.encode() + chosen.cpu().numpy().astype("<i8").tobytes()).hexdigest()
        fields = ("images", "labels", "masks", "boxes", "sources")
        parts: dict[str, Any] = {f: v[chosen] for f in fields if (v := getattr(self, f)) is not None}
        return replace(self, checksum=f"sha256:{digest}", **parts)

    def float_images(self, index: slice | Sequence[int] | Tensor | None = None) -> Float[Tensor, "m c h w"]:
        """The pictures at ``index`` (all by default) as normalised float32, ready for a model."""
        images = self.images if index is None else self.images[_positions(index, len(self)).to(self.images.device)]
        return normalise(images, self.mean, self.std)


def normalise(
    images: UInt8[Tensor, "n c h w"], mean: Sequence[float], std: Sequence[float]
) -> Float[Tensor, "n c h w"]:
    """x = (images / 255 - mean) / std per channel, as float32 on the device of ``images``; keeps channels_last.

    Raises: TypeError unless ``images`` is uint8; ValueError unless (n, c, h, w) with c means and standard deviations.
    """
    check_uint8(images)
    scale, shift = affine(mean, std, images.device)
    if len(scale) != images.shape[1]:
        raise ValueError(f"mean and std must be {images.shape[1]} numbers, one per channel of images; got {len(scale)}")
    return images.to(torch.float32).mul_(scale).add_(shift)


def affine(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """The scale and the shift (c, 1, 1) that take uint8 pictures to normalised ones."""
    _check_statistics(mean, std, len(mean))
    scale, shift = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    both = torch.tensor([scale, shift], device=device)[..., None, None]
    return both[0], both[1]


def check_uint8(images: Tensor) -> None:
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"images must be a uint8 tensor with values 0 to 255; got {got}")
    if images.ndim != 4 or min(images.shape[1:]) < 1:
        raise ValueError(f"images must be (n, channels, height, width); got {tuple(images.shape)}")


def _check_field(name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor) or value.dtype != dtype:
        got = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a {dtype} tensor; got {got}")
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must be {shape}; got {tuple(value.shape)}")


def _check_statistics(mean: Sequence[float], std: Sequence[float], channels: int) -> None:
    for name, values, low in (("mean", mean, -math.inf), ("std", std, 0.0)):
        if len(values) != channels or not all(math.isfinite(v) and v > low for v in values):
            above = "finite" if low < 0 else "finite and above 0"
            raise ValueError(f"{name} must be {channels} numbers (one per channel), {above}; got {tuple(values)}")


def check_split(split: str) -> None:
    if not isinstance(split, str) or split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(map(repr, get_args(Split)))}; got {split!r}")


def _positions(index: slice | Sequence[int] | Tensor, n: int) -> Tensor:
    everything = torch.arange(n)
    if isinstance(index, slice):
        chosen = everything[index]
    else:
        wanted = torch.as_tensor(index).cpu()
        if wanted.ndim != 1 or (wanted.dtype.is_floating_point and len(wanted)):
            raise TypeError(f"index must be a slice, integers or a boolean mask (1-d); got {index!r}")
        chosen = everything[wanted if len(wanted) else []]
    if len(chosen) == 0:
        raise ValueError(f"index must choose at least one of the {n} pictures; got {index!r}")
    return chosen


def content_checksum(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.numpy().data)
    digest.update(labels.numpy().data)
    return f"sha256:{digest.hexdigest()}"
