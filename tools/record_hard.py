"""Train the models of the chapters on hard attention and write one record a run: ``python tools/record_hard.py``.

Runs whose record exists are skipped, so the command can be stopped and started again; ``--again`` makes all anew.
With ``--cost`` it measures the time of a look against the size of the picture instead. All numbers that the chapters
show come from these files, ``book/results/hard-*.json``.
"""

import functools
from pathlib import Path

import recording

from lpa_core.data.image_set import ImageSet
from lpa_core.data.sources import load
from lpa_core.hard.experiment import record, train_hard
from lpa_core.hard.kinds import HardConfig
from lpa_core.hard.scoring import cost

RESULTS = recording.RESULTS
# name -> what differs from ``HardConfig``; the first five are the table of chapter 10, the rest is for appendix 13.
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
        **recording.origin(f"python tools/record_hard.py {name} --seeds {seed}"),
        "data": {part.split: [len(part), part.checksum] for part in (train, watch, test)},
        "cost": cost(done.model, tuple(train.images.shape[1:])),
    }
    recording.write_json(path(name, seed), record(done, **about))
    scores = {key: round(value, 3) for key, value in done.results.items()}
    print(name, seed, scores, f"{done.history[-1]['seconds']:.0f} s", flush=True)


def measure_cost() -> None:
    """Write hard-cost.json: what a look costs against the size of the picture, on this machine."""
    from benchmarks.bench_hard import measure

    values = {"format": 1, **recording.origin("python tools/record_hard.py --cost"), "entries": list(measure())}
    recording.write_json(RESULTS / "hard-cost.json", values)


def path(name: str, seed: int) -> Path:
    return RESULTS / f"hard-{name}-{seed}.json"


def main() -> None:
    cost = {"action": "store_true", "help": "measure the cost of a look instead"}
    options = {"--seeds": {"type": int, "nargs": "+", "default": (0, 1, 2)}, "--cost": cost}
    arguments = recording.asked(__doc__, RUNS, options)
    if arguments.cost:
        return measure_cost()
    for seed in arguments.seeds:
        for name in arguments.names:
            if arguments.again or not path(name, seed).exists():
                run(name, seed)


if __name__ == "__main__":
    main()
