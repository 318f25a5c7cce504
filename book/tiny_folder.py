"""A few classes of Tiny ImageNet as a folder of photographs, for the chapter on networks and pictures of one's own."""

import shutil
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lpa_core import data

FOLDER = "tiny-imagenet-200"
CLASSES, PICTURES = 8, 75  # how many classes, evenly spaced in the list of all, and pictures of each to train on
SIDE = 64  # pixels of a side


def is_there(root: str | Path | None) -> bool:
    """Whether ``root`` holds Tiny ImageNet in the layout of its archive."""
    return bool(root) and (Path(root) / FOLDER / "wnids.txt").is_file()


def write_folder(place: Path, root: str | Path, *, size: int) -> Tensor:
    """Write train/CLASS/000.png and so on to ``place``, and the same for test; gives the boxes of the test pictures.

    The boxes (n, 4) are top, left, bottom, right in pixels of a picture that is enlarged to ``size``, in the order in
    which ``data.load("folder:PLACE", "test")`` gives the pictures. A folder that is there is written anew.
    """
    train, test = data.load_splits("tiny-imagenet", ("all", "test"), root=root, download=False)
    there = sorted(set(train.labels.tolist()) & set(test.labels.tolist()))  # a copy may lack some
    chosen = sorted(there[:: max(1, len(there) // CLASSES)][:CLASSES], key=lambda label: train.classes[label])
    boxes = []
    if place.exists():
        shutil.rmtree(place)
    for part, found, most in (("train", train, PICTURES), ("test", test, None)):
        for label in chosen:
            folder = place / part / train.classes[label]
            folder.mkdir(parents=True)
            few = found.subset(found.labels == label)
            for i, picture in enumerate(few.images[:most]):
                Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{i:03}.png")
            boxes += [few.boxes] if part == "test" else []
    return torch.cat(boxes) * size // SIDE
