"""Published numbers, each with its source: the file ``literature.json`` beside the recorded runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lpa_core._utils.checks import is_number, is_whole

from .schema import Schema, must, same


class Published(NamedTuple):
    """A published top-1 error on a test set, in per cent; ``runs`` is how many runs it is of, None where unsaid."""

    network: str
    data: str
    error: float
    runs: int | None
    source: str
    title: str
    url: str


def read_literature(path: str | Path) -> list[Published]:
    """The published numbers in a file, each with the title and the address of its source.

    Raises: ValueError naming an entry without a source that the file lists, with an unknown field or with an error
        outside 0 to 100; OSError where there is no file.
    """
    return LITERATURE.read(path)


def _check(values: Mapping[str, Any]) -> list[Published]:
    found = []
    for number, entry in enumerate(values["entries"], start=1):
        where = f"entry {number}"
        same(f"{where}: fields", set(entry), {"network", "data", "error", "runs", "source"})
        source = values["sources"].get(entry["source"])
        listed = source and source.get("title") and str(source.get("url")).startswith("https://")
        must(bool(listed), f"{where}: source {entry['source']!r} must be listed with a title and an address")
        texts = (entry["network"], entry["data"], source["title"])
        must(all(isinstance(t, str) and t for t in texts), f"{where}: network, data and title must be text")
        error, runs = entry["error"], entry["runs"]
        must(is_number(error) and 0 < error < 100, f"{where}: error must be between 0 and 100; got {error}")
        whole = runs is None or is_whole(runs, 1)
        must(whole, f"{where}: runs must be a whole number of at least 1, or null; got {runs!r}")
        found.append(Published(**entry, title=source["title"], url=source["url"]))
    unused = sorted(set(values["sources"]) - {entry.source for entry in found})
    must(not unused, f"sources without a number: {', '.join(unused)}")
    return found


LITERATURE = Schema(
    what="a file of published numbers",
    names="literature",
    fields=("format", "sources", "entries"),
    check=_check,
    stem=lambda values: "literature",
)
