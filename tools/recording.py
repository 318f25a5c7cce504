"""Writing recorded files: from a run folder to its record, and what every record says of where it comes from.

``recorded``, beside the chapters, reads what is written here.
"""

import argparse
import hashlib
import io
import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "book" / "results"
sys.path[:0] = [str(ROOT), str(ROOT / "book")]  # for tools that are started from anywhere

import torch  # noqa: E402
from recorded.runs import FIELDS, FORMAT, check_run, digest, stem  # noqa: E402
from recorded.schema import FAILURES  # noqa: E402

from lpa_core._utils import provenance  # noqa: E402
from lpa_core._utils.checks import is_whole  # noqa: E402
from lpa_core._utils.files import write_atomic  # noqa: E402
from lpa_core.data.sources import load  # noqa: E402
from lpa_core.models.weights import load_weights  # noqa: E402
from lpa_core.training.checkpoint import RunFolder  # noqa: E402

MOST_BYTES = 300_000  # of a picture
# Options that decide no number: with a value, such as where things lie on one machine, and without.
HERE = ("--out", "--root", "--tensorboard", "--to", "--maps", "--minutes")
HOW_IT_RAN = ("--quiet", "--resume", "--no-download")


def origin(command: str) -> dict[str, Any]:
    """Where a record that is made here and now on a CPU comes from, with the ``command`` that makes it."""
    return {
        "command": command,
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "ended": provenance.now(),
    }


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a record in one line, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(values, allow_nan=False, ensure_ascii=False) + "\n")


def asked(doc: str, known: Iterable[str], options: Mapping[str, Mapping[str, Any]]) -> argparse.Namespace:
    """A command line of some names of ``known`` (default: all), ``--again`` and ``options`` of argparse."""
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("names", nargs="*", default=[*known], help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--again", action="store_true", help="also those whose record exists")
    for name, option in options.items():
        parser.add_argument(name, **option)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return arguments


def record_run(
    run: str | Path,
    name: str,
    to: str | Path,
    *,
    shipped: str | None = None,
    maps: int = 0,
    root: str | Path | None = None,
    download: bool = False,
) -> Path:
    """Write the record of ``run`` to the folder ``to``, and the maps of the first ``maps`` test pictures as PNG.

    Raises: ValueError as ``record``, on a ``name`` that is no file name, where ``maps`` are asked of a model without
        attention or of a run that was cut short, and on a picture above ``MOST_BYTES``; as ``data.load``.
    """
    if not is_whole(maps, 0, 2**31):
        raise ValueError(f"maps must be at least 0 and below 2**31; got {str(maps)[:20]}")
    values = record(run, name, shipped=shipped)
    if maps:
        picture = _maps(run, values["data"]["name"], maps, root, download)
        file = f"{stem(values)}.png"
        values["maps"] = {"file": file, "sha256": hashlib.sha256(picture).hexdigest(), "pictures": [*range(maps)]}
        Path(to).mkdir(parents=True, exist_ok=True)
        write_atomic(Path(to) / file, picture)
    return write(values, to)


def record(run: str | Path, name: str, *, shipped: str | None = None) -> dict[str, Any]:
    """The record of the run folder ``run`` under ``name``; a run that is not finished is recorded as cut short.

    ``shipped`` names the weights in the package that came from this run.

    Raises: ValueError where ``run`` is no run folder, has no epoch yet, or contradicts itself.
    """
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
        raise ValueError(f"name must be made of a-z, 0-9 and hyphens; got {name!r}")
    folder = RunFolder(Path(run))
    if not Path(run).is_dir():
        raise ValueError(f"run must be a run folder; there is none at {run}")
    info = folder.read_info()
    try:
        return _record(info, folder.read_history(), name, shipped)
    except FAILURES as error:
        what = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"the run in {run} contradicts itself: {what}") from error


def _record(info: Mapping[str, Any], history: list[dict[str, Any]], name: str, shipped: str | None) -> dict[str, Any]:
    values = {key: info.get(key) for key in FIELDS if key in info}
    values |= {
        "format": FORMAT,
        "name": name,
        "seed": info["config"]["seed"],
        "cut_short": not info["finished"],
        "command": public_command(info["command"], name),
        "ended": info.get("ended"),
        "history": history,
        "weights": {"sha256": info.get("sha256"), "shipped": shipped},
        "maps": None,
    }
    values["digest"] = digest(values)
    check_run(values)
    return values


def write(values: Mapping[str, Any], folder: str | Path) -> Path:
    """Check the record of a run and write it to ``folder`` under the name it must have; returns the path."""
    values = {**values, "digest": digest(values)}
    check_run(values)
    path = Path(folder) / f"{stem(values)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f' "{key}": {json.dumps(values[key], ensure_ascii=False)}' for key in FIELDS if key != "history"]
    history = ",\n  ".join(json.dumps(entry) for entry in values["history"])
    write_atomic(path, "{\n" + ",\n".join([*lines, f' "history": [\n  {history}\n ]']) + "\n}\n")
    return path


def public_command(command: str | None, name: str) -> str | None:
    """A command line without the places of one machine: a run's folder becomes ``runs/NAME``, a sweep's ``runs``."""
    if command is None:
        return None
    kept: list[str] = []
    words = iter(shlex.split(command))
    for word in words:
        option, equals, _ = word.partition("=")
        if option in HERE:
            if not equals:
                next(words, None)
            kept += ["--out", "runs" if "sweep" in kept else f"runs/{name}"] if option == "--out" else []
        elif word not in HOW_IT_RAN:
            kept.append(word)
    return shlex.join(kept)


def _maps(run: str | Path, data: str, count: int, root: str | Path | None, download: bool) -> bytes:
    """The first ``count`` test pictures and their maps at every level, as PNG. They are the first: nobody chose."""
    from matplotlib.figure import Figure  # drawing takes a second to import

    from lpa_core.plotting.grids import map_grid

    model, info = load_weights(run)
    found = load(data, "test", root=root, download=download)
    if count > len(found):
        raise ValueError(f"maps must be at most {len(found)}, the test pictures; got {count}")
    few = found.subset(range(count))
    with torch.no_grad():
        output = model.attend(few.float_images())
    if not output.attended:
        raise ValueError("maps: this model has no attention, so there are no maps to draw")
    named = zip(few.labels.tolist(), output.logits.argmax(dim=1).tolist(), strict=True)
    labels = [f"{info.classes[true]}\n→ {info.classes[found]}" for true, found in named]
    figure = Figure()
    map_grid(few.images, [a.weights for a in output.attended], labels=labels, quantity="weight", figure=figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, metadata={"Software": None})
    if len(drawn.getvalue()) > MOST_BYTES:
        raise ValueError(f"maps: the picture has {len(drawn.getvalue()):,} bytes, more than {MOST_BYTES:,}; draw fewer")
    return drawn.getvalue()
