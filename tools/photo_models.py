"""Attention for photographs: trained on the frozen maps of EfficientNet-Lite0, recorded, and shipped.

    python tools/photo_models.py train RUNS     # pc, uniform and dp, three seeds each, on Tiny ImageNet
    python tools/photo_models.py ship RUNS      # the pc run of seed 0 into the package

``train`` may be stopped: started again, it goes on. The maps are computed once, into RUNS/maps. Tiny ImageNet is looked
for under LPA_DATA. Numbers go to standard output, news to standard error.
"""

import argparse
import json
import logging
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from lpa_core.data import load_splits
from lpa_core.models.lite0 import LITE0, MEAN, STD
from lpa_core.models.weights import load_weights, save_weights
from lpa_core.training import Sets, TrainConfig, evaluate, train
from lpa_core.training.frozen import FrozenFeatures

SIDE = 192  # pixels that the pictures of 64 are enlarged to: maps of 24x24, 12x12 and 6x6
VARIANTS, SEEDS = ("pc", "uniform", "dp"), (0, 1, 2)
RECIPE = {
    "epochs": 4,  # by then nothing is left to learn from 68 pictures a class
    "batch_size": 64,
    "lr": 0.01,  # chosen on the validation pictures with pc, seed 0: .609, where 0.05 with 6 epochs gave .537
    "weight_decay": 5e-3,  # ten times the usual: the classifier has 286,600 weights, the pictures are 13,500
    "label_smoothing": 0.1,  # usual for 200 classes
    "ema": 0.99,  # averages over the last half epoch
}


def config(variant: str, seed: int) -> TrainConfig:
    """The config of a run: attention of one kind on the frozen maps."""
    model = {
        "builder": "attend_to",
        "model": LITE0,
        "weights": "DEFAULT",
        "freeze_backbone": True,
        "input_size": SIDE,
        "compatibility": variant,
        "flat_start": True,
        "global_path": variant == "dp",  # exact for the other two: with a softmax, g cancels
    }
    return TrainConfig(data="tiny-imagenet", model=model, seed=seed, **RECIPE)


def sets(root: str | None = None) -> Sets:
    """Tiny ImageNet at ``SIDE`` pixels, normalised as the backbone knows pictures."""
    parts = load_splits("tiny-imagenet", ("train", "validation", "test"), root=root, size=SIDE)
    return Sets(*(replace(part, mean=MEAN, std=STD) for part in parts))


def train_all(runs: Path, root: str | None, command: str) -> None:
    """Train every variant with every seed that is not there yet."""
    pictures = sets(root)
    for seed in SEEDS:
        for variant in VARIANTS:
            started = time.perf_counter()
            run = train(
                config(variant, seed),
                runs / f"photo-{variant}-{seed}",
                sets=pictures,
                resume=True,
                device="cpu",
                progress=False,
                features=runs / "maps",
                command=command,
            )
            scores = {part: round(run.results[part]["accuracy"], 4) for part in ("validation", "test")}
            print(
                json.dumps(
                    {"run": f"photo-{variant}-{seed}", **scores, "seconds": round(time.perf_counter() - started)}
                )
            )


def ship(runs: Path, root: str | None) -> None:
    """Put the pc run of seed 0 into the package, in float16; its scores are measured on the file that ships."""
    model, info = load_weights(runs / "photo-pc-0")
    target = Path("lpa_core/models/_weights/photo-pc.safetensors")
    about = {name: getattr(info, name) for name in ("classes", "mean", "std", "provenance", "size")} | {"half": True}
    save_weights(target, model, scores={}, **about)
    shipped = load_weights(target).model
    stored = FrozenFeatures(shipped, sets(root), runs / "maps", device=torch.device("cpu"))
    scores = {part: evaluate(shipped, getattr(stored.sets, part)) for part in ("validation", "test")}
    sha256 = save_weights(target, model, scores=scores, **about)
    print(json.dumps({"scores": scores, "sha256": sha256, "bytes": target.stat().st_size}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "ship"))
    parser.add_argument("runs", type=Path)
    parser.add_argument("--root", help="folder of the data sets (default: LPA_DATA)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    options.runs.mkdir(parents=True, exist_ok=True)
    if options.what == "train":
        train_all(options.runs, options.root, shlex.join(["python", *sys.argv]))
    else:
        ship(options.runs, options.root)


if __name__ == "__main__":
    main()
