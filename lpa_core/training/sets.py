"""The three parts of a data set that a run is made of."""

from pathlib import Path
from typing import NamedTuple

import torch

from .._utils.seeding import stratified
from ..data.digits import DIGITS_N
from ..data.image_set import ImageSet
from ..data.sources import load, load_splits
from .config import TrainConfig


class Sets(NamedTuple):
    """The three parts of a data set; ``validation`` is None where everything is trained on."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def load_sets(
    config: TrainConfig, *, root: str | Path | None = None, download: bool = True, size: int | None = None
) -> Sets:
    """The data of a config: nine tenths to train on and one held out for every choice, or with ``all`` all ten.

    ``size`` is for "folder:PATH", as in ``data.load``.

    Raises: as ``data.load``.
    """

    splits = ("all", "test") if config.all else ("train", "validation", "test")
    if config.data == "digits" and config.limit is not None and size is None:  # made one by one: no more than asked for
        parts = tuple(load("digits", split, n=min(config.limit, DIGITS_N[split])) for split in splits)
    else:
        parts = load_splits(config.data, splits, root=root, download=download, size=size)
    if config.limit is not None:
        chosen = (stratified(p.labels.numpy(), min(config.limit, len(p)), key=0) for p in parts)
        parts = tuple(
            p if config.limit >= len(p) else p.subset(torch.from_numpy(c)) for p, c in zip(parts, chosen, strict=True)
        )
    return Sets(parts[0], None if config.all else parts[1], parts[-1])


def check_sets(sets: Sets, config: TrainConfig) -> None:
    """Refuse sets that cannot be trained on together."""
    if (sets.validation is None) != config.all:
        wanted = "None, since all=True trains on everything" if config.all else "a set, unless all=True"
        raise ValueError(f"sets: validation must be {wanted}")
    for part in filter(None, sets):
        check_labels(part)
        if part.classes != sets.train.classes or part.images.shape[1:] != sets.train.images.shape[1:]:
            raise ValueError(
                f"sets: all must have the classes and the picture shape of the {sets.train.split} set "
                f"({len(sets.train.classes)}, {tuple(sets.train.images.shape[1:])}); the {part.split} set has "
                f"{len(part.classes)} and {tuple(part.images.shape[1:])}, or other class names"
            )


def check_labels(image_set: ImageSet) -> None:
    """Raise ValueError unless ``image_set`` has one label a picture."""
    if image_set.labels.ndim != 1:
        raise ValueError(
            f"{image_set.name} ({image_set.split}) has {image_set.labels.shape[1]} labels a picture; training and "
            f"evaluation need one"
        )
