"""What g does in a trained network: ``python tools/record_g.py MODEL [...]``, the weights or run folders of its seeds.

The first test pictures of the network's own data keep their local vectors and are given another global vector: that of
another picture, the mean over all, a random one of the same length, none. Recorded are how many answers stay right and
how much of each map's weight moves; also how far the scores of a picture spread, and its largest weight. The control
changes the maps themselves: another picture's maps, equal weights.

    python tools/record_g.py cifar100-pc
    python tools/record_g.py runs/photo-dp-0 runs/photo-dp-1 runs/photo-dp-2 --name tiny-imagenet-dp

Data sets are looked for under LPA_DATA. ``book/recorded/swaps.py`` reads the records, ``book/results/g-*.json``.
"""

import argparse
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import recording
import torch
from recorded.schema import checksum
from recorded.swaps import OTHER_G, OTHER_MAPS, OWN
from torch import Tensor
from torch.nn import functional

from lpa_core import data
from lpa_core.models.classifier import AttentionClassifier
from lpa_core.models.trunk import Features
from lpa_core.models.weights import load_weights

PICTURES = 1000  # the first of the test set
TOGETHER = 100


def measure(model: AttentionClassifier, test: data.ImageSet) -> dict[str, Any]:
    """Lengths, and the row of every change, as plain values. Raises: ValueError for a model without g or levels."""
    if not model.estimators or not model.trunk.has_global:
        raise ValueError("the model must have levels and a global path; there is no g to swap")
    model = model.eval()
    with torch.no_grad():
        features = joined([model.trunk(test.float_images(part)) for part in parts(len(test))])
        local, g = features.local, features.g
        assert g is not None  # a trunk with a global path makes one
        attended = [estimate(level, g) for estimate, level in zip(model.estimators, local, strict=True)]
        own = [each.weights for each in attended]
        first = answers(model, local, own)
        rows = {OWN: row(test.labels, own, own, first, first)}
        for name, other in other_g(g).items():
            maps = weights(model, local, other)
            rows[name] = row(test.labels, own, maps, first, answers(model, local, maps))
        for name, maps in other_maps(own).items():
            rows[name] = row(test.labels, own, maps, first, answers(model, local, maps))
        meets = [g if e.project_global is None else e.project_global(g) for e in model.estimators]
    return {
        "local_lengths": [round(level.norm(dim=1).mean().item(), 5) for level in local],
        "g_lengths": [round(each.norm(dim=1).mean().item(), 5) for each in meets],
        "score_spreads": [round(each.scores.flatten(1).std(dim=1).mean().item(), 5) for each in attended],
        "largest_weights": [round(each.weights.flatten(1).amax(dim=1).mean().item(), 5) for each in attended],
        "rows": rows,
    }


def parts(n: int) -> list[slice]:
    return [slice(start, min(start + TOGETHER, n)) for start in range(0, n, TOGETHER)]


def joined(found: Sequence[Features]) -> Features:
    local = tuple(torch.cat(level) for level in zip(*(each.local for each in found), strict=True))
    return Features(local, torch.cat([each.g for each in found if each.g is not None]))


def weights(model: AttentionClassifier, local: Sequence[Tensor], g: Tensor) -> list[Tensor]:
    return [e(level, g).weights for e, level in zip(model.estimators, local, strict=True)]


def answers(model: AttentionClassifier, local: Sequence[Tensor], maps: Sequence[Tensor]) -> Tensor:
    vectors = [e.vector(level, a) for e, level, a in zip(model.estimators, local, maps, strict=True)]
    return model.classify(vectors).argmax(dim=1)


def other_g(g: Tensor) -> dict[str, Tensor]:
    """``another's g`` is that of the picture half the set away: where the set is sorted, one of another class."""
    noise = functional.normalize(torch.randn(g.shape, generator=torch.Generator().manual_seed(0)))
    made = (g.roll(len(g) // 2, 0), g.mean(0).expand_as(g), noise * g.norm(dim=1, keepdim=True), torch.zeros_like(g))
    return dict(zip(OTHER_G, made, strict=True))


def other_maps(own: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    equal = [torch.full_like(a, 1 / a[0].numel()) for a in own]
    return dict(zip(OTHER_MAPS, ([a.roll(len(a) // 2, 0) for a in own], equal), strict=True))


def row(labels: Tensor, own: Sequence[Tensor], maps: Sequence[Tensor], first: Tensor, said: Tensor) -> dict[str, Any]:
    """``moved`` is half the sum of absolute differences: the share of a map's weight that lies elsewhere."""
    before, after = first == labels, said == labels
    moved = [0.5 * (a - b).abs().flatten(1).sum(dim=1).mean().item() for a, b in zip(own, maps, strict=True)]
    return {
        "right": after.double().mean().item(),
        "lost": int((before & ~after).sum()),
        "gained": int((after & ~before).sum()),
        "same": (said == first).double().mean().item(),
        "moved": [round(share, 6) for share in moved],
    }


def first_pictures(name: str, size: tuple[int, int] | None, count: int, root: str | None) -> data.ImageSet:
    """The first test pictures; of Tiny ImageNet, whose test set is sorted by class, the same number of each class."""
    if name == "tiny-imagenet":
        return data.load(name, "test", root=root, download=False, n=count, size=size and size[0])
    return data.load(name, "test", root=root, download=False).subset(range(count))


def record(models: Sequence[str], name: str, *, root: str | None = None, pictures: int = PICTURES) -> dict[str, Any]:
    """The record of a network; ``models`` are its seeds. Raises: ValueError where they are not of one kind."""
    started, networks, kinds = time.process_time(), [], set()
    for place in models:
        trained = load_weights(place)
        info, about = trained.info, trained.info.provenance
        kinds.add((about["data"]["name"], info.config.get("compatibility", "pc"), info.size))
        test = first_pictures(about["data"]["name"], info.size, pictures, root)
        found = measure(trained.model, replace(test, mean=info.mean, std=info.std))
        networks.append({"sha256": info.sha256, "seed": about["seed"], **found})
    if len(kinds) != 1:
        raise ValueError(f"models must be seeds of one network; got {sorted(map(str, kinds))}")
    called = [str(Path(place).name) if Path(place).is_dir() else place for place in models]
    command = shlex.join(["python", "tools/record_g.py", *(f"runs/{c}" if "-" in c[-2:] else c for c in called)])
    values = {
        "format": 1,
        "name": f"g-{name}",
        **recording.origin(command if name in called else f"{command} --name {name}"),
        "cpu_seconds": round(time.process_time() - started, 1),
        "compatibility": info.config.get("compatibility", "pc"),
        "data": {"name": test.name, "split": "test", "n": len(test), "checksum": test.checksum},
        "networks": networks,
    }
    return {**values, "checksum": checksum(values)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="names of weights, or run folders: seeds of one")
    parser.add_argument("--name", help="of the network (default: that of the first model)")
    parser.add_argument("--root", help="folder of the data sets")
    parser.add_argument("--to", type=Path, default=recording.RESULTS, metavar="DIR", help="default: book/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    name = options.name or Path(options.models[0]).name
    made = record(options.models, name, root=options.root)
    recording.write_json(options.to / f"g-{name}.json", made)
    print(f"{made['name']}: {made['cpu_seconds']} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
