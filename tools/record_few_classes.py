"""Chapter 11's networks on eight classes of Tiny ImageNet, three seeds: ``record_few_classes.py WORK``.

WORK is a folder for pictures and maps. Tiny ImageNet is looked for under LPA_DATA. ``book/recorded/few_classes.py``
reads the record, ``book/results/photos-few-classes.json``; the chapter trains the same where the data are there.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import recording
import torch
from recorded.few_classes import CENTRE, EQUAL, KINDS, LEVELS
from recorded.schema import checksum
from tiny_folder import is_there, write_folder
from torch import Tensor

from lpa_core import metrics
from lpa_core.data import load_splits
from lpa_core.models import attention_maps
from lpa_core.models.lite0 import LITE0, MEAN, STD
from lpa_core.training import Sets, TrainConfig, train

NAME, SEEDS, SIDE = "photos-few-classes", (0, 1, 2), 128
# What the chapter trains on a folder of photographs; it checks that these are its own.
MODEL = {
    "builder": "attend_to",
    "model": LITE0,
    "weights": "DEFAULT",
    "freeze_backbone": True,
    "input_size": SIDE,
    "flat_start": True,
}
RECIPE = {"epochs": 8, "batch_size": 16, "lr": 0.01}  # of 0.05, 0.02 and 0.01 best on validation


def record(work: Path, root: str, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Accuracy of pc and uniform, and how often the levels of pc point into the box, beside the centre prior."""
    started = time.process_time()
    masks = metrics.box_masks(write_folder(work / "photos", root, size=SIDE), (SIDE, SIDE))
    parts = load_splits(f"folder:{work / 'photos'}", ("train", "validation", "test"), size=SIDE)
    sets = Sets(*(replace(part, mean=MEAN, std=STD) for part in parts))
    right: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    hits: dict[str, list[Tensor]] = {level: [] for level in LEVELS}
    for seed in seeds:
        for kind in KINDS:
            config = TrainConfig("photos", MODEL | {"compatibility": kind}, seed=seed, **RECIPE)
            run = train(config, sets=sets, features=work / "maps", device="cpu", progress=False)
            answers, maps = seen(run.model, sets.test.float_images())
            right[kind].append((answers == sets.test.labels).float())
            if kind == "pc":
                for level, of in zip(LEVELS, maps, strict=True):
                    hits[level].append(metrics.pointing_game(of, masks))
    size = (len(masks), (SIDE, SIDE))
    hits[CENTRE] = [metrics.pointing_game(metrics.centre_prior(*size), masks)]
    hits[EQUAL] = [metrics.pointing_game(metrics.uniform_maps(*size), masks)]
    hits |= {f"{level} less {CENTRE}": [hit - hits[CENTRE][0] for hit in hits[level]] for level in LEVELS}
    right["pc less uniform"] = [pc - uniform for pc, uniform in zip(right["pc"], right["uniform"], strict=True)]
    sizes = {part.split: len(part) for part in sets}
    values = {
        "format": 1,
        "name": NAME,
        **recording.origin(f"python tools/record_few_classes.py {work.name}"),
        "config": {"model": MODEL, **RECIPE, "seeds": [*seeds]},
        "data": {
            "name": "tiny-imagenet",
            "classes": [*sets.test.classes],
            **sizes,
            "checksums": [part.checksum for part in sets],
        },
        "box_share": masks.flatten(1).float().mean().item(),
        "accuracy": {name: over_seeds(of) for name, of in right.items()},
        "pointing": {name: over_seeds(of) for name, of in hits.items()},
        "cpu_seconds": round(time.process_time() - started),
    }
    return {**values, "checksum": checksum(values)}


def seen(model: torch.nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What the model answers for each picture, and its map at each level."""
    with torch.no_grad():
        answers = torch.cat([model(some).argmax(dim=1) for some in images.split(50)])
    levels = zip(*(attention_maps(model, some) for some in images.split(50)), strict=True)
    return answers, [torch.cat(level) for level in levels]


def over_seeds(values: Sequence[Tensor]) -> dict[str, list[float]]:
    """The mean of each seed, and that over the seeds with an interval that draws pictures, each with all its seeds."""
    stacked = torch.stack([*values]).double()
    return {"seeds": stacked.mean(dim=1).tolist(), "interval": [*metrics.cluster_interval(stacked.mean(dim=0))[:3]]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    root = os.environ.get("LPA_DATA", "")
    if not is_there(root):
        parser.error(f"LPA_DATA must name a folder that holds tiny-imagenet-200; got {root!r}")
    torch.set_num_threads(options.threads)
    recording.write_json(recording.RESULTS / f"{NAME}.json", record(options.work, root))


if __name__ == "__main__":
    main()
