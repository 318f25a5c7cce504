"""The recorded results on photographs: accuracy and boxes on Tiny ImageNet, and the montages of each network.

``tools/record_photos.py`` writes ``photos-tiny-imagenet.json`` and ``photos-montages-NAME.json``.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from .schema import must, must_be_whole, same, sealed

ORIGIN = ("command", "device", "ended", "threads", "versions", "cpu_seconds")
COMMON = ("format", "name", "commit", *ORIGIN, "checksum")
RUNS = (*COMMON, "accuracy", "seconds", "parameters", "config", "data", "box_share", "boxes")
MONTAGES = (*COMMON, "data", "cell", "montages", "classes", "models", "refused", "rows")
VARIANTS = ("pc", "uniform", "dp")
# Of a montage's map: the share in the right cell, and whether its largest value is there; over all four classes, or
# for the class alone that the network says.
SCORES = ("energy_all", "pointing_all", "energy_said", "pointing_said")
CHANCE = 0.25


class MontageRow(NamedTuple):
    """One method, level or baseline: the mean of each score over the networks (seeds), and its lowest and highest."""

    name: str
    scores: dict[str, tuple[float, float, float]]


def read_runs(folder: str | Path) -> dict[str, Any] | None:
    """Accuracy and boxes, or None where they are not recorded. Raises: ValueError naming what is wrong there."""
    found = RUNS_SCHEMA.read_all(folder)
    return found[0] if found else None


def read_montages(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The montages of each network by name; {} where there are none. Raises: ValueError naming the file and why."""
    return {record["name"].removeprefix("photos-montages-"): record for record in MONTAGES_SCHEMA.read_all(folder)}


def montage_rows(record: Mapping[str, Any]) -> list[MontageRow]:
    """The table of one record: every method, level and baseline in the order in which they were scored."""
    names = [name for name in record["rows"][0] if name != "said"]
    return [
        MontageRow(name, {score: spread([rows[name][score][0] for rows in record["rows"]]) for score in SCORES})
        for name in names
    ]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, lowest and highest."""
    return mean(values), min(values), max(values)


def _share(where: str, value: float) -> None:
    must(isinstance(value, float) and math.isfinite(value) and 0 <= value <= 1, f"{where} must be in [0, 1]: {value}")


def _check_runs(record: Mapping[str, Any]) -> dict[str, Any]:
    same("accuracy", set(record["accuracy"]), set(VARIANTS))
    sizes = {part: record["data"][part] for part in ("validation", "test")}
    for variant, parts in record["accuracy"].items():
        must(len(parts["test"]) == len(parts["validation"]) == 3, f"{variant} must have three seeds")
        for part, n in sizes.items():
            for value in parts[part]:
                must_be_whole(f"accuracy of {variant} ({part})", value, n)
    _share("box_share", record["box_share"])
    for name, scores in record["boxes"].items():
        same(name, set(scores), {"pointing", "energy"})
        for score, values in scores.items():
            for value in values:
                _share(f"{score} of {name}", value)
    chance = record["boxes"]["uniform weights"]["energy"][0]
    must(abs(chance - record["box_share"]) < 1e-4, f"equal weights must score the boxes' share; got {chance}")
    return dict(record)


def _check_montages(record: Mapping[str, Any]) -> dict[str, Any]:
    must(len(record["models"]) == len(record["rows"]) > 0, "rows must be one table a model")
    for rows in record["rows"]:
        same("rows", set(rows), set(record["rows"][0]))
        _share("said", rows["said"])
        for name in set(rows) - {"said"}:
            same(name, set(rows[name]), set(SCORES))
            for score, (middle, low, high) in rows[name].items():
                _share(f"{score} of {name}", middle)
                must(low <= middle <= high, f"{score} of {name} must lie in its interval")
        for name in ("random map", "centre prior", "edge map"):  # one map for all classes: its shares sum to 1
            middle = rows[name]["energy_all"][0]
            must(abs(middle - CHANCE) < 1e-4, f"{name}: one map for all classes scores {CHANCE}; got {middle}")
    return dict(record)


RUNS_SCHEMA = sealed(
    what="a record of attention on photographs",
    names=r"photos-tiny-imagenet",
    fields=RUNS,
    check=_check_runs,
    origin=ORIGIN,
)
MONTAGES_SCHEMA = sealed(
    what="a record of montages",
    names=r"photos-montages-.+",
    fields=MONTAGES,
    check=_check_montages,
    origin=ORIGIN,
)
