"""The recorded runs of the chapter on hard attention: read, checked against themselves, and put in one table.

``tools/record_hard.py`` writes one file a run, ``hard-NAME-SEED.json``; ``hard_training.record`` says what is in it. A
file that contradicts itself is refused rather than shown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ._utils.seeding import own_random_state
from .hard.kinds import KINDS, HardConfig, build_model
from .hard.model import HardAttention
from .hard.scoring import cost

FORMAT = 1
PICTURE = (3, 40, 40)
NEAR = 0.1  # how far a test score may be from the last one on the validation pictures, which are few

COMMON = ("kind", "steps", "batch_size", "lr", "weight_decay", "options")  # of the config: what decides any run
ALSO = {  # and what decides a run of this kind besides
    "hard": ("reward", "baseline", "entropy_weight", "draws"),
    "random": ("draws",),
    "salient": ("draws",),
    "gumbel": ("temperature",),
    "glimpses": ("reward", "baseline", "entropy_weight"),
}

Record = dict[str, Any]


class Spread(NamedTuple):
    """The mean of several runs, the lowest and the highest."""

    mean: float
    low: float
    high: float


class Line(NamedTuple):
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


def read_records(folder: Path | str) -> dict[str, list[Record]]:
    """The records in ``folder``, by name, each list by seed.

    Raises: ValueError as ``check_record``, naming the file. A folder without records, or none, gives {}.
    """
    found: dict[str, list[Record]] = {}
    for file in sorted(Path(folder).glob("hard-*-[0-9].json")):
        try:
            record = json.loads(file.read_text(encoding="utf8"))
            check_record(record)
            if file.stem != f"hard-{record['name']}-{record['seed']}":
                raise ValueError(f"it holds the run {record['name']!r} of seed {record['seed']}")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file.name} is not a record of a run: {error!r}") from error
        found.setdefault(record["name"], []).append(record)
    return found


def check_record(record: Mapping[str, Any]) -> None:
    """Raise ValueError (KeyError on what is missing) when a record contradicts its own config or history.

    * The config must be one that ``HardConfig`` takes; ``cost`` is counted again on the model that it describes.
    * Steps and clocks must rise through the history and end where the results begin.
    * Accuracies must be whole numbers of pictures, and no test score may be far from the last one on validation.
    * Windows must have the model's size.
    """
    config, history, results = HardConfig(**record["config"]), record["history"], record["results"]
    _must(record["format"] == FORMAT, f"format must be {FORMAT}; got {record['format']}")
    _must(record["seed"] == config.seed, f"seed must be that of the config, {config.seed}; got {record['seed']}")
    _must(record["kind"] == KINDS[config.kind], f"kind must be {KINDS[config.kind]!r}; got {record['kind']!r}")
    for key in ("command", "commit", "device", "ended", "threads", "versions"):
        _must(bool(record[key]), f"{key} must say where the run comes from; got {record[key]!r}")
    with own_random_state(torch.device("cpu"), 0):
        model = build_model(config, 10)
    counted = cost(model, PICTURE)
    _must(record["cost"] == counted, f"cost must be {counted}, as counted on the model; got {record['cost']}")

    for key in ("step", "seconds", "cpu_seconds"):
        values = [entry[key] for entry in history]
        _must(values == sorted(set(values)) and values[0] > 0, f"{key} must rise through the history; got {values}")
    _must(history[-1]["step"] == config.steps, f"the history must end at step {config.steps}")
    for key in ("seconds", "cpu_seconds"):
        _must(record[key] == history[-1][key], f"{key} must be the history's last, {history[-1][key]}")
    _must({"accuracy", "hit", "iou"} <= set(results), f"results must have accuracy, hit and iou; got {results}")
    for key, value in results.items():
        last = history[-1][f"validation_{key}"]
        _must(0 <= value <= 1, f"{key} must be from 0 to 1; got {value}")
        _must(abs(value - last) <= NEAR, f"{key} must be near the last one on validation, {last}; got {value}")
    _whole("accuracy", results["accuracy"], record["data"]["test"])
    for entry in history:
        _whole("validation_accuracy", entry["validation_accuracy"], record["data"]["validation"])
        if isinstance(model, HardAttention):
            sides = torch.tensor(entry["windows"]).unflatten(-1, (2, 2)).diff(dim=-2)
            _must(bool((sides == torch.tensor(model.size)).all()), f"windows must be of {model.size}")


def lines(records: Mapping[str, Sequence[Record]]) -> dict[str, Line]:
    """The table of the chapter: one line a name, all computed from the records.

    Raises: ValueError when the runs of one name differ in more than their seed.
    """
    table = {}
    for name, runs in records.items():
        configs = [deciding(run["config"]) for run in runs]
        _must(all(config == configs[0] for config in configs), f"the runs {name!r} must differ in their seed alone")
        accuracy, hit, iou = (_spread([run["results"][key] for run in runs]) for key in ("accuracy", "hit", "iou"))
        seconds = _spread([run["cpu_seconds"] for run in runs])
        seeds = tuple(run["seed"] for run in runs)
        table[name] = Line(name, seeds, accuracy, hit, iou, seconds, **runs[0]["cost"])
    return table


def deciding(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides its runs, other than the seed: a soft network has no baseline, for one."""
    fields = asdict(HardConfig(**config))
    return {name: fields[name] for name in (*COMMON, *ALSO.get(fields["kind"], ()))}


def _spread(values: Sequence[float]) -> Spread:
    return Spread(sum(values) / len(values), min(values), max(values))


def _whole(name: str, share: float, data: Sequence[Any]) -> None:
    """A share of n pictures, rounded to four digits, must be some number of them."""
    count = share * data[0]
    _must(abs(count - round(count)) <= 5e-5 * data[0] + 1e-9, f"{name} {share} is not a share of {data[0]} pictures")


def _must(true: bool, message: str) -> None:
    if not true:
        raise ValueError(message)
