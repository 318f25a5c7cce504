"""Recorded training runs: one JSON file a run, checked against itself before any number of it is shown.

``python tools/record.py run RUN`` writes ``DATA-NAME-SEED.json``: the config, the results, the whole history, and where
they come from. A file that was altered, contradicts itself or has an unknown field is refused, and so is a mean over
runs that differ in more than their seed.
"""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from scipy.stats import t as student

from lpa_core.models.builders import build
from lpa_core.training.config import TrainConfig
from lpa_core.training.loop import learning_rate

from .schema import Schema, must, must_be_loss, must_be_whole, only_seeds_differ, same, sha256_of

FORMAT = 1
NOT_RUN = "not run yet"
CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10, "digits": 10}
CONTROLLED = ("compatibility", "combine", "normalise")  # model options in which a run and its matched control differ
# How far the last validation may be from the final one: on a GPU the former runs in bfloat16, the latter in float32.
ROUNDING = 0.005

FIELDS = (
    *("format", "name", "seed", "cut_short", "config", "command", "commit", "versions", "device", "threads", "resumed"),
    *("started", "ended", "data", "parameters", "timings", "results", "history", "weights", "maps", "digest"),
)
_ENTRY = (
    *("epoch", "step", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
    *("seconds", "images_per_second"),
)


class RecordedRun(NamedTuple):
    """A recorded run. ``values`` is the file as it is; ``results`` is None for a run that was cut short."""

    name: str
    data: str
    seed: int
    config: TrainConfig
    history: list[dict[str, Any]]
    results: dict[str, Any] | None
    values: dict[str, Any]


class RunRow(NamedTuple):
    """Runs of one name: top-1 error on the test set in per cent, its mean and standard deviation over the seeds.

    ``error`` is None where no run was finished, ``spread`` where fewer than two were; ``seconds`` is the mean time of
    training. ``cut_short`` holds the seeds of runs that were stopped; they count in nothing else.
    """

    name: str
    seeds: tuple[int, ...]
    error: float | None
    spread: float | None
    epochs: int | None
    parameters: int | None
    seconds: float | None
    cut_short: tuple[int, ...]

    def __str__(self) -> str:
        if self.error is None:
            return f"{NOT_RUN} to its end" if self.cut_short else NOT_RUN
        return f"{self.error:.2f}" + ("" if self.spread is None else f" ± {self.spread:.2f}")


class Difference(NamedTuple):
    """Accuracy of ``name`` minus that of ``other`` in points, over the seeds both have; a 95 % interval from two on."""

    name: str
    other: str
    seeds: tuple[int, ...]
    points: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.points is None:
            return NOT_RUN
        if self.low is None:
            return f"{self.points:+.2f} points (one seed: no interval)"
        return f"{self.points:+.2f} points, 95 % interval {self.low:+.2f} to {self.high:+.2f} ({len(self.seeds)} seeds)"


# --- reading and checking ---------------------------------------------------------------------------------------------


def read_run(path: str | Path) -> RecordedRun:
    """One record, checked. Raises: ValueError naming the file and what is wrong with it; OSError without one."""
    return RUNS.read(path)


def read_runs(folder: str | Path) -> list[RecordedRun]:
    """All records of training runs in ``folder``, by name and seed; [] where there is none. Raises: as ``read_run``."""
    return RUNS.read_all(folder)


def check_run(values: Mapping[str, Any]) -> RecordedRun:
    """The run of a record that is whole, unaltered and consistent.

    The fields are those of ``FIELDS``, no more and no fewer; the digest fits; the learning rates are those of the
    config and the parameters those of its model; accuracies are whole numbers of pictures; the results agree with the
    last epoch, and the timings with the sum of all.

    Raises: ValueError naming what is wrong.
    """
    return RUNS.checked(values)


def stem(values: Mapping[str, Any]) -> str:
    """The name of a record's file without its ending: ``cifar100-book-pc-0``."""
    return f"{values['data']['name']}-{values['name']}-{values['seed']}"


def digest(values: Mapping[str, Any]) -> str:
    """The sha256 of a record without its digest, whatever the order and the layout of its fields."""
    return sha256_of(values, without="digest", separators=(",", ":"), ensure_ascii=False)


def _check(values: Mapping[str, Any]) -> RecordedRun:
    config = TrainConfig.from_dict(values["config"])
    data, history = values["data"], values["history"]
    same("data", set(data), {"name", "train", "validation", "test", "checksums"})
    must(data["name"] == config.data, f"data must be {config.data!r}, as in the config; got {data['name']!r}")
    must(data["name"] in CLASSES, f"data must be one of {', '.join(CLASSES)}; got {data['name']!r}")
    must(values["seed"] == config.seed, f"seed must be {config.seed}, as in the config; got {values['seed']!r}")
    must(len(data["checksums"]) == (2 if config.all else 3), "checksums must be one for each part of the data")
    counted = _parameters(json.dumps(config.model), CLASSES[config.data])
    must(values["parameters"] == counted, f"parameters must be {counted}; got {values['parameters']}")
    same("weights", set(values["weights"]), {"sha256", "shipped"})
    if values["maps"] is not None:
        same("maps", set(values["maps"]), {"file", "sha256", "pictures"})
    _check_history(history, config, data)
    must(values["cut_short"] == (values["results"] is None), "cut_short must be true where there are no results")
    if values["cut_short"]:
        must(len(history) <= config.epochs, f"history must have at most {config.epochs} epochs; got {len(history)}")
    else:
        must(len(history) == config.epochs, f"history must have {config.epochs} epochs; got {len(history)}")
        must(datetime.fromisoformat(values["ended"]) >= datetime.fromisoformat(values["started"]), "ended too early")
        _check_results(values, config, data)
    return RecordedRun(values["name"], config.data, config.seed, config, history, values["results"], dict(values))


def _check_history(history: Sequence[Mapping[str, Any]], config: TrainConfig, data: Mapping[str, Any]) -> None:
    must(bool(history), "history must have an epoch")
    steps = data["train"] // config.batch_size
    for number, entry in enumerate(history, start=1):
        where = f"history, epoch {number}:"
        same(f"{where} fields", set(entry), set(_ENTRY))
        must(entry["epoch"] == number, f"{where} epoch must be {number}; got {entry['epoch']}")
        must(entry["step"] == number * steps, f"{where} step must be {number * steps}; got {entry['step']}")
        rate = learning_rate(config, number * steps - 1, steps)
        must(math.isclose(entry["lr"], rate, rel_tol=1e-9, abs_tol=1e-12), f"{where} lr must be {rate}")
        must_be_whole(f"{where} train_accuracy", entry["train_accuracy"], steps * config.batch_size)
        must_be_loss(f"{where} train_loss", entry["train_loss"])
        held_out = (entry["validation_loss"], entry["validation_accuracy"])
        if config.all:
            must(held_out == (None, None), f"{where} nothing was held out, so there is no validation")
        else:
            must_be_loss(f"{where} validation_loss", held_out[0])
            must_be_whole(f"{where} validation_accuracy", held_out[1], data["validation"])
        least = steps * config.batch_size / entry["images_per_second"]
        must(entry["seconds"] >= 0.99 * least - 0.01, f"{where} seconds must be at least {least:.1f}, by its rate")


def _check_results(values: Mapping[str, Any], config: TrainConfig, data: Mapping[str, Any]) -> None:
    results, history = values["results"], values["history"]
    same("results", set(results), {"validation", "test"})
    for part, scores in results.items():
        if part == "validation" and config.all:
            must(scores is None, "results: nothing was held out, so there is no validation")
            continue
        same(f"results, {part}", set(scores) - {"pointing_game"}, {"accuracy", "loss", "n"})
        must(scores["n"] == data[part], f"results, {part}: n must be {data[part]}; got {scores['n']}")
        must_be_whole(f"results, {part}: accuracy", scores["accuracy"], scores["n"])
        must_be_loss(f"results, {part}: loss", scores["loss"])
    if not config.all:
        last, found = history[-1]["validation_accuracy"], results["validation"]["accuracy"]
        must(abs(found - last) <= ROUNDING, f"results: validation must be the last epoch's, {last}; got {found}")
    seconds = sum(entry["seconds"] for entry in history)
    rate = sum(entry["images_per_second"] for entry in history) / len(history)
    expected = {"seconds": seconds, "seconds_per_epoch": seconds / len(history), "images_per_second": rate}
    same("timings", set(values["timings"]), set(expected))
    for key, value in expected.items():
        found = values["timings"][key]
        must(math.isclose(found, value, rel_tol=1e-3, abs_tol=0.1), f"timings: {key} must be {value:.2f}; got {found}")
    must(values["weights"]["sha256"] is not None, "weights must have their sha256")


@functools.cache
def _parameters(model: str, classes: int) -> int:
    """Parameters of a model config (as JSON). On the meta device they cost no memory and no random numbers."""
    with torch.device("meta"):
        built = build({**json.loads(model), "num_classes": classes})
    return sum(parameter.numel() for parameter in built.parameters())


RUNS = Schema(
    what="a record of a run",
    names=f"({'|'.join(CLASSES)})-.+",
    fields=FIELDS,
    check=_check,
    stem=stem,
    origin=("name", "device", "versions", "threads", "started"),
    seal="digest",
    digest=digest,
)


# --- tables -----------------------------------------------------------------------------------------------------------


def runs_of(records: Sequence[RecordedRun], name: str, *, data: str = "cifar100") -> list[RecordedRun]:
    """The records of one name, by seed, finished or not.

    Raises: ValueError when they differ in more than their seed: in the config, the pictures or the parameters.
    """
    found = sorted((r for r in records if (r.name, r.data) == (name, data)), key=lambda r: r.seed)
    for what, part in (("configs", _config_without_seed), ("data", _data)):
        only_seeds_differ(f"{data}-{name}", [(run.seed, part(run)) for run in found], what=what)
    return found


def table(records: Sequence[RecordedRun], names: Sequence[str], *, data: str = "cifar100") -> list[RunRow]:
    """One ``RunRow`` for each of ``names``, in their order, also where there is no run. Raises: as ``runs_of``."""
    rows = []
    for name in names:
        runs = runs_of(records, name, data=data)
        done = [run for run in runs if run.results is not None]
        errors = [_error(run) for run in done]
        rows.append(
            RunRow(
                name,
                tuple(run.seed for run in done),
                mean(errors) if errors else None,
                stdev(errors) if len(errors) > 1 else None,
                runs[0].config.epochs if runs else None,
                runs[0].values["parameters"] if runs else None,
                mean(run.values["timings"]["seconds"] for run in done) if done else None,
                tuple(run.seed for run in runs if run.results is None),
            )
        )
    return rows


def difference(records: Sequence[RecordedRun], name: str, other: str, *, data: str = "cifar100") -> Difference:
    """What ``name`` gains over its matched control ``other``: the mean difference of accuracy over common seeds.

    The interval is Student's t for paired differences; it needs two seeds, and with few it is honestly wide.

    Raises: ValueError when the two differ in more than compatibility, combination and normalisation, or as ``runs_of``.
    """
    one, two = ({r.seed: r for r in runs_of(records, n, data=data) if r.results is not None} for n in (name, other))
    seeds = tuple(sorted(one.keys() & two.keys()))
    if not seeds:
        return Difference(name, other, (), None, None, None)
    here, there = ({**r[seeds[0]].config.to_dict()} for r in (one, two))
    here |= {f"model {key}": value for key, value in here.pop("model").items() if key not in CONTROLLED}
    there |= {f"model {key}": value for key, value in there.pop("model").items() if key not in CONTROLLED}
    differ = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    must(not differ, f"{other} is no matched control of {name}: they differ in {', '.join(differ)}")
    gains = [_error(two[seed]) - _error(one[seed]) for seed in seeds]
    if len(gains) < 2:
        return Difference(name, other, seeds, gains[0], None, None)
    half = float(student.ppf(0.975, len(gains) - 1)) * stdev(gains) / len(gains) ** 0.5
    return Difference(name, other, seeds, mean(gains), mean(gains) - half, mean(gains) + half)


def _config_without_seed(run: RecordedRun) -> dict[str, Any]:
    return {**run.config.to_dict(), "seed": None}


def _data(run: RecordedRun) -> dict[str, Any]:
    return dict(run.values["data"])


def _error(run: RecordedRun) -> float:
    assert run.results is not None  # the callers ask for finished runs alone
    return 100 * (1 - run.results["test"]["accuracy"])
