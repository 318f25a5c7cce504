"""The recorded scores of attention maps and post-hoc maps: one file a network, ``maps-NAME.json``.

``tools/record_maps.py`` writes them; a score is [mean, low, high, values, clusters, left out], see ``check_interval``.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .schema import Schema, checksum, must, same

ORIGIN = ("command", "device", "ended", "threads", "versions", "settings", "data", "cpu_seconds")
FIELDS = (
    *("format", "name", "command", "commit", "versions", "device", "threads", "ended", "cpu_seconds", "seed"),
    *("settings", "data", "network", "rows", "refused", "attacks", "interventions", "checksum"),
)
# Score -> the least and the greatest it can be.
RANGES = {
    **dict.fromkeys(("pointing", "energy", "iou", "insertion", "deletion"), (0.0, 1.0)),
    **dict.fromkeys(("accuracy", "noise_accuracy", "changed"), (0.0, 1.0)),
    "change": (0.0, math.inf),
    "fall": (-1.0, 1.0),
}
LIKENESS = (-1.0, 1.0)
LOCATED = ("pointing", "energy", "iou")  # the scores that every row has

MapsRecord = dict[str, Any]


def read_maps(folder: str | Path) -> dict[str, MapsRecord]:
    """The records in ``folder`` by name of the network; {} where there are none.

    Raises: ValueError naming the file and what is wrong with it.
    """
    return {record["name"]: record for record in MAPS.read_all(folder)}


def four_scores(record: MapsRecord) -> dict[str, dict[str, float]]:
    """One score for each of four questions, by map: is it on the object, do its pixels matter, is it learned, steady?

    ``pointing`` and ``deletion`` are the record's; ``random network`` is the mean rank correlation with the map of
    networks with random weights, ``attacked`` that with the map of the picture under the strongest attack.
    Maps without one of them (the baselines that were only located) are left out.
    """
    steady = record["attacks"][-1]["stability"]
    return {
        row["name"]: {
            "pointing": row["pointing"][0],
            "deletion": row["deletion"][0],
            "random network": _mean([draw["spearman"][0] for draw in row["sanity"]]),
            "attacked": steady[row["name"]][0],
        }
        for row in record["rows"]
        if "sanity" in row
    }


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan


def check_maps(record: Mapping[str, Any]) -> None:
    """Raise ValueError unless all scores that a chapter reads are there, and are numbers that can be."""
    MAPS.checked(record)


def check_interval(where: str, value: Sequence[Any], least: float, most: float) -> None:
    """Raise ValueError unless ``value`` is a mean with its interval: low <= mean <= high, of n values in clusters."""
    mean, low, high, n, clusters, left_out = value
    must(n >= clusters >= 0 <= left_out and n + left_out > 0, f"{where}: the counts of {value} cannot be")
    if mean is None:
        must(n == 0, f"{where}: {n} values must have a mean")
    else:
        inside = low is high is None or least <= low <= mean <= high <= most
        must(least <= mean <= most and inside, f"{where} must be from {least} to {most}, in order; got {value[:3]}")


def _check(record: Mapping[str, Any]) -> MapsRecord:
    settings = record["settings"]
    same("network", set(record["network"]), {"sha256", "config", "training", "results"})
    must(settings["seed"] == record["seed"], f"seed must be that of the settings, {settings['seed']}")
    rows = {row["name"]: row for row in record["rows"]}
    must(len(rows) == len(record["rows"]) > 0, "rows must have names of their own")
    judged = {name for name, row in rows.items() if "sanity" in row}
    for name, row in rows.items():
        must(row["baseline"] == (row["options"] is None), f"{name}: a method has options, a baseline none")
        must(name in judged or row["baseline"], f"{name}: sanity missing")
        for score in (*LOCATED, *(("insertion", "deletion", "change") if name in judged else ())):
            check_interval(f"{name}, {score}", row[score], *RANGES[score])
        must(row["pointing"][3] == settings["located"], f"{name}: pointing must be of {settings['located']} pictures")
        if name in judged:
            draws = 1 if row["baseline"] else settings["draws"]
            must(len(row["sanity"]) == draws, f"{name}: sanity must be of {draws} random networks")
            for draw in row["sanity"]:
                must({"spearman", "spearman_absolute", "ssim"} <= set(draw), f"{name}: a likeness is missing")
                for key, value in draw.items():
                    check_interval(f"{name}, sanity, {key}", value, *LIKENESS)
    found = [attack["epsilon"] for attack in record["attacks"]]
    must(found == list(settings["epsilons"]), f"attacks must be of {settings['epsilons']}; got {found}")
    for attack in record["attacks"]:
        for score in ("accuracy", "noise_accuracy"):
            check_interval(f"attack, {score}", attack[score], *RANGES[score])
        same("attack, stability", set(attack["stability"]), judged)
        for name, value in attack["stability"].items():
            check_interval(f"attack, {name}", value, *LIKENESS)
    must(record["interventions"][0]["change"] == "none", "interventions must begin with none")
    for row in record["interventions"]:
        for score in ("accuracy", "fall", "changed"):
            check_interval(f"intervention {row['change']}, {score}", row[score], *RANGES[score])
    return dict(record)


MAPS = Schema(
    what="a record of maps",
    names="maps-.+",
    fields=FIELDS,
    check=_check,
    stem=lambda record: f"maps-{record['name']}",
    origin=ORIGIN,
    seal="checksum",
    digest=checksum,
)
