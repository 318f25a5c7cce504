"""Train the models of the chapters on hard attention and write one record a run: ``python tools/record_hard.py``.

Runs whose record exists are skipped, so the command can be stopped and started again; ``--again`` makes all anew.
With ``--cost`` it measures the time of a look against the size of the picture instead. All numbers that the chapters
show come from these files, ``book/results/hard-*.json``.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lpa_core._utils import provenance  # noqa: E402
from lpa_core._utils.files import write_atomic  # noqa: E402
from lpa_core.data.image_set import ImageSet  # noqa: E402
from lpa_core.data.sources import load  # noqa: E402
from lpa_core.hard.experiment import record, train_hard  # noqa: E402
from lpa_core.hard.kinds import HardConfig  # noqa: E402
from lpa_core.hard.scoring import cost  # noqa: E402

RESULTS = ROOT / "book" / "results"
SEEDS = (0, 1, 2)
# name -> what differs from ``HardConfig``; the first six are the table of chapter 10, the rest its comparisons.
RUNS = {
    "hard": {"kind": "hard"},
    "soft": {"kind": "soft"},
    "uniform": {"kind": "uniform"},
    "random": {"kind": "random"},
    "salient": {"kind": "salient"},
    "glimpses": {"kind": "glimpses", "steps": 1600},
    "gumbel": {"kind": "gumbel"},
    "straight_through": {"kind": "straight_through"},
    "transformer": {"kind": "transformer"},
    "no-baseline": {"kind": "hard", "baseline": "none"},
    "batch-mean": {"kind": "hard", "baseline": "mean"},
}


@functools.cache
def sets() -> tuple[ImageSet, ImageSet, ImageSet]:
    """The pictures to train on, to watch while training, and to test with."""
    return load("digits", "train", n=20_000), load("digits", "validation", n=500), load("digits", "test")


def run(name: str, seed: int) -> None:
    """Train one run and write its record."""
    config = HardConfig(**RUNS[name], seed=seed)
    train, watch, test = sets()
    done = train_hard(config, train, test, watch=watch)
    about = {
        "name": name,
        "seed": seed,
        "command": f"python tools/record_hard.py {name} --seeds {seed}",
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "ended": provenance.now(),
        "data": {part.split: [len(part), part.checksum] for part in (train, watch, test)},
        "cost": cost(done.model, tuple(train.images.shape[1:])),
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomic(path(name, seed), json.dumps(record(done, **about)) + "\n")
    print(
        name,
        seed,
        {k: round(v, 3) for k, v in done.results.items()},
        f"{done.history[-1]['seconds']:.0f} s",
        flush=True,
    )


def measure_cost() -> None:
    """Write hard-cost.json: what a look costs against the size of the picture, on this machine."""
    from benchmarks.bench_hard import measure

    about = {
        "command": "python tools/record_hard.py --cost",
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "ended": provenance.now(),
    }
    RESULTS.mkdir(exist_ok=True)
    write_atomic(RESULTS / "hard-cost.json", json.dumps({"format": 1, **about, "entries": list(measure())}) + "\n")


def path(name: str, seed: int) -> Path:
    return RESULTS / f"hard-{name}-{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", default=list(RUNS), help=f"of {', '.join(RUNS)}; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--again", action="store_true", help="also runs whose record exists")
    parser.add_argument("--cost", action="store_true", help="measure the cost of a look instead")
    arguments = parser.parse_args()
    if arguments.cost:
        return measure_cost()
    if unknown := set(arguments.names) - set(RUNS):
        parser.error(f"there is no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    for seed in arguments.seeds:
        for name in arguments.names:
            if arguments.again or not path(name, seed).exists():
                run(name, seed)


if __name__ == "__main__":
    main()
