"""The recorded runs of the chapter on hard attention: read, checked against themselves, and put in one table.

``tools/record_hard.py`` writes one file a run, ``hard-NAME-SEED.json``; ``hard.record`` says what is in it. With
``--cost`` it writes ``hard-cost.json``: what a look costs against the size of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lpa_core._utils.seeding import own_random_state
from lpa_core.hard.kinds import KINDS, HardConfig, build_model
from lpa_core.hard.model import HardAttention
from lpa_core.hard.scoring import cost

from .schema import Schema, must, must_be_whole, only_seeds_differ, same

PICTURE = (3, 40, 40)
NEAR = 0.1  # how far a test score may be from the last one on the validation pictures, which are few
ORIGIN = ("command", "commit", "device", "ended", "threads", "versions")
FIELDS = (
    *("format", "config", "kind", "results", "seconds", "cpu_seconds", "name", "seed", *ORIGIN),
    *("data", "cost", "history"),
)

COMMON = ("kind", "steps", "batch_size", "lr", "weight_decay", "window", "stride", "options")  # what decides any run
ALSO = {  # and what decides a run of this kind besides
    "hard": ("reward", "baseline", "entropy_weight", "draws"),
    "random": ("draws",),
    "salient": ("draws",),
    "gumbel": ("temperature",),
    "glimpses": ("reward", "baseline", "entropy_weight"),
}

COST = {"model", "side", "milliseconds", "macs", "positions", "parameters"}  # what hard-cost.json says of each look

HardRecord = dict[str, Any]


class Spread(NamedTuple):
    """The mean of several runs, the lowest and the highest."""

    mean: float
    low: float
    high: float


class HardRow(NamedTuple):
    """All runs of one name: their seeds, their scores on the test set, and what one look costs."""

    name: str
    seeds: tuple[int, ...]
    accuracy: Spread
    hit: Spread
    iou: Spread
    cpu_seconds: Spread
    macs: int
    positions: int
    parameters: int


def read_hard_runs(folder: Path | str) -> dict[str, list[HardRecord]]:
    """The records in ``folder``, by name, each list by seed.

    Raises: ValueError as ``check_hard_run``, naming the file. A folder without records, or none, gives {}.
    """
    found: dict[str, list[HardRecord]] = {}
    for record in HARD_RUNS.read_all(folder):
        found.setdefault(record["name"], []).append(record)
    return found


def read_cost(path: Path | str) -> list[dict[str, Any]]:
    """What a look of each model costs: entries with ``model``, ``side`` of the picture, ``macs`` and ``milliseconds``.

    Raises: ValueError naming the file and what is wrong with it; OSError where there is none.
    """
    return HARD_COST.read(path)


def check_hard_run(record: Mapping[str, Any]) -> None:
    """Raise ValueError when a record has other fields than it must, or contradicts its own config or history.

    * The config must be one that ``HardConfig`` takes; ``cost`` is counted again on the model that it describes.
    * Steps and clocks must rise through the history and end where the results begin.
    * Accuracies must be whole numbers of pictures, and no test score may be far from the last one on validation.
    * Windows must have the model's size.
    """
    HARD_RUNS.checked(record)


def _check(record: Mapping[str, Any]) -> HardRecord:
    config, history, results = HardConfig.from_dict(record["config"]), record["history"], record["results"]
    must(record["seed"] == config.seed, f"seed must be that of the config, {config.seed}; got {record['seed']}")
    about = KINDS[config.kind].about
    must(record["kind"] == about, f"kind must be {about!r}; got {record['kind']!r}")
    with own_random_state(torch.device("cpu"), 0):
        model = build_model(config, 10)
    counted = cost(model, PICTURE)
    must(record["cost"] == counted, f"cost must be {counted}, as counted on the model; got {record['cost']}")

    must(bool(history), "history must have an entry")
    for key in ("step", "seconds", "cpu_seconds"):
        values = [entry[key] for entry in history]
        must(values == sorted(set(values)) and values[0] > 0, f"{key} must rise through the history; got {values}")
    must(history[-1]["step"] == config.steps, f"the history must end at step {config.steps}")
    for key in ("seconds", "cpu_seconds"):
        must(record[key] == history[-1][key], f"{key} must be the history's last, {history[-1][key]}")
    must({"accuracy", "hit", "iou"} <= set(results), f"results must have accuracy, hit and iou; got {results}")
    for key, value in results.items():
        last = history[-1][f"validation_{key}"]
        must(0 <= value <= 1, f"{key} must be from 0 to 1; got {value}")
        must(abs(value - last) <= NEAR, f"{key} must be near the last one on validation, {last}; got {value}")
    _whole("accuracy", results["accuracy"], record["data"]["test"])
    for entry in history:
        _whole("validation_accuracy", entry["validation_accuracy"], record["data"]["validation"])
        if isinstance(model, HardAttention):
            sides = torch.tensor(entry["windows"]).unflatten(-1, (2, 2)).diff(dim=-2)
            must(bool((sides == torch.tensor(model.size)).all()), f"windows must be of {model.size}")
    return dict(record)


def _whole(name: str, share: float, data: Sequence[Any]) -> None:
    """A share of n pictures is rounded to four digits: so much it may be off."""
    must_be_whole(name, share, data[0], within=5e-5 * data[0] + 1e-9)


def _check_cost(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = record["entries"]
    must(bool(entries), "entries must not be empty")
    for number, entry in enumerate(entries, start=1):
        same(f"entry {number}: fields", set(entry), COST)
        for key in sorted(COST - {"model"}):
            must(entry[key] > 0, f"entry {number}: {key} must be above 0; got {entry[key]}")
    return list(entries)


HARD_RUNS = Schema(
    what="a record of a run",
    names="hard-(?!cost$).+",
    fields=FIELDS,
    check=_check,
    stem=lambda record: f"hard-{record['name']}-{record['seed']}",
    origin=ORIGIN,
)
HARD_COST = Schema(
    what="a record of costs",
    names="hard-cost",
    fields=("format", *ORIGIN, "entries"),
    check=_check_cost,
    stem=lambda record: "hard-cost",
    origin=ORIGIN,
)


def lines(records: Mapping[str, Sequence[HardRecord]]) -> dict[str, HardRow]:
    """The table of the chapter: one line a name, all computed from the records.

    Raises: ValueError when the runs of one name differ in more than their seed.
    """
    table = {}
    for name, runs in records.items():
        only_seeds_differ(name, [(run["seed"], deciding(run["config"])) for run in runs])
        accuracy, hit, iou = (_spread([run["results"][key] for run in runs]) for key in ("accuracy", "hit", "iou"))
        seconds = _spread([run["cpu_seconds"] for run in runs])
        seeds = tuple(run["seed"] for run in runs)
        table[name] = HardRow(name, seeds, accuracy, hit, iou, seconds, **runs[0]["cost"])
    return table


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides its runs, other than the seed: a soft network has no baseline, for one."""
    fields = asdict(HardConfig.from_dict(config))
    return {name: fields[name] for name in (*COMMON, *ALSO.get(fields["kind"], ()))}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(sum(values) / len(values), min(values), max(values))
