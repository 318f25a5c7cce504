"""Published numbers, each with its source: the file ``literature.json`` beside the recorded runs."""

import json
from pathlib import Path
from typing import NamedTuple

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
    values = json.loads(Path(path).read_text(encoding="utf8"))
    if set(values) != {"format", "sources", "entries"} or values["format"] != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, sources and entries, and nothing else")
    found = []
    for number, entry in enumerate(values["entries"], start=1):
        where = f"{Path(path).name}, entry {number}"
        if set(entry) != {"network", "data", "error", "runs", "source"}:
            raise ValueError(
                f"{where}: must have network, data, error, runs and source; got {', '.join(sorted(entry))}"
            )
        source = values["sources"].get(entry["source"])
        if not source or not source.get("title") or not str(source.get("url")).startswith("https://"):
            raise ValueError(f"{where}: source {entry['source']!r} must be listed with a title and an address")
        if not 0 < entry["error"] < 100:
            raise ValueError(f"{where}: error must be between 0 and 100; got {entry['error']}")
        found.append(Published(**entry, title=source["title"], url=source["url"]))
    if unused := sorted(set(values["sources"]) - {entry.source for entry in found}):
        raise ValueError(f"{Path(path).name}: sources without a number: {', '.join(unused)}")
    return found
