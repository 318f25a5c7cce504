"""The recorded result of attention on a folder of photographs: a few classes of Tiny ImageNet, three seeds.

``tools/record_few_classes.py`` writes ``photos-few-classes.json``. Chapter 11 trains the same networks where
the data are there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from .photographs import COMMON, ORIGIN
from .schema import must, must_be_whole, same, sealed

FIELDS = (*COMMON, "config", "data", "box_share", "accuracy", "pointing")
KINDS = ("pc", "uniform")
LEVELS = tuple(f"level {level}" for level in (1, 2, 3))
CENTRE, EQUAL = "centre prior", "equal weights"
ACCURACY = (*KINDS, "pc less uniform")
POINTING = (*LEVELS, CENTRE, EQUAL, *(f"{level} less {CENTRE}" for level in LEVELS))


def read_few_classes(folder: str | Path) -> dict[str, Any] | None:
    """The record, or None where there is none. Raises: ValueError naming what is wrong with it."""
    found = SCHEMA.read_all(folder)
    return found[0] if found else None


def _check(record: Mapping[str, Any]) -> dict[str, Any]:
    data, seeds = record["data"], record["config"]["seeds"]
    same("data", set(data), {"name", "classes", "train", "validation", "test", "checksums"})
    same("accuracy", set(record["accuracy"]), set(ACCURACY))
    same("pointing", set(record["pointing"]), set(POINTING))
    must(len(seeds) == len(set(seeds)) == 3, f"seeds must be three; got {seeds}")
    for name, row in [*record["accuracy"].items(), *record["pointing"].items()]:
        same(name, set(row), {"seeds", "interval"})
        least = -1 if " less " in name else 0
        must(all(least <= value <= 1 for value in row["seeds"]), f"{name} must be in [{least}, 1]")
        must(len(row["seeds"]) == (1 if name in (CENTRE, EQUAL) else 3), f"{name}: a value for each seed")
        _check_interval(name, row)
    for kind in KINDS:
        for value in record["accuracy"][kind]["seeds"]:
            must_be_whole(f"accuracy of {kind}", value, data["test"])
    for rows, first, second in (
        (record["accuracy"], "pc", "uniform"),
        *((record["pointing"], level, CENTRE) for level in LEVELS),
    ):
        given, other = rows[f"{first} less {second}"]["interval"][0], mean(rows[second]["seeds"])
        must(abs(given - mean(rows[first]["seeds"]) + other) < 1e-5, f"{first} less {second} must be their difference")
    chance = record["pointing"][EQUAL]["seeds"][0]
    must(abs(chance - record["box_share"]) < 1e-4, f"equal weights must score the boxes' share; got {chance}")
    return dict(record)


def _check_interval(name: str, row: Mapping[str, Sequence[float]]) -> None:
    middle, low, high = row["interval"]
    must(low <= middle <= high, f"{name} must lie in its interval")
    must(abs(middle - mean(row["seeds"])) < 1e-5, f"{name}: the interval's mean must be that of the seeds")


SCHEMA = sealed(
    what="a record of a few classes of photographs",
    names=r"photos-few-classes",
    fields=FIELDS,
    check=_check,
    origin=ORIGIN,
)
