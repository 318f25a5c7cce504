"""Many runs in one folder, in an order that matters: stopped at any moment, continued, and never made twice."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._utils.checks import is_number, is_whole
from .config import TrainConfig
from .presets import preset
from .run import train
from .watch import TimeUp

logger = logging.getLogger(__name__)

# What a variant changes in the model of a preset. "pc" is the presets' own; "uniform" and "global" are the controls.
VARIANTS: dict[str, dict[str, Any]] = {
    "pc": {},
    "uniform": {"compatibility": "uniform"},
    "global": {"combine": "global"},
    "vgg": {"builder": "vgg"},
    "dp": {"compatibility": "dp"},
    "scaled-dp": {"compatibility": "scaled_dp"},
    "additive": {"compatibility": "additive"},
    "sigmoid": {"normalise": "sigmoid"},
    "indep": {"combine": "indep"},
    "levels-1": {"levels": 1},
    "levels-2": {"levels": 2},
    "vgg-gap": {"builder": "vgg_gap"},
}
# Named sweeps on CIFAR-100 in order of importance: (name, preset, seed, changes). The questions of the chapter of
# results come first: attention, its controls and VGG, then seeds for an interval, then everything else.
SWEEPS: dict[str, list[tuple[str, str, int, dict[str, Any]]]] = {
    "full-width": [
        *((f"book-{name}", "book", 0, VARIANTS[name]) for name in ("pc", "uniform", "global", "vgg")),
        *((f"book-{name}", "book", seed, VARIANTS[name]) for seed in (1, 2) for name in ("pc", "uniform")),
        *((f"book-{n}", "book", 0, VARIANTS[n]) for n in ("dp", "additive", "sigmoid", "indep")),
        *((f"book-{n}", "book", 0, VARIANTS[n]) for n in ("levels-1", "levels-2", "vgg-gap")),
        ("long-pc", "long", 0, {}),
        ("quarter-long-pc", "long", 0, {"width": 0.25, "dropout": 0.0}),
    ]
}


class Job(NamedTuple):
    """One run of a sweep; its folder is ``NAME-SEED``."""

    name: str
    config: TrainConfig

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.config.seed}"


class Swept(NamedTuple):
    """The folders of a sweep's runs: finished by now, stopped or not begun, and failed (with the reason).

    ``hook_failed`` says for which finished runs ``on_finished`` raised an exception, and which.
    """

    finished: list[str]
    left: list[str]
    failed: dict[str, str]
    hook_failed: dict[str, str]


def named(name: str) -> list[Job]:
    """The jobs of a named sweep. Raises: ValueError listing those there are."""
    if not isinstance(name, str) or name not in SWEEPS:
        raise ValueError(f"sweep must be one of {', '.join(SWEEPS)}; got {name!r}")
    return [Job(called, preset(of, "cifar100", seed=seed, **changes)) for called, of, seed, changes in SWEEPS[name]]


def combined(data: str, of: str, variants: Sequence[str], seeds: Sequence[int], **changes: Any) -> list[Job]:
    """Jobs for each of ``variants`` with each of ``seeds``, all variants of a seed before the next seed.

    ``changes`` are those of ``preset``, for every job. Raises: ValueError on an unknown variant; as ``preset``.
    """
    if not isinstance(variants, list | tuple) or not variants or any(not isinstance(v, str) for v in variants):
        raise TypeError(f"variants must be a list of some of {', '.join(VARIANTS)}; got {variants!r}")
    if not isinstance(seeds, list | tuple | range) or not seeds or not all(is_whole(seed) for seed in seeds):
        raise TypeError(f"seeds must be a list of whole numbers of at least 0; got {seeds!r}")
    if unknown := [name for name in variants if name not in VARIANTS]:
        raise ValueError(f"variants must be among {', '.join(VARIANTS)}; got {', '.join(unknown)}")
    if len({*variants}) < len(variants) or len({*seeds}) < len(seeds):
        raise ValueError(f"variants and seeds must differ; got {', '.join(variants)} and {', '.join(map(str, seeds))}")
    return [
        Job(f"{of}-{name}", preset(of, data, seed=seed, **{**changes, **VARIANTS[name]}))
        for seed in seeds
        for name in variants
    ]


def sweep(
    jobs: Iterable[Job],
    out: str | Path,
    *,
    minutes: float | None = None,
    on_finished: Callable[[Job, Path], object] | None = None,
    command: str | None = None,
    **how: Any,
) -> Swept:
    """Train ``jobs`` one after another, each in its own folder of ``out``; continue what was begun, skip what is done.

    A run that another process holds is left to it, so several may share a sweep. One that diverges is reported at the
    end and stops no other.

    Args:
        minutes: stop after so long, within a run if need be; the same call goes on from there.
        on_finished: called as ``on_finished(job, run_folder)`` with each finished run, those of earlier calls too. What
            it raises is reported at the end and stops no later run.
        command: the command line to record with each run.
        how: ``root``, ``download``, ``device``, ``progress``, ``checkpoint_seconds`` of ``train``.

    Raises: as ``train``, for anything but divergence; ValueError unless ``minutes`` is above 0.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError("a sweep is for one process; start one on each GPU (--device cuda:N) with the same --out")
    if minutes is not None and (not is_number(minutes) or not minutes > 0):
        raise ValueError(f"minutes must be above 0; got {minutes!r}")
    jobs, started = [*jobs], time.monotonic()
    finished: list[str] = []
    failed: dict[str, str] = {}
    hook_failed: dict[str, str] = {}
    for number, job in enumerate(jobs, start=1):
        rest = None if minutes is None else minutes - (time.monotonic() - started) / 60
        if rest is not None and rest <= 0:
            break
        logger.info("%d of %d: %s", number, len(jobs), job.folder)
        folder = Path(out) / job.folder
        try:
            train(job.config, folder, resume=True, minutes=rest, command=command, **how)
        except TimeUp:
            break
        except BlockingIOError:
            logger.info("%s is being trained by another process", job.folder)
            continue
        except FloatingPointError as error:
            failed[job.folder] = str(error)
            continue
        finished.append(job.folder)
        if on_finished is not None:
            try:
                on_finished(job, folder)
            except Exception as error:  # whatever it is: the runs to come are worth more
                hook_failed[job.folder] = f"{type(error).__name__}: {error}"
                logger.warning("%s is finished, but what follows it failed: %s", job.folder, hook_failed[job.folder])
    left = [job.folder for job in jobs if job.folder not in {*finished, *failed}]
    return Swept(finished, left, failed, hook_failed)
