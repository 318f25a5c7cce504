"""Pictures to look at: digits in clutter (made here), CIFAR-10/100, SVHN, a folder of images; and batches of them.

Every source gives the same thing, an ``ImageSet``: uint8 pictures (n, c, h, w) with labels, classes and the mean and
standard deviation that ``normalise`` needs. ``Batches`` cuts batches from it on the device that trains.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from .chance import generator, stratified
from .clutter import paint_digits
from .download import find_or_fetch, unpack, verified
from .pictures import read_picture

Split = Literal["train", "validation", "test", "all"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures with labels: what every source of data gives and every user of data takes.

    * ``images``: uint8 (n, c, h, w), values 0 to 255.
    * ``labels``: int64 (n,), or (n, 2) in two-digit mode; each an index into ``classes``.
    * ``mean``, ``std``: per channel, of images / 255, from the training split whatever the split of this set.
    * ``checksum``: identifies the data (md5 of the files, or sha256 of the pictures).
    * ``masks``: True on the ink of the digit. ``boxes``: top, left, bottom, right of that ink in pixels, half-open.
      ``sources``: which handwritten digit it is, the cluster for intervals. Only digits in clutter have these three.

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
        _check_split(self.split)
        _check_uint8(self.images)
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
    _check_uint8(images)
    scale, shift = _affine(mean, std, images.device)
    if len(scale) != images.shape[1]:
        raise ValueError(f"mean and std must be {images.shape[1]} numbers, one per channel of images; got {len(scale)}")
    return images.to(torch.float32).mul_(scale).add_(shift)


def _affine(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    """The scale and the shift (c, 1, 1) that take uint8 pictures to normalised ones."""
    _check_statistics(mean, std, len(mean))
    scale, shift = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
    both = torch.tensor([scale, shift], device=device)[..., None, None]
    return both[0], both[1]


def _check_uint8(images: Tensor) -> None:
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


def _check_split(split: str) -> None:
    if not isinstance(split, str) or split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(map(repr, get_args(Split)))}; got {split!r}")


def _check_int(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) < 2**63:
        limit = " and of 64 bits" if isinstance(value, Integral) and int(value) >= 2**63 else ""
        raise ValueError(f"{name} must be an integer of at least {least}{limit}; got {value!r}")


def _device(device: str | torch.device) -> torch.device:
    try:
        if isinstance(device, str | torch.device):
            return torch.device(device)
    except RuntimeError:
        pass
    raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N'; got {device!r}")


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


# --- digits in clutter ------------------------------------------------------------------------------------------------

DIGITS_N = {"train": 6_400, "validation": 2_000, "test": 2_000, "all": 6_400}  # what load("digits", split) makes
# Channel mean and standard deviation of images / 255 over 20,000 training pictures of seed 0.
DIGITS_MEAN, DIGITS_STD = (0.258, 0.271, 0.248), (0.226, 0.202, 0.214)


def digits_in_clutter(
    n: int,
    *,
    split: str = "train",
    seed: int = 0,
    digits: int = 1,
    clutter_seed: int | None = None,
    show_digit: bool = True,
) -> ImageSet:
    """``n`` pictures (3, 40, 40) of a handwritten digit on a photograph, beside two shuffled digits that are none.

    Each picture: a random crop of a photograph at half its brightness; a handwritten digit of 8x8, enlarged smoothly 2
    to 2.4 times, at a random place, in a random tint brighter than what it lies on; and two distractors of the same
    size, tinted by the same rule: other handwritten digits whose four quarters have changed places. The three never
    overlap. Handwritten digits and halves of the photographs are split, so none is in both training and test
    ("validation" has digits of its own on the training halves; "all" is the digits of train and validation together).

    All chance comes from (split, seed, digits), picture by picture: the first k of n pictures are the same for any n.
    The arithmetic is in whole numbers, so the pictures are equal bit by bit on any processor. The clutter (crop,
    distractors, their tints) is independent of the label.

    Args:
        digits: 2 shows two digits of different classes and one distractor; labels, masks, boxes and sources then have
            a second axis, (n, 2).
        clutter_seed: another number gives the same digits in the same places amid other clutter (a tint moves where
            it would lack contrast with its new background). Default: ``seed``.
        show_digit: False leaves the digits out and shows the background instead; all else stays, labels and masks too.

    Returns: an ``ImageSet`` with masks (ink), boxes (around that ink) and sources (0 to 1796, the handwritten digit).
    Raises: ValueError on ``n`` below 1, an unknown split, a negative seed, or ``digits`` other than 1 or 2.
    """
    _check_int("n", n, 1)
    _check_split(split)
    _check_int("seed", seed, 0)
    if isinstance(digits, bool) or not isinstance(digits, int) or digits not in (1, 2):
        raise ValueError(f"digits must be 1 or 2; got {digits!r}")
    clutter_seed = seed if clutter_seed is None else clutter_seed
    _check_int("clutter_seed", clutter_seed, 0)
    painted = paint_digits(n, split, seed, digits, clutter_seed, show_digit)
    images = torch.from_numpy(painted.images)
    # Without two-digit mode the axis of the digits goes.
    labels, sources, masks = (torch.from_numpy(a[:, 0] if digits == 1 else a) for a in painted[1:4])
    return ImageSet(
        name="digits",
        split=split,
        images=images,
        labels=labels,
        classes=tuple("0123456789"),
        mean=DIGITS_MEAN,
        std=DIGITS_STD,
        checksum=_sha256(images, labels),
        masks=masks,
        boxes=_ink_boxes(masks),
        sources=sources,
    )


def _ink_boxes(masks: Tensor) -> Tensor:
    """Top, left, bottom, right (half-open) of the ink in each mask (..., h, w); every mask has some."""
    ends = []
    for used in (masks.any(dim=-1).byte(), masks.any(dim=-2).byte()):
        ends.append((used.argmax(-1), used.shape[-1] - used.flip(-1).argmax(-1)))
    return torch.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], dim=-1)


def _sha256(images: Tensor, labels: Tensor) -> str:
    digest = hashlib.sha256(images.numpy().data)
    digest.update(labels.numpy().data)
    return f"sha256:{digest.hexdigest()}"


# --- data sets on disk ------------------------------------------------------------------------------------------------

_TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}
FOLDER_SIZE = 64  # pictures of a folder become FOLDER_SIZE x FOLDER_SIZE unless told otherwise


def load(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    download: bool = True,
    n: int | None = None,
    seed: int = 0,
    mirror: str | None = None,
    size: int | None = None,
) -> ImageSet:
    """Load one split of a data set by name: "digits", "cifar10", "cifar100", "svhn" or "folder:PATH".

    Splits: "validation" is a tenth of the training pictures, each class in proportion, the same for every seed;
    "train" is the rest; "all" is both; "test" is the data set's own. mean and std always come from "train".

    * "digits": see ``digits_in_clutter``; nothing is read from ``root``.
    * "cifar10", "cifar100", "svhn": through torchvision. Files under ``root`` are used first; else the original
      archive under ``root``; else it is downloaded (beside its target, renamed when whole). Nothing is opened before
      its md5 is verified.
    * "folder:PATH": one folder of pictures per class, as torchvision's ``ImageFolder``, in PATH/train and PATH/test;
      or directly in PATH. Without PATH/test a fixed fifth of the pictures is "test". Other folders beside those two
      are not read. Pictures become RGB, turned upright, resized and centre-cropped to ``size`` x ``size``.

    Args:
        root: folder of the data sets. Default: the environment's LPA_DATA, else ~/.cache/lpa_core.
        download: False only looks under ``root``.
        n: only so many pictures: how many digits to make (default 6,400; 2,000 for validation and test), or a part
            of another data set, each class in proportion, chosen by ``seed``.
        seed: for ``n`` and for "digits".
        mirror: URL (https, http or file) of a folder that holds the archive under its known name. Default: the
            environment's LPA_MIRROR, else the place that torchvision knows.
        size: only for "folder:PATH"; default 64.

    Raises: ValueError on an unknown name, split or option, a damaged file (it is left as it is) or an unreadable
    picture; FileNotFoundError when files are missing and cannot be had. Each names the file and what would be right.
    """
    _check_split(split)
    if n is not None:
        _check_int("n", n, 1)
    _check_int("seed", seed, 0)
    if not isinstance(name, str):
        raise TypeError(f"name must be 'digits', 'cifar10', 'cifar100', 'svhn' or 'folder:PATH'; got {name!r}")
    kind, _, path = name.partition(":")
    if size is not None and kind != "folder":
        raise ValueError(f"size is for 'folder:PATH' only; pictures of {name!r} have one size; got {size!r}")
    if name == "digits":
        return digits_in_clutter(n or DIGITS_N[split], split=split, seed=seed)
    if name in _TORCHVISION:
        folder = Path(root or os.environ.get("LPA_DATA") or "~/.cache/lpa_core").expanduser()
        found = _load_torchvision(name, split, folder, download, mirror or os.environ.get("LPA_MIRROR"))
    elif kind == "folder" and path:
        found = _load_folder(name, split, Path(path).expanduser(), FOLDER_SIZE if size is None else size)
    else:
        raise ValueError(f"name must be 'digits', 'cifar10', 'cifar100', 'svhn' or 'folder:PATH'; got {name!r}")
    if n is None:
        return found
    if n > len(found):
        raise ValueError(f"n must be at most {len(found)}, the pictures in {name!r} {split!r}; got {n}")
    return found.subset(torch.from_numpy(stratified(found.labels.numpy(), n, key=seed)))


def _load_torchvision(name: str, split: str, root: Path, download: bool, mirror: str | None) -> ImageSet:
    from torchvision import datasets

    source = getattr(datasets, _TORCHVISION[name])
    if name == "svhn":
        files = [source.split_list[part] for part in ("train", "test")]
        for url, file, md5 in files:
            find_or_fetch(root / file, md5, url, name=name, download=download, mirror=mirror)
        md5s = [md5 for _, _, md5 in files]
    else:
        folder = root / source.base_folder
        inside = dict([*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])])
        if missing := {file: md5 for file, md5 in inside.items() if not verified(folder / file, md5)}:
            archive, wanted = root / source.filename, folder / next(iter(missing))
            find_or_fetch(
                archive, source.tgz_md5, source.url, name=name, download=download, mirror=mirror, wanted=wanted
            )
            unpack(archive, folder, missing)
        md5s = list(inside.values())

    def read(part: str) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        if name == "svhn":
            numbers = source(root, split=part)
            return torch.from_numpy(numbers.data), torch.from_numpy(numbers.labels), tuple("0123456789")
        things = source(root, train=part == "train")
        return torch.from_numpy(things.data).permute(0, 3, 1, 2), torch.tensor(things.targets), tuple(things.classes)

    images, labels, classes = read("train")
    held_out = torch.from_numpy(stratified(labels.numpy(), round(len(labels) / 10), key=0))
    mean, std = _statistics(images[~held_out])
    if split == "test":
        images, labels, classes = read("test")
    elif split != "all":
        keep = held_out if split == "validation" else ~held_out
        images, labels = images[keep], labels[keep]
    checksum = f"md5:{'+'.join(md5s)}"
    return ImageSet(name, split, images.contiguous(), labels, classes, mean, std, checksum)


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of images / 255 per channel, exact, from counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        counts = torch.bincount(channel.flatten(), minlength=256)
        mean.append(float((counts * values).sum() / counts.sum()))
        variance = float((counts * (values - mean[-1]) ** 2).sum() / counts.sum())
        std.append(max(variance**0.5, 1 / 255))  # pictures of a single value are not divided by zero
    return tuple(mean), tuple(std)


def _load_folder(name: str, split: str, path: Path, size: int) -> ImageSet:
    from torchvision.datasets import ImageFolder

    _check_int("size", size, 1)
    if not path.is_dir():
        raise FileNotFoundError(f"{name!r} needs a folder with one folder of pictures per class; {path} is none")
    train, test = path / "train", path / "test"
    in_parts = train.is_dir() and any(inside.is_dir() for inside in train.iterdir())  # else it may be a class
    found = ImageFolder(str(train if in_parts else path))
    files, classes = found.samples, tuple(found.classes)
    labels = np.array([label for _, label in files])
    if in_parts and test.is_dir():
        tested = ImageFolder(str(test))
        if tuple(tested.classes) != classes:
            raise ValueError(f"{path} has the classes {classes} in train but {tuple(tested.classes)} in test")
        rest, test_files = np.arange(len(files)), tested.samples
    else:
        fifth = stratified(labels, round(len(labels) / 5), key=1)
        rest, test_files = np.flatnonzero(~fifth), [files[i] for i in np.flatnonzero(fifth)]
    held_out = stratified(labels[rest], round(len(rest) / 10), key=0)
    parts = {"train": rest[~held_out], "validation": rest[held_out], "all": rest}
    wanted = test_files if split == "test" else [files[i] for i in parts[split]]
    if not wanted:
        raise ValueError(f"{name!r} has {len(files)} pictures, too few for a {split!r} split")
    # A thousand pictures, evenly spaced, are enough for mean and std, and spare reading all of "train" for "test".
    sample = parts["train"][:: -(-len(parts["train"]) // 1000)]
    mean, std = _statistics(_read_pictures([files[i] for i in sample], size))
    images = _read_pictures(wanted, size)
    chosen = torch.tensor([label for _, label in wanted])
    return ImageSet(name, split, images, chosen, classes, mean, std, _sha256(images, chosen))


def _read_pictures(files: Sequence[tuple[str, int]], size: int) -> Tensor:
    """RGB, upright, scaled so that the shorter side is ``size``, the middle cut out: (n, 3, size, size) uint8."""
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for row, (file, _) in zip(images, files, strict=True):
        row.copy_(read_picture(file, size=size))
    return images


# --- batches ----------------------------------------------------------------------------------------------------------


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
        _check_int("batch_size", batch_size, 1)
        if batch_size % part[1] or (part[1] > 1 and not drop_last):
            raise ValueError(f"batch_size must be full batches of {part[1]} equal parts; got {batch_size}")
        _check_int("seed", seed, 0)
        _check_int("crop", crop, 0)
        n, _, *size = image_set.images.shape
        if crop >= min(size):
            raise ValueError(f"crop must be below {min(size)}, the size of the pictures; got {crop}")
        if drop_last and batch_size > n:
            raise ValueError(
                f"batch_size must be at most {n}, the pictures there are, or drop_last=False; got {batch_size}"
            )
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.crop, self.flip, self.drop_last, self.part = crop, flip, drop_last, part
        self.device = image_set.images.device if device is None else _device(device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._n, self._size = n, size
        images = image_set.images.to(self.device)
        for dim in (2, 3) if crop else ():
            line = torch.arange(-crop, images.shape[dim] + crop, device=self.device).abs()
            images = images.index_select(dim, images.shape[dim] - 1 - (images.shape[dim] - 1 - line).abs())
        self._images = images.contiguous(memory_format=self._format)
        self._labels = image_set.labels.to(self.device)
        self._affine = _affine(image_set.mean, image_set.std, self.device)

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
        _check_int("number", number, 0)
        _check_int("start", start, 0)
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
