"""Judge the maps of three networks and write one record a network: ``python tools/record_maps.py``.

The networks are the shipped weights digits-pc and digits-dp, and digits-uniform: the control, trained here by the same
recipe with all weights equal. Every post-hoc method, every level of attention, a random map and a centre prior get
every score on the same test pictures of digits in clutter. Networks whose record exists are skipped; ``--again`` makes
all anew. The chapter on judging maps reads these files, ``book/results/maps-*.json``.
"""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import recording
import torch
from recorded.schema import checksum

from lpa_core import data, metrics, posthoc, training
from lpa_core.metrics import insertion_deletion, interventions, likeness, randomisation, robustness
from lpa_core.models import weights
from lpa_core.training.presets import preset

RESULTS = recording.RESULTS
LEVELS = 3
# Row of the table -> keyword arguments of ``posthoc.explain``, others at their defaults (50 steps would take long).
METHODS: dict[str, dict[str, Any]] = {
    "occlusion": {"method": "occlusion"},
    "saliency": {"method": "saliency"},
    "gradient × input": {"method": "gradient_x_input"},
    "integrated gradients": {"method": "integrated_gradients", "steps": 20},
    "DeconvNet": {"method": "deconvnet"},
    "guided backprop": {"method": "guided_backprop"},
    "CAM": {"method": "cam"},
    "Grad-CAM": {"method": "grad_cam"},
    "guided Grad-CAM": {"method": "guided_grad_cam"},
    "HiResCAM": {"method": "hirescam"},
} | {f"attention, level {s + 1}": {"method": "attention", "level": s} for s in range(LEVELS)}
BASELINES = ("random map", "centre prior")


@dataclass(frozen=True)
class Settings:
    """How much is measured; each number of pictures counts from the first of the test split."""

    seed: int = 0
    located: int = 200  # pictures for pointing game, energy and IoU
    curves: int = 128  # for insertion and deletion ...
    steps: int = 10  # ... each in so many steps
    baseline: str = "blur"
    checked: int = 32  # for sanity, sensitivity and the steadiness under attack
    draws: int = 3  # random networks
    radius: float = 0.1  # of the noise, in units of the normalised pictures: about 5/255
    samples: int = 2  # noises a picture
    epsilons: tuple[float, ...] = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
    answered: int = 500  # for accuracies: under attack, and under interventions


# Networks -------------------------------------------------------------------------------------------------------------


def shipped(name: str) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Weights of the package, and what the record says of them."""
    model, info = weights.load_weights(name)
    return model, {"sha256": info.sha256, "config": info.config, "training": info.provenance, "results": info.scores}


def control() -> tuple[torch.nn.Module, dict[str, Any]]:
    """The same network with uniform weights, trained by the same recipe and seed; its whole run goes on record."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = preset("quick", "digits", compatibility="uniform")
        run = training.train(recipe, folder, device="cpu", progress=False)
    about = {key: run.info[key] for key in ("config", "commit", "versions", "device", "threads", "data", "parameters")}
    return run.model, {
        "sha256": run.info["sha256"],
        "config": run.model.config,
        "training": about | {"history": run.history},
        "results": run.results,
    }


NETWORKS: dict[str, Callable[[], tuple[torch.nn.Module, dict[str, Any]]]] = {
    "digits-pc": partial(shipped, "digits-pc"),
    "digits-dp": partial(shipped, "digits-dp"),
    "digits-uniform": control,
}


# Scores ---------------------------------------------------------------------------------------------------------------


def measure(model: torch.nn.Module, test: data.ImageSet, settings: Settings) -> dict[str, Any]:
    """All scores of one network, as plain values."""
    model = model.to(memory_format=torch.channels_last)  # three times faster to differentiate on a CPU
    images = test.float_images().contiguous(memory_format=torch.channels_last)
    masks = metrics.box_masks(test.boxes, (images.shape[2], images.shape[3]))
    sources, seed = test.sources, settings.seed
    maps, refused = {}, {}
    for name, options in METHODS.items():
        try:
            maps[name] = posthoc.explain(model, images[: settings.located], **options)
        except ValueError as error:  # CAM fits no network whose head reads more than one level
            refused[name] = str(error)
    rows: dict[str, dict[str, Any]] = {name: {"options": METHODS[name]} for name in maps}
    rows |= {name: {"options": None} for name in BASELINES}

    n = settings.located
    shown = test.images[:n]
    # clamp: the positive part of signed maps counts for the energy
    for row in metrics.compare_maps(maps, masks[:n], sources[:n], images=shown, clamp=True, seed=seed):
        rows.setdefault(row.name, {"options": None}).update(plainly(row, "pointing", "energy", "iou"))

    n = settings.curves
    few = {name: each[:n] for name, each in maps.items()}
    options = {"steps": settings.steps, "baseline": settings.baseline, "clusters": sources[:n], "seed": seed}
    for curve in insertion_deletion.compare_curves(model, images[:n], few, **options):
        rows[curve.name] |= plainly(curve, "insertion", "deletion")

    n = settings.checked
    few, clusters = images[:n], sources[:n]
    for name in maps:
        draws = range(seed, seed + settings.draws)
        rows[name]["sanity"] = [randomised(model, few, METHODS[name], clusters, draw) for draw in draws]
    for name, pair in sanity_of_baselines(n, seed).items():
        rows[name]["sanity"] = [plainly(likeness.similarity(name, *pair, clusters, seed=seed), *LIKENESS)]
    methods = {name: METHODS[name] for name in maps}
    noise: dict[str, Any] = {"radius": settings.radius, "samples": settings.samples}
    for row in robustness.sensitivity(model, few, methods=methods, clusters=clusters, seed=seed, **noise):
        rows[row.name] |= plainly(row, "change")

    many = slice(settings.answered)
    attack = {"epsilons": settings.epsilons, "mean": test.mean, "std": test.std, "seed": seed}
    steady = robustness.fgsm_robustness(model, few, test.labels[:n], methods=methods, clusters=clusters, **attack)
    one = {"level 3": METHODS["attention, level 3"]}  # here only the accuracy is wanted, on more pictures
    attacked = robustness.fgsm_robustness(
        model, images[many], test.labels[many], methods=one, clusters=sources[many], **attack
    )
    attacks = [
        {
            "epsilon": epsilon,
            **plainly(accurate, "accuracy", "noise_accuracy"),
            "stability": {name: plain(interval) for name, interval in maps_of.stability.items()},
        }
        for epsilon, maps_of, accurate in zip(settings.epsilons, steady, attacked, strict=True)
    ]
    changes = interventions.compare_interventions(
        model, images[many], test.labels[many], clusters=sources[many], seed=seed
    )
    return {
        "rows": [{"name": name, "baseline": row["options"] is None, **row} for name, row in rows.items()],
        "refused": refused,
        "attacks": attacks,
        "interventions": [
            {"change": row.change, "level": row.level, **plainly(row, "accuracy", "fall", "changed")} for row in changes
        ],
    }


LIKENESS = ("spearman", "spearman_absolute", "ssim")


def randomised(
    model: torch.nn.Module, images: torch.Tensor, options: dict[str, Any], clusters: torch.Tensor, seed: int
) -> dict[str, Any]:
    """Likeness of the maps to those of a network with random weights throughout, and to maps that know nothing."""
    network, *baselines = randomisation.randomisation_check(
        model, images, layers=[""], clusters=clusters, seed=seed, **options
    )
    return plainly(network, *LIKENESS) | {f"like {row.name}": plain(row.spearman) for row in baselines}


def sanity_of_baselines(n: int, seed: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """What a random map (drawn anew) and a centre prior (always the same) would show for two networks."""
    size = (10, 10)
    random = (metrics.random_maps(n, size, seed=seed), metrics.random_maps(n, size, seed=seed + 1))
    centre = metrics.centre_prior(n, size)
    return {"random map": random, "centre prior": (centre, centre)}


def plainly(row: Any, *scores: str) -> dict[str, Any]:
    """Scores of a row by name."""
    return {score: plain(getattr(row, score)) for score in scores}


def plain(interval: metrics.Interval) -> list[float | int | None]:
    """[mean, low, high, values, clusters, left out]; a number that does not exist is None."""
    ends = [None if math.isnan(value) else round(value, 4) for value in interval[:3]]
    return [*ends, *interval[3:]]


def run(name: str, settings: Settings) -> None:
    """Measure one network and write its record."""
    started = time.process_time()
    model, about = NETWORKS[name]()
    test = data.load("digits", "test", n=max(settings.located, settings.answered))
    scores = measure(model, test, settings)
    record = {
        "format": 1,
        "name": name,
        **recording.origin(f"python tools/record_maps.py {name}"),
        "cpu_seconds": round(time.process_time() - started),
        "seed": settings.seed,
        "settings": asdict(settings),
        "data": {"name": "digits", "split": "test", "n": len(test), "checksum": test.checksum},
        "network": about,
        **scores,
    }
    record["checksum"] = checksum(record)
    recording.write_json(path(name), record)
    print(f"{name}: {record['cpu_seconds']} CPU seconds", flush=True)


def path(name: str) -> Path:
    return RESULTS / f"maps-{name}.json"


def main() -> None:
    threads = {"type": int, "default": 1, "help": "the shipped weights were trained with 1, the default"}
    arguments = recording.asked(__doc__, NETWORKS, {"--threads": threads})
    torch.set_num_threads(arguments.threads)
    for name in arguments.names:
        if arguments.again or not path(name).exists():
            run(name, Settings())


if __name__ == "__main__":
    main()
