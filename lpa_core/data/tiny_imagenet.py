"""Tiny ImageNet in the layout of its archive: 200 classes, pictures of 64x64, each with the box of its object.

``tiny-imagenet-200/wnids.txt`` and ``words.txt`` name the classes, ``train/WNID/images`` and ``val/images`` hold the
pictures, ``train/WNID/WNID_boxes.txt`` and ``val/val_annotations.txt`` their boxes. The pictures of ``test`` have no
labels and are not read: "test" here is ``val``.
"""

import logging
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .._utils.checks import check_int
from .._utils.seeding import stratified
from .download import find_or_fetch
from .image_set import ImageSet, content_checksum
from .picture_files import read_pictures, statistics

logger = logging.getLogger(__name__)

FOLDER, ARCHIVE = "tiny-imagenet-200", "tiny-imagenet-200.zip"
URL, MD5 = f"http://cs231n.stanford.edu/{ARCHIVE}", "90528d7ca1a48142e341f4ef8d21d0de"
SIDE, TRAIN, TEST = 64, 100_000, 10_000  # pixels of a side, pictures in the whole archive


class _Listed(NamedTuple):
    """A picture that an annotation file lists: its box is left, top, right, bottom, in pixels, the ends included."""

    file: Path
    label: int
    box: tuple[int, int, int, int]


def load_tiny_imagenet(
    splits: Sequence[str], root: Path, *, size: int = SIDE, download: bool, mirror: str | None
) -> tuple[ImageSet, ...]:
    """Splits of Tiny ImageNet under ``root``, with boxes: see ``load``, which this stands behind.

    ``size`` enlarges the pictures (bicubic) and their boxes. A copy with a part of the pictures works, and a warning is
    logged that says how many there are; classes are then still all 200, and the splits are of what is there.

    Raises: FileNotFoundError where it is not there and cannot be had, or a file of the layout is missing; ValueError on
        a line that is no box, a picture without a box, one that cannot be read, or a split without pictures.
    """
    check_int("size", size, 1)
    folder = root / FOLDER
    if not folder.is_dir():
        find_or_fetch(
            root / ARCHIVE,
            MD5,
            URL,
            name="tiny-imagenet",
            download=download,
            mirror=mirror,
            wanted=folder / "wnids.txt",
        )
        _unpack(root / ARCHIVE, root)
    wnids = sorted(_lines(folder / "wnids.txt"))
    classes = _names(wnids, folder / "words.txt")
    train = [
        found
        for label, wnid in enumerate(wnids)
        for found in _listed(folder / "train" / wnid / f"{wnid}_boxes.txt", label)
    ]
    tested = _listed(folder / "val" / "val_annotations.txt", {wnid: label for label, wnid in enumerate(wnids)})
    if (len(train), len(tested)) != (TRAIN, TEST):
        logger.warning(
            "tiny-imagenet in %s is a part of the archive: %d of %d pictures to train on, %d of %d to test on",
            *(folder, len(train), TRAIN, len(tested), TEST),
        )
    held_out = stratified(np.array([found.label for found in train], dtype=int), round(len(train) / 10), key=0)
    parts = {
        "train": [found for found, out in zip(train, held_out, strict=True) if not out],
        "validation": [found for found, out in zip(train, held_out, strict=True) if out],
        "all": train,
        "test": tested,
    }
    sample = parts["train"][:: max(1, len(parts["train"]) // 1000)]
    for split in splits:
        if not parts[split] or not sample:
            raise ValueError(f"tiny-imagenet in {folder} has no pictures for {split!r}: it is damaged, or not whole")
    # A thousand pictures, evenly spaced, are enough for mean and std, as they are for a folder.
    mean, std = statistics(read_pictures([found.file for found in sample], SIDE))

    def part(split: str) -> ImageSet:
        chosen = parts[split]
        images = read_pictures([found.file for found in chosen], size)
        labels = torch.tensor([found.label for found in chosen])
        boxes = torch.tensor([found.box for found in chosen])[:, [1, 0, 3, 2]]  # top, left, bottom, right
        boxes = ((boxes + torch.tensor([0, 0, 1, 1])) * size).div(SIDE).round().long()
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1).clamp(max=size)  # a pixel at least
        boxes[:, :2] = torch.minimum(boxes[:, :2], boxes[:, 2:] - 1)
        checksum = content_checksum(images, labels)
        return ImageSet("tiny-imagenet", split, images, labels, classes, mean, std, checksum, boxes=boxes)

    return tuple(map(part, splits))


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}: {FOLDER} must be laid out as its archive is (wnids.txt, words.txt, train, val)"
        )
    return path.read_text(encoding="utf-8").splitlines()


def _names(wnids: list[str], words: Path) -> tuple[str, ...]:
    """The first name of each class; all its names where the first is another class's too."""
    said = dict(line.split("\t", 1) for line in _lines(words) if "\t" in line)
    if unknown := [wnid for wnid in wnids if wnid not in said]:
        raise ValueError(f"{words} is damaged: it has no name for {unknown[0]}")
    first = [said[wnid].split(",")[0] for wnid in wnids]
    return tuple(name if first.count(name) == 1 else said[wnid] for name, wnid in zip(first, wnids, strict=True))


def _listed(annotations: Path, label_of: Mapping[str, int] | int) -> list[_Listed]:
    """The pictures that ``annotations`` lists and ``images`` beside it holds, of one class or with a class a line."""
    images = annotations.parent / "images"
    there = set(os.listdir(images)) if images.is_dir() else set()
    if not there and not annotations.is_file():
        return []  # a copy without this class
    found = []
    for line in _lines(annotations):
        name, *rest = line.split("\t")
        try:
            label = label_of if isinstance(label_of, int) else label_of[rest.pop(0)]
            left, top, right, bottom = map(int, rest)
            if not (0 <= left <= right < SIDE and 0 <= top <= bottom < SIDE):
                raise ValueError
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"{annotations} is damaged: {line[:80]!r} is no picture with a box") from error
        if name in there:
            found.append(_Listed(images / name, label, (left, top, right, bottom)))
    if without := there - {each.file.name for each in found}:
        raise ValueError(f"{images / min(without)} has no box in {annotations.name}: take it out, or repair the list")
    return found


def _unpack(archive: Path, root: Path) -> None:
    """Take all that is read here out of ``archive``, which is verified; the folder appears when it is whole."""
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpack-") as scratch, zipfile.ZipFile(archive) as zipped:
        zipped.extractall(scratch, [name for name in zipped.namelist() if not name.startswith(f"{FOLDER}/test/")])
        os.replace(Path(scratch, FOLDER), root / FOLDER)
