"""Data sets by name: digits in clutter, CIFAR-10/100, SVHN, Tiny ImageNet, Imagenette, or a folder of pictures."""

import os
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._utils.checks import check_int
from .._utils.seeding import stratified
from .digits import DIGITS_N, digits_in_clutter
from .download import find_or_fetch, unpack, verified
from .image_set import ImageSet, check_split, content_checksum
from .picture_files import read_pictures, statistics
from .tiny_imagenet import SIDE, load_tiny_imagenet

_TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "svhn": "SVHN"}
_ANY_SIZE = ("folder", "tiny-imagenet", "imagenette")
_NAMES = "'digits', 'cifar10', 'cifar100', 'svhn', 'tiny-imagenet', 'imagenette' or 'folder:PATH'"
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
    """Load one split of a data set by name.

    "digits", "cifar10", "cifar100", "svhn", "tiny-imagenet", "imagenette" or "folder:PATH".

    Splits: "validation" is a tenth of the training pictures, each class in proportion, the same for every seed;
    "train" is the rest; "all" is both; "test" is the data set's own. mean and std always come from "train".

    * "digits": see ``digits_in_clutter``; nothing is read from ``root``.
    * "cifar10", "cifar100", "svhn": through torchvision. Files under ``root`` are used first; else the original
      archive under ``root``; else it is downloaded (beside its target, renamed when whole). Nothing is opened before
      its md5 is verified.
    * "tiny-imagenet": 200 classes with the box of each object, in the layout of its archive, tiny-imagenet-200; a copy
      with a part of the pictures works, and a warning is logged. "test" is its val. ``size`` enlarges (default 64).
    * "imagenette": ten easy classes of ImageNet through torchvision; "test" is its val. The archive is the smallest
      with sides of at least ``size`` (default 160); pictures are cut to squares as those of a folder.
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
        size: only for "folder:PATH" (default 64), "tiny-imagenet" (64) and "imagenette" (160).

    Raises: ValueError on an unknown name, split or option, a damaged file (it is left as it is) or an unreadable
    picture; FileNotFoundError when files are missing and cannot be had. Each names the file and what would be right.
    """
    return load_splits(name, (split,), root=root, download=download, n=n, seed=seed, mirror=mirror, size=size)[0]


def load_splits(
    name: str,
    splits: Sequence[str],
    *,
    root: str | Path | None = None,
    download: bool = True,
    n: int | None = None,
    seed: int = 0,
    mirror: str | None = None,
    size: int | None = None,
) -> tuple[ImageSet, ...]:
    """Several splits of one data set, as ``load`` gives each; the files are verified and read once for all of them.

    Raises: as ``load``.
    """
    for split in splits:
        check_split(split)
    if n is not None:
        check_int("n", n, 1)
    check_int("seed", seed, 0)
    if not isinstance(name, str):
        raise TypeError(f"name must be {_NAMES}; got {name!r}")
    kind, _, path = name.partition(":")
    if size is not None and kind not in _ANY_SIZE:
        raise ValueError(
            f"size is for 'folder:PATH', 'tiny-imagenet' and 'imagenette'; pictures of {name!r} have one size; got "
            f"{size!r}"
        )
    if name == "digits":
        return tuple(digits_in_clutter(n or DIGITS_N[split], split=split, seed=seed) for split in splits)
    folder = Path(root or os.environ.get("LPA_DATA") or "~/.cache/lpa_core").expanduser()
    mirror = mirror or os.environ.get("LPA_MIRROR")
    if name in _TORCHVISION:
        found = _load_torchvision(name, splits, folder, download, mirror)
    elif name == "tiny-imagenet":
        side = SIDE if size is None else size
        found = load_tiny_imagenet(splits, folder, size=side, download=download, mirror=mirror)
    elif name == "imagenette":
        found = _load_imagenette(name, splits, folder, 160 if size is None else size, download, mirror)
    elif kind == "folder" and path:
        found = _load_folder(name, splits, Path(path).expanduser(), FOLDER_SIZE if size is None else size)
    else:
        raise ValueError(f"name must be {_NAMES}; got {name!r}")
    return found if n is None else tuple(_some(part, n, seed) for part in found)


def _some(found: ImageSet, n: int, seed: int) -> ImageSet:
    """``n`` pictures of a set, each class in proportion."""
    if n > len(found):
        raise ValueError(f"n must be at most {len(found)}, the pictures in {found.name!r} {found.split!r}; got {n}")
    return found.subset(torch.from_numpy(stratified(found.labels.numpy(), n, key=seed)))


def _load_torchvision(
    name: str, splits: Sequence[str], root: Path, download: bool, mirror: str | None
) -> tuple[ImageSet, ...]:
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

    class Verified(source):  # type: ignore[misc, valid-type]
        def _check_integrity(self) -> bool:
            return True  # as seen above; torchvision would hash every file again for each part

    def read(part: str) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        if name == "svhn":
            numbers = Verified(root, split=part)
            return torch.from_numpy(numbers.data), torch.from_numpy(numbers.labels), tuple("0123456789")
        things = Verified(root, train=part == "train")
        return torch.from_numpy(things.data).permute(0, 3, 1, 2), torch.tensor(things.targets), tuple(things.classes)

    images, labels, classes = read("train")
    held_out = torch.from_numpy(stratified(labels.numpy(), round(len(labels) / 10), key=0))
    mean, std = statistics(images[~held_out])
    checksum = f"md5:{'+'.join(md5s)}"

    def part(split: str) -> ImageSet:
        if split == "test":
            own, answers, _ = read("test")
        elif split == "all":
            own, answers = images, labels
        else:
            keep = held_out if split == "validation" else ~held_out
            own, answers = images[keep], labels[keep]
        return ImageSet(name, split, own.contiguous(), answers, classes, mean, std, checksum)

    return tuple(map(part, splits))


def _load_imagenette(
    name: str, splits: Sequence[str], root: Path, size: int, download: bool, mirror: str | None
) -> tuple[ImageSet, ...]:
    from torchvision.datasets import Imagenette

    check_int("size", size, 1)
    kind = next((kind for kind, side in (("160px", 160), ("320px", 320)) if size <= side), "full")
    url, md5 = Imagenette._ARCHIVES[kind]
    archive = root / url.rpartition("/")[2]
    folder = archive.with_suffix("")
    if not folder.is_dir():
        find_or_fetch(archive, md5, url, name=name, download=download, mirror=mirror, wanted=folder)
        with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as scratch, tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
            os.replace(Path(scratch, folder.name), folder)
    found = _load_folder(name, splits, folder, size, test_name="val")
    return tuple(replace(p, classes=tuple(Imagenette._WNID_TO_CLASS[wnid][0] for wnid in p.classes)) for p in found)


def _load_folder(
    name: str, splits: Sequence[str], path: Path, size: int, *, test_name: str = "test"
) -> tuple[ImageSet, ...]:
    from torchvision.datasets import ImageFolder

    check_int("size", size, 1)
    if not path.is_dir():
        raise FileNotFoundError(f"{name!r} needs a folder with one folder of pictures per class; {path} is none")
    train, test = path / "train", path / test_name
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
    wanted = {split: test_files if split == "test" else [files[i] for i in parts[split]] for split in splits}
    for split, pictures in wanted.items():
        if not pictures:
            raise ValueError(f"{name!r} has {len(files)} pictures, too few for a {split!r} split")
    # A thousand pictures, evenly spaced, are enough for mean and std, and spare reading all of "train" for "test".
    sample = parts["train"][:: -(-len(parts["train"]) // 1000)]
    mean, std = statistics(read_pictures([files[i][0] for i in sample], size))

    def part(split: str) -> ImageSet:
        images = read_pictures([file for file, _ in wanted[split]], size)
        chosen = torch.tensor([label for _, label in wanted[split]])
        return ImageSet(name, split, images, chosen, classes, mean, std, content_checksum(images, chosen))

    return tuple(map(part, splits))
