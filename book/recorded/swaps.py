"""What g does in trained networks: the recorded answers and maps of pictures that were given another global vector.

``tools/record_g.py`` writes one file a network, ``g-NAME.json``, with one entry for each seed of it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from .schema import must, must_be_whole, same, sealed

ORIGIN = ("command", "device", "ended", "threads", "versions", "cpu_seconds")
FIELDS = ("format", "name", "commit", *ORIGIN, "compatibility", "data", "networks", "checksum")
NETWORK = ("sha256", "seed", "local_lengths", "g_lengths", "score_spreads", "largest_weights", "rows")
OWN = "own g"
# What a picture is given in place of its own g, and, as the control, in place of its own maps.
OTHER_G = ("another's g", "the mean g", "a random g", "g = 0")
OTHER_MAPS = ("another's maps", "equal weights")
ROWS = (OWN, *OTHER_G, *OTHER_MAPS)
ROW = ("right", "lost", "gained", "same", "moved")


class Swap(NamedTuple):
    """One change, over the seeds: accuracy, its change in points for each seed, same answers, weight moved by level."""

    name: str
    right: float
    changes: tuple[float, ...]
    same: float
    moved: tuple[float, ...]


def read_swaps(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The records by name of the network; {} where there are none. Raises: ValueError naming the file and why."""
    return {record["name"].removeprefix("g-"): record for record in SWAPS.read_all(folder)}


def swaps(record: Mapping[str, Any]) -> dict[str, Swap]:
    """The rows of a record by name, means over its seeds."""
    n, networks = record["data"]["n"], record["networks"]

    def row(name: str) -> Swap:
        rows = [network["rows"][name] for network in networks]
        return Swap(
            name,
            mean(each["right"] for each in rows),
            tuple(100 * (each["gained"] - each["lost"]) / n for each in rows),
            mean(each["same"] for each in rows),
            tuple(mean(level) for level in zip(*(each["moved"] for each in rows), strict=True)),
        )

    return {name: row(name) for name in ROWS}


def lengths(record: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean length of the local vectors of each level, and of g as it meets them there; means over the seeds."""

    def over_seeds(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
        return tuple(mean(level) for level in zip(*rows, strict=True))

    networks = record["networks"]
    return over_seeds([n["local_lengths"] for n in networks]), over_seeds([n["g_lengths"] for n in networks])


def sharpness(record: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """By level: how far a picture's scores spread (standard deviation over positions), and its largest weight.

    Means over pictures and seeds. A softmax of scores that spread by much more than 1 chooses one position.
    """
    networks = record["networks"]
    spreads = zip(*(network["score_spreads"] for network in networks), strict=True)
    largest = zip(*(network["largest_weights"] for network in networks), strict=True)
    return tuple(mean(level) for level in spreads), tuple(mean(level) for level in largest)


def _check(record: Mapping[str, Any]) -> dict[str, Any]:
    same("data", set(record["data"]), {"name", "split", "n", "checksum"})
    n, networks = record["data"]["n"], record["networks"]
    must(len(networks) > 0, "networks must hold at least one")
    must(len({network["seed"] for network in networks}) == len(networks), "networks must differ in their seeds")
    for network in networks:
        same("network", set(network), set(NETWORK))
        same("rows", set(network["rows"]), set(ROWS))
        levels = len(network["local_lengths"])
        must(levels == len(network["g_lengths"]) > 0, "lengths must be one for each level")
        for spread in network["score_spreads"], network["largest_weights"]:
            must(len(spread) == levels, "spreads and largest weights must be one for each level")
        for length in (*network["local_lengths"], *network["g_lengths"], *network["score_spreads"]):
            must(math.isfinite(length) and length >= 0, f"a length must be finite and not negative; got {length}")
        must(all(0 < share <= 1 for share in network["largest_weights"]), "a largest weight must be in (0, 1]")
        own = network["rows"][OWN]["right"]
        for name, row in network["rows"].items():
            same(name, set(row), set(ROW))
            for share in ("right", "same"):
                must_be_whole(f"{name}, {share}", row[share], n)
            change = round(n * (row["right"] - own))
            must(row["gained"] - row["lost"] == change, f"{name}: gained less lost must be {change}")
            must(min(row["gained"], row["lost"]) >= 0, f"{name}: gained and lost must not be negative")
            must(len(row["moved"]) == levels, f"{name}: moved must be one share for each level")
            must(all(0 <= share <= 1 for share in row["moved"]), f"{name}: moved must be in [0, 1]")
        must(network["rows"][OWN]["same"] == 1, f"{OWN} must give the same answers")
    return dict(record)


SWAPS = sealed(
    what="a record of swapped global vectors",
    names=r"g-.+",
    fields=FIELDS,
    check=_check,
    origin=ORIGIN,
)
