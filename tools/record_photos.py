"""What attention on photographs is worth: accuracies, boxes and montages, one record each.

    python tools/record_photos.py runs RUNS            # accuracy of pc, uniform and dp, and boxes of the pc runs
    python tools/record_photos.py montages MODEL [...] # the grid pointing game of every method and level

RUNS is the folder that ``tools/photo_models.py train RUNS`` filled. MODEL is the name of weights or a run folder; the
montages of several models (seeds) make one record, named by ``--name``. Tiny ImageNet or CIFAR-100 is looked for under
LPA_DATA. ``book/recorded/photographs.py`` reads the records, ``book/results/photos-*.json``.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "book")]

from recorded.schema import checksum  # noqa: E402

from lpa_core import metrics  # noqa: E402
from lpa_core._utils import provenance  # noqa: E402
from lpa_core._utils.files import write_atomic  # noqa: E402
from lpa_core.data import ImageSet, load, montages, normalise  # noqa: E402
from lpa_core.models.classifier import AttentionClassifier  # noqa: E402
from lpa_core.models.weights import Trained, load_weights  # noqa: E402
from lpa_core.posthoc import explain  # noqa: E402
from lpa_core.training import Sets  # noqa: E402
from lpa_core.training.frozen import FrozenFeatures  # noqa: E402

FORMAT = 1
LOOKED_AT = 2500  # test pictures, by lot, among which those that the network knows are looked for
RESULTS = ROOT / "book" / "results"
VARIANTS, SEEDS = ("pc", "uniform", "dp"), (0, 1, 2)
# Row of the montages' table -> keyword arguments of ``explain``; others at their defaults. Score-CAM is left out: it
# takes a run of the network for each of 1,280 channels.
METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"method": "occlusion", "evaluations": 32},
    "saliency": {"method": "saliency"},
    "SmoothGrad": {"method": "smooth_grad", "samples": 8},
    "gradient × input": {"method": "gradient_x_input"},
    "integrated gradients": {"method": "integrated_gradients", "steps": 10},
    "DeconvNet": {"method": "deconvnet"},
    "guided backprop": {"method": "guided_backprop"},
    "CAM": {"method": "cam"},
    "Grad-CAM": {"method": "grad_cam"},
    "Grad-CAM++": {"method": "grad_cam_plus_plus"},
    "LayerCAM": {"method": "layer_cam"},
    "guided Grad-CAM": {"method": "guided_grad_cam"},
    "HiResCAM": {"method": "hirescam"},
}
BASELINES = ("random map", "centre prior", "edge map")


def batches(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


# Runs: accuracy and boxes ---------------------------------------------------------------------------------------------


def record_runs(runs: Path, root: str | None) -> dict[str, Any]:
    """Accuracy of every run, and how often the maps of the pc runs point into the box."""
    infos = {
        variant: [json.loads((runs / f"photo-{variant}-{seed}" / "run.json").read_text()) for seed in SEEDS]
        for variant in VARIANTS
    }
    first = infos["pc"][0]
    config = {key: value for key, value in first["config"].items() if key != "seed"}
    info = load_weights(runs / "photo-pc-0").info
    test = replace(load("tiny-imagenet", "test", root=root, size=info.size[0]), mean=info.mean, std=info.std)
    levels = [boxed(load_weights(runs / f"photo-pc-{seed}").model, test, runs / "maps") for seed in SEEDS]
    masks = metrics.box_masks(test.boxes, test.images.shape[2:])
    return {
        "accuracy": {
            variant: {part: [run["results"][part]["accuracy"] for run in of] for part in ("validation", "test")}
            for variant, of in infos.items()
        },
        "seconds": {variant: [run["timings"]["seconds"] for run in of] for variant, of in infos.items()},
        "parameters": {variant: of[0]["parameters"] for variant, of in infos.items()},
        "config": config,
        "data": first["data"],
        "box_share": masks.flatten(1).float().mean().item(),
        "boxes": {
            **{
                f"attention, level {level + 1}": {
                    score: [seed[level][score] for seed in levels] for score in ("pointing", "energy")
                }
                for level in range(len(levels[0]))
            },
            **{name: {k: [v] for k, v in scored(make, test).items()} for name, make in KNOW_NOTHING.items()},
        },
    }


def boxed(model: AttentionClassifier, test: ImageSet, maps: Path) -> list[dict[str, float]]:
    """Pointing game and energy in the box of each level, over all test pictures."""
    store = FrozenFeatures(model, Sets(test, None, test), maps, device=torch.device("cpu"))
    found: list[list[dict[str, Tensor]]] = []
    with torch.no_grad():
        for part in batches(len(test), 250):
            attended = model.attend(store.sets.train.float_images(part)).attended
            found.append([scores_of(level.weights, test, part) for level in attended])
    store.give_back(model)
    return [merged([part[level] for part in found]) for level in range(len(found[0]))]


def scores_of(maps: Tensor, test: ImageSet, part: slice) -> dict[str, Tensor]:
    masks = metrics.box_masks(test.boxes[part], test.images.shape[2:])
    return {"pointing": metrics.pointing_game(maps, masks), "energy": metrics.energy_in_mask(maps, masks)}


def merged(parts: list[dict[str, Tensor]]) -> dict[str, float]:
    return {key: torch.cat([part[key] for part in parts]).nanmean().item() for key in parts[0]}


KNOW_NOTHING: dict[str, Callable[[Tensor, int], Tensor]] = {
    "centre prior": lambda images, _: metrics.centre_prior(len(images), images.shape[2:]),
    "edge map": lambda images, _: metrics.edge_maps(images, sigma=images.shape[-1] / 24),
    "blurred brightness": lambda images, _: metrics.blurred_brightness(images, sigma=images.shape[-1] / 10),
    "random map": lambda images, seed: metrics.random_maps(len(images), (6, 6), seed=seed),
    "uniform weights": lambda images, _: metrics.uniform_maps(len(images), (6, 6)),
}


def scored(make: Callable[[Tensor, int], Tensor], test: ImageSet) -> dict[str, float]:
    return merged([scores_of(make(test.images[part], part.start), test, part) for part in batches(len(test), 250)])


# Montages -------------------------------------------------------------------------------------------------------------


def record_montages(models: list[str], data: str, root: str | None, cell: int | None, count: int) -> dict[str, Any]:
    """The grid pointing game of every method, level and baseline, for every model."""
    results, refused, about = [], {}, None
    test = load(data, "test", root=root, **({} if cell is None else {"size": cell}))
    for seed, name in enumerate(models):
        trained = load_weights(name)
        made = known_montages(trained, replace(test, mean=trained.info.mean, std=trained.info.std), count, seed)
        rows, refused = play(trained, made, seed)
        results.append(rows)
        about = {"data": data, "cell": made.images.shape[-1] // 2, "montages": len(made), "classes": len(made.classes)}
        print(json.dumps({"model": name, "rows": rows}), file=sys.stderr)
    return {**(about or {}), "models": [str(Path(name).name) for name in models], "refused": refused, "rows": results}


def known_montages(trained: Trained, test: ImageSet, count: int, seed: int) -> ImageSet:
    """Montages of test pictures that the network names rightly, with at least a half, when they are alone."""
    images = (
        test
        if len(test) <= 3000
        else test.subset(torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:3000])
    )
    with torch.no_grad():
        logits = torch.cat([trained.model(images.float_images(part)) for part in batches(len(images), 32)])
    probability, said = logits.softmax(dim=1).max(dim=1)
    known = (said == images.labels) & (probability >= 0.5)
    return montages(images.subset(known), count, seed=seed)


def play(trained: Trained, made: ImageSet, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores for all four classes of each montage, and for the class that the network says, where it is one of them."""
    model, info = trained
    n, cells = len(made), made.labels.shape[1]
    floats = normalise(made.images, info.mean, info.std)
    of_montage = torch.arange(n).repeat_interleave(cells)
    places = torch.arange(cells).repeat(n)
    with torch.no_grad():
        outputs = [model.attend(floats[part]) for part in batches(n, 8)]
    said = torch.cat([output.logits for output in outputs]).argmax(dim=1)
    is_said = (made.labels == said[:, None]).flatten()
    size = (made.images.shape[2], made.images.shape[3])
    coarsest = outputs[0].attended[-1].weights.shape[1:]

    def row(maps: Tensor) -> dict[str, Any]:
        """``maps`` (n * cells, h, w): one for each class of each montage."""
        scores = metrics.grid_pointing_game(maps, places, size=size)
        return {
            f"{score}_{which}": list(metrics.cluster_interval(getattr(scores, score)[chosen], of_montage[chosen])[:3])
            for score in ("energy", "pointing")
            for which, chosen in (("all", slice(None)), ("said", is_said))
        }

    rows: dict[str, Any] = {"said": float(is_said.view(n, cells).any(dim=1).float().mean())}
    refused: dict[str, str] = {}
    for name, options in METHODS.items():
        started = time.process_time()
        if name == "occlusion":  # half a picture of the montage
            options = options | {"window": size[0] // 4, "stride": size[0] // 8}
        try:
            maps = [explain(model, floats[i].expand(cells, -1, -1, -1), made.labels[i], **options) for i in range(n)]
        except ValueError as error:
            refused[name] = str(error)[:160]
            continue
        rows[name] = row(torch.cat(maps).float())
        print(name, rows[name]["energy_all"], round(time.process_time() - started), "s", file=sys.stderr, flush=True)
    for level in range(len(outputs[0].attended)):
        weights = torch.cat([output.attended[level].weights for output in outputs])
        rows[f"attention, level {level + 1}"] = row(weights.repeat_interleave(cells, dim=0))
    rows["random map"] = row(metrics.random_maps(n, tuple(coarsest), seed=seed).repeat_interleave(cells, dim=0))
    rows["centre prior"] = row(metrics.centre_prior(n * cells, size))
    rows["edge map"] = row(metrics.edge_maps(made.images).repeat_interleave(cells, dim=0))
    return rows, refused


def asked(options: argparse.Namespace) -> list[str]:
    """The options of montages that a record's numbers depend on."""
    if options.what != "montages":
        return []
    size = [] if options.cell is None else ["--cell", str(options.cell)]
    return ["--data", options.data, "--count", str(options.count), *size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("runs", "montages"))
    parser.add_argument("of", nargs="+", help="the folder of runs, or the models")
    parser.add_argument("--name", help="of the record (montages; default: the first model's)")
    parser.add_argument("--data", default="tiny-imagenet", choices=("tiny-imagenet", "cifar100", "cifar10"))
    parser.add_argument("--cell", type=int, help="pixels of a picture in a montage (tiny-imagenet; default: 96)")
    parser.add_argument("--count", type=int, default=100, help="montages a model")
    parser.add_argument("--root", help="folder of the data sets (default: LPA_DATA)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.process_time()
    if options.what == "runs":
        name, values = "photos-tiny-imagenet", record_runs(Path(options.of[0]), options.root)
    else:
        cell = (options.cell or 96) if options.data == "tiny-imagenet" else None
        name = f"photos-montages-{options.name or Path(options.of[0]).name}"
        values = record_montages(options.of, options.data, options.root, cell, options.count)
    record = {
        "format": FORMAT,
        "name": name,
        "command": shlex.join(
            ["python", "tools/record_photos.py", options.what, *(Path(of).name for of in options.of), *asked(options)]
        ),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device_name(torch.device("cpu")),
        "threads": options.threads,
        "ended": provenance.now(),
        "cpu_seconds": round(time.process_time() - started),
        **values,
    }
    record["checksum"] = checksum(record)
    write_atomic(RESULTS / f"{name}.json", json.dumps(record, indent=1) + "\n")
    print(json.dumps({"record": f"book/results/{name}.json", "cpu_seconds": record["cpu_seconds"]}))


if __name__ == "__main__":
    main()
