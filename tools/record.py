"""Record training runs for the book, one by one or as a sweep trains them: ``python tools/record.py run RUN``.

``run`` writes the record of a run folder, finished or cut short. ``sweep`` trains as ``python -m lpa_core sweep`` does
and writes the record of each run as it finishes; stopped and started again, it makes none twice.
"""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recording
import torch
from recorded.runs import read_run

from lpa_core.models.weights import available, load_weights
from lpa_core.training import PRESETS, SWEEPS, VARIANTS, Job, combined, named, sweep

OVERRIDES = {"epochs": int, "batch_size": int, "width": float, "limit": int}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True)
    run = commands.add_parser("run", help="write the record of a run folder")
    run.set_defaults(command=record_one)
    run.add_argument("run", metavar="RUN", help="a run folder")
    run.add_argument("--name", help="of the variant, such as book-pc (default: the name of the folder)")
    run.add_argument("--shipped", choices=available(), help="the weights in the package that came from this run")
    many = commands.add_parser("sweep", help="train many runs and write their records")
    many.set_defaults(command=record_sweep)
    many.add_argument("name", nargs="?", choices=SWEEPS, help="a named sweep on CIFAR-100; without it, --data")
    many.add_argument("--out", required=True, metavar="DIR", help="folder of the run folders")
    many.add_argument("--minutes", type=float, help="stop after so long; the same command goes on")
    many.add_argument("--data")
    many.add_argument("--preset", choices=PRESETS, default="quick")
    many.add_argument("--variants", nargs="+", choices=VARIANTS, default=["pc"])
    many.add_argument("--seeds", nargs="+", type=int, default=[0])
    for name, kind in OVERRIDES.items():
        many.add_argument(f"--{name.replace('_', '-')}", type=kind, help="as in train, for every run")
    many.add_argument("--device")
    many.add_argument("--threads", type=int)
    many.add_argument("--checkpoint-seconds", type=float, default=30.0)
    many.add_argument("--quiet", action="store_true", help="no progress bars")
    for each in (run, many):
        each.add_argument("--to", type=Path, default=recording.RESULTS, metavar="DIR", help="default: book/results")
        each.add_argument("--maps", type=int, default=0, metavar="N", help="draw the maps of the first N test pictures")
        each.add_argument("--root", help="folder of the data sets")
        each.add_argument("--no-download", action="store_true", help="use only what is there")
    return top


def record_one(options: argparse.Namespace, command: str) -> dict[str, Any]:
    place = {"root": options.root, "download": not options.no_download}
    name = options.name or Path(options.run).resolve().name
    path = recording.record_run(options.run, name, options.to, shipped=options.shipped, maps=options.maps, **place)
    values = read_run(path).values
    return {"record": str(path), **{key: values[key] for key in ("cut_short", "results", "maps")}}


def record_sweep(options: argparse.Namespace, command: str) -> dict[str, Any]:
    if (options.name is None) == (options.data is None):
        raise ValueError("give either the name of a sweep or --data")
    changes = {name: getattr(options, name) for name in OVERRIDES if getattr(options, name) is not None}
    if options.name is not None and changes:
        raise ValueError(f"{options.name} says what to train; leave {', '.join(changes)} out")
    made = (options.data, options.preset, options.variants, options.seeds)
    jobs = named(options.name) if options.name is not None else combined(*made, **changes)
    torch.set_num_threads(options.threads or torch.get_num_threads())
    place = {"root": options.root, "download": not options.no_download}

    def on_finished(job: Job, folder: Path) -> None:
        if not (options.to / f"{job.config.data}-{job.folder}.json").exists():
            has_maps = options.maps and load_weights(folder).model.estimators
            recording.record_run(folder, job.name, options.to, maps=options.maps if has_maps else 0, **place)

    how = {"device": options.device, "progress": not options.quiet, "checkpoint_seconds": options.checkpoint_seconds}
    done = sweep(jobs, options.out, minutes=options.minutes, on_finished=on_finished, command=command, **place, **how)
    if wrong := done.failed | done.hook_failed:
        raise ValueError("; ".join(f"{run}: {reason}" for run, reason in wrong.items()))
    return done._asdict()


def main(arguments: Sequence[str] | None = None) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    given = sys.argv[1:] if arguments is None else [*arguments]
    options = parser().parse_args(given)
    try:
        print(json.dumps(options.command(options, shlex.join(["python", "tools/record.py", *given]))))
    except (ValueError, TypeError, OSError) as error:  # what its user can do something about
        sys.exit(f"record.py: {error}")


if __name__ == "__main__":
    main()
