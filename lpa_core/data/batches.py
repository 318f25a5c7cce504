"""Batches of pictures, cut, shifted and mirrored on the device that trains."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .._utils.checks import check_int
from .._utils.device import as_device
from .._utils.seeding import generator
from .image_set import ImageSet, affine


class Batches:
    """Batches (images, labels) of an ``ImageSet`` that lives on the training device.

    Pictures stay uint8 there until they are in a batch; then, all at once and each by its own chance: shifted by up
    to ``crop`` pixels (padded by reflection, cut back to size), mirrored left to right half of the time (``flip``), and
    normalised to float32 with the set's mean and std. Reflection leaves no black edge for attention to look at.
    The chance of an epoch comes from (``seed``, its number) alone and is drawn on the CPU, so every device gives the
    same batches, and a run that is resumed inside an epoch skips exactly those it has seen.

    Args:
        batch_size: pictures a batch.
        seed: of the order, the shifts and the flips.
        shuffle: a new order each epoch; False keeps that of the set.
        crop: largest shift in pixels, below the pictures' size; 0 leaves them where they are.
        drop_last: leave out the last batch where it is not full.
        device: where the batches are; default: where the set is.
        channels_last: the memory format of the batches.
        part: (i, k): the i-th of k equal parts of each batch, for processes that share it; all draw the same order.

    Source: crop and flip as is usual for CIFAR since He et al. (2016), who pad with zeros.
    Differs from the paper: the authors' code flips only.
    Raises: ValueError on a number out of range, or ``drop_last`` with more pictures a batch than there are.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        crop: int = 0,
        flip: bool = False,
        drop_last: bool = True,
        device: str | torch.device | None = None,
        channels_last: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        check_int("batch_size", batch_size, 1)
        if batch_size % part[1] or (part[1] > 1 and not drop_last):
            raise ValueError(f"batch_size must be full batches of {part[1]} equal parts; got {batch_size}")
        check_int("seed", seed, 0)
        check_int("crop", crop, 0)
        n, _, *size = image_set.images.shape
        if crop >= min(size):
            raise ValueError(f"crop must be below {min(size)}, the size of the pictures; got {crop}")
        if drop_last and batch_size > n:
            raise ValueError(
                f"batch_size must be at most {n}, the pictures there are, or drop_last=False; got {batch_size}"
            )
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.crop, self.flip, self.drop_last, self.part = crop, flip, drop_last, part
        self.device = image_set.images.device if device is None else as_device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._n, self._size = n, size
        images = image_set.images.to(self.device)
        for dim in (2, 3) if crop else ():
            line = torch.arange(-crop, images.shape[dim] + crop, device=self.device).abs()
            images = images.index_select(dim, images.shape[dim] - 1 - (images.shape[dim] - 1 - line).abs())
        self._images = images.contiguous(memory_format=self._format)
        self._labels = image_set.labels.to(self.device)
        self._affine = affine(image_set.mean, image_set.std, self.device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._n // self.batch_size if self.drop_last else -(-self._n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Epoch 0."""
        return self.epoch(0)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch ``number`` from batch ``start`` on: images (b, c, h, w) float32, labels (b,) int64.

        Raises: ValueError unless ``number`` is at least 0 and ``start`` from 0 to the batches an epoch has.
        """
        check_int("number", number, 0)
        check_int("start", start, 0)
        if start > len(self):
            raise ValueError(f"start must be at most {len(self)}, the batches of an epoch; got {start}")
        return self._batches(number, start)

    def _batches(self, number: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        chance = generator("batches", self.seed, number)
        order = torch.randperm(self._n, generator=chance) if self.shuffle else torch.arange(self._n)
        shifts = torch.randint(0, 2 * self.crop + 1, (self._n, 2), generator=chance)
        flips = torch.rand(self._n, generator=chance) < 0.5
        order, shifts, flips = order.to(self.device), shifts.to(self.device), flips.to(self.device)
        # Every place that a picture of the old size can have in a padded one: (n, c, 2 crop + 1, 2 crop + 1, h, w).
        windows = self._images.unfold(2, self._size[0], 1).unfold(3, self._size[1], 1)
        size = self.batch_size // self.part[1]
        for batch in range(start, len(self)):
            first = batch * self.batch_size + self.part[0] * size
            part = slice(first, first + size)
            index = order[part]
            images = windows[index, :, shifts[part, 0], shifts[part, 1]]
            if self.flip:
                images = torch.where(flips[part, None, None, None], images.flip(3), images)
            scale, shift = self._affine
            floats = images.to(torch.float32).mul_(scale).add_(shift)
            yield floats.contiguous(memory_format=self._format), self._labels[index]
