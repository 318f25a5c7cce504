"""Published numbers, each with its source: the file ``literature.json`` beside the recorded runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ._utils.checks import is_number, is_whole

FORMAT = 1


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
    try:
        return _published(json.loads(Path(path).read_text(encoding="utf8")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{Path(path).name} is no file of published numbers: {error}") from error


def _published(values: Mapping[str, Any]) -> list[Published]:
    if set(values) != {"format", "sources", "entries"} or values["format"] != FORMAT:
        raise ValueError(f"it must have format {FORMAT}, sources and entries, and nothing else")
    found = []
    for number, entry in enumerate(values["entries"], start=1):
        where = f"entry {number}"
        if set(entry) != {"network", "data", "error", "runs", "source"}:
            raise ValueError(
                f"{where}: must have network, data, error, runs and source; got {', '.join(sorted(entry))}"
            )
        source = values["sources"].get(entry["source"])
        if not source or not source.get("title") or not str(source.get("url")).startswith("https://"):
            raise ValueError(f"{where}: source {entry['source']!r} must be listed with a title and an address")
        if not all(isinstance(text, str) and text for text in (entry["network"], entry["data"], source["title"])):
            raise ValueError(f"{where}: network, data and title must be text")
        if not is_number(entry["error"]) or not 0 < entry["error"] < 100:
            raise ValueError(f"{where}: error must be between 0 and 100; got {entry['error']}")
        if entry["runs"] is not None and not is_whole(entry["runs"], 1):
            raise ValueError(f"{where}: runs must be a whole number of at least 1, or null; got {entry['runs']!r}")
        found.append(Published(**entry, title=source["title"], url=source["url"]))
    if unused := sorted(set(values["sources"]) - {entry.source for entry in found}):
        raise ValueError(f"sources without a number: {', '.join(unused)}")
    return found
